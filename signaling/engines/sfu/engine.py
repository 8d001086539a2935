"""The `sfu` engine in the web process: it places rooms in worker processes and speaks for them.

Nothing of the media is here: a slow page never disturbs a sound, nor the reverse.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from signaling.engines import (
    EngineEvent,
    EngineHealth,
    EngineSink,
    EngineUnavailable,
    Fallback,
    MediaGrants,
    PeerConnectionLost,
    ReachabilityTarget,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.sfu import control
from signaling.engines.sfu.addresses import usable_addresses
from signaling.engines.sfu.control import WorkerStatistics
from signaling.engines.sfu.placement import Placement, worker_load
from signaling.engines.sfu.worker_process import WorkerKeeper, WorkerLost, WorkerProcess
from signaling.messages import (
    Candidate,
    EngineName,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    ShownTrack,
    Subscription,
)
from signaling.voice_packet import VoiceRun

log = logging.getLogger(__name__)

MAX_SESSIONS_PER_WORKER = 400
"""Sessions that only wait cost little, but each may become two peer connections."""
STOP_S = 3.0
FIRST_WORKER_S = 20.0
"""For the first to come up: longer than one may take (`worker_process.START_S`). Then the server is there without, and
they are tried on: after a power cut everything on the machine starts at once."""
WAIT_FOR_WORKER_S = 8.0
"""A worker that died is back within 3 s; who comes meanwhile waits for it."""


@dataclass(slots=True)
class _Session:
    room_id: str
    worker: int
    in_order: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A mute must not overtake the offer of what it mutes, which may wait for its turn to join."""
    tracks: set[str] = field(default_factory=set)


