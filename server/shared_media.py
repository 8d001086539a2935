"""Media of rooms that several instances serve: they live at the room's home.

What a client of another instance sends goes to the home's `MediaService`, and what that one says comes back to the
instance that has the connection. The tracks of a room are known on each. When a room's home changes its media
sessions are gone; whoever had one is told to begin again, at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from rooms.errors import RoomError
from rooms.instance_messages import Aside
from rooms.orders import Call, Called
from rooms.sharing import Sharing
from signaling import messages
from signaling.engines import EngineUnavailable
from signaling.errors import SignalingError
from signaling.media_session import MediaService
from signaling.messages import MediaClosed, MediaStarted, StartMedia, Track
from signaling.ports import MediaOutbox

_encode = msgspec.msgpack.Encoder().encode
_REQUESTS: dict[str, type[msgspec.Struct]] = {
    "receive_description": messages.Description,
    "receive_candidate": messages.TrickledCandidate,
    "set_track_muted": messages.SetTrackMuted,
    "unpublish": messages.Unpublish,
    "subscribe": messages.Subscribe,
    "set_layout": messages.SetLayout,
    "set_sound": messages.SetSound,
    "set_fallback": messages.SetFallback,
    "rebuild": messages.RebuildPeerConnection,
    "stop_session": messages.StopMedia,
}
"""What a client may ask of its session, by the service's method."""


class SharedOutbox:
    """`signaling.ports.MediaOutbox` of a home: to connections here and to those of other instances."""

    def __init__(self, local: MediaOutbox, sharing: Sharing) -> None:
        self._local = local
        self._sharing = sharing
        self.instance_of: dict[str, str] = {}
        """Connections of other instances that have a session here."""

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None:
        instance_id = self.instance_of.get(connection_id)
        if instance_id is None:
            self._local.send(connection_id, event, payload)
        else:
            self._sharing.tell_instance(instance_id, "", "send", _encode((connection_id, event, payload)))

    def send_voice(self, connection_id: str, packet: bytes) -> None:
        instance_id = self.instance_of.get(connection_id)
        if instance_id is None:
            self._local.send_voice(connection_id, packet)
        else:
            self._sharing.tell_instance(instance_id, "", "voice", _encode((connection_id, packet)))

    def track_changed(self, room_id: str, track: Track) -> None:
        self._local.track_changed(room_id, track)
        self._sharing.tell_readers(room_id, "track", _encode(track))

    def track_gone(self, room_id: str, track_id: str) -> None:
        self._local.track_gone(room_id, track_id)
        self._sharing.tell_readers(room_id, "track_gone", _encode(track_id))

    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None:
        self._local.speakers_changed(room_id, participant_ids)
        self._sharing.tell_readers(room_id, "speakers", _encode(list(participant_ids)))


