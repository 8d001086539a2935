"""Why the server closes a document (Socket.IO) or the WebSocket it is on (y-websocket).

Private-use WebSocket codes (RFC 6455 section 7.4.2) that keep the meaning of the HTTP status they end
in, and one registered code. 44xx: coming back will not help; 45xx and 1012: it will, after a while.
The y-websocket provider (3.1) goes by the same rule: it gives up for good on 4400 to 4499 alone.
`docs/protocol.md` lists them with what a client does next.
"""

from typing import Final, Literal

CloseReason = Literal["resync", "forbidden", "unknown", "too-large", "malformed", "limit", "draining", "unavailable"]

DRAINING: Final = 1012
"""This process is going away; come back at once (RFC 6455, service restart)."""
MALFORMED: Final = 4400
"""The client sent what the protocol does not allow, repeatedly or in a way that cannot be refused alone."""
FORBIDDEN: Final = 4403
"""The participant may not read this document (any more)."""
UNKNOWN: Final = 4404
"""There is no such document or room."""
TOO_LARGE: Final = 4413
"""One message above the limit: it would be sent again and again."""
SLOW_READER: Final = 4508
"""The connection did not drain in time; open the document again to catch up."""
LIMIT: Final = 4529
"""Too much at once, or too many readers."""
UNAVAILABLE: Final = 4503
"""The document cannot be loaded, or no more unsaved text can be kept: come back later."""

REASONS: Final[dict[int, CloseReason]] = {
    DRAINING: "draining",
    MALFORMED: "malformed",
    FORBIDDEN: "forbidden",
    UNKNOWN: "unknown",
    TOO_LARGE: "too-large",
    UNAVAILABLE: "unavailable",
    SLOW_READER: "resync",
    LIMIT: "limit",
}
"""The stable word of each code: what goes into a close frame or a `document_closed` event."""
