"""The y-websocket endpoint: `GET /yjs/{room}/{document}?token=…`, for any Yjs editor.

The messages are y-protocols' own; `ack=1` adds Passerelle's `saved` and `unsaved`, `paragraph=1` an empty paragraph
to a document in which nothing has been written. The token is in the query because a browser's WebSocket can send it
nowhere else; no log of ours shows a query.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from rooms.documents import close_codes
from rooms.documents.errors import CannotOpen, ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.manager import RoomManager
from rooms.ports import DocumentKey
from rooms.supervision import is_in_charge
from server.auth import TokenClaims, TokenIssuer, TokenRefused
from server.callers import Callers
from server.connections import Connections
from server.deflate import deflated_frame, is_long, plain_frame
from server.direct_socket import DirectSocket, Taker
from server.error_answers import Refusal
from server.keep_alive import KeepAlive
from server.long_frames import LongMessage, LongWriting
from server.metrics import Metrics
from server.pace import DocumentPurse, Pace
from server.realtime.adapter import MAX_MESSAGE_BYTES
from server.realtime.commands import ParticipantAccess
from server.realtime.connection import MAX_OUTBOX_BYTES
from server.upgraded import UpgradedConnection, detach

logger = structlog.get_logger(__name__)

FAREWELL_S = 2.0
"""How long a peer may take to answer a close frame."""
IN_CHARGE_HEARTBEAT_S = 5.0
"""Of an adult in charge it must be known within seconds whether they are there (`server.realtime.pulse`)."""
HEARTBEAT_S = 25.0
"""WebSocket pings: a proxy that cuts idle connections at 60 s sees traffic."""
MAX_REFUSED_BYTES = 1024
"""Longest message of somebody without a valid token: nothing of it is read."""
NOTHING_NEW = b"\x01\x01\x00"
"""An awareness message of no entries."""
CLOSE_UNAUTHORIZED = 4401
"""The token is missing, invalid or expired: y-websocket gives up on 44xx; get a new token first."""


class WebSocketFanOut:
    """Builds the frames once and writes them to every transport: no per-reader encoding, no task, one system
    call each. Those who agreed to deflate are sent long messages so."""

    def __init__(self) -> None:
        self.long_turn = asyncio.Lock()
        """Of whom a fragment is written (`server.long_frames`)."""

    def broadcast(
        self,
        readers: Sequence[Any],
        messages: Sequence[bytes],
        full_bytes: int,
        own: Mapping[int, Sequence[bytes]],
    ) -> Sequence[int]:
        frames = _Frames(messages, len(readers))
        joined = frames.joined(messages)
        deflated = joined
        if frames.are_deflated and any(reader.takes_deflated for reader in readers):
            deflated = frames.joined(messages, deflated=True)
        pieces = {place: frames.joined(said, deflated=readers[place].takes_deflated) for place, said in own.items()}
        full = []
        for place, reader in enumerate(readers):
            piece = pieces.get(place, deflated if reader.takes_deflated else joined)
            if not reader.write_unless_full(piece, full_bytes):
                full.append(place)
        return full


class _Frames:
    """What a flush has to send: each message is encoded once, however many pieces it is a part of."""

    def __init__(self, messages: Sequence[bytes], readers: int) -> None:
        self._long = {message for message in messages if is_long(message, readers)}
        self._plain: dict[bytes, bytes] = {}
        self._deflated: dict[bytes, bytes] = {}

    @property
    def are_deflated(self) -> bool:
        """Whether any of them is, for those who agreed to it."""
        return bool(self._long)

    def joined(self, messages: Sequence[bytes], *, deflated: bool = False) -> bytes:
        if not self._long:
            return b"".join([self._plain.get(message) or self._frame(message, False) for message in messages])
        return b"".join([self._frame(message, deflated and message in self._long) for message in messages])

    def _frame(self, message: bytes, is_deflated: bool) -> bytes:
        made = self._deflated if is_deflated else self._plain
        frame = made.get(message)
        if frame is None:
            frame = made[message] = deflated_frame(message) if is_deflated else plain_frame(message)
        return frame


class YjsConnection:
    """One WebSocket: a participant's connection, and the reader of its one document."""

    __slots__ = (
        "_closing",
        "_long",
        "_socket",
        "connection_id",
        "fan_out",
        "is_closing",
        "participant_id",
        "room_id",
        "takes_deflated",
        "transport",
        "wants_acknowledgement",
        "was_written_to",
    )

    def __init__(
        self,
        socket: DirectSocket,
        transport: asyncio.Transport,
        room_id: str,
        participant_id: str,
        fan_out: WebSocketFanOut,
        *,
        wants_acknowledgement: bool,
    ) -> None:
        self.connection_id = secrets.token_urlsafe(12)
        self.room_id = room_id
        self.participant_id = participant_id
        self.fan_out = fan_out
        self.wants_acknowledgement = wants_acknowledgement
        self.takes_deflated = socket.takes_deflated
        self._socket = socket
        self.transport = transport
        self._long: LongWriting | None = None
        """While a long message is under way."""
        self._closing: asyncio.Task[Any] | None = None
        self.is_closing = False
        self.was_written_to = False

    # rooms.documents.reader.Reader

    def send(self, message: bytes) -> None:
        is_deflated = self.takes_deflated and is_long(message)
        self.write(deflated_frame(message) if is_deflated else plain_frame(message))

    def send_long(self, head: bytes, rest: bytes) -> None:
        if self._is_over():
            return
        if self._long is None:
            turn = self.fan_out.long_turn
            self._long = LongWriting(self.transport, turn, is_over=self._is_over, ended=self._end_long)
        self._long.send(LongMessage(head, rest))
        self._note_written()

    def write(self, frame: bytes) -> None:
        if not self.is_closing and not self.transport.is_closing():
            if self._long is None:
                self.transport.write(frame)
            else:
                self._long.put_behind(frame)
            self._note_written()

    def write_unless_full(self, frames: bytes, full_bytes: int) -> bool:
        """False when more than `full_bytes` are under way already; nothing was written then."""
        transport = self.transport
        if self._long is not None:
            if self.buffered_bytes() > full_bytes:
                return False
            if frames:
                self.write(frames)
            return True
        if transport.get_write_buffer_size() > full_bytes:
            return False
        if frames and not self.is_closing and not transport.is_closing():
            transport.write(frames)
            self.was_written_to = True
        return True

    def buffered_bytes(self) -> int:
        left_bytes = 0 if self._long is None else self._long.left_bytes
        return self.transport.get_write_buffer_size() + left_bytes

    def _note_written(self) -> None:
        self.was_written_to = True
        if self.buffered_bytes() > MAX_OUTBOX_BYTES:
            self.transport.abort()

    def _is_over(self) -> bool:
        """After a close frame, whoever sent it, no message may follow."""
        return self.is_closing or self._socket.closed or self.transport.is_closing()

    def _end_long(self) -> None:
        self._long = None

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self.is_closing = True
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        # A peer that reads nothing would hold the close frame for ever.
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._socket.close(code=code, message=reason.encode())
        except (TimeoutError, ConnectionError):
            self.transport.abort()

    # server.connections.ParticipantConnection

    def end(self, reason: str) -> None:
        self.close(close_codes.FORBIDDEN, reason)

    # server.keep_alive.KeptAlive

    def keep_alive(self) -> None:
        """Who writes alone is sent what changes nothing, unless there was something else to send."""
        if not self.was_written_to:
            self.send(NOTHING_NEW)
        self.was_written_to = False

    async def wait_closed(self) -> None:
        if self._closing is not None:
            await self._closing


