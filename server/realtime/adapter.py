"""The Socket.IO server: lets connections in, carries out what they ask, closes them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import socketio
import structlog
from aiohttp import web

from rooms.documents.errors import ProtocolViolation
from rooms.manager import RoomManager
from rooms.supervision import is_in_charge
from server import error_answers
from server.auth import TokenIssuer, TokenRefused, should_renew
from server.callers import Callers
from server.connections import Connections
from server.error_answers import Refusal
from server.metrics import Metrics
from server.pace import Pace
from server.realtime.announcer import Announcer, SocketRegister
from server.realtime.commands import Commands
from server.realtime.connection import SocketConnection, hang_up
from server.realtime.packets import PacketQueue, PacketServer, StrictPacket, encode
from server.realtime.pulse import Pulse
from server.wire.registry import BINARY_EVENT, VOICE_EVENT
from server.wire.room import Connect, Draining, TokenRenewed
from signaling.ports import MediaDoor

logger = structlog.get_logger(__name__)

PING_INTERVAL_S = 8
PING_TIMEOUT_S = 8
"""A dead peer is noticed within 16 s; a proxy that cuts idle connections at 60 s sees traffic."""
MAX_MESSAGE_BYTES = 1_000_000
"""Below the 1 MB body limit of school proxies; engine.io announces it as maxPayload."""
STRANGER_S = 15.0
"""How often engine.io connections without a participant are looked for; one found twice is closed. A
token that is held back as wrong is answered within 5 s."""


_Why = socketio.AsyncServer.reason
_CLOSED_BY_ITS_PEER = frozenset({_Why.CLIENT_DISCONNECT, _Why.TRANSPORT_CLOSE})
"""Ends of a connection that are a sign of life themselves."""


class _Everything(socketio.AsyncNamespace):  # type: ignore[misc]
    """Every event of the one namespace. The library finds handlers by the name that the client gives, its
    own "connect", "disconnect" and "*" among them; here the name decides nothing."""

    def __init__(self, realtime: "RealtimeServer") -> None:
        super().__init__("/")
        self._realtime = realtime

    async def trigger_event(self, event: Any, sid: str, *arguments: Any) -> Any:
        return await self._realtime.receive(event, sid, *arguments)


class RealtimeServer:
    """Owns the python-socketio server of this process."""

    def __init__(
        self,
        rooms: RoomManager,
        tokens: TokenIssuer,
        connections: Connections,
        callers: Callers,
        pace: Pace,
        metrics: Metrics,
    ) -> None:
        self._rooms = rooms
        self._tokens = tokens
        self._connections = connections
        self._callers = callers
        self._pace = pace
        self._metrics = metrics
        self._sockets = SocketRegister()
        self.announcer = Announcer(rooms, self._sockets, connections)
        self._commands: Commands
        self._media: MediaDoor
        self._strangers: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulse = Pulse()
        self._turn = asyncio.Lock()
        """Whose part of a long message is put next."""
        self.draining = False
        self.server = PacketServer(
            async_mode="aiohttp",
            # One event of a connection after the other: commands and updates keep their order.
            async_handlers=False,
            # Checked by our own middleware, for HTTP and sockets alike.
            cors_allowed_origins=[],
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            # Messages are small, or updates, which compress badly.
            http_compression=False,
            logger=False,
            engineio_logger=False,
        )
        self.server.packet_class = StrictPacket
        self.server.eio.create_queue = PacketQueue
        self.server.register_namespace(_Everything(self))

    def wire(self, commands: Commands, media: MediaDoor) -> None:
        """The rest of the house, once it is there."""
        self._commands = commands
        self._media = media
        self.announcer.wire(media)

    def attach(self, app: web.Application) -> None:
        self.server.attach(app)
        app.middlewares.append(self._turn_away)

    @web.middleware
    async def _turn_away(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """While this process stops, a connection that begins is refused before it stands (HTTP 503): a proxy asks the
        next instance at once, and the client never knows. Raises: Refusal."""
        if self.draining and request.path.startswith("/socket.io/") and "sid" not in request.query:
            raise Refusal("draining", "This process is stopping; connect again.")
        return await handler(request)

    @property
    def socket_count(self) -> int:
        return len(self._sockets)

    async def receive(self, event: Any, sid: str, *arguments: Any) -> Any:
        """What python-socketio has to tell: a connection, its end, or anything a client sends."""
        first = arguments[0] if arguments else None
        if event == "connect" and isinstance(first, dict) and isinstance(first.get("aiohttp.request"), web.Request):
            await self._connect(sid, first["aiohttp.request"], arguments[1] if len(arguments) > 1 else None)
            return None
        if event == "disconnect" and not self.server.manager.is_connected(sid, "/"):
            self._disconnect(sid, first)
            return None
        return await self._event(event, sid, *arguments)

    # --- connections ------------------------------------------------------------------------

    async def _connect(self, sid: str, request: web.Request, auth: Any) -> None:
        try:
            await self._let_in(sid, auth)
        except Exception as error:
            body = error_answers.answer(error).error
            self._metrics.count_refusal(body.code)
            if isinstance(error, TokenRefused):
                await self._callers.hold_back(request)
            raise socketio.exceptions.ConnectionRefusedError(
                body.message, {"code": body.code, "message": body.message}
            ) from error

    async def _let_in(self, sid: str, auth: Any) -> None:
        if self.draining:
            raise Refusal("draining", "This process is stopping; connect again.")
        token = msgspec.convert(auth, Connect).token if isinstance(auth, dict) and "token" in auth else None
        if not token:
            raise Refusal("token-missing", "Connect with auth {token}.")
        claims = self._tokens.verify(token, time.time())
        self._pace.connection(claims.participant_id)
        engine_socket = self.server.eio.sockets[self.server.manager.eio_sid_from_sid(sid, "/")]
        connection = SocketConnection(self.server, sid, engine_socket, claims, self._turn)
        if not self._connections.add(connection):
            raise Refusal("too-many-requests", "This participant has too many connections.")
        try:
            await self._enter(connection)
        except BaseException:
            self._connections.remove(connection)
            raise

    async def _enter(self, connection: SocketConnection) -> None:
        await self._rooms.connect(connection.room_id, connection.participant_id, connection.connection_id)
        if connection.ended or connection.is_closed:
            # Removed, or gone, while the room was read: python-socketio tells nobody of its end.
            self._spawn(self._leave_room(connection))
            raise Refusal("not-admitted", "The connection ended while it began.")
        self._sockets.add(connection)
        if is_in_charge(connection.claims.role):
            self._pulse.follow(connection)
        connection.opened_over = connection.transport
        self._metrics.socket_opened(connection.opened_over)
        # The server's word that the connection stands goes out when this returns; then the room.
        asyncio.get_running_loop().call_soon(lambda: connection.spawn(self._greet(connection)))

    async def _greet(self, connection: SocketConnection) -> None:
        await self.announcer.greet(connection)
        self._renew_if_old(connection)

    def _renew_if_old(self, connection: SocketConnection) -> None:
        now = time.time()
        claims = connection.claims
        if should_renew(claims, now):
            token = self._tokens.issue(claims.room_id, claims.participant_id, claims.role, now)
            connection.claims = self._tokens.verify(token, now)
            connection.emit("token", TokenRenewed(token=token))

    def renew_tokens(self) -> None:
        """Called now and then: tokens of live connections never grow old."""
        for connection in self._sockets:
            self._renew_if_old(connection)

    def _disconnect(self, sid: str, reason: Any) -> None:
        connection = self._sockets.pop(sid)
        if connection is None:
            return
        connection.ended = True
        if reason not in _CLOSED_BY_ITS_PEER:
            connection.silent_for_s = max(connection.silent_for_s, self._pulse.silence_of(connection))
        self._pulse.forget(connection)
        connection.close_documents()
        self._connections.remove(connection)
        self._metrics.socket_closed(connection.opened_over)
        self._media.connection_lost(sid)
        # Not waited for: the store may be slow, and the connection is to be closed now.
        self._spawn(self._leave_room(connection))

    async def _leave_room(self, connection: SocketConnection) -> None:
        await self._rooms.disconnect(
            connection.room_id, connection.participant_id, connection.connection_id, connection.silent_for_s
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what clients ask -------------------------------------------------------------------

    async def _event(self, name: Any, sid: str, *arguments: Any) -> Any:
        connection = self._sockets.get(sid)
        try:
            if connection is None or connection.ended:
                raise Refusal("not-admitted", "This connection is being closed.")
            if name == BINARY_EVENT:
                await self._document_message(connection, arguments)
                return None
            if name == VOICE_EVENT:
                self._voice(connection, arguments)
                return None
            if not isinstance(name, str):
                raise Refusal("unknown-command", "There is no such command.")
            connection.at_work += 1
            try:
                await self._pace.command(connection.participant_id, name)
                return await self._commands.run(connection, name, arguments[0] if arguments else None)
            finally:
                connection.at_work -= 1
        except Exception as error:
            answer = error_answers.answer(error)
            self._metrics.count_refusal(answer.error.code)
            return msgspec.to_builtins(answer)
        finally:
            if connection is not None:
                connection.end_if_flooded()

    async def _document_message(self, connection: SocketConnection, arguments: Sequence[Any]) -> None:
        if len(arguments) != 2 or not isinstance(arguments[0], str) or not isinstance(arguments[1], bytes):
            raise Refusal("invalid", "document_message has a document's name and a binary message.")
        name, message = arguments
        await self._pace.document_message(connection.participant_id, len(message))
        document = connection.documents.get(name)
        if document is None:
            return  # closed a moment ago; the client has been told, or asked for it
        try:
            document.receive(message)
        except ProtocolViolation as violation:
            connection.take_document(name)
            connection.tell_document_closed(name, violation.code, violation.reason)

    def _voice(self, connection: SocketConnection, arguments: Sequence[Any]) -> None:
        if len(arguments) != 1 or not isinstance(arguments[0], bytes):
            raise Refusal("invalid", "media_voice has one binary packet.")
        self._media.receive_voice(connection.connection_id, arguments[0])

    # --- housekeeping and the end -------------------------------------------------------------

    def close_strangers(self) -> None:
        """Called every STRANGER_S: whoever has opened a connection and shows no token is hung up on,
        and so is whoever was told to go and stays."""
        known = {connection.engine_sid for connection in self._sockets}
        unknown = set(self.server.eio.sockets) - known
        for engine_sid in unknown & self._strangers:
            self._spawn(hang_up(self.server.eio.sockets[engine_sid]))
        self._strangers = unknown

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell everyone that this process stops, and let nobody in."""
        self.draining = True
        self._pulse.ask_all()
        packets = encode("draining", Draining(reconnect_after_ms=reconnect_after_ms))
        for connection in self._sockets:
            connection.put(packets)

    async def stop(self) -> None:
        """Close every connection, in the way after which clients come back by themselves."""
        self._pulse.stop()
        await asyncio.gather(*(hang_up(each) for each in tuple(self.server.eio.sockets.values())))
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self.server.shutdown()
