"""One Socket.IO connection: what is sent to it, how much waits, how it is closed."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import socketio
from engineio import packet as engineio_packet
from socketio import packet as socketio_packet

from rooms.documents.open_document import OpenDocument
from server.auth import TokenClaims
from server.wire.document import DocumentClosed
from server.wire.room import Draining, Removed

MAX_OUTBOX_BYTES = 16 * 1024 * 1024
"""What may wait for one connection before it is given up: past 1 MiB its documents already send it
nothing (it is resynchronised when it drains), so what grows beyond is a peer that reads nothing."""
MAX_DOCUMENTS = 32
"""Documents that one connection may have open: a teacher's view of fifteen teams, twice over."""

Packets = Sequence[engineio_packet.Packet]


def encode(event: str, *arguments: Any) -> Packets:
    """The engine.io packets of one event, to be given to any number of connections.

    Structs are turned into plain values first; bytes become attachments."""
    data = [event, *(msgspec.to_builtins(argument, builtin_types=(bytes,)) for argument in arguments)]
    encoded = socketio_packet.Packet(socketio_packet.EVENT, namespace="/", data=data).encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return [engineio_packet.Packet(engineio_packet.MESSAGE, data=part) for part in parts]


class SocketConnection:
    """A participant's Socket.IO connection. The adapter makes it; anyone may send to it."""

    def __init__(self, server: socketio.AsyncServer, sid: str, engine_socket: Any, claims: TokenClaims) -> None:
        self.connection_id = sid
        self.claims = claims
        self.room_id = claims.room_id
        self.participant_id = claims.participant_id
        self.documents: dict[str, OpenDocument] = {}
        self.last_seq = 0
        """Number of the last room event that this connection was told."""
        self.sees_room = False
        """Whether it was sent a view: before, and in the lobby, room events are not for it."""
        self.ended = False
        self.opened_over = "polling"
        """The transport at the beginning, for the metrics."""
        self._server = server
        self._socket = engine_socket
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def transport(self) -> str:
        return "websocket" if self._socket.upgraded else "polling"

    def emit(self, event: str, *arguments: Any) -> None:
        """Never blocks, never raises."""
        if not self.ended:
            self.put(encode(event, *arguments))

    def put(self, packets: Packets) -> None:
        """Queue encoded packets. As engineio's own `send` does, without a task for each: its queue has
        no bound, so the bound is here."""
        if self.ended or self._socket.closed:
            return
        for packet in packets:
            self._socket.queue.put_nowait(packet)
        if self._socket.queue.qsize() > 256 and self.buffered_bytes() > MAX_OUTBOX_BYTES:
            self.end("slow")

    def buffered_bytes(self) -> int:
        """What waits in engine.io's queue."""
        waiting = self._socket.queue._queue  # asyncio.Queue shows no sizes of its items
        return sum(len(packet.data) for packet in waiting if packet is not None and packet.data) if waiting else 0

    def end(self, reason: str) -> None:
        """Say why, and close. After "slow" and "failed" the client comes back; else it may not."""
        if self.ended:
            return
        if reason in ("removed", "revoked", "denied", "room_closed", "replaced"):
            self.emit("removed", Removed(reason=reason))  # type: ignore[arg-type]
        self.ended = True
        self.close_documents()
        self.spawn(self._close())

    def drain(self, reconnect_after_ms: int) -> None:
        self.emit("draining", Draining(reconnect_after_ms=reconnect_after_ms))

    def close_documents(self) -> None:
        for document in self.documents.values():
            document.close()
        self.documents.clear()

    def tell_document_closed(self, document: str, code: int, reason: str) -> None:
        self.emit("document_closed", DocumentClosed(document=document, code=code, reason=reason))  # type: ignore[arg-type]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something for this connection, in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        await self._server.disconnect(self.connection_id)


class DocumentReader:
    """`rooms.documents.reader.Reader` of a Socket.IO connection."""

    wants_acknowledgement = True

    def __init__(self, connection: SocketConnection, document: str, fan_out: "SocketFanOut") -> None:
        self._connection = connection
        self.document = document
        self.fan_out = fan_out

    @property
    def connection_id(self) -> str:
        return self._connection.connection_id

    @property
    def participant_id(self) -> str:
        return self._connection.participant_id

    def send(self, message: bytes) -> None:
        self._connection.emit("document_message", self.document, message)

    def put(self, packets: Packets) -> None:
        self._connection.put(packets)

    def buffered_bytes(self) -> int:
        return self._connection.buffered_bytes()

    def close(self, code: int, reason: str) -> None:
        self._connection.documents.pop(self.document, None)
        self._connection.tell_document_closed(self.document, code, reason)


class SocketFanOut:
    """Encodes a document's message once for all its Socket.IO readers."""

    def broadcast(self, readers: Sequence[Any], message: bytes) -> None:
        packets = encode("document_message", readers[0].document, message)
        for reader in readers:
            reader.put(packets)
