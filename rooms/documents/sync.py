"""The messages of one document over one connection: framing, state vectors.

y-protocols (PROTOCOL.md; sync.js, awareness.js, auth.js), each message in one transport frame:

| kind | body |
| --- | --- |
| 0 sync | 0 step 1: state vector / 1 step 2: update / 2 update: update; each as varUint8Array |
| 1 awareness | awareness update as varUint8Array |
| 2 auth | 0 permission denied: reason as varString; from the server only |
| 3 query awareness | nothing |
| 100 saved | varUint n; from the server only, ours |
| 101 unsaved | varUint n; from the server only, ours |
| 102 part | a piece of a long message (`rooms.documents.parts`); from the server only, ours |

**Acknowledgements.** Both sides count the update-carrying messages (sync step 2 and update) that the
client sent on this connection for this document, from 1, refused ones included. `saved n`: the first n
are in the store at the configured durability. `unsaved n`: the server has up to n and shows them to
the others, but its store fails; `saved n` follows when it returns. A message that was refused
(the client is told by `auth`) holds the count back: n passes it only once a later sync step 2 of
the client is stored, for that one holds everything that the client has. They go only to readers that
ask for them (`Reader.wants_acknowledgement`); a plain y-websocket client logs an error for kinds that
it does not know.

**Reasons of permission denied**: `read-only` (no right to write), `client-id` (the update goes on in a
Yjs client id that belongs to another participant), `malformed`, `half-character` (an edit between the two
halves of an emoji: the editor is at fault), `too-large` (the document is full), `waiting` (too much that
depends on what the server does not have).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from rooms.documents.encoding import BoundedReader, var_bytes, var_string, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.limits import MAX_CLIENT_ID, MAX_CLOCK

SYNC: Final = 0
AWARENESS: Final = 1
AUTH: Final = 2
QUERY_AWARENESS: Final = 3
SAVED: Final = 100
UNSAVED: Final = 101
PART: Final = 102

STEP_1: Final = 0
STEP_2: Final = 1
UPDATE: Final = 2

PERMISSION_DENIED: Final = 0

_CONTENT: Final = (bytes((SYNC, STEP_2)), bytes((SYNC, UPDATE)))

Denial = Literal["read-only", "client-id", "malformed", "half-character", "too-large", "waiting"]


class Kind(IntEnum):
    """What a client may send."""

    STEP_1 = 0
    STEP_2 = 1
    UPDATE = 2
    AWARENESS = 3
    QUERY_AWARENESS = 4


_SYNC_KINDS: Final = (Kind.STEP_1, Kind.STEP_2, Kind.UPDATE)


@dataclass(slots=True)
class ClientMessage:
    kind: Kind
    body: bytes
    """State vector, update or awareness update; empty for a query."""


def read_message(message: bytes) -> ClientMessage:
    """One message of a client. Raises: MalformedMessage, also for what only a server sends."""
    reader = BoundedReader(message)
    kind = reader.var_uint()
    if kind == SYNC:
        step = reader.var_uint()
        if step > UPDATE:
            raise MalformedMessage("unknown sync message")
        body, read = reader.var_bytes(), _SYNC_KINDS[step]
    elif kind == AWARENESS:
        body, read = reader.var_bytes(), Kind.AWARENESS
    elif kind == QUERY_AWARENESS:
        body, read = b"", Kind.QUERY_AWARENESS
    else:
        raise MalformedMessage("unknown kind of message")
    reader.end()
    return ClientMessage(read, body)


def sync_step_1(state_vector: bytes) -> bytes:
    return b"\x00\x00" + var_bytes(state_vector)


def sync_step_2(update: bytes) -> bytes:
    return b"\x00\x01" + var_bytes(update)


def sync_update(update: bytes) -> bytes:
    return b"\x00\x02" + var_bytes(update)


def sync_head(step: int, size_bytes: int) -> bytes:
    """What stands before an update of this size in `sync_step_2` (STEP_2) and `sync_update` (UPDATE)."""
    return bytes((SYNC, step)) + var_uint(size_bytes)


def is_content(message: bytes) -> bool:
    """Whether it carries an update: then nothing of the kind may overtake it."""
    return message[:2] in _CONTENT


def awareness_message(update: bytes) -> bytes:
    return b"\x01" + var_bytes(update)


def permission_denied(reason: Denial) -> bytes:
    return b"\x02\x00" + var_string(reason)


def saved(count: int) -> bytes:
    return b"\x64" + var_uint(count)


def unsaved(count: int) -> bytes:
    return b"\x65" + var_uint(count)


def read_state_vector(data: bytes) -> dict[int, int]:
    """Next clock by Yjs client id. Raises: MalformedMessage (also when an id comes twice)."""
    reader = BoundedReader(data)
    clocks: dict[int, int] = {}
    for _ in range(_count(reader, len(data) // 2)):
        client, clock = reader.var_uint(), reader.var_uint()
        if client > MAX_CLIENT_ID or clock > MAX_CLOCK or client in clocks:
            raise MalformedMessage("impossible state vector")
        clocks[client] = clock
    reader.end()
    return clocks


def encode_state_vector(clocks: Mapping[int, int]) -> bytes:
    """As `read_state_vector` reads it."""
    return var_uint(len(clocks)) + b"".join([var_uint(client) + var_uint(clock) for client, clock in clocks.items()])


def _count(reader: BoundedReader, most: int) -> int:
    """A count as claimed, refused when the rest could not hold so many."""
    count = reader.var_uint()
    if count > most:
        raise MalformedMessage("count beyond the end")
    return count
