"""Packets of Socket.IO: how an event is encoded once for many, what is taken, and the queue they wait in."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import socketio
from engineio import packet as engineio_packet
from socketio import packet as socketio_packet

from server.deflate import DEFLATE_UP_TO_BYTES, SharedMessage

MAX_ATTACHMENTS = 1
"""Binary parts of one event: `document_message` and `media_voice` have one, no other event has any. The library would
keep whatever number a peer announces, each part up to the longest message, until the last one has come."""

MOST_AT_ONCE_BYTES: Final = 640 * 1024
"""Taken from a queue in one go, in long polling one answer; a packet that is longer goes alone. What is put together,
encoded in base64 and written in one turn of the loop is bounded so: 3 ms."""

Packets = Sequence[engineio_packet.Packet]


def encode(event: str, *arguments: Any, is_deflated: bool = True) -> Packets:
    """The engine.io packets of one event, to be given to any number of connections.

    Structs are turned into plain values first; bytes become attachments. `is_deflated`: over a WebSocket that agreed,
    where they are long enough."""
    data = [event, *(msgspec.to_builtins(argument, builtin_types=(bytes,)) for argument in arguments)]
    encoded = socketio_packet.Packet(socketio_packet.EVENT, namespace="/", data=data).encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [
        engineio_packet.Packet(engineio_packet.MESSAGE, data=_shared(part) if is_deflated else part) for part in parts
    ]


def _shared(part: str | bytes) -> str | bytes:
    # What is too long to be deflated is not copied for it.
    return SharedMessage(part) if isinstance(part, bytes) and len(part) <= DEFLATE_UP_TO_BYTES else part


class UnreadablePacket(ValueError):
    """Not Socket.IO, or more of it than the protocol has: dropped."""


_OF_CLIENTS = frozenset(
    {
        socketio_packet.CONNECT,
        socketio_packet.DISCONNECT,
        socketio_packet.EVENT,
        socketio_packet.ACK,
        socketio_packet.BINARY_EVENT,
        socketio_packet.BINARY_ACK,
    }
)
_WITHOUT_LIST = frozenset({socketio_packet.CONNECT, socketio_packet.DISCONNECT})


class StrictPacket(socketio_packet.Packet):  # type: ignore[misc]
    """A packet as a client sends it, which announces no more attachments than the protocol has."""

    def decode(self, encoded_packet: Any) -> int:
        """Raises: UnreadablePacket."""
        try:
            count: int = super().decode(encoded_packet)
        except (ValueError, TypeError, RecursionError) as error:  # what the library has for them
            raise UnreadablePacket("not a packet") from error
        if self.packet_type not in _OF_CLIENTS:
            raise UnreadablePacket("not a client's packet")
        if self.packet_type not in _WITHOUT_LIST and not (isinstance(self.data, list) and self.data):
            raise UnreadablePacket("an event without a name")
        is_binary = self.packet_type in (socketio_packet.BINARY_EVENT, socketio_packet.BINARY_ACK)
        if count > MAX_ATTACHMENTS or (is_binary and count == 0):
            raise UnreadablePacket("not that many attachments")
        return count

    def add_attachment(self, attachment: Any) -> bool:
        """Raises: UnreadablePacket."""
        try:
            return bool(super().add_attachment(attachment))
        except (ValueError, TypeError, IndexError, RecursionError) as error:  # placeholders that name what never came
            raise UnreadablePacket("not its attachment") from error


class PacketServer(socketio.AsyncServer):  # type: ignore[misc]
    """The library's server, to which what a peer sends is never an error of ours. Left to itself it writes one into the
    log, with its trace, for every packet that it cannot use: anyone who opens a connection could fill a disk, and of
    whoever is removed while they write there is one, for what was under way."""

    packet_class: type[socketio_packet.Packet]

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if eio_sid not in self._binary_packet and (isinstance(data, bytes) or not data):
            return  # the second half of an event whose first was dropped, or nothing at all
        try:
            await super()._handle_eio_message(eio_sid, data)
        except UnreadablePacket:
            self._binary_packet.pop(eio_sid, None)
        except ValueError:
            if self.manager.sid_from_eio_sid(eio_sid, "/"):
                raise
            # A binary event of one who is not connected (any more).


class PacketSource(Protocol):
    async def refill(self) -> None:
        """Somebody is about to wait for what is in the queue: put in what was held back."""


class PacketQueue(asyncio.Queue[Any]):
    """engine.io's queue of what is to be sent (None ends it), which knows how much waits in it. Whoever empties it
    waits with `get` for a first packet and takes others with `get_nowait` until there are none: ours says so, too, when
    what was taken since is enough."""

    waiting_bytes: int
    source: PacketSource | None = None
    _part: engineio_packet.Packet | None
    _taken_bytes = 0
    """Since the last `get`."""

    def _init(self, maxsize: int) -> None:
        self.waiting_bytes = 0
        self._part = None
        super()._init(maxsize)

    def _put(self, item: Any) -> None:
        self.waiting_bytes += _size(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.waiting_bytes -= _size(item)
        if item is self._part:
            self._part = None
        return item

    async def get(self) -> Any:
        self._taken_bytes = 0
        if self.source is not None:
            await self.source.refill()
        return await super().get()

    def get_nowait(self) -> Any:
        """Raises: QueueEmpty."""
        size_bytes = _size(self._queue[0]) if self.qsize() else 0  # type: ignore[attr-defined]
        if self._taken_bytes and self._taken_bytes + size_bytes > MOST_AT_ONCE_BYTES:
            raise asyncio.QueueEmpty
        self._taken_bytes += size_bytes
        return super().get_nowait()

    def put_part(self, packets: Packets) -> None:
        """A part of a long message; the next is put when this one was taken."""
        self._part = packets[-1]
        for packet in packets:
            self.put_nowait(packet)

    @property
    def holds_part(self) -> bool:
        return self._part is not None

    def throw_away(self) -> None:
        """Nothing that waits will be sent."""
        while not self.empty():
            super().get_nowait()
            self.task_done()


def _size(packet: engineio_packet.Packet | None) -> int:
    """Strings count their characters: what is sent is nearly all ASCII, or a small part of it."""
    data = packet.data if packet is not None else None
    return len(data) if isinstance(data, str | bytes) else 0