class YjsEndpoint:
    """The route's handler."""

    def __init__(
        self,
        rooms: RoomManager,
        documents: DocumentHub,
        tokens: TokenIssuer,
        connections: Connections,
        callers: Callers,
        pace: Pace,
        metrics: Metrics,
    ) -> None:
        self._rooms = rooms
        self._documents = documents
        self._tokens = tokens
        self._connections = connections
        self._callers = callers
        self._pace = pace
        self._metrics = metrics
        self._fan_out = WebSocketFanOut()
        self._keep_alive = KeepAlive()
        self._served: dict[asyncio.Task[None], UpgradedConnection] = {}
        self.draining = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refusals come as close codes after the upgrade: a browser shows its page nothing else. While this process
        stops there is no upgrade (HTTP 503), so that a proxy asks the next instance. Raises: Refusal."""
        if self.draining:
            raise Refusal("draining", "This process is stopping; connect again.")
        try:
            claims = self._claims(request)
        except (TokenRefused, Refusal) as refused:
            return await self._refuse(request, refused)
        heartbeat_s = IN_CHARGE_HEARTBEAT_S if is_in_charge(claims.role) else HEARTBEAT_S
        socket = DirectSocket(heartbeat=heartbeat_s, max_msg_size=MAX_MESSAGE_BYTES, autoping=True)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket  # gone already
        connection = YjsConnection(
            socket,
            transport,
            claims.room_id,
            claims.participant_id,
            self._fan_out,
            wants_acknowledgement=request.query.get("ack") == "1",
        )
        if not self._connections.add(connection):
            await socket.close(code=close_codes.LIMIT, message=b"limit")
            return socket
        key = DocumentKey(claims.room_id, request.match_info["document"])
        has_paragraph = request.query.get("paragraph") == "1"
        upgraded = detach(request, socket)
        task = asyncio.create_task(self._serve_to_the_end(connection, socket, key, has_paragraph=has_paragraph))
        self._served[task] = upgraded
        task.add_done_callback(self._served.pop)
        return socket

    @property
    def upgraded(self) -> Iterable[UpgradedConnection]:
        """All that are open."""
        return self._served.values()

    async def stop(self, timeout_s: float) -> None:
        """Until all have ended, whose readers were told to; who has not by then is cut off."""
        tasks = list(self._served)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in list(self._served):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve_to_the_end(
        self, connection: YjsConnection, socket: DirectSocket, key: DocumentKey, *, has_paragraph: bool
    ) -> None:
        try:
            await self._serve(connection, socket, key, has_paragraph=has_paragraph)
        except Exception as error:
            # The upgrade is answered: no error page can be sent any more.
            logger.error("yjs_failed", room_id=key.room_id, exc_info=error)
            connection.close(close_codes.UNAVAILABLE, close_codes.REASONS[close_codes.UNAVAILABLE])
        finally:
            self._connections.remove(connection)
            try:
                await connection.wait_closed()
                await socket.close()
            finally:
                connection.transport.close()

    async def _refuse(self, request: web.Request, refused: TokenRefused | Refusal) -> web.StreamResponse:
        # Whoever has no token may say nothing that would be kept while the answer is held back.
        socket = DirectSocket(max_msg_size=MAX_REFUSED_BYTES, timeout=FAREWELL_S)
        await socket.prepare(request)
        self._metrics.count_refusal(refused.code)
        if isinstance(refused, TokenRefused):
            await self._callers.hold_back(request)
        await socket.close(code=_close_code(refused), message=refused.code.encode())
        return socket

    def _claims(self, request: web.Request) -> TokenClaims:
        """Raises: TokenRefused, Refusal."""
        claims = self._tokens.verify_for_room(request.query.get("token", ""), request.match_info["room"], time.time())
        self._pace.connection(claims.participant_id)
        return claims

    async def _serve(
        self, connection: YjsConnection, socket: DirectSocket, key: DocumentKey, *, has_paragraph: bool
    ) -> None:
        try:
            await self._rooms.connect(key.room_id, connection.participant_id, connection.connection_id, is_editor=True)
        except RoomError as error:
            self._metrics.count_refusal(error.code)
            connection.close(_close_code(error), error.code)
            return
        self._metrics.socket_opened("yjs")
        access = ParticipantAccess(self._rooms, key.room_id, connection.participant_id)
        try:
            if has_paragraph and access.can_read() and access.can_write():
                await self._documents.begin_with_paragraph(key)
            opened = await self._documents.open(key, connection, access)
        except CannotOpen as error:
            connection.close(error.code, error.reason)
        else:
            self._keep_alive.add(connection)
            try:
                opened.start()
                await self._read(connection, socket, opened.receive)
            finally:
                self._keep_alive.remove(connection)
                opened.close()
        finally:
            self._metrics.socket_closed("yjs")
            silent_for_s = socket.silent_for_s if socket.exception() is not None else 0.0
            await self._rooms.disconnect(key.room_id, connection.participant_id, connection.connection_id, silent_for_s)

    async def _read(self, connection: YjsConnection, socket: DirectSocket, receive: Callable[[bytes], None]) -> None:
        purse = DocumentPurse(self._pace, connection.participant_id)
        taker = _taker(connection, purse, receive)
        socket.take_with(taker)
        async for message in socket:
            if connection.is_closing:
                return  # a flood behind it would be read without a turn for anybody else
            if message.type is WSMsgType.BINARY:
                data = message.data
                while not purse.spend(len(data)):
                    socket.take_with(None)  # what comes behind it stays behind it
                    await purse.draw(len(data))
                _receive(connection, receive, data)
                socket.take_with(taker)
            elif message.type is WSMsgType.TEXT:
                connection.close(close_codes.MALFORMED, close_codes.REASONS[close_codes.MALFORMED])
                return
            else:
                return  # an error: too long a message, a broken frame; aiohttp has answered it


def _taker(connection: YjsConnection, purse: DocumentPurse, receive: Callable[[bytes], None]) -> Taker:
    def take(data: bytes) -> bool:
        if connection.is_closing or not purse.spend(len(data)):
            return False
        try:
            receive(data)
        except ProtocolViolation as violation:
            connection.close(violation.code, violation.reason)
        except Exception as error:
            # As the handler would: this runs below aiohttp, which knows no such errors.
            logger.error("yjs_failed", room_id=connection.room_id, exc_info=error)
            connection.close(close_codes.UNAVAILABLE, close_codes.REASONS[close_codes.UNAVAILABLE])
        return True

    return take


def _receive(connection: YjsConnection, receive: Callable[[bytes], None], data: bytes) -> None:
    try:
        receive(data)
    except ProtocolViolation as violation:
        connection.close(violation.code, violation.reason)


def _close_code(refused: TokenRefused | Refusal | RoomError) -> int:
    """44xx: a client gives up; 45xx: it comes back (`rooms.documents.close_codes`)."""
    if isinstance(refused, TokenRefused):
        return CLOSE_UNAUTHORIZED
    if isinstance(refused, NotFound):
        return close_codes.UNKNOWN
    if isinstance(refused, Unavailable):
        return close_codes.UNAVAILABLE
    if isinstance(refused, RoomError):
        return close_codes.FORBIDDEN
    return close_codes.LIMIT
