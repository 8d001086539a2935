"""Everything a worker holds: rooms, the port, the clock's ticks. Commands in, events out."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, TypeVar

from signaling.engines import DescriptionToSend, EngineEvent, Fallback, MediaGrants
from signaling.engines.sfu.aiortc_seams import Certificate
from signaling.engines.sfu.control import TrackStatistics, WorkerStatistics
from signaling.engines.sfu.pacing import JoinPacer
from signaling.engines.sfu.room import MediaRoom
from signaling.engines.sfu.sdp import parse_description
from signaling.engines.sfu.session import Session
from signaling.engines.sfu.transport import MediaNetwork
from signaling.engines.sfu.udp import UdpMux
from signaling.messages import PublishedMedia, SessionDescription, ShownTrack, Subscription
from signaling.voice_packet import VoiceRun

log = logging.getLogger(__name__)
Result = TypeVar("Result")

HURRY_S = 0.02
"""How soon a lost packet is asked for (again); a frame at 30/s is 33 ms."""
TICK_S = 0.1
"""Speakers, and a tenth of the sessions' slower work. Waking up an idle machine costs 0.2 ms each time."""
_TICKS_PER_SECOND = 10


class MediaHub:
    """`open`, commands, `close`. Events go to `emit`, which must not block."""

    def __init__(self, mux: UdpMux, emit: Callable[[EngineEvent], None]) -> None:
        self.mux = mux
        self._emit = emit
        self._rooms: dict[str, MediaRoom] = {}
        self._room_of: dict[str, MediaRoom] = {}
        """session id → its room"""
        self._phase: dict[str, int] = {}
        """session id → the tick of each second in which its slower work is done"""
        self._failing: set[str] = set()
        """Sessions whose work failed, which the log has."""
        self._pacer = JoinPacer()
        self._background: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._hurrying: asyncio.TimerHandle | None = None
        self._longest_stall_s = 0.0
        self._network = MediaNetwork(
            mux, Certificate(), time.monotonic, self._spawn, self._hurry, self._paced, self._later
        )

    def open(self) -> None:
        """Raises: PortUnavailable."""
        self.mux.open()
        self._ticking = asyncio.create_task(self._tick_for_ever())

    async def close(self) -> None:
        for session_id in list(self._room_of):
            self.close_session(session_id)
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        if self._hurrying is not None:
            self._hurrying.cancel()
        if self._background:
            await asyncio.wait(self._background, timeout=2)
        self.mux.close()

    # --- commands -------------------------------------------------------------------------------

    def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        self.close_session(session_id)
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = MediaRoom(self._network, room_id, self._emit)
        self._room_of[session_id] = room
        # Spread over the second, so that reports of a full room do not leave all at once.
        self._phase[session_id] = secrets.randbelow(_TICKS_PER_SECOND)
        room.open_session(session_id, participant_id, grants)

    def close_session(self, session_id: str) -> None:
        room = self._room_of.pop(session_id, None)
        if room is None:
            return
        del self._phase[session_id]
        self._failing.discard(session_id)
        room.close_session(session_id)
        if not room.sessions:
            del self._rooms[room.id]

    def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        if session := self._session(session_id):
            session.set_grants(grants)

    async def receive_publish_offer(
        self, session_id: str, negotiation: int, sdp: str, media: Sequence[PublishedMedia]
    ) -> None:
        """Raises: SdpError."""
        offer = parse_description(sdp)
        session = self._session(session_id)
        if session is not None and session.needs_new_publish(offer):
            await self._take_place()
        # Looked up again: the session may have ended while it waited.
        session = self._session(session_id)
        if session is None:
            return
        answer = SessionDescription(type="answer", sdp=session.receive_publish_offer(offer, media))
        room_id = self._room_of[session_id].id
        self._emit(DescriptionToSend(room_id, session_id, "publish", negotiation, answer))

    def receive_subscribe_answer(self, session_id: str, negotiation: int, sdp: str) -> None:
        """Raises: SdpError."""
        answer = parse_description(sdp)
        if session := self._session(session_id):
            session.receive_subscribe_answer(negotiation, answer)

    def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        if session := self._session(session_id):
            session.set_muted(track_id, muted)

    def unpublish(self, session_id: str, track_id: str) -> None:
        if session := self._session(session_id):
            session.unpublish(track_id)

    def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        if session := self._session(session_id):
            session.set_wanted(None if wanted is None else {each.track_id: each.max_height for each in wanted})

    def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        if session := self._session(session_id):
            session.set_layout({each.track_id: (each.width, each.height) for each in shown})

    def set_fallback(self, session_id: str, wish: Fallback) -> None:
        """Raises: SdpError when the track is another's."""
        if session := self._session(session_id):
            session.set_fallback(wish)

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        if session := self._session(session_id):
            session.receive_voice(runs, time.monotonic())

    def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        if session := self._session(session_id):
            session.rebuild(pc)

    async def accept_whip(self, session_id: str, sdp: str) -> str:
        """Raises: SdpError; KeyError when the session is gone."""
        offer = parse_description(sdp)
        await self._take_place()
        return self._known_session(session_id).accept_whip(offer, lambda: secrets.token_hex(16))

    async def accept_whep(self, session_id: str, sdp: str) -> str:
        """Raises: SdpError; KeyError when the session is gone."""
        offer = parse_description(sdp)
        await self._take_place()
        return self._known_session(session_id).accept_whep(offer)

    def _known_session(self, session_id: str) -> Session:
        return self._room_of[session_id].sessions[session_id]

    def _session(self, session_id: str) -> Session | None:
        room = self._room_of.get(session_id)
        return None if room is None else room.sessions.get(session_id)

    def statistics(self) -> WorkerStatistics:
        stall, self._longest_stall_s = self._longest_stall_s, 0.0
        tracks = [
            TrackStatistics(
                room_id=room.id,
                session_id=session.id,
                track_id=track_id,
                packets_received=track.packets_received,
                packets_forwarded=sum(line.counters.packets for line in track.lines),
                packets_resent=sum(line.counters.resent for line in track.lines),
                subscribers=len(track.lines),
            )
            for room in self._rooms.values()
            for session in room.sessions.values()
            for track_id, track in session.tracks.items()
        ]
        return WorkerStatistics(
            port=self.mux.candidates[0][1],
            rooms=len(self._rooms),
            sessions=len(self._room_of),
            strangers=self.mux.strangers,
            send_failures=self.mux.send_failures,
            longest_stall_s=stall,
            tasks=len(asyncio.all_tasks()),
            cpu_s=time.process_time(),
            tracks=tracks,
        )

    # --- time -----------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        tick = 0
        due = time.monotonic()
        while True:
            due += TICK_S
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
                now = time.monotonic()
            self._longest_stall_s = max(self._longest_stall_s, now - due)
            # After a stall the ticks missed are not made up for.
            due = max(due, now - TICK_S)
            tick = (tick + 1) % _TICKS_PER_SECOND
            try:
                self._tick(tick, now)
            except Exception:
                log.exception("a tick failed")

    def _tick(self, tick: int, now: float) -> None:
        def work(session: Session) -> None:
            session.watch_pictures(now)
            if self._phase.get(session.id) == tick:
                session.handle_second(now)

        self._of_each(work)
        for room in list(self._rooms.values()):
            room.report_speakers(now)

    def _of_each(self, work: Callable[[Session], Result]) -> list[Result]:
        """What is done for all sessions: one in which it fails costs no other anything."""
        results: list[Result] = []
        for session in [each for room in self._rooms.values() for each in room.sessions.values()]:
            try:
                results.append(work(session))
            except Exception:
                if session.id not in self._failing:
                    self._failing.add(session.id)  # it may fail ten times a second
                    log.exception("a session's work failed")
        return results

    def _hurry(self) -> None:
        if self._hurrying is None:
            self._hurrying = asyncio.get_running_loop().call_later(HURRY_S, self._handle_hurry)

    def _handle_hurry(self) -> None:
        self._hurrying = None
        now = time.monotonic()
        if any(self._of_each(lambda session: session.handle_tick(now))):
            self._hurry()

    async def _take_place(self) -> None:
        delay = self._pacer.take_place(time.monotonic())
        if delay > 0:
            await asyncio.sleep(delay)

    def _paced(self, callback: Callable[[], None]) -> None:
        delay = self._pacer.take_place(time.monotonic())
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, callback)
        else:
            callback()

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, callback)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())
