"""Media sessions: who has a share in the media of a room, over which connection, by which engine.

The service checks what a client sends against its session and its rights, hands it to the engine,
and turns what the engine says into messages. A session outlives a lost connection by a grace: the
browser's media often flow on while its socket comes back. What engines say meanwhile waits in the
session's mailbox, as it does while the session opens: a client hears nothing of a session before it
knows its id.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from signaling.allowance import Allowance
from signaling.description_check import check_connection, check_media, check_microphone
from signaling.engine_events import EngineEvents
from signaling.engines import EngineEvent, EngineUnavailable, Fallback, MediaEngine, MediaGrants
from signaling.errors import SignalingError
from signaling.messages import (
    Description,
    EngineName,
    LayersWanted,
    MediaClosed,
    MediaStarted,
    RebuildPeerConnection,
    SetFallback,
    SetLayout,
    SetSound,
    SetTrackMuted,
    StartMedia,
    StopMedia,
    Subscribe,
    Track,
    TrackMutedByHost,
    TrickledCandidate,
    Unpublish,
)
from signaling.negotiation import Verdict
from signaling.ports import MediaOutbox, MediaRights
from signaling.published_tracks import PublishedTracks
from signaling.room_silence import RoomSilence
from signaling.sessions import HttpKind, MediaSession, SessionRegister, new_session_id
from signaling.turn import ice_servers
from signaling.voice_channel import VoiceChannel

logger = logging.getLogger("passerelle.signaling")

GRACE_S = 10.0
"""A session without a connection is kept this long: a socket that changes its network is back in 3 s."""
MAX_SESSIONS_PER_PARTICIPANT = 6
"""A class with a second camera and a museum's OBS; tabs left open."""
MAX_SESSIONS_PER_ROOM = 400
RELAYED_CHARACTERS = 1024 * 1024
RELAYED_CHARACTERS_PER_S = 64 * 1024
"""Descriptions that a session may have relayed to others: three peers, fifteen tracks each, begun anew
several times. Past it a hostile one could fill what waits for the others until they are cut off."""


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
        self._sessions = SessionRegister()
        self._tracks = PublishedTracks(outbox)
        self._silence = RoomSilence(rights, self._tracks)
        self._events = EngineEvents(self._sessions, self._tracks, outbox, self._close_soon)
        self._tasks: set[asyncio.Task[None]] = set()

    def tracks(self, room_id: str) -> Sequence[Track]:
        """Everything published in the room now."""
        return tuple(self._tracks.of_room(room_id).values())

    def receive_engine_event(self, event: EngineEvent) -> None:
        """The engines' sink. Never blocks, never raises."""
        self._events(event)

    def session_counts(self) -> dict[EngineName, int]:
        """Sessions by engine, for the metrics."""
        counts: dict[EngineName, int] = dict.fromkeys(self._engines, 0)
        for session in self._sessions:
            counts[session.engine] = counts.get(session.engine, 0) + 1
        return counts

    def fallback_count(self) -> int:
        """Sessions whose voice goes by their signaling connection now."""
        return sum(session.voice is not None for session in self._sessions)

    async def stop(self) -> None:
        """End every session. The engines are stopped by who started them."""
        await asyncio.gather(*(self._close(session) for session in self._sessions))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- a session begins and goes on ---------------------------------------------------------

    async def start(self, room_id: str, participant_id: str, connection_id: str, request: StartMedia) -> MediaStarted:
        """A session begins, or goes on (also over the connection that has it, for new credentials).
        Its caller answers the client without another await: what waits for it follows at once.

        Raises: SignalingError, EngineUnavailable."""
        wanted = self._sessions.get(request.session_id)
        if wanted is not None and wanted.owner != (room_id, participant_id):
            wanted = None
        before = self._sessions.of_connection(connection_id)
        if before is not None and before is not wanted:
            await self._close(before)
        if wanted is not None and self._can_go_on(wanted):
            await self._set_sound(wanted, request.without_sound)
        if wanted is not None and self._can_go_on(wanted):
            return self._resume(wanted, connection_id)
        if wanted is not None and not wanted.is_over_http:
            await self._close(wanted)
        session = await self._open(room_id, participant_id, connection_id, None, request.without_sound)
        return self._started(session, resumed=False)

    def _can_go_on(self, session: MediaSession) -> bool:
        # Not one that was closed while another one was, nor one whose messages were too many to keep.
        return session in self._sessions and not session.is_over_http and not session.mailbox.is_overflowed

    def _resume(self, session: MediaSession, connection_id: str) -> MediaStarted:
        if session.connection_id not in (None, connection_id):
            # Dead, and not noticed yet; or a second page with the first one's memory.
            closed = MediaClosed(session_id=session.id, pc=None, reason="replaced", retry=False)
            self._events.send(session, "media_closed", closed)
        session.end_grace()
        session.mailbox.hold()
        self._sessions.attach(session, connection_id)
        return self._started(session, resumed=True)

    def _started(self, session: MediaSession, *, resumed: bool) -> MediaStarted:
        # After the acknowledgement, which tells the client that it has this session.
        asyncio.get_running_loop().call_soon(self._empty_mailbox, session)
        return MediaStarted(
            session_id=session.id,
            engine=session.engine,
            resumed=resumed,
            ice_servers=ice_servers(self._turn_urls, self._turn_secret, session.participant_id, self._clock()),
            peers=list(session.peers.values()),
            layers=[
                LayersWanted(session_id=session.id, track_id=track_id, layers=layers)
                for track_id, layers in session.layers_watched.items()
            ],
        )

    def _empty_mailbox(self, session: MediaSession) -> None:
        if session.connection_id is None or session not in self._sessions:
            return
        if session.mailbox.is_overflowed:
            closed = MediaClosed(session_id=session.id, pc=None, reason="failed", retry=True)
            self._outbox.send(session.connection_id, "media_closed", closed)
            self._close_soon(session)
            return
        for event, payload in session.mailbox.release():
            self._outbox.send(session.connection_id, event, payload)

    def connection_lost(self, connection_id: str) -> None:
        """The session waits for its participant to come back."""
        session = self._sessions.of_connection(connection_id)
        if session is None:
            return
        self._sessions.detach(session)
        session.mailbox.hold()
        session.grace = asyncio.get_running_loop().call_later(GRACE_S, self._close_soon, session)

    # --- what clients ask -----------------------------------------------------------------------

    async def receive_description(self, connection_id: str, request: Description) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        check_connection(session.engine, request.pc, request.to)
        async with session.in_order:
            grants = self._grants_of(session)
            check_media(session.id, request.media, grants, self._tracks.of_room(session.room_id))
            if request.pc == "publish":
                await self._publish_offer(session, self._silence.begin_muted(session, request))
            elif request.pc == "subscribe":
                await self._subscribe_answer(session, request)
            else:
                request = self._silence.begin_muted(session, request)
                if not session.description_allowance.take(len(request.description.sdp), self._clock()):
                    raise SignalingError("too-many-requests", "too many descriptions to relay")
                await self._to_engine(session, request)

    async def _publish_offer(self, session: MediaSession, request: Description) -> None:
        if request.description.type != "offer":
            raise SignalingError("invalid-description", "the client offers what it publishes")
        number = request.negotiation
        verdict = session.publish.receive_offer(number)
        if verdict is Verdict.AGAIN and not session.publish.is_answer_due:
            session.publish.reopen(number)  # the answer may have been lost
        elif verdict is not Verdict.NEW:
            logger.debug("session %s: publish offer %d dropped: %s", session.id, number, verdict.value)
            return
        try:
            await self._to_engine(session, request)
        except SignalingError:
            session.publish.settle(number)
            raise

    async def _subscribe_answer(self, session: MediaSession, request: Description) -> None:
        if request.description.type != "answer":
            raise SignalingError("invalid-description", "the server offers what the client receives")
        verdict = session.subscribe.judge_answer(request.negotiation)
        if verdict is Verdict.FOREIGN:
            raise SignalingError("invalid-description", "this answers an offer that was never made")
        if verdict is not Verdict.NEW:
            logger.debug("session %s: subscribe answer dropped: %s", session.id, verdict.value)
            return
        await self._to_engine(session, request)
        session.subscribe.settle(request.negotiation)

    async def _to_engine(self, session: MediaSession, request: Description) -> None:
        try:
            await self._engine(session).receive_description(
                session.id, request.pc, request.negotiation, request.description, request.media, request.to
            )
        except ValueError as error:
            raise SignalingError("invalid-description", str(error)) from error

    async def receive_candidate(self, connection_id: str, request: TrickledCandidate) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        check_connection(session.engine, request.pc, request.to)
        async with session.in_order:
            try:
                await self._engine(session).receive_candidate(session.id, request.pc, request.candidate, request.to)
            except ValueError as error:
                raise SignalingError("invalid-description", str(error)) from error

    async def set_track_muted(self, connection_id: str, request: SetTrackMuted) -> None:
        """Raises: SignalingError."""
        session = self._of_track(connection_id, request.session_id, request.track_id)
        async with session.in_order:
            muted = self._silence.judge_mute(session, request.track_id, request.muted)
            await self._engine(session).set_track_muted(session.id, request.track_id, muted)

    async def unpublish(self, connection_id: str, request: Unpublish) -> None:
        """Raises: SignalingError."""
        session = self._of_track(connection_id, request.session_id, request.track_id)
        async with session.in_order:
            await self._engine(session).unpublish(session.id, request.track_id)

    async def subscribe(self, connection_id: str, request: Subscribe) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        async with session.in_order:
            await self._engine(session).subscribe(session.id, request.tracks)

    async def set_layout(self, connection_id: str, request: SetLayout) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        async with session.in_order:
            await self._engine(session).set_layout(session.id, request.tracks)

    async def set_sound(self, connection_id: str, request: SetSound) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        async with session.in_order:
            await self._set_sound(session, request.without_sound)

    async def _set_sound(self, session: MediaSession, without_sound: bool) -> None:
        if session.is_without_sound is not without_sound:
            session.is_without_sound = without_sound
            await self._refresh(session)

    async def set_fallback(self, connection_id: str, request: SetFallback) -> None:
        """Raises: SignalingError; EngineUnavailable where the room's engine cannot do it."""
        session = self._of(connection_id, request.session_id)
        async with session.in_order:
            if request.track_id is not None:
                grants = self._grants_of(session)
                check_microphone(session.id, request.track_id, grants, self._tracks.of_room(session.room_id))
            muted = request.muted
            if request.track_id is not None and not muted and self._silence.is_on(session):
                muted = self._silence.keep_new(session, request.track_id)
            wish = Fallback(request.track_id, muted, request.listens, request.interval_ms / 1_000)
            try:
                await self._engine(session).set_fallback(session.id, wish)
            except ValueError as error:
                raise SignalingError("track-id-taken", str(error)) from error
            is_on = request.track_id is not None or request.listens
            if not is_on or session.connection_id is None:
                session.voice = None
            elif session.voice is None:
                session.voice = VoiceChannel(self._clock())

    def receive_voice(self, connection_id: str, packet: bytes) -> None:
        """A `media_voice` packet of a client; one that cannot be used is dropped."""
        session = self._sessions.of_connection(connection_id)
        if session is None or session.voice is None:
            return
        try:
            runs = session.voice.receive(packet, self._clock())
        except ValueError as error:
            logger.debug("session %s: a voice packet dropped: %s", session.id, error)
            return
        if runs:
            self._engine(session).receive_voice(session.id, runs)
        self._events.send_voice(session)

    async def rebuild(self, connection_id: str, request: RebuildPeerConnection) -> None:
        """Raises: SignalingError."""
        session = self._of(connection_id, request.session_id)
        async with session.in_order:
            if request.pc == "publish":
                session.publish.start_over()
            await self._engine(session).rebuild(session.id, request.pc)

    async def stop_session(self, connection_id: str, request: StopMedia) -> None:
        """Raises: SignalingError."""
        await self._close(self._of(connection_id, request.session_id))

    # --- what the house says ------------------------------------------------------------------

    async def mute_by_host(self, room_id: str, track_id: str) -> bool:
        """Whether no packet of it leaves from now on; False with p2p, where its owner's device alone can stop it.
        Raises: SignalingError when there is no such track."""
        track = self._tracks.of_room(room_id).get(track_id)
        session = self._sessions.get(track.session_id) if track is not None else None
        if session is None:
            raise SignalingError("not-found", "there is no such track")
        session.silenced.discard(track_id)
        # First the word: with p2p its receiver is who stops the sound.
        self._events.send(session, "media_muted", TrackMutedByHost(session_id=session.id, track_id=track_id))
        await self._engine(session).set_track_muted(session.id, track_id, True)
        return session.engine != "p2p"

    async def remove_participant(self, room_id: str, participant_id: str) -> None:
        """Their media end now, and do not come back."""
        theirs = self._sessions.of_participant(room_id, participant_id)
        for session in theirs:
            closed = MediaClosed(session_id=session.id, pc=None, reason="forbidden", retry=False)
            self._events.send(session, "media_closed", closed)
        await asyncio.gather(*(self._close(session) for session in theirs))

    async def end_room(self, room_id: str) -> None:
        """The room's media live elsewhere from now on: whoever has a session here begins again, there."""
        sessions = self._sessions.of_room(room_id)
        for session in sessions:
            closed = MediaClosed(session_id=session.id, pc=None, reason="failed", retry=True)
            self._events.send(session, "media_closed", closed)
        await asyncio.gather(*(self._close(session) for session in sessions))

    async def refresh_grants(self, room_id: str) -> None:
        """Rights in the room changed: what is no longer allowed stops."""
        await asyncio.gather(*(self._refresh(session) for session in self._sessions.of_room(room_id)))

    async def _refresh(self, session: MediaSession) -> None:
        await self._engine(session).set_grants(session.id, self._grants_of(session))

    def _grants_of(self, session: MediaSession) -> MediaGrants:
        grants = self._rights.grants_of(session.room_id, session.participant_id)
        if session.http == "whip":  # it cannot be offered anything
            grants = replace(grants, subscribe=False)
        return replace(grants, sound=False) if session.is_without_sound else grants

    async def follow_silence(self, room_id: str) -> None:
        """The room froze, or thawed: what was heard falls silent, and is heard again."""
        sessions = self._sessions.of_room(room_id)
        results = await asyncio.gather(*(self._follow_silence(each) for each in sessions), return_exceptions=True)
        for session, error in zip(sessions, results, strict=True):
            if error is not None:
                logger.warning("session %s: not silenced as the room is: %s", session.id, type(error).__name__)

    async def _follow_silence(self, session: MediaSession) -> None:
        if session.in_order.locked() and self._silence.is_on(session):
            # Not behind what its engine is slow with; what comes of that, the second look finds.
            await self._turn_silence(session)
        async with session.in_order:
            await self._turn_silence(session)

    async def _turn_silence(self, session: MediaSession) -> None:
        """Raises: what the engine raised for one of the tracks, when all have been asked for."""
        is_silenced, tracks = self._silence.turned(session)
        mute = self._engine(session).set_track_muted
        done = await asyncio.gather(*(mute(session.id, each, is_silenced) for each in tracks), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    # --- WHIP and WHEP ------------------------------------------------------------------------

    async def accept_whip(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        """RFC 9725: the session's id and the answer. Raises: SignalingError, EngineUnavailable."""
        return await self._accept_http(room_id, participant_id, offer_sdp, "whip")

    async def accept_whep(self, room_id: str, participant_id: str, offer_sdp: str) -> tuple[str, str]:
        """draft-ietf-wish-whep: likewise, to watch."""
        return await self._accept_http(room_id, participant_id, offer_sdp, "whep")

    async def _accept_http(self, room_id: str, participant_id: str, offer_sdp: str, http: HttpKind) -> tuple[str, str]:
        if http == "whip" and self._rights.is_silenced(room_id, participant_id):
            raise SignalingError("room-frozen", "the room is paused until an adult in charge is back")
        session = await self._open(room_id, participant_id, None, http, False)
        engine = self._engine(session)
        try:
            answer = await (engine.accept_whip if http == "whip" else engine.accept_whep)(session.id, offer_sdp)
        except ValueError as error:
            await self._close(session)
            raise SignalingError("invalid-description", str(error)) from error
        except BaseException:
            await self._close(session)
            raise
        return session.id, answer

    async def end_http_session(self, room_id: str, participant_id: str, session_id: str) -> None:
        """Raises: SignalingError when it is not theirs."""
        session = self._sessions.get(session_id)
        if session is None or not session.is_over_http or session.owner != (room_id, participant_id):
            raise SignalingError("not-found", "there is no such session")
        await self._close(session)

    # --- inside -----------------------------------------------------------------------------------

    async def _open(
        self, room_id: str, participant_id: str, connection_id: str | None, http: HttpKind | None, without_sound: bool
    ) -> MediaSession:
        """Raises: SignalingError, EngineUnavailable."""
        await self._make_place(room_id, participant_id)
        engine_name = self._rights.engine_of(room_id)
        if engine_name not in self._engines:
            raise EngineUnavailable("this server carries no media for such rooms now")
        allowance = Allowance(RELAYED_CHARACTERS, RELAYED_CHARACTERS_PER_S, self._clock())
        session = MediaSession(new_session_id(), room_id, participant_id, engine_name, connection_id, http, allowance)
        session.is_without_sound = without_sound
        self._sessions.add(session)
        try:
            grants = self._grants_of(session)
            await self._engine(session).open_session(room_id, session.id, participant_id, grants)
        except BaseException:
            await self._close(session)
            raise
        session.is_opening = False
        if session not in self._sessions:
            # Closed before the engine had it: removed from the room, or the process stops.
            await self._engine(session).close_session(session.id)
            raise SignalingError("unknown-session", "the media session was ended while it began")
        return session

    async def _make_place(self, room_id: str, participant_id: str) -> None:
        theirs = self._sessions.of_participant(room_id, participant_id)
        if len(theirs) >= MAX_SESSIONS_PER_PARTICIPANT:
            # The oldest in grace gives way: a tab reloaded quickly, over and over.
            waiting = next((each for each in theirs if each.grace is not None), None)
            if waiting is None:
                raise SignalingError("too-many-sessions", f"no more than {MAX_SESSIONS_PER_PARTICIPANT} at once")
            await self._close(waiting)
        if len(self._sessions.of_room(room_id)) >= MAX_SESSIONS_PER_ROOM:
            raise SignalingError("too-many-sessions", f"no more than {MAX_SESSIONS_PER_ROOM} in a room")

    async def _close(self, session: MediaSession) -> None:
        if not self._sessions.remove(session):
            return
        session.end_grace()
        await self._engine(session).close_session(session.id)
        # An engine whose worker died says nothing of them.
        self._tracks.remove_of_session(session.room_id, session.id)

    def _close_soon(self, session: MediaSession) -> None:
        task = asyncio.get_running_loop().create_task(self._close(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _of(self, connection_id: str, session_id: str) -> MediaSession:
        session = self._sessions.get(session_id)
        if session is None or session.connection_id != connection_id:
            raise SignalingError("unknown-session", "this media session is not this connection's (any more)")
        return session

    def _of_track(self, connection_id: str, session_id: str, track_id: str) -> MediaSession:
        """The session, which may have offered the track and not be answered yet: that it publishes it
        the engine knows; that another one does, we do."""
        session = self._of(connection_id, session_id)
        track = self._tracks.of_room(session.room_id).get(track_id)
        if track is not None and track.session_id != session.id:
            raise SignalingError("not-found", "this session publishes no such track")
        return session

    def _engine(self, session: MediaSession) -> MediaEngine:
        return self._engines[session.engine]
