"""Media sessions: who has a share in the media of a room, over which connection, by which engine.

The service checks what a client sends against its session and its rights, hands it to the engine,
and turns what the engine says into messages. A session outlives a lost connection by a grace: the
browser's media often flow on while its socket comes back.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    EngineEvent,
    EngineUnavailable,
    MediaEngine,
    MediaGrants,
    PeerAppeared,
    PeerConnectionLost,
    PeerDisappeared,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.p2p import may_publish
from signaling.errors import SignalingError
from signaling.messages import (
    Description,
    EngineName,
    IceServer,
    MediaClosed,
    MediaPeer,
    MediaStarted,
    PeerJoined,
    PeerLeft,
    RebuildPeerConnection,
    ServerCandidate,
    ServerDescription,
    SetTrackMuted,
    StartMedia,
    StopMedia,
    Subscribe,
    Track,
    TrackMutedByHost,
    TrickledCandidate,
    Unpublish,
)
from signaling.turn import ice_servers

logger = logging.getLogger("passerelle.signaling")

GRACE_S = 10.0
"""A session without a connection is kept this long: a socket that changes its network is back in 3 s."""
MAX_KEPT_MESSAGES = 256
"""Messages for a session in grace; past it the session is started anew on return."""
MAX_SESSIONS_PER_PARTICIPANT = 6
"""A class with a second camera and a museum's OBS; tabs left open."""
MAX_SESSIONS_PER_ROOM = 400
MAX_TRACKS_PER_ROOM = 200


class MediaOutbox(Protocol):
    """Where messages go. Nothing here blocks or raises."""

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None: ...
    def track_changed(self, room_id: str, track: Track) -> None: ...
    def track_gone(self, room_id: str, track_id: str) -> None: ...
    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None: ...


class MediaRights(Protocol):
    """What the room says of media."""

    def engine_of(self, room_id: str) -> EngineName: ...
    def grants_of(self, room_id: str, participant_id: str) -> MediaGrants: ...


@dataclass(slots=True)
class _Session:
    id: str
    room_id: str
    participant_id: str
    engine: EngineName
    connection_id: str | None
    """None: in grace, or over HTTP (WHIP, WHEP)."""
    over_http: bool = False
    kept: deque[tuple[str, msgspec.Struct]] = field(default_factory=deque)
    overflowed: bool = False
    grace: asyncio.TimerHandle | None = None
    peers: list[MediaPeer] | None = None
    """While the session opens: p2p peers for its answer."""


