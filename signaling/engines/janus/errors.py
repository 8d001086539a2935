"""What may go wrong between a gateway and us.

JanusError
├── JanusLost      the gateway is gone, or took too long: all it carried is lost
└── JanusRefused   it answered, and said no; `code` is the gateway's
"""

from signaling.engines.janus.messages import INVALID_SDP_CODES


class JanusError(Exception):
    """Never leaves the engine."""


class JanusLost(JanusError):
    """No answer will come over this connection any more."""


class JanusRefused(JanusError):
    """An error answer. `reason` may quote what was sent: it is for nobody's eyes but a debugger's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the gateway refused with {code}")
        self.code = code
        self.reason = reason

    @property
    def is_about_description(self) -> bool:
        return self.code in INVALID_SDP_CODES
