"""A room's state as one JSON body, the same in every store.

Fields that a later version adds must have a default: bodies of before are read as they are, and
fields this version does not know are ignored.
"""

import msgspec

from rooms.models import RoomState

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(RoomState)


class CorruptBody(Exception):
    """A stored body is not a room's state."""


def encode_state(state: RoomState) -> bytes:
    return _encoder.encode(state)


def decode_state(body: bytes) -> RoomState:
    """Raises: CorruptBody."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptBody(type(error).__name__) from error
