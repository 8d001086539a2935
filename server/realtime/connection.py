"""One Socket.IO connection: what is sent to it, how much waits, how it is closed."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

import socketio

from rooms.documents import sync
from rooms.documents.limits import KIB
from rooms.documents.open_document import OpenDocument
from server.auth import TokenClaims
from server.deflate import DEFLATE_UP_TO_BYTES, KEPT_S, SharedMessage
from server.realtime.long_sending import LongSending
from server.realtime.packets import PacketQueue, Packets, encode
from server.wire.document import DocumentClosed
from server.wire.room import Removed

MAX_OUTBOX_BYTES = 32 * 1024 * 1024
"""What may wait for one connection before it is given up: a document of the largest size goes in one message (4/3 of
it in long polling). Past 2 MiB its documents send it nothing more (it is resynchronised when it drains), so what grows
beyond is a peer that reads nothing."""
WHOLE_UP_TO_BYTES: Final = 256 * KIB
"""In long polling a longer message goes in parts, over a WebSocket one that would not be deflated."""
MAX_DOCUMENTS = 32
"""Documents that one connection may have open: a teacher's view of fifteen teams, twice over."""
FAREWELL_S = 0.7
"""How long the last word may wait for a long-polling client to fetch it."""
HANG_UP_S = 2.0
"""A WebSocket that is still there this long after it was closed is cut: its peer reads nothing."""

FOR_GOOD: Final = frozenset({"removed", "revoked", "denied", "room_closed", "replaced", "left"})
"""Reasons that the client is told, and after which it must not come back by itself."""


