"""What can go wrong, as the caller of this SDK sees it.

PasserelleError
├── Refused            the server said no; `code` says why (docs/protocol.md)
├── Disconnected       there is no connection, or it was lost before the answer came
└── Removed            this participant may not come back
"""


class PasserelleError(Exception):
    """Base of every error of this package."""


class Refused(PasserelleError):
    """The server refused a request or a command."""

    def __init__(self, code: str, message: str, field: str | None = None, seq: int | None = None) -> None:
        super().__init__(code, message, field)
        self.code = code
        """Stable, machine readable."""
        self.message = message
        """For the developer, in English."""
        self.field = field
        """The field of the request that was wrong, if one was."""
        self.seq = seq
        """With `outdated`: the number of what was set since."""

    def __str__(self) -> str:
        where = f" (at {self.field})" if self.field else ""
        return f"{self.message} [{self.code}]{where}"


class Disconnected(PasserelleError):
    """No answer came: the command may or may not have been carried out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not connected: {self.reason}"


class Removed(PasserelleError):
    """The participant was removed, denied, or the room closed; reconnecting is of no use."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"removed from the room: {self.reason}"
