"""What can go wrong with a document.

DocumentError
├── MalformedMessage      bytes that are not what the protocol says
├── UpdateRefused         an update that is well formed and still cannot be taken
├── DocumentBroken        the engine can no longer read this copy: drop it and load it again
├── ProtocolViolation     this connection must be closed, with `code`
└── CannotOpen            with `code`, the close code that says the same
    ├── DocumentForbidden
    ├── DocumentUnavailable
    └── TooManyReaders
"""

from rooms.documents import close_codes


class DocumentError(Exception):
    """Any failure of this package."""


class MalformedMessage(DocumentError):
    """Bytes from outside that do not follow the protocol; nothing of them was taken."""


class UpdateRefused(DocumentError):
    """The engine does not take this update; the document is unchanged."""


class DocumentBroken(DocumentError):
    """The copy in memory cannot be trusted any more; what is stored is not touched.

    `waiting`: it was broken by this update, which had waited for what came now (`YjsDocument.set_aside`)."""

    def __init__(self, reason: str, *, waiting: bytes | None = None) -> None:
        super().__init__(reason)
        self.waiting = waiting


class ProtocolViolation(DocumentError):
    """The connection must be closed with this code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.reason: str = close_codes.REASONS[code]
        super().__init__(f"close {code} ({self.reason})")


class CannotOpen(DocumentError):
    """The document was not opened; nothing is left to close."""

    code: int = close_codes.UNAVAILABLE

    @property
    def reason(self) -> str:
        return close_codes.REASONS[self.code]


class DocumentForbidden(CannotOpen):
    """The participant may not read it."""

    code = close_codes.FORBIDDEN


class DocumentUnavailable(CannotOpen):
    """The store cannot give it now; it is never opened empty instead."""

    code = close_codes.UNAVAILABLE


class TooManyReaders(CannotOpen):
    """The document, or this process, has all the readers (or documents) that it takes."""

    code = close_codes.LIMIT