class SfuEngine:
    """Implements `signaling.engines.MediaEngine`."""

    def __init__(
        self, sink: EngineSink, media_addresses: Sequence[str] = (), udp_port: int = 0, workers: int = 1
    ) -> None:
        """`media_addresses`: what media bind to and offer, best first; none: this machine's own
        addresses. `udp_port`: of the first worker, the next ones take the ports after it; 0: any.

        Raises: ValueError for what is not an IP address."""
        self._sink = sink
        self._addresses = usable_addresses(media_addresses)
        self._udp_port = udp_port
        self._count = workers
        self._keepers: list[WorkerKeeper] = []
        self._placement = Placement()
        self._sessions: dict[str, _Session] = {}

    @property
    def name(self) -> EngineName:
        return "sfu"

    async def start(self) -> None:
        """Raises: EngineUnavailable when no worker is up yet; they are tried on until `stop`."""
        for index in range(self._count):
            arguments = [f"--address={address}" for address in self._addresses]
            if self._udp_port:
                arguments.append(f"--port={self._udp_port + index}")
            keeper = WorkerKeeper(arguments, self._event, self._lost_callback(index), self._has_worker)
            self._keepers.append(keeper)
            keeper.start()
        if not await self._wait_for_worker(FIRST_WORKER_S):
            raise EngineUnavailable("no media worker could be started")

    def _lost_callback(self, index: int) -> Callable[[], None]:
        return lambda: self._worker_lost(index)

    async def stop(self) -> None:
        # In good order, so that what disappears is told; a worker that hangs is not waited for.
        closing = [self.close_session(session_id) for session_id in self._sessions]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*closing)
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
        self._keepers.clear()
        self._sessions.clear()
        self._placement = Placement()

    # --- workers --------------------------------------------------------------------------------

    def _loads(self) -> dict[int, float]:
        """Of every worker that takes sessions now."""
        counts = [0] * len(self._keepers)
        for session in self._sessions.values():
            counts[session.worker] += 1
        return {
            index: worker_load(keeper.cpu_share, counts[index])
            for index, keeper in enumerate(self._keepers)
            if keeper.current is not None and counts[index] < MAX_SESSIONS_PER_WORKER
        }

    async def _wait_for_worker(self, timeout_s: float = WAIT_FOR_WORKER_S) -> bool:
        if self._has_worker():
            return True
        if not self._keepers:
            return False
        waiting = [asyncio.create_task(keeper.became_ready.wait()) for keeper in self._keepers]
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return self._has_worker()

    def _has_worker(self) -> bool:
        return any(keeper.current is not None for keeper in self._keepers)

    def _worker(self, index: int) -> WorkerProcess:
        """Raises: WorkerLost."""
        worker = self._keepers[index].current if index < len(self._keepers) else None
        if worker is None:
            raise WorkerLost("the media worker is gone")
        return worker

    def _worker_lost(self, index: int) -> None:
        self._placement.forget_worker(index)
        if not self._has_worker():
            for keeper in self._keepers:
                keeper.hurry()
        lost = {session_id: each for session_id, each in self._sessions.items() if each.worker == index}
        for session_id in lost:
            del self._sessions[session_id]
        for session in lost.values():
            for track_id in session.tracks:
                self._sink(TrackDisappeared(session.room_id, track_id))
        for session_id, session in lost.items():
            self._sink(PeerConnectionLost(session.room_id, session_id, None, "worker_lost"))

    def _event(self, event: EngineEvent) -> None:
        match event:
            case TrackAppeared():
                if session := self._sessions.get(event.track.session_id):
                    session.tracks.add(event.track.id)
            case TrackDisappeared():
                for session in self._sessions.values():
                    session.tracks.discard(event.track_id)
        self._sink(event)

    async def _ask(self, session: _Session, make: Callable[[int], control.AnyAnswered]) -> control.Done:
        """Raises: WorkerLost; ValueError when the description was refused."""
        done = await self._worker(session.worker).request(make)
        if done.refused is not None:
            raise ValueError(done.refused)
        return done

    async def _tell(
        self, session_id: str, make: Callable[[int], control.AnyAnswered], *, in_order: bool = True
    ) -> None:
        """As `_ask`, for what needs no answer: a lost worker is told to everyone by an event."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        try:
            if in_order:
                async with session.in_order:
                    await self._ask(session, make)
            else:
                await self._ask(session, make)
        except WorkerLost:
            log.info("a command came too late for its worker")

    # --- the contract ---------------------------------------------------------------------------

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        if not await self._wait_for_worker():
            raise EngineUnavailable("no media worker is ready")
        loads = self._loads()
        index = self._placement.place(room_id, loads)
        if index is None or index not in loads:
            self._forget_empty_room(room_id)
            raise EngineUnavailable("the media worker is full")
        self._sessions[session_id] = session = _Session(room_id, index)
        try:
            await self._ask(
                session,
                lambda number: control.OpenSession(
                    request=number, room_id=room_id, session_id=session_id, participant_id=participant_id, grants=grants
                ),
            )
        except WorkerLost:
            self._sessions.pop(session_id, None)
            self._forget_empty_room(room_id)
            raise EngineUnavailable("the media worker was lost") from None

    def _forget_empty_room(self, room_id: str) -> None:
        if not any(session.room_id == room_id for session in self._sessions.values()):
            self._placement.forget_room(room_id)

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        # Not in order: what is no longer allowed stops at once, and an offer under way is judged after it.
        await self._tell(
            session_id,
            lambda number: control.SetGrants(request=number, session_id=session_id, grants=grants),
            in_order=False,
        )

    async def close_session(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            return
        try:
            await self._ask(session, lambda number: control.CloseSession(request=number, session_id=session_id))
        except WorkerLost:
            return
        # Another session may have been opened under the id meanwhile.
        if self._sessions.get(session_id) is session:
            del self._sessions[session_id]
        self._forget_empty_room(session.room_id)

    async def receive_description(
        self,
        session_id: str,
        pc: PeerConnectionName,
        negotiation: int,
        description: SessionDescription,
        media: Sequence[PublishedMedia],
        to_session_id: str | None,
    ) -> None:
        if (pc, description.type) not in (("publish", "offer"), ("subscribe", "answer")):
            raise ValueError("publish wants offers, subscribe wants answers")
        sdp = description.sdp
        if pc == "publish":
            await self._tell(
                session_id,
                lambda number: control.PublishOffer(
                    request=number, session_id=session_id, negotiation=negotiation, sdp=sdp, media=list(media)
                ),
            )
        else:
            await self._tell(
                session_id,
                lambda number: control.SubscribeAnswer(
                    request=number, session_id=session_id, negotiation=negotiation, sdp=sdp
                ),
            )

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        """Not needed: an ICE-lite agent learns the client's addresses from its checks."""

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        await self._tell(
            session_id,
            lambda number: control.SetMuted(request=number, session_id=session_id, track_id=track_id, muted=muted),
        )

    async def unpublish(self, session_id: str, track_id: str) -> None:
        await self._tell(
            session_id,
            lambda number: control.Unpublish(request=number, session_id=session_id, track_id=track_id),
        )

    async def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        tracks = None if wanted is None else list(wanted)
        await self._tell(
            session_id,
            lambda number: control.SetSubscription(request=number, session_id=session_id, wanted=tracks),
        )

    async def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        tracks = list(shown)
        await self._tell(
            session_id,
            lambda number: control.SetLayout(request=number, session_id=session_id, shown=tracks),
        )

    async def set_fallback(self, session_id: str, wish: Fallback) -> None:
        await self._tell(
            session_id, lambda number: control.SetFallback(request=number, session_id=session_id, wish=wish)
        )

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            with contextlib.suppress(WorkerLost):
                self._worker(session.worker).tell_voice(session_id, runs)

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        await self._tell(session_id, lambda number: control.Rebuild(request=number, session_id=session_id, pc=pc))

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        return await self._accept(
            session_id,
            lambda number: control.AcceptWhip(request=number, session_id=session_id, sdp=offer_sdp),
        )

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        return await self._accept(
            session_id,
            lambda number: control.AcceptWhep(request=number, session_id=session_id, sdp=offer_sdp),
        )

    async def _accept(self, session_id: str, make: Callable[[int], control.AnyAnswered]) -> str:
        session = self._sessions.get(session_id)
        if session is None:
            raise EngineUnavailable("the media session is gone")
        try:
            async with session.in_order:
                done = await self._ask(session, make)
        except WorkerLost:
            raise EngineUnavailable("the media worker was lost") from None
        if done.sdp is None:
            raise EngineUnavailable("the media session is gone")
        return done.sdp

    def health(self) -> EngineHealth:
        ready = sum(keeper.current is not None for keeper in self._keepers)
        restarts = sum(keeper.restarts for keeper in self._keepers)
        detail = f"{ready} of {len(self._keepers)} media workers ready, {restarts} restarts"
        return EngineHealth(ready > 0, len(self._placement), len(self._sessions), detail, ready)

    def reachability(self) -> Sequence[ReachabilityTarget]:
        ready = [keeper.ready for keeper in self._keepers if keeper.current is not None]
        return [
            ReachabilityTarget(tuple(self._addresses), each.port, each.ufrag, each.password)
            for each in ready
            if each is not None
        ]

    # --- beyond the contract --------------------------------------------------------------------

    @property
    def udp_ports(self) -> list[int]:
        """Of the workers that are ready, for the operator's firewall page and the start's message."""
        return [target.port for target in self.reachability()]

    @property
    def worker_pids(self) -> list[int]:
        """Of the workers that are ready."""
        workers = [keeper.current for keeper in self._keepers]
        return [worker.pid for worker in workers if worker is not None and worker.pid is not None]

    async def statistics(self) -> list[WorkerStatistics]:
        """Of every worker that answers, asked now."""
        workers = [keeper.current for keeper in self._keepers if keeper.current is not None]
        answers = await asyncio.gather(*(worker.statistics() for worker in workers), return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, WorkerStatistics)]
