"""What instances tell each other of one document, over the bus: encoding, and bounded reading.

Every message: version (1), kind (one byte), sender (8 bytes), addressee (8 bytes, zeros: everyone), number
(varUint: of the sender's last change), flags (one byte), then by kind (lib0 encodings):

| kind | body |
| --- | --- |
| 0 state | state vector, digest of the deletions (empty: not known now), awareness |
| 1 change | update, bindings, awareness |
| 2 ask | state vector |
| 3 answer | update, bindings, awareness |
| 4 goodbye | nothing |

An awareness is an awareness update of y-protocols (empty: it says nothing) and the owners of its client ids;
bindings and owners are a count, then client id and participant id of each. That of a change holds what is new;
that of a state or an answer, if any, holds all of the sender's readers.

Other instances are ourselves, perhaps of another version: what cannot be read is dropped, not trusted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rooms.documents.deletions import DIGEST_BYTES
from rooms.documents.encoding import BoundedReader, var_bytes, var_string, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.limits import MAX_BUS_MESSAGE_BYTES, MAX_CLIENT_ID, MAX_MESSAGE_BINDINGS, MAX_PARTICIPANT_ID_BYTES
from rooms.ports import ClientBinding, DocumentKey

VERSION: Final = 1
INSTANCE_ID_BYTES: Final = 8
EVERYONE: Final = bytes(INSTANCE_ID_BYTES)

_HEAD: Final = 2 + 2 * INSTANCE_ID_BYTES
_WANTS_REPLY: Final = 1
_UNSAVED: Final = 2
_TOO_LARGE: Final = 4
_FLAGS: Final = _WANTS_REPLY | _UNSAVED | _TOO_LARGE


class Kind(IntEnum):
    STATE = 0
    CHANGE = 1
    ASK = 2
    ANSWER = 3
    GOODBYE = 4


@dataclass(frozen=True, slots=True)
class SharedAwareness:
    """What an instance says of its own readers."""

    update: bytes = b""
    """Awareness update; empty when nothing is said (which is not the same as nobody being there)."""
    owners: Sequence[ClientBinding] = ()
    """Of those client ids that have not written yet: their participants."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """One message; which of the fields mean something depends on the kind."""

    kind: Kind
    sender: bytes
    number: int
    """How many changes the sender has made known so far."""
    addressee: bytes = EVERYONE
    state_vector: bytes = b""
    digest: bytes = b""
    update: bytes = b""
    bindings: Sequence[ClientBinding] = ()
    awareness: SharedAwareness = SharedAwareness()
    wants_reply: bool = False
    """Of a state: the sender has just come, or has missed something; each tells it how it stands."""
    is_unsaved: bool = False
    """The sender's store fails: it holds text that is stored nowhere."""
    is_too_large: bool = False
    """Of an answer: it does not fit into a message; read it from the store."""


def topic_of(key: DocumentKey) -> str:
    """The document's name is text of people: only its hash is seen outside."""
    return f"document:{key.room_id}:{hashlib.sha256(key.document.encode()).hexdigest()[:32]}"


def is_for(data: bytes, instance: bytes) -> bool:
    """Whether this instance should read the message: it is another's, and for everyone or for this one. One
    that is too short to say is to be read, and found malformed."""
    if len(data) < _HEAD:
        return True
    sender, addressee = data[2 : 2 + INSTANCE_ID_BYTES], data[2 + INSTANCE_ID_BYTES : _HEAD]
    return sender != instance and addressee in (EVERYONE, instance)


def encode_message(message: BusMessage) -> bytes:
    head = bytes((VERSION, message.kind)) + message.sender + message.addressee
    flags = (
        _WANTS_REPLY * message.wants_reply + _UNSAVED * message.is_unsaved + _TOO_LARGE * message.is_too_large
    ).to_bytes()
    return head + var_uint(message.number) + flags + _encode_body(message)


def read_message(data: bytes) -> BusMessage:
    """Raises: MalformedMessage."""
    if not _HEAD < len(data) <= MAX_BUS_MESSAGE_BYTES:
        raise MalformedMessage("a bus message of impossible length")
    if data[0] != VERSION or data[1] not in tuple(Kind):
        raise MalformedMessage("a bus message of another version")
    reader = BoundedReader(data, _HEAD)
    number, flags = reader.var_uint(), reader.var_uint()
    if flags & ~_FLAGS:
        raise MalformedMessage("unknown flags")
    kind, state_vector, digest, update = Kind(data[1]), b"", b"", b""
    bindings: Sequence[ClientBinding] = ()
    awareness = SharedAwareness()
    if kind in (Kind.STATE, Kind.ASK):
        state_vector = reader.var_bytes()
    if kind is Kind.STATE:
        digest = reader.var_bytes()
        if len(digest) not in (0, DIGEST_BYTES):
            raise MalformedMessage("a digest of another length")
    if kind in (Kind.CHANGE, Kind.ANSWER):
        update, bindings = reader.var_bytes(), _read_bindings(reader)
    if kind in (Kind.STATE, Kind.CHANGE, Kind.ANSWER):
        awareness = SharedAwareness(reader.var_bytes(), _read_bindings(reader))
    reader.end()
    return BusMessage(
        kind=kind,
        sender=data[2 : 2 + INSTANCE_ID_BYTES],
        addressee=data[2 + INSTANCE_ID_BYTES : _HEAD],
        number=number,
        state_vector=state_vector,
        digest=digest,
        update=update,
        bindings=bindings,
        awareness=awareness,
        wants_reply=bool(flags & _WANTS_REPLY),
        is_unsaved=bool(flags & _UNSAVED),
        is_too_large=bool(flags & _TOO_LARGE),
    )


def _encode_body(message: BusMessage) -> bytes:
    awareness = var_bytes(message.awareness.update) + _encode_bindings(message.awareness.owners)
    match message.kind:
        case Kind.STATE:
            return var_bytes(message.state_vector) + var_bytes(message.digest) + awareness
        case Kind.CHANGE | Kind.ANSWER:
            return var_bytes(message.update) + _encode_bindings(message.bindings) + awareness
        case Kind.ASK:
            return var_bytes(message.state_vector)
        case Kind.GOODBYE:
            return b""


def _encode_bindings(bindings: Sequence[ClientBinding]) -> bytes:
    # Those beyond the limit are left out: the store has them, and a later answer brings them.
    sent = bindings[:MAX_MESSAGE_BINDINGS]
    parts = [var_uint(binding.client_id) + var_string(binding.participant_id) for binding in sent]
    return var_uint(len(parts)) + b"".join(parts)


def _read_bindings(reader: BoundedReader) -> Sequence[ClientBinding]:
    count = reader.var_uint()
    if count > MAX_MESSAGE_BINDINGS:
        raise MalformedMessage("too many bindings")
    bindings = []
    for _ in range(count):
        client, participant = reader.var_uint(), reader.var_string()
        if client > MAX_CLIENT_ID or not 0 < len(participant.encode()) <= MAX_PARTICIPANT_ID_BYTES:
            raise MalformedMessage("an impossible binding")
        bindings.append(ClientBinding(client, participant))
    return tuple(bindings)
