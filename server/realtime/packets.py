"""Packets of Socket.IO: how an event is encoded once for many, what is taken, and the queue they wait in."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from engineio import packet as engineio_packet
from socketio import packet as socketio_packet

from server.deflate import DEFLATE_UP_TO_BYTES, SharedMessage

MAX_ATTACHMENTS = 1
"""Binary parts of one event: `document_message` and `media_voice` have one, no other event has any. The library would
keep whatever number a peer announces, each part up to the longest message, until the last one has come."""

Packets = Sequence[engineio_packet.Packet]


def encode(event: str, *arguments: Any) -> Packets:
    """The engine.io packets of one event, to be given to any number of connections.

    Structs are turned into plain values first; bytes become attachments."""
    data = [event, *(msgspec.to_builtins(argument, builtin_types=(bytes,)) for argument in arguments)]
    encoded = socketio_packet.Packet(socketio_packet.EVENT, namespace="/", data=data).encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [engineio_packet.Packet(engineio_packet.MESSAGE, data=_shared(part)) for part in parts]


def _shared(part: str | bytes) -> str | bytes:
    # What is too long to be deflated is not copied for it.
    return SharedMessage(part) if isinstance(part, bytes) and len(part) <= DEFLATE_UP_TO_BYTES else part


class StrictPacket(socketio_packet.Packet):  # type: ignore[misc]
    """A packet that announces no more attachments than the protocol has."""

    def decode(self, encoded_packet: Any) -> int:
        """Raises: ValueError; the packet is dropped then."""
        count: int = super().decode(encoded_packet)
        is_binary = self.packet_type in (socketio_packet.BINARY_EVENT, socketio_packet.BINARY_ACK)
        if count > MAX_ATTACHMENTS or (is_binary and count == 0):
            raise ValueError("not that many attachments")
        return count


class PacketQueue(asyncio.Queue[Any]):
    """engine.io's queue of what is to be sent (None ends it), which knows how much waits in it."""

    waiting_bytes: int

    def _init(self, maxsize: int) -> None:
        self.waiting_bytes = 0
        super()._init(maxsize)

    def _put(self, item: Any) -> None:
        self.waiting_bytes += _size(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.waiting_bytes -= _size(item)
        return item

    def throw_away(self) -> None:
        """Nothing that waits will be sent."""
        while not self.empty():
            self.get_nowait()
            self.task_done()


def _size(packet: engineio_packet.Packet | None) -> int:
    """Strings count their characters: what is sent is nearly all ASCII, or a small part of it."""
    data = packet.data if packet is not None else None
    return len(data) if isinstance(data, str | bytes) else 0
