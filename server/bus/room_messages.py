"""How what instances say to each other about rooms is written on the bus: MessagePack, an array each.

Where one of several things may stand, its name stands before it. A version that adds a field gives it a
default, and takes what it does not know for nothing: two versions run side by side while instances are
restarted one after the other.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from rooms import commands, errors, events, instance_messages, orders
from rooms.errors import RoomError
from rooms.events import Event
from rooms.instance_messages import Answer, Ask, Message, Told
from rooms.models import ChatLine, Invitation
from rooms.orders import Mark

_PLAIN = (
    instance_messages.Aside,
    instance_messages.NoReader,
    instance_messages.HandOver,
    instance_messages.Moved,
    instance_messages.Beat,
)
_PARTS = (
    *commands.Command.__args__,
    *events.Event.__args__,
    orders.AddInvitation,
    orders.RevokeInvitation,
    orders.Enter,
    orders.SendChat,
    orders.OpenConnection,
    orders.CloseConnection,
    orders.Greet,
    orders.ConfirmGone,
    orders.Call,
    orders.Snapshot,
    orders.Entered,
    orders.Confirmed,
    orders.Called,
    Invitation,
    ChatLine,
)


class _Named(msgspec.Struct, array_like=True):
    name: str
    body: msgspec.Raw


class _Ask(msgspec.Struct, array_like=True, tag="Ask"):
    ask_id: str
    sender: str
    room_id: str
    actor_id: str | None
    question: _Named


class _Answer(msgspec.Struct, array_like=True, tag="Answer"):
    ask_id: str
    mark: Mark
    reply: _Named | None
    error: _Named | None
    is_not_home: bool


class _Told(msgspec.Struct, array_like=True, tag="Told"):
    room_id: str
    sender: str
    mark: Mark
    at: float
    events: list[_Named]
    chat: ChatLine | None


class _Other(msgspec.Struct, array_like=True, tag="Other"):
    message: _Named


_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(_Ask | _Answer | _Told | _Other)
_decoders = {kind.__name__: msgspec.msgpack.Decoder(kind) for kind in (*_PARTS, *_PLAIN)}
_errors = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RoomError)
}
_attributes = msgspec.msgpack.Decoder(dict[str, str | int | float])


class RoomMessageCodec:
    """`rooms.instance_messages.Codec`."""

    def encode(self, message: Message) -> bytes:
        return _encoder.encode(_envelope(message))

    def decode(self, data: bytes) -> Message:
        """Raises: ValueError."""
        try:
            return _message(_envelopes.decode(data))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise ValueError(f"not a message of instances: {type(error).__name__}") from error


def _envelope(message: Message) -> msgspec.Struct:
    match message:
        case Ask():
            question = _named(message.question)
            return _Ask(message.ask_id, message.sender, message.room_id, message.actor_id, question)
        case Answer():
            reply = None if message.reply is None else _named(message.reply)
            error = None if message.error is None else _named_error(message.error)
            return _Answer(message.ask_id, message.mark, reply, error, message.is_not_home)
        case Told():
            happened = [_named(event) for event in message.events]
            return _Told(message.room_id, message.sender, message.mark, message.at, happened, message.chat)
    return _Other(_named(message))


def _named(part: object) -> _Named:
    return _Named(type(part).__name__, msgspec.Raw(_encoder.encode(part)))


def _named_error(error: RoomError) -> _Named:
    return _Named(type(error).__name__, msgspec.Raw(_encoder.encode(vars(error))))


def _message(envelope: _Ask | _Answer | _Told | _Other) -> Message:
    match envelope:
        case _Ask():
            question = _part(envelope.question)
            return Ask(envelope.ask_id, envelope.sender, envelope.room_id, envelope.actor_id, question)
        case _Answer():
            reply = None if envelope.reply is None else _part(envelope.reply)
            error = None if envelope.error is None else _error(envelope.error)
            return Answer(envelope.ask_id, envelope.mark, reply, error, envelope.is_not_home)
        case _Told():
            happened: Sequence[Event] = [_part(each) for each in envelope.events]
            return Told(envelope.room_id, envelope.sender, envelope.mark, envelope.at, happened, envelope.chat)
        case _Other():
            message: Message = _part(envelope.message)
            return message


def _part(named: _Named) -> Any:
    """Raises: KeyError for what this version does not know."""
    return _decoders[named.name].decode(named.body)


def _error(named: _Named) -> RoomError:
    kind = _errors[named.name]
    error = kind.__new__(kind)
    error.__dict__.update(_attributes.decode(named.body))
    return error