class SocketConnection:
    """A participant's Socket.IO connection. The adapter makes it; anyone may send to it."""

    def __init__(
        self, server: socketio.AsyncServer, sid: str, engine_socket: Any, claims: TokenClaims, turn: asyncio.Lock
    ) -> None:
        """`turn`: of all connections of the process (`LongSending`)."""
        self.connection_id = sid
        self.claims = claims
        self.room_id = claims.room_id
        self.participant_id = claims.participant_id
        self.documents: dict[str, OpenDocument] = {}
        self.last_seq = 0
        """Number of the last room event that this connection was told."""
        self.sees_room = False
        """Whether it was sent a view: before, and in the lobby, room events are not for it."""
        self.silent_for_s = 0.0
        """How long nothing had been heard over it when it was given up."""
        self.at_work = 0
        """Of what its client asked for: nothing else that it says is read meanwhile."""
        self.ended = False
        self.is_leaving = False
        """Its own `leave` is being answered: it is closed after that."""
        self.opened_over = "polling"
        """The transport at the beginning, for the metrics."""
        self._server = server
        self._socket = engine_socket
        self._queue = cast(PacketQueue, engine_socket.queue)
        self._sending = LongSending(self._queue, turn)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def transport(self) -> str:
        return "websocket" if self._socket.upgraded else "polling"

    @property
    def engine_sid(self) -> str:
        return str(self._socket.sid)

    @property
    def is_closed(self) -> bool:
        """Whether engine.io has closed it, or is about to."""
        return bool(self._socket.closing or self._socket.closed)

    def listen(self, heard: Callable[[], None] | None) -> None:
        """`heard` is called with each packet that arrives, engine.io's own too; None: nothing is, any more."""
        self._socket.__dict__.pop("receive", None)
        if heard is None:
            return
        receive = self._socket.receive

        async def receive_and_tell(packet: Any) -> None:
            heard()
            await receive(packet)

        self._socket.receive = receive_and_tell

    async def hang_up(self) -> None:
        await hang_up(self._socket)

    def emit(self, event: str, *arguments: Any) -> None:
        """Never blocks, never raises."""
        if not self.ended:
            self.put(encode(event, *arguments))

    def put(self, packets: Packets) -> None:
        """Queue encoded packets. As engineio's own `send` does, without a task for each: its queue has
        no bound, so the bound is here."""
        if self.ended or self.is_closed:
            return
        for packet in packets:
            self._queue.put_nowait(packet)
        self.end_if_flooded()

    def put_content(self, document: str, packets: Packets) -> None:
        """As `put`, behind what goes in parts of this document."""
        if self.ended or self.is_closed:
            return
        if self._sending.put_behind(document, packets):
            self.end_if_flooded()
        else:
            self.put(packets)

    def send_in_parts(self, document: str, pieces: Sequence[bytes]) -> None:
        """One message of a document, which is these pieces one after the other. Never blocks, never raises."""
        if not (self.ended or self.is_closed):
            self._sending.send(document, pieces)
            self.end_if_flooded()

    def buffered_bytes(self) -> int:
        """What waits in engine.io's queue, or to be put there."""
        return self._queue.waiting_bytes + self._sending.left_bytes

    def end_if_flooded(self) -> None:
        """Answers to its own commands count too."""
        if self.buffered_bytes() > MAX_OUTBOX_BYTES:
            self.end("slow")

    def end(self, reason: str) -> None:
        """Say why, and close. After "slow" and "failed" the client comes back; else it may not."""
        if self.ended:
            return
        if reason in FOR_GOOD:
            self.emit("removed", Removed(reason=cast(Any, reason)))
        elif reason == "slow":
            self._queue.throw_away()
        self.ended = True
        self.close_documents()
        self.spawn(self._close(is_final=reason in FOR_GOOD))

    def close_documents(self) -> None:
        for document in tuple(self.documents.values()):
            document.close()
        self.documents.clear()
        self._sending.clear()

    def take_document(self, document: str) -> OpenDocument | None:
        """It is not open over this connection any more; what is left of it is not sent. To be closed, if it is not."""
        self._sending.drop(document)
        return self.documents.pop(document, None)

    def tell_document_closed(self, document: str, code: int, reason: str) -> None:
        self.emit("document_closed", DocumentClosed(document=document, code=code, reason=cast(Any, reason)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something for this connection, in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, *, is_final: bool) -> None:
        if is_final:
            # After this word of Socket.IO's own a client does not come back by itself.
            await self._server.disconnect(self.connection_id)
            try:
                async with asyncio.timeout(FAREWELL_S):
                    await self._queue.join()
            except TimeoutError:
                pass
        await hang_up(self._socket)


async def hang_up(engine_socket: Any) -> None:
    """Close an engine.io connection, whatever state it is in; its library only asks the peer to.
    Raises: nothing."""
    if not engine_socket.closed and not engine_socket.closing:
        await engine_socket.close(wait=False)
    engine_socket.queue.put_nowait(None)  # ends the writer, which closes the WebSocket
    transport = getattr(engine_socket, "websocket_transport", None)
    if transport is not None:
        # Does nothing to one that is closed by then.
        asyncio.get_running_loop().call_later(HANG_UP_S, transport.abort)


class _LongPackets:
    """The packets of the last long text that was sent: a class opens it within a few seconds, and to put its message
    together takes 15 ms for 20 MB."""

    def __init__(self) -> None:
        self._made: tuple[str, bytes, bytes, Packets] | None = None

    def of(self, document: str, head: bytes, rest: bytes) -> Packets:
        made = self._made
        if made is None or made[2] is not rest or made[:2] != (document, head):
            made = self._made = (document, head, rest, encode("document_message", document, head + rest))
            asyncio.get_running_loop().call_later(KEPT_S, self._forget, made)
        return made[3]

    def _forget(self, made: object) -> None:
        if self._made is made:
            self._made = None


_LONG_PACKETS: Final = _LongPackets()


class DocumentReader:
    """`rooms.documents.reader.Reader` of a Socket.IO connection."""

    wants_acknowledgement = True

    def __init__(
        self, connection: SocketConnection, document: str, fan_out: "SocketFanOut", *, takes_parts: bool = False
    ) -> None:
        self._connection = connection
        self.document = document
        self.fan_out = fan_out
        self._takes_parts = takes_parts

    @property
    def connection_id(self) -> str:
        return self._connection.connection_id

    @property
    def participant_id(self) -> str:
        return self._connection.participant_id

    def send(self, message: bytes) -> None:
        if self._takes_parts and len(message) > self._whole_up_to_bytes():
            self._connection.send_in_parts(self.document, (message,))
        elif sync.is_content(message):
            self.put(encode("document_message", self.document, message))
        else:
            self._connection.emit("document_message", self.document, message)

    def send_long(self, head: bytes, rest: bytes) -> None:
        if self._takes_parts:
            self._connection.send_in_parts(self.document, (head, rest))
        else:
            self._connection.put(_LONG_PACKETS.of(self.document, head, rest))

    def put(self, packets: Packets) -> None:
        self._connection.put_content(self.document, packets)

    def buffered_bytes(self) -> int:
        return self._connection.buffered_bytes()

    def close(self, code: int, reason: str) -> None:
        self._connection.take_document(self.document)
        self._connection.tell_document_closed(self.document, code, reason)

    def _whole_up_to_bytes(self) -> int:
        return WHOLE_UP_TO_BYTES if self._connection.transport == "polling" else DEFLATE_UP_TO_BYTES


class SocketFanOut:
    """Encodes a document's messages once for all its Socket.IO readers."""

    def broadcast(
        self,
        readers: Sequence[Any],
        messages: Sequence[bytes],
        full_bytes: int,
        own: Mapping[int, Sequence[bytes]],
    ) -> Sequence[int]:
        document = readers[0].document
        encoded = {message: encode("document_message", document, message) for message in messages}
        for packet in chain.from_iterable(encoded.values()):
            if isinstance(packet.data, SharedMessage):
                packet.data.readers = len(readers)
        full = []
        for place, reader in enumerate(readers):
            if reader.buffered_bytes() > full_bytes:
                full.append(place)
                continue
            for message in own.get(place, messages):
                reader.put(encoded.get(message) or encode("document_message", document, message))
        return full