class SharedMedia:
    """`signaling.ports.MediaDoor`, and the `rooms.sharing.Companion` of rooms."""

    def __init__(self, service: MediaService, local: MediaOutbox, outbox: SharedOutbox, sharing: Sharing) -> None:
        """`local`: to this instance's own connections; `outbox`: the one that `service` has."""
        self._service = service
        self._local = local
        self._outbox = outbox
        self._sharing = sharing
        self._away: dict[str, tuple[str, str, str]] = {}
        """Connections here whose session is at another home: room, participant, session."""
        self._beginning: dict[str, list[tuple[str, Any]]] = {}
        """What came for a connection before it knew its session."""
        self._tracks: dict[str, dict[str, Track]] = {}
        """Of rooms whose home is elsewhere."""
        self._at: dict[str, str] = {}
        """The home by which a room's media are carried, where some of them concern this instance."""
        self._tasks: set[asyncio.Task[None]] = set()

    # --- signaling.ports.MediaDoor ------------------------------------------------------------

    def tracks(self, room_id: str) -> Sequence[Track]:
        if self._sharing.is_home(room_id):
            return self._service.tracks(room_id)
        return tuple(self._tracks.get(room_id, {}).values())

    async def start(self, room_id: str, participant_id: str, connection_id: str, request: StartMedia) -> MediaStarted:
        if self._sharing.is_home(room_id):
            self._at[room_id] = self._sharing.instance_id
            self._away.pop(connection_id, None)
            return await self._service.start(room_id, participant_id, connection_id, request)
        waiting = self._beginning[connection_id] = []
        try:
            body = await self._ask(room_id, participant_id, "start", (connection_id, request))
            started = msgspec.msgpack.decode(body, type=MediaStarted)
        except BaseException:
            del self._beginning[connection_id]
            raise
        self._at[room_id] = self._sharing.home_of(room_id) or ""
        self._away[connection_id] = (room_id, participant_id, started.session_id)
        # After the acknowledgement, which tells the client that it has this session.
        asyncio.get_running_loop().call_soon(self._release, connection_id, waiting)
        return started

    def _release(self, connection_id: str, waiting: list[tuple[str, Any]]) -> None:
        if self._beginning.get(connection_id) is waiting:
            del self._beginning[connection_id]
        for event, payload in waiting:
            self._local.send(connection_id, event, payload)

    def connection_lost(self, connection_id: str) -> None:
        away = self._away.pop(connection_id, None)
        if away is None:
            self._service.connection_lost(connection_id)
        else:
            self._spawn(self._tell_of_loss(away[0], away[1], connection_id))

    async def _tell_of_loss(self, room_id: str, participant_id: str, connection_id: str) -> None:
        with suppress(RoomError, SignalingError, EngineUnavailable):  # a home that died has no session of it
            await self._ask(room_id, participant_id, "lost", connection_id)

    async def receive_description(self, connection_id: str, request: messages.Description) -> None:
        await self._of_session(connection_id, "receive_description", request)

    async def receive_candidate(self, connection_id: str, request: messages.TrickledCandidate) -> None:
        await self._of_session(connection_id, "receive_candidate", request)

    async def set_track_muted(self, connection_id: str, request: messages.SetTrackMuted) -> None:
        await self._of_session(connection_id, "set_track_muted", request)

    async def unpublish(self, connection_id: str, request: messages.Unpublish) -> None:
        await self._of_session(connection_id, "unpublish", request)

    async def subscribe(self, connection_id: str, request: messages.Subscribe) -> None:
        await self._of_session(connection_id, "subscribe", request)

    async def set_layout(self, connection_id: str, request: messages.SetLayout) -> None:
        await self._of_session(connection_id, "set_layout", request)

    async def set_sound(self, connection_id: str, request: messages.SetSound) -> None:
        await self._of_session(connection_id, "set_sound", request)

    async def set_fallback(self, connection_id: str, request: messages.SetFallback) -> None:
        await self._of_session(connection_id, "set_fallback", request)

    def receive_voice(self, connection_id: str, packet: bytes) -> None:
        away = self._away.get(connection_id)
        if away is None:
            self._service.receive_voice(connection_id, packet)
        elif (home := self._sharing.home_of(away[0])) is not None:
            # Told, not asked: a packet that is lost is a sound that is missed.
            self._sharing.tell_instance(home, away[0], "heard_voice", _encode((connection_id, packet)))

    async def rebuild(self, connection_id: str, request: messages.RebuildPeerConnection) -> None:
        await self._of_session(connection_id, "rebuild", request)

    async def stop_session(self, connection_id: str, request: messages.StopMedia) -> None:
        await self._of_session(connection_id, "stop_session", request)

    async def _of_session(self, connection_id: str, method: str, request: msgspec.Struct) -> None:
        away = self._away.get(connection_id)
        if away is None:
            await self._method(method)(connection_id, request)
        else:
            await self._ask(away[0], away[1], method, (connection_id, request))

    def _method(self, name: str) -> Callable[[str, Any], Awaitable[None]]:
        method: Callable[[str, Any], Awaitable[None]] = getattr(self._service, name)
        return method

    async def mute_by_host(self, room_id: str, track_id: str) -> bool:
        if self._sharing.is_home(room_id):
            return await self._mute_here(room_id, track_id)
        muted = msgspec.msgpack.decode(await self._ask(room_id, None, "mute", track_id), type=bool | None)
        return muted is True  # None: an older version's home, which does not say

    async def _mute_here(self, room_id: str, track_id: str) -> bool:
        """Not confirmed by a home that may be none any more: then the room's media live elsewhere by now."""
        return await self._service.mute_by_host(room_id, track_id) and self._sharing.decides(room_id)

    async def accept_whip(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        return await self._accept(room_id, participant_id, offer_sdp, "whip")

    async def accept_whep(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        return await self._accept(room_id, participant_id, offer_sdp, "whep")

    async def _accept(self, room_id: str, participant_id: str, offer_sdp: str, kind: str) -> tuple[str, str]:
        body = await self._ask(room_id, participant_id, kind, offer_sdp)
        return msgspec.msgpack.decode(body, type=tuple[str, str])

    async def end_http_session(self, room_id: str, participant_id: str, session_id: str) -> None:
        await self._ask(room_id, participant_id, "end_http", session_id)

    async def _ask(self, room_id: str, participant_id: str | None, name: str, request: Any) -> bytes:
        """Raises: RoomError, SignalingError, EngineUnavailable."""
        reply = await self._sharing.perform(room_id, participant_id, Call(name, _encode(request)))
        assert isinstance(reply, Called)
        kind, code, rest = msgspec.msgpack.decode(reply.body, type=tuple[str, str, msgspec.Raw])
        if kind == "signaling":
            raise SignalingError(code, msgspec.msgpack.decode(rest, type=str))
        if kind == "engine":
            raise EngineUnavailable(msgspec.msgpack.decode(rest, type=str))
        return bytes(rest)

    # --- rooms.sharing.Companion, at the home ---------------------------------------------------

    async def call(self, room_id: str, actor_id: str | None, instance_id: str, call: Call) -> bytes:
        try:
            return _encode(("", "", await self._serve(room_id, actor_id or "", instance_id, call)))
        except SignalingError as error:
            return _encode(("signaling", error.code, str(error)))
        except EngineUnavailable as error:
            return _encode(("engine", "", str(error)))

    async def _serve(self, room_id: str, participant_id: str, instance_id: str, call: Call) -> Any:
        decode = msgspec.msgpack.decode
        match call.name:
            case "start":
                connection_id, request = decode(call.body, type=tuple[str, StartMedia])
                self._at[room_id] = self._sharing.instance_id
                if instance_id != self._sharing.instance_id:
                    self._outbox.instance_of[connection_id] = instance_id
                return await self._service.start(room_id, participant_id, connection_id, request)
            case "lost":
                connection_id = decode(call.body, type=str)
                self._service.connection_lost(connection_id)
                self._outbox.instance_of.pop(connection_id, None)
            case "mute":
                return await self._mute_here(room_id, decode(call.body, type=str))
            case "whip":
                return await self._service.accept_whip(room_id, participant_id, decode(call.body, type=str))
            case "whep":
                return await self._service.accept_whep(room_id, participant_id, decode(call.body, type=str))
            case "end_http":
                await self._service.end_http_session(room_id, participant_id, decode(call.body, type=str))
            case name if name in _REQUESTS:
                connection_id, body = decode(call.body, type=tuple[str, msgspec.Raw])
                await self._method(name)(connection_id, decode(body, type=_REQUESTS[name]))
            case _:
                raise SignalingError("not-found", "this instance does not know what another one asks of media")
        return None

    def extra(self, room_id: str) -> bytes:
        return _encode(list(self._service.tracks(room_id)))

    def gone(self, instance_id: str) -> None:
        """Its connections with it: their sessions wait for their participants, as after any loss."""
        for connection_id, each in tuple(self._outbox.instance_of.items()):
            if each == instance_id:
                self._service.connection_lost(connection_id)
                del self._outbox.instance_of[connection_id]

    # --- rooms.sharing.Companion, elsewhere -------------------------------------------------------

    def aside(self, message: Aside) -> None:
        decode = msgspec.msgpack.decode
        match message.name:
            case "send":
                connection_id, event, payload = decode(message.body, type=tuple[str, str, Any])
                if (waiting := self._beginning.get(connection_id)) is not None:
                    waiting.append((event, payload))
                else:
                    self._local.send(connection_id, event, payload)
            case "track":
                self._put_track(message.room_id, decode(message.body, type=Track))
            case "track_gone":
                self._drop_track(message.room_id, decode(message.body, type=str))
            case "voice":
                connection_id, packet = decode(message.body, type=tuple[str, bytes])
                self._local.send_voice(connection_id, packet)
            case "heard_voice":
                connection_id, packet = decode(message.body, type=tuple[str, bytes])
                self._service.receive_voice(connection_id, packet)
            case "speakers":
                self._local.speakers_changed(message.room_id, decode(message.body, type=list[str]))

    def take_extra(self, room_id: str, extra: bytes) -> None:
        now = {track.id: track for track in msgspec.msgpack.decode(extra, type=list[Track])} if extra else {}
        known = self._tracks.get(room_id, {})
        for track_id in tuple(known.keys() - now.keys()):
            self._drop_track(room_id, track_id)
        for track in now.values():
            if known.get(track.id) != track:
                self._put_track(room_id, track)

    def _put_track(self, room_id: str, track: Track) -> None:
        self._tracks.setdefault(room_id, {})[track.id] = track
        self._local.track_changed(room_id, track)

    def _drop_track(self, room_id: str, track_id: str) -> None:
        tracks = self._tracks.get(room_id, {})
        if tracks.pop(track_id, None) is not None:
            self._local.track_gone(room_id, track_id)
        if not tracks:
            self._tracks.pop(room_id, None)

    def moved(self, room_id: str, home: str) -> None:
        before = self._at.pop(room_id, None)
        if before == home:
            self._at[room_id] = home
            return
        if before == self._sharing.instance_id:
            self._spawn(self._service.end_room(room_id))
        for track_id in tuple(self._tracks.get(room_id, {})):
            self._drop_track(room_id, track_id)
        for connection_id, (room, _participant, session_id) in tuple(self._away.items()):
            if room == room_id:
                del self._away[connection_id]
                closed = MediaClosed(session_id=session_id, pc=None, reason="failed", retry=True)
                self._local.send(connection_id, "media_closed", closed)

    def forgotten(self, room_id: str) -> None:
        self._tracks.pop(room_id, None)
        self._at.pop(room_id, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
