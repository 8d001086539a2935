"""The Socket.IO server: admits connections, dispatches what they ask, sends what they should hear."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import socketio
import structlog
from aiohttp import web

from rooms.documents.errors import ProtocolViolation
from rooms.errors import RoomError
from rooms.manager import RoomChange, RoomManager
from rooms.models import ParticipantStatus
from rooms.roles import Permission
from rooms.visibility import YouAreAdmitted, YouAreDenied, YouAreOut, hear
from server import error_answers, presenter
from server.auth import TokenIssuer, TokenRefused, should_renew
from server.config import Settings
from server.connections import Connections
from server.error_answers import Refusal
from server.limits import (
    CHAT,
    COMMAND,
    CONNECTION,
    DOCUMENT_BYTES,
    DOCUMENT_MESSAGE,
    SIGNALING,
    FailureBrake,
    Limiter,
    caller_address,
)
from server.metrics import Metrics
from server.realtime.commands import Commands
from server.realtime.connection import SocketConnection, encode
from server.wire.registry import BINARY_EVENT
from server.wire.room import (
    ChatSent,
    Connect,
    LobbyState,
    RoomEventMessage,
    SpeakersChanged,
    TokenRenewed,
    TrackPublished,
    TrackUnpublished,
)
from signaling.media_session import MediaService
from signaling.messages import Track

logger = structlog.get_logger(__name__)

PING_INTERVAL_S = 8
PING_TIMEOUT_S = 8
"""A dead peer is noticed within 16 s; a proxy that cuts idle connections at 60 s sees traffic."""
MAX_MESSAGE_BYTES = 1_000_000
"""Below the 1 MB body limit of school proxies; engine.io announces it as maxPayload."""
MAX_HOLD_S = 2.0
"""Longest time that a connection above its allowance is made to wait; beyond, it is told no."""


class RealtimeServer:
    """Owns the python-socketio server of this process."""

    def __init__(
        self,
        settings: Settings,
        rooms: RoomManager,
        tokens: TokenIssuer,
        connections: Connections,
        brake: FailureBrake,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._tokens = tokens
        self._connections = connections
        self._brake = brake
        self._metrics = metrics
        self._sockets: dict[str, SocketConnection] = {}
        self._rooms_sockets: dict[str, dict[str, SocketConnection]] = {}
        self._commands: Commands
        self._media: MediaService
        self._limits = {
            limit.name: Limiter(limit)
            for limit in (CONNECTION, COMMAND, CHAT, SIGNALING, DOCUMENT_MESSAGE, DOCUMENT_BYTES)
        }
        self.draining = False
        self.server = socketio.AsyncServer(
            async_mode="aiohttp",
            # One event of a connection after the other: commands and updates keep their order.
            async_handlers=False,
            # Checked by our own middleware, for HTTP and sockets alike.
            cors_allowed_origins=[],
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            # Messages are small or already compressed text updates; see docs/protocol.md.
            http_compression=False,
            logger=False,
            engineio_logger=False,
        )
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)
        self.server.on("*", self._event)

    def wire(self, commands: Commands, media: MediaService) -> None:
        """The rest of the house, once it is there."""
        self._commands = commands
        self._media = media
        self._rooms.add_listener(self._room_changed)

    def attach(self, app: web.Application) -> None:
        self.server.attach(app)

    async def stop(self) -> None:
        await self.server.shutdown()

    @property
    def socket_count(self) -> int:
        return len(self._sockets)

    # --- connections ------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        request: web.Request = environ["aiohttp.request"]
        try:
            await self._admit(sid, request, auth)
        except Exception as error:
            body = error_answers.answer(error).error
            self._metrics.count_refusal(body.code)
            if isinstance(error, TokenRefused):
                await self._hold_back(request)
            raise socketio.exceptions.ConnectionRefusedError(
                body.message, {"code": body.code, "message": body.message}
            ) from error

    async def _hold_back(self, request: web.Request) -> None:
        """Slows who tries tokens; the same address's good ones are answered at once."""
        address = caller_address(
            request.remote or "", request.headers.getall("X-Forwarded-For", []), self._settings.trusted_proxies
        )
        await asyncio.sleep(self._brake.record_failure(address, time.monotonic()))

    async def _admit(self, sid: str, request: web.Request, auth: Any) -> None:
        if self.draining:
            raise Refusal("draining", "This process is stopping; connect again.")
        token = msgspec.convert(auth, Connect).token if isinstance(auth, dict) else None
        if not token:
            raise Refusal("token-missing", "Connect with auth {token}.")
        claims = self._tokens.verify(token, time.time())
        self._limited(CONNECTION.name, claims.participant_id)
        engine_socket = self.server.eio.sockets[self.server.manager.eio_sid_from_sid(sid, "/")]
        connection = SocketConnection(self.server, sid, engine_socket, claims)
        if not self._connections.add(connection):
            raise Refusal("too-many-requests", "This participant has too many connections.")
        try:
            await self._rooms.connect(claims.room_id, claims.participant_id, sid)
        except BaseException:
            self._connections.remove(connection)
            raise
        self._sockets[sid] = connection
        self._rooms_sockets.setdefault(claims.room_id, {})[sid] = connection
        self._metrics.socket_opened(connection.transport)
        connection.opened_over = connection.transport
        # The server's word that the connection stands goes out when this returns; then the room.
        asyncio.get_running_loop().call_soon(connection.spawn, self._greet(connection))

    async def _greet(self, connection: SocketConnection) -> None:
        """The room's view, or the lobby's word; and a newer token when this one is old."""
        try:
            view = await self._commands.view(connection)
        except RoomError:
            connection.end("failed")
            return
        if view is None:
            connection.emit("lobby", LobbyState(state="waiting"))
        else:
            # No await between reading the state and this: no event can fall in between.
            connection.sees_room = True
            connection.last_seq = view.seq
            connection.emit("room_view", view)
        if should_renew(connection.claims, time.time()):
            self._renew(connection)

    def _renew(self, connection: SocketConnection) -> None:
        claims = connection.claims
        now = time.time()
        token = self._tokens.issue(claims.room_id, claims.participant_id, claims.role, now)
        connection.claims = self._tokens.verify(token, now)
        connection.emit("token", TokenRenewed(token=token))

    def renew_tokens(self) -> None:
        """Called now and then: tokens of live connections never grow old."""
        now = time.time()
        for connection in self._sockets.values():
            if should_renew(connection.claims, now):
                self._renew(connection)

    async def _disconnect(self, sid: str, _reason: Any = None) -> None:
        connection = self._sockets.pop(sid, None)
        if connection is None:
            return
        connection.ended = True
        connection.close_documents()
        self._connections.remove(connection)
        sockets = self._rooms_sockets.get(connection.room_id, {})
        sockets.pop(sid, None)
        if not sockets:
            self._rooms_sockets.pop(connection.room_id, None)
        self._metrics.socket_closed(connection.opened_over)
        self._media.connection_lost(sid)
        await self._rooms.disconnect(connection.room_id, connection.participant_id, sid)

    # --- what clients ask -------------------------------------------------------------------

    async def _event(self, name: str, sid: str, *arguments: Any) -> Any:
        connection = self._sockets.get(sid)
        if connection is None or connection.ended:
            return None
        try:
            if name == BINARY_EVENT:
                await self._document_message(connection, arguments)
                return None
            await self._slow_down(connection, name)
            return await self._commands.run(connection, name, arguments[0] if arguments else None)
        except Exception as error:
            answer = error_answers.answer(error)
            self._metrics.count_refusal(answer.error.code)
            return msgspec.to_builtins(answer)

    async def _document_message(self, connection: SocketConnection, arguments: Sequence[Any]) -> None:
        if len(arguments) != 2 or not isinstance(arguments[0], str) or not isinstance(arguments[1], bytes):
            raise Refusal("invalid", "document_message has a document's name and a binary message.")
        name, message = arguments
        await self._wait_for(DOCUMENT_MESSAGE.name, connection.participant_id, 1.0)
        await self._wait_for(DOCUMENT_BYTES.name, connection.participant_id, float(len(message)))
        document = connection.documents.get(name)
        if document is None:
            return  # closed a moment ago; the client has been told, or asked for it
        try:
            document.receive(message)
        except ProtocolViolation as violation:
            connection.documents.pop(name, None)
            connection.tell_document_closed(name, violation.code, violation.reason)

    async def _slow_down(self, connection: SocketConnection, name: str) -> None:
        if name == "send_chat":
            self._limited(CHAT.name, connection.participant_id)
        limit = SIGNALING if name.startswith("media_") else COMMAND
        await self._wait_for(limit.name, connection.participant_id, 1.0)

    async def _wait_for(self, limit: str, key: str, cost: float) -> None:
        """Above its allowance a participant's own connection waits: nobody else's does."""
        limiter = self._limits[limit]
        waited = 0.0
        while (wait_s := limiter.take(key, time.monotonic(), cost)) > 0.0:
            if waited > MAX_HOLD_S and limit != DOCUMENT_BYTES.name and limit != DOCUMENT_MESSAGE.name:
                raise Refusal("too-many-requests", "Slower, please.", retry_after_s=wait_s)
            await asyncio.sleep(min(wait_s, 1.0))
            waited += wait_s

    def _limited(self, limit: str, key: str) -> None:
        wait_s = self._limits[limit].take(key, time.monotonic())
        if wait_s > 0.0:
            raise Refusal("too-many-requests", "Slower, please.", retry_after_s=wait_s)

    # --- what clients hear ------------------------------------------------------------------

    def _room_changed(self, change: RoomChange) -> None:
        sockets = list(self._rooms_sockets.get(change.room_id, {}).values())
        if change.chat is not None:
            sent = ChatSent(line=presenter.chat_line(change.chat))
            for connection in sockets:
                if connection.sees_room:
                    self._tell(connection, connection.last_seq, sent)
        for before, after, event in change.steps:
            for connection in sockets:
                for heard in hear(before, after, event, connection.participant_id):
                    self._hear(connection, after.seq, heard)
        self._end_who_is_out(change)

    def _hear(self, connection: SocketConnection, seq: int, heard: Any) -> None:
        if isinstance(heard, YouAreAdmitted):
            connection.emit("lobby", LobbyState(state="admitted"))
            connection.spawn(self._greet(connection))
        elif isinstance(heard, YouAreDenied):
            connection.emit("lobby", LobbyState(state="denied"))
        elif not isinstance(heard, YouAreOut) and connection.sees_room:
            event = presenter.room_event(heard)
            if event is not None:
                self._tell(connection, seq, event)

    def _tell(self, connection: SocketConnection, seq: int, event: Any) -> None:
        message = RoomEventMessage(seq=max(seq, connection.last_seq), prev=connection.last_seq, event=event)
        connection.last_seq = message.seq
        connection.emit("room_event", message)

    def _end_who_is_out(self, change: RoomChange) -> None:
        """Whoever is no longer inside or waiting loses every connection, of every kind, now."""
        for person_id, person in change.after.participants.items():
            old = change.before.participants.get(person_id)
            if old is None or old.status is person.status:
                continue
            if person.status is ParticipantStatus.REMOVED:
                self._connections.end_participant(change.room_id, person_id, "removed")
            elif person.status is ParticipantStatus.DENIED:
                self._connections.end_participant(change.room_id, person_id, "denied")
            elif person.status is ParticipantStatus.LEFT:
                self._connections.end_participant(change.room_id, person_id, "left")

    # --- signaling.media_session.MediaOutbox --------------------------------------------------

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None:
        connection = self._sockets.get(connection_id)
        if connection is not None:
            connection.emit(event, payload)

    def track_changed(self, room_id: str, track: Track) -> None:
        self._tell_room(room_id, TrackPublished(track=track))

    def track_gone(self, room_id: str, track_id: str) -> None:
        self._tell_room(room_id, TrackUnpublished(track_id=track_id))

    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None:
        self._tell_room(room_id, SpeakersChanged(participant_ids=list(participant_ids)))

    def _tell_room(self, room_id: str, event: Any) -> None:
        for connection in self._rooms_sockets.get(room_id, {}).values():
            if connection.sees_room and self._rooms.can(room_id, connection.participant_id, Permission.SEE_ROSTER):
                self._tell(connection, connection.last_seq, event)

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell everyone that this process stops."""
        self.draining = True
        packets = encode("draining", {"reconnect_after_ms": reconnect_after_ms})
        for connection in tuple(self._sockets.values()):
            connection.put(packets)