class MediaService:
    """Every media session of this instance. `engines` is filled by the composition root, whose
    engines report to `receive_engine_event`."""

    def __init__(
        self,
        engines: Mapping[EngineName, MediaEngine],
        rights: MediaRights,
        outbox: MediaOutbox,
        *,
        turn_urls: Sequence[str] = (),
        turn_secret: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engines = engines
        self._rights = rights
        self._outbox = outbox
        self._turn_urls = tuple(turn_urls)
        self._turn_secret = turn_secret
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._by_connection: dict[str, str] = {}
        self._tracks: dict[str, dict[str, Track]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tracks(self, room_id: str) -> Sequence[Track]:
        """Everything published in the room now."""
        return tuple(self._tracks.get(room_id, {}).values())

    def session_counts(self) -> dict[EngineName, int]:
        """Sessions by engine, for the metrics."""
        counts: dict[EngineName, int] = dict.fromkeys(self._engines, 0)
        for session in self._sessions.values():
            counts[session.engine] = counts.get(session.engine, 0) + 1
        return counts

    async def stop(self) -> None:
        """End every session. The engines are stopped by who started them."""
        for session_id in tuple(self._sessions):
            await self._close(session_id)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what clients ask -------------------------------------------------------------------

    async def start(self, room_id: str, participant_id: str, connection_id: str, request: StartMedia) -> MediaStarted:
        """A session begins, or goes on. Raises: SignalingError, EngineUnavailable."""
        if (resumed := self._resume(room_id, participant_id, connection_id, request.session_id)) is not None:
            return resumed
        if (old := self._by_connection.get(connection_id)) is not None:
            await self._close(old)
        stale = self._sessions.get(request.session_id) if request.session_id is not None else None
        if stale is not None and (stale.room_id, stale.participant_id) == (room_id, participant_id):
            await self._close(stale.id)
        session = await self._open(room_id, participant_id, connection_id)
        peers, session.peers = session.peers or [], None
        return self._started(session, resumed=False, peers=peers)

    def _resume(
        self, room_id: str, participant_id: str, connection_id: str, session_id: str | None
    ) -> MediaStarted | None:
        session = self._sessions.get(session_id) if session_id is not None else None
        if session is None or session.over_http or session.overflowed:
            return None
        if (session.room_id, session.participant_id) != (room_id, participant_id):
            return None
        if session.connection_id is not None:
            # The old socket is dead and has not been noticed yet.
            self._by_connection.pop(session.connection_id, None)
        if session.grace is not None:
            session.grace.cancel()
            session.grace = None
        session.connection_id = connection_id
        self._by_connection[connection_id] = session.id
        kept, session.kept = session.kept, deque()
        # After the acknowledgement, which tells the client that its session goes on.
        asyncio.get_running_loop().call_soon(self._send_kept, session, kept)
        return self._started(session, resumed=True, peers=[])

    def _send_kept(self, session: _Session, kept: deque[tuple[str, msgspec.Struct]]) -> None:
        for event, payload in kept:
            self._send(session, event, payload)

    def _started(self, session: _Session, *, resumed: bool, peers: list[MediaPeer]) -> MediaStarted:
        return MediaStarted(
            session_id=session.id,
            engine=session.engine,
            resumed=resumed,
            ice_servers=self._ice_servers(session.participant_id),
            peers=peers,
        )

    def _ice_servers(self, participant_id: str) -> list[IceServer]:
        return ice_servers(self._turn_urls, self._turn_secret, participant_id, self._clock())

    async def receive_description(self, connection_id: str, request: Description) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        self._check_media(session, request)
        try:
            await self._engine(session).receive_description(
                session.id, request.pc, request.negotiation, request.description, request.media, request.to
            )
        except ValueError as error:
            raise SignalingError("invalid-description", str(error)) from error

    def _check_media(self, session: _Session, request: Description) -> None:
        grants = self._rights.grants_of(session.room_id, session.participant_id)
        known = self._tracks.get(session.room_id, {})
        ids = [media.track_id for media in request.media]
        if len(set(ids)) != len(ids):
            raise SignalingError("invalid-description", "two media lines name the same track")
        if len(known) + len(set(ids) - known.keys()) > MAX_TRACKS_PER_ROOM:
            raise SignalingError("too-many-tracks", f"no more than {MAX_TRACKS_PER_ROOM} tracks in a room")
        for media in request.media:
            if not may_publish(grants, media.source):
                raise SignalingError("permission-denied", f"this participant may not publish a {media.source}")
            track = known.get(media.track_id)
            if track is not None and track.session_id != session.id:
                raise SignalingError("track-id-taken", "another session publishes a track of this id")

    async def receive_candidate(self, connection_id: str, request: TrickledCandidate) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        try:
            await self._engine(session).receive_candidate(session.id, request.pc, request.candidate, request.to)
        except ValueError as error:
            raise SignalingError("invalid-description", str(error)) from error

    async def set_track_muted(self, connection_id: str, request: SetTrackMuted) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        await self._engine(session).set_track_muted(session.id, request.track_id, request.muted)

    async def unpublish(self, connection_id: str, request: Unpublish) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        await self._engine(session).unpublish(session.id, request.track_id)

    async def subscribe(self, connection_id: str, request: Subscribe) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        await self._engine(session).subscribe(session.id, request.tracks)

    async def rebuild(self, connection_id: str, request: RebuildPeerConnection) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        await self._engine(session).rebuild(session.id, request.pc)

    async def stop_session(self, connection_id: str, request: StopMedia) -> None:
        """Raises: SignalingError."""
        await self._close(self._of(connection_id, request.session_id).id)

    # --- what the house says ------------------------------------------------------------------

    def connection_lost(self, connection_id: str) -> None:
        """The session waits for its participant to come back."""
        session_id = self._by_connection.pop(connection_id, None)
        session = self._sessions.get(session_id) if session_id is not None else None
        if session is not None and session.connection_id == connection_id:
            session.connection_id = None
            session.grace = asyncio.get_running_loop().call_later(GRACE_S, self._spawn_close, session.id)

    async def mute_by_host(self, room_id: str, track_id: str) -> None:
        """Raises: SignalingError when there is no such track."""
        track = self._tracks.get(room_id, {}).get(track_id)
        session = self._sessions.get(track.session_id) if track is not None else None
        if track is None or session is None:
            raise SignalingError("not-found", "there is no such track")
        await self._engine(session).set_track_muted(session.id, track_id, True)
        self._send(session, "media_muted", TrackMutedByHost(session_id=session.id, track_id=track_id))

    async def remove_participant(self, room_id: str, participant_id: str) -> None:
        """Their media end now, and do not come back."""
        for session in self._sessions_of(room_id, participant_id):
            closed = MediaClosed(session_id=session.id, pc=None, reason="forbidden", retry=False)
            self._send(session, "media_closed", closed)
            await self._close(session.id)

    async def refresh_grants(self, room_id: str) -> None:
        """Rights in the room changed: what is no longer allowed stops."""
        for session in [each for each in self._sessions.values() if each.room_id == room_id]:
            grants = self._rights.grants_of(room_id, session.participant_id)
            await self._engine(session).set_grants(session.id, grants)

    # --- WHIP and WHEP ------------------------------------------------------------------------

    async def accept_whip(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        """RFC 9725: the session's id and the answer. Raises: SignalingError, EngineUnavailable."""
        return await self._accept_http(room_id, participant_id, offer_sdp, publish=True)

    async def accept_whep(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        """draft-ietf-wish-whep: likewise, to watch."""
        return await self._accept_http(room_id, participant_id, offer_sdp, publish=False)

    async def _accept_http(
        self, room_id: str, participant_id: str, offer_sdp: str, *, publish: bool
    ) -> tuple[str, str]:
        session = await self._open(room_id, participant_id, None)
        session.over_http = True
        engine = self._engine(session)
        try:
            answer = await (engine.accept_whip if publish else engine.accept_whep)(session.id, offer_sdp)
        except ValueError as error:
            await self._close(session.id)
            raise SignalingError("invalid-description", str(error)) from error
        except BaseException:
            await self._close(session.id)
            raise
        return session.id, answer

    async def end_http_session(self, room_id: str, participant_id: str, session_id: str) -> None:
        """Raises: SignalingError when it is not theirs."""
        session = self._sessions.get(session_id)
        if (
            session is None
            or not session.over_http
            or (session.room_id, session.participant_id)
            != (
                room_id,
                participant_id,
            )
        ):
            raise SignalingError("not-found", "there is no such session")
        await self._close(session_id)

    # --- what engines say -----------------------------------------------------------------------

    def receive_engine_event(self, event: EngineEvent) -> None:
        """The engines' sink. Never blocks, never raises."""
        match event:
            case TrackAppeared(room_id, track):
                self._tracks.setdefault(room_id, {})[track.id] = track
                self._outbox.track_changed(room_id, track)
            case TrackDisappeared(room_id, track_id):
                self._forget_track(room_id, track_id)
            case SpeakersHeard(room_id, participant_ids):
                self._outbox.speakers_changed(room_id, participant_ids)
            case _:
                session = self._sessions.get(event.session_id)
                if session is not None:
                    self._session_event(session, event)

    def _session_event(self, session: _Session, event: EngineEvent) -> None:
        match event:
            case DescriptionToSend():
                message = ServerDescription(
                    session_id=session.id,
                    pc=event.pc,
                    negotiation=event.negotiation,
                    description=event.description,
                    media=list(event.media),
                    from_=event.from_session_id,
                )
                self._send(session, "media_description", message)
            case CandidateToSend():
                candidate = ServerCandidate(
                    session_id=session.id, pc=event.pc, candidate=event.candidate, from_=event.from_session_id
                )
                self._send(session, "media_candidate", candidate)
            case PeerAppeared():
                self._peer_appeared(session, event)
            case PeerDisappeared():
                left = PeerLeft(session_id=session.id, peer_session_id=event.peer_session_id)
                self._send(session, "media_peer_left", left)
            case PeerConnectionLost():
                self._lost(session, event)
            case _:
                pass

    def _peer_appeared(self, session: _Session, event: PeerAppeared) -> None:
        peer = MediaPeer(
            session_id=event.peer_session_id, participant_id=event.peer_participant_id, polite=event.polite
        )
        if session.peers is not None:
            session.peers.append(peer)
        else:
            self._send(session, "media_peer_joined", PeerJoined(session_id=session.id, peer=peer))

    def _lost(self, session: _Session, event: PeerConnectionLost) -> None:
        closed = MediaClosed(session_id=session.id, pc=event.pc, reason=event.reason, retry=True)
        self._send(session, "media_closed", closed)
        if event.pc is None or session.over_http:
            self._spawn_close(session.id)

    def _forget_track(self, room_id: str, track_id: str) -> None:
        tracks = self._tracks.get(room_id, {})
        if tracks.pop(track_id, None) is not None:
            self._outbox.track_gone(room_id, track_id)
        if not tracks:
            self._tracks.pop(room_id, None)

    # --- inside -----------------------------------------------------------------------------------

    async def _open(self, room_id: str, participant_id: str, connection_id: str | None) -> _Session:
        theirs = self._sessions_of(room_id, participant_id)
        if len(theirs) >= MAX_SESSIONS_PER_PARTICIPANT:
            # The oldest in grace gives way: a tab reloaded quickly, over and over.
            waiting = next((each for each in theirs if each.grace is not None), None)
            if waiting is None:
                raise SignalingError("too-many-sessions", f"no more than {MAX_SESSIONS_PER_PARTICIPANT} at once")
            await self._close(waiting.id)
        if sum(each.room_id == room_id for each in self._sessions.values()) >= MAX_SESSIONS_PER_ROOM:
            raise SignalingError("too-many-sessions", f"no more than {MAX_SESSIONS_PER_ROOM} in a room")
        engine_name = self._rights.engine_of(room_id)
        if engine_name not in self._engines:
            raise EngineUnavailable("this server carries no media for such rooms now")
        session = _Session(secrets.token_urlsafe(12), room_id, participant_id, engine_name, connection_id, peers=[])
        self._sessions[session.id] = session
        if connection_id is not None:
            self._by_connection[connection_id] = session.id
        try:
            grants = self._rights.grants_of(room_id, participant_id)
            await self._engine(session).open_session(room_id, session.id, participant_id, grants)
        except BaseException:
            await self._close(session.id)
            raise
        return session

    async def _close(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        if session.grace is not None:
            session.grace.cancel()
        if session.connection_id is not None and self._by_connection.get(session.connection_id) == session_id:
            del self._by_connection[session.connection_id]
        await self._engine(session).close_session(session_id)
        for track in self.tracks(session.room_id):
            if track.session_id == session_id:  # an engine whose worker died says nothing of them
                self._forget_track(session.room_id, track.id)

    def _spawn_close(self, session_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._close(session_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _of(self, connection_id: str, session_id: str) -> _Session:
        session = self._sessions.get(session_id)
        if session is None or session.connection_id != connection_id:
            raise SignalingError("unknown-session", "this media session is not this connection's (any more)")
        return session

    def _sessions_of(self, room_id: str, participant_id: str) -> list[_Session]:
        return [
            each
            for each in self._sessions.values()
            if each.room_id == room_id and each.participant_id == participant_id
        ]

    def _engine(self, session: _Session) -> MediaEngine:
        return self._engines[session.engine]

    def _send(self, session: _Session, event: str, payload: msgspec.Struct) -> None:
        if session.connection_id is not None:
            self._outbox.send(session.connection_id, event, payload)
        elif not session.over_http:
            if len(session.kept) >= MAX_KEPT_MESSAGES:
                session.overflowed = True
                session.kept.clear()
            elif not session.overflowed:
                session.kept.append((event, payload))
