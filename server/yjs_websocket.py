"""The y-websocket endpoint: `GET /yjs/{room}/{document}?token=…`, for any Yjs editor.

The messages are y-protocols' own; `ack=1` adds Passerelle's `saved` and `unsaved`. The token is in the
query because a browser's WebSocket can send it nowhere else; no log of ours shows a query.
"""

import asyncio
import secrets
import struct
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from rooms.documents import close_codes
from rooms.documents.errors import CannotOpen, ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.errors import RoomError
from rooms.manager import RoomManager
from rooms.ports import DocumentKey
from server.auth import TokenIssuer, TokenRefused
from server.connections import Connections
from server.limits import DOCUMENT_BYTES, DOCUMENT_MESSAGE, Limiter
from server.metrics import Metrics
from server.realtime.adapter import MAX_MESSAGE_BYTES
from server.realtime.commands import ParticipantAccess

logger = structlog.get_logger(__name__)

HEARTBEAT_S = 25.0
"""WebSocket pings: a proxy that cuts idle connections at 60 s sees traffic."""
CLOSE_UNAUTHORIZED = 4401
"""The token is missing, invalid or expired: y-websocket gives up on 44xx; get a new token first."""
MAX_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
"""What the transport may hold of one reader before it is given up; from 1 MiB on the hub sends it
nothing and resynchronises it when it drains."""


def websocket_frame(message: bytes) -> bytes:
    """One unmasked binary frame with the whole message (RFC 6455 section 5.2), as a server sends it."""
    length = len(message)
    if length < 126:
        return struct.pack("!BB", 0x82, length) + message
    if length < 65_536:
        return struct.pack("!BBH", 0x82, 126, length) + message
    return struct.pack("!BBQ", 0x82, 127, length) + message


class WebSocketFanOut:
    """Builds one frame and writes it to every transport: no per-reader encoding, no task. Only for
    sockets without permessage-deflate, whose frames are the same for all."""

    def broadcast(self, readers: Sequence[Any], message: bytes) -> None:
        frame = websocket_frame(message)
        for reader in readers:
            reader.write(frame)


class YjsConnection:
    """One WebSocket: a participant's connection, and the reader of its one document."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
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
        self._socket = socket
        self._transport = transport
        self._closing: asyncio.Task[Any] | None = None

    # rooms.documents.reader.Reader

    def send(self, message: bytes) -> None:
        self.write(websocket_frame(message))

    def write(self, frame: bytes) -> None:
        if self._closing is None and not self._transport.is_closing():
            self._transport.write(frame)
            if self._transport.get_write_buffer_size() > MAX_WRITE_BUFFER_BYTES:
                self._transport.abort()

    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        # A peer that reads nothing would hold the close frame for ever.
        try:
            async with asyncio.timeout(2.0):
                await self._socket.close(code=code, message=reason.encode())
        except (TimeoutError, ConnectionError):
            self._transport.abort()

    # server.connections.ParticipantConnection

    def end(self, reason: str) -> None:
        self.close(close_codes.FORBIDDEN, reason)

    def drain(self, reconnect_after_ms: int) -> None:
        return None  # the hub closes with 1012 once everything is flushed

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
        metrics: Metrics,
    ) -> None:
        self._rooms = rooms
        self._documents = documents
        self._tokens = tokens
        self._connections = connections
        self._metrics = metrics
        self._fan_out = WebSocketFanOut()
        self._messages = Limiter(DOCUMENT_MESSAGE)
        self._bytes = Limiter(DOCUMENT_BYTES)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Refusals come as close codes after the upgrade: a browser shows its page nothing else."""
        room_id, document = request.match_info["room"], request.match_info["document"]
        socket = web.WebSocketResponse(
            compress=False, heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, autoping=True
        )
        await socket.prepare(request)
        try:
            claims = self._tokens.verify_for_room(request.query.get("token", ""), room_id, time.time())
        except TokenRefused as refused:
            self._metrics.count_refusal(refused.code)
            await socket.close(code=CLOSE_UNAUTHORIZED, message=refused.code.encode())
            return socket
        transport = request.transport
        if transport is None:
            return socket  # gone already
        connection = YjsConnection(
            socket,
            transport,
            room_id,
            claims.participant_id,
            self._fan_out,
            wants_acknowledgement=request.query.get("ack") == "1",
        )
        if not self._connections.add(connection):
            await socket.close(code=close_codes.LIMIT, message=b"limit")
            return socket
        try:
            await self._serve(connection, socket, DocumentKey(room_id, document))
        finally:
            self._connections.remove(connection)
            await connection.wait_closed()
        return socket

    async def _serve(self, connection: YjsConnection, socket: web.WebSocketResponse, key: DocumentKey) -> None:
        try:
            await self._rooms.connect(key.room_id, connection.participant_id, connection.connection_id)
        except RoomError as error:
            await socket.close(code=close_codes.FORBIDDEN, message=error.code.encode())
            return
        self._metrics.socket_opened("yjs")
        access = ParticipantAccess(self._rooms, key.room_id, connection.participant_id)
        try:
            opened = await self._documents.open(key, connection, access)
        except CannotOpen as error:
            await socket.close(code=error.code, message=error.reason.encode())
        else:
            try:
                opened.start()
                await self._read(connection, socket, opened.receive)
            finally:
                opened.close()
        finally:
            self._metrics.socket_closed("yjs")
            await self._rooms.disconnect(key.room_id, connection.participant_id, connection.connection_id)

    async def _read(self, connection: YjsConnection, socket: web.WebSocketResponse, receive: Any) -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await self._slow_down(connection.participant_id, len(message.data))
                try:
                    receive(message.data)
                except ProtocolViolation as violation:
                    connection.close(violation.code, violation.reason)
                    return
            elif message.type is WSMsgType.TEXT:
                connection.close(close_codes.MALFORMED, "malformed")
                return
            else:
                return  # an error: too long a message, a broken frame; aiohttp has answered it

    async def _slow_down(self, participant_id: str, size_bytes: int) -> None:
        for limiter, cost in ((self._messages, 1.0), (self._bytes, float(size_bytes))):
            while (wait_s := limiter.take(participant_id, time.monotonic(), cost)) > 0.0:  # noqa: ASYNC110 -- a bucket
                await asyncio.sleep(min(wait_s, 1.0))
