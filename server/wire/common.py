"""What every message of the wire shares: bounded scalar types and the error body."""

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_NAME_CHARACTERS = 60
"""Longest name of a person, a room or an invitation label: what a tile can still show."""
MAX_CHAT_CHARACTERS = 2_000
"""Longest chat line: about a page; longer texts belong in a document."""
MAX_TOKEN_CHARACTERS = 4_096
"""Longest join token: what fits in a request line of any proxy."""

# "$" alone would let a last line feed pass.
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]
"""An id that the server made; opaque to clients."""
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{22,64}$(?!\n)")]
"""Made by the sender: 128 random bits or more, as hex or base64url, that it shows to nobody."""
DocumentName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]
"""The name of a document within its room."""
DisplayName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]
"""What a person calls themselves, a room or a label; the core trims it and refuses control characters."""
Timestamp = float
"""Seconds since the Unix epoch, UTC."""


Seen = Annotated[int, Meta(ge=0, le=2**53)] | None
"""The number of the last event in the sender's view, with a command that sets something; None: not said."""


class ErrorBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why something was refused."""

    code: str
    """Stable, machine readable: see the table of errors in docs/protocol.md."""
    message: str
    """One English sentence for the developer of a client; pages translate `code`."""
    field: str | None = None
    """The field of the request that was wrong, where one was (`$.name`)."""
    seq: int | None = None
    """With `outdated`: the number to ask again with, as `seen`."""


class ErrorAnswer(msgspec.Struct, kw_only=True):
    """The body of every HTTP error, and every Socket.IO acknowledgement that refuses."""

    error: ErrorBody


class Accepted(msgspec.Struct, kw_only=True):
    """The acknowledgement of a command that carries nothing back."""

    ok: bool = True
