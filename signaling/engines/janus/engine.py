"""The `janus` engine: it places rooms on gateways and tells their sessions when one is lost.

A room lives on one gateway, from its first session to its last; which, is in this process's memory. A
gateway that dies takes its rooms along: their sessions are told `worker_lost`, begin again at once, and
the room is made on another gateway (or the same, when it is back).
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from signaling.engines import (
    DescriptionToSend,
    EngineHealth,
    EngineSink,
    EngineUnavailable,
    Fallback,
    MediaGrants,
    PeerConnectionLost,
    ReachabilityTarget,
)
from signaling.engines.granted import is_granted
from signaling.engines.janus import description
from signaling.engines.janus.errors import JanusLost, JanusRefused
from signaling.engines.janus.messages import NO_SUCH_ROOM
from signaling.engines.janus.node import JanusNode, NodeState
from signaling.engines.janus.placement import least_loaded
from signaling.engines.janus.room import Room
from signaling.engines.janus.session import Session
from signaling.engines.janus.tokens import TokenSigner
from signaling.engines.sfu.sdp import SdpError
from signaling.messages import (
    Candidate,
    EngineName,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    ShownTrack,
    Subscription,
    TrackSource,
)
from signaling.voice_packet import VoiceRun

log = logging.getLogger(__name__)

START_S = 3.0
"""How long the start waits for a first gateway. It goes on without: gateways may start later."""
STOP_S = 3.0
WAIT_FOR_NODE_S = 8.0
"""Who comes while no gateway is ready waits for one: a restart takes seconds."""
TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """One gateway, as an operator sees it."""

    state: NodeState
    rooms: int
    sessions: int


class JanusEngine:
    """Implements `signaling.engines.MediaEngine`."""

    def __init__(
        self,
        sink: EngineSink,
        urls: Sequence[str],
        *,
        token_secret: str | None = None,
        admin_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`urls`: of the gateways' WebSockets. `token_secret`: their `token_auth_secret`, None: they ask
        for no tokens. `admin_key`: the VideoRoom's, None: anyone may make rooms there."""
        self._sink = sink
        self._clock = clock
        signer = TokenSigner(token_secret)
        self._nodes = [JanusNode(index, url, signer, admin_key, self._node_lost) for index, url in enumerate(urls)]
        self._rooms: dict[str, Room] = {}
        self._sessions: dict[str, Session] = {}
        self._in_order: dict[str, asyncio.Lock] = {}
        """By session: a mute must not overtake the offer of what it mutes."""
        self._timer: asyncio.Task[None] | None = None

    @property
    def name(self) -> EngineName:
        return "janus"

    async def start(self) -> None:
        for node in self._nodes:
            node.start()
        self._timer = asyncio.create_task(self._tick())
        await self._wait_for_node(START_S)

    async def stop(self) -> None:
        # In good order, so that what disappears is told; a gateway that hangs is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(self.close_session(session_id) for session_id in tuple(self._sessions)))
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
            self._timer = None
        await asyncio.gather(*(node.stop() for node in self._nodes))
        self._sessions.clear()
        self._rooms.clear()
        self._in_order.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for session in tuple(self._sessions.values()):
                session.handle_timer(now)

    # --- gateways -------------------------------------------------------------------------------

    def _loads(self) -> Mapping[int, int]:
        """Sessions of each gateway that takes rooms."""
        loads = {node.index: 0 for node in self._nodes if node.state == "ready"}
        for session in self._sessions.values():
            if session.room.node.index in loads:
                loads[session.room.node.index] += 1
        return loads

    async def _wait_for_node(self, timeout_s: float) -> bool:
        if not any(node.state == "ready" for node in self._nodes):
            waiting = [asyncio.create_task(node.became_ready.wait()) for node in self._nodes if not node.is_draining]
            if not waiting:
                return False
            try:
                await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
        return any(node.state == "ready" for node in self._nodes)

    def _node_lost(self, index: int) -> None:
        self._lose([room for room in self._rooms.values() if room.node.index == index])

    def _lose(self, rooms: Sequence[Room]) -> Sequence[Session]:
        """What was in them is gone: everyone is told, and may begin again at once, elsewhere. Who was in them."""
        lost: list[Session] = []
        for room in rooms:
            self._rooms.pop(room.id, None)
            lost += room.sessions.values()
        for session in lost:
            self._sessions.pop(session.id, None)
            self._in_order.pop(session.id, None)
            session.end()
        for session in lost:
            self._sink(PeerConnectionLost(session.room.id, session.id, None, "worker_lost"))
        return lost

    def drain(self, index: int, *, draining: bool = True) -> None:
        """While it drains a gateway takes no new room; those it has go on to their end.

        Raises: IndexError."""
        self._nodes[index].is_draining = draining

    # --- sessions -------------------------------------------------------------------------------

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        if session_id in self._sessions:
            return
        room = await self._room(room_id)
        session = Session(room, session_id, participant_id, grants, self._sink, self._clock)
        self._sessions[session_id] = room.sessions[session_id] = session
        self._in_order[session_id] = asyncio.Lock()
        session.refresh_subscription()

    async def _room(self, room_id: str) -> Room:
        """Raises: EngineUnavailable."""
        if room_id not in self._rooms and not await self._wait_for_node(WAIT_FOR_NODE_S):
            raise EngineUnavailable("no media gateway is ready")
        room = self._rooms.get(room_id)
        if room is not None:
            return room
        index = least_loaded(self._loads())
        connection = None if index is None else self._nodes[index].connection
        if index is None or connection is None:
            raise EngineUnavailable("the media gateways are full")
        room = self._rooms[room_id] = Room(room_id, self._nodes[index], connection, self._sink)
        return room

    async def close_session(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        self._in_order.pop(session_id, None)
        room = session.room
        session.end()
        room.sessions.pop(session_id, None)
        if not room.sessions and self._rooms.get(room.id) is room:
            del self._rooms[room.id]
        room.tracks_changed()
        await session.close()
        if not room.sessions:
            await room.end()

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        # Not in order: what is no longer allowed stops at once, and an offer under way is judged after it.
        session = self._sessions.get(session_id)
        if session is not None:
            await self._guarded(session, "publish", session.set_grants(grants))

    # --- what clients say -------------------------------------------------------------------------

    async def _in_turn(
        self, session_id: str, pc: PeerConnectionName, work: Callable[[Session], Awaitable[None]]
    ) -> None:
        """Raises: ValueError."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        async with self._in_order[session_id]:
            if not session.is_closed:
                await self._guarded(session, pc, work(session))

    async def _guarded(self, session: Session, pc: PeerConnectionName, work: Awaitable[None]) -> None:
        """A gateway that is lost has everyone told; one that says no loses what it said no to.

        Raises: ValueError."""
        try:
            await work
        except JanusLost:
            log.info("a command came too late for its gateway")
        except JanusRefused as error:
            if error.code == NO_SUCH_ROOM:
                log.warning("a room is gone from Janus %d", session.room.node.index)
                if self._rooms.get(session.room.id) is session.room:
                    # The gateway has forgotten the room, not the handles that were in it.
                    await asyncio.gather(*(each.close() for each in self._lose([session.room])))
            elif not session.is_closed:
                log.warning("Janus %d refused %s with %d", session.room.node.index, pc, error.code)
                self._sink(PeerConnectionLost(session.room.id, session.id, pc, "failed"))

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

        async def publish(session: Session) -> None:
            answer = await session.receive_publish_offer(description.sdp, media)
            sent = SessionDescription(type="answer", sdp=answer)
            self._sink(DescriptionToSend(session.room.id, session_id, "publish", negotiation, sent))

        async def subscribe(session: Session) -> None:
            await session.receive_subscribe_answer(negotiation, description.sdp)

        await self._in_turn(session_id, pc, publish if pc == "publish" else subscribe)

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        """Not needed: the gateway learns the client's addresses from its checks."""

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        await self._in_turn(session_id, "publish", lambda session: session.set_muted(track_id, muted))

    async def unpublish(self, session_id: str, track_id: str) -> None:
        await self._in_turn(session_id, "publish", lambda session: session.unpublish(track_id))

    async def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        async def follow(session: Session) -> None:
            session.set_wanted(None if wanted is None else {each.track_id: each.max_height for each in wanted})

        await self._in_turn(session_id, "subscribe", follow)

    async def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        async def follow(session: Session) -> None:
            session.set_layout({each.track_id: (each.width, each.height) for each in shown})

        await self._in_turn(session_id, "subscribe", follow)

    async def set_fallback(self, session_id: str, wish: Fallback) -> None:
        if wish.track_id is not None or wish.listens:
            raise EngineUnavailable("a Janus gateway takes no voice but by its own peer connections")

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        return None

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        await self._in_turn(session_id, pc, lambda session: session.rebuild(pc))

    # --- WHIP and WHEP --------------------------------------------------------------------------

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        answers: list[str] = []

        async def publish(session: Session) -> None:
            answers.append(await session.receive_publish_offer(offer_sdp, self._whip_media(session, offer_sdp)))

        await self._in_turn(session_id, "publish", publish)
        if not answers:
            raise EngineUnavailable("the media session is gone")
        return answers[0]

    def _whip_media(self, session: Session, offer_sdp: str) -> Sequence[PublishedMedia]:
        """Raises: SdpError."""
        media: list[PublishedMedia] = []
        sources: dict[str, TrackSource] = {"audio": "microphone", "video": "camera"}
        for section in description.read_description(offer_sdp).sections:
            source = sources.get(section.kind)
            if source is not None and section.sends and section.is_media:
                del sources[section.kind]
                media.append(PublishedMedia(mid=section.mid, track_id=secrets.token_hex(16), source=source))
        if not any(is_granted(each.source, session.grants) for each in media):
            raise SdpError("nothing in the offer that may be published")
        return media

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        raise EngineUnavailable("there is no WHEP by Janus, which takes no offers of viewers: watch by the page")

    # --- how it is ------------------------------------------------------------------------------

    def health(self) -> EngineHealth:
        ready = sum(node.connection is not None for node in self._nodes)
        reconnections = sum(node.reconnections for node in self._nodes)
        detail = f"{ready} of {len(self._nodes)} Janus gateways ready, lost {reconnections} times"
        return EngineHealth(ready > 0, len(self._rooms), len(self._sessions), detail, workers=ready)

    def reachability(self) -> Sequence[ReachabilityTarget]:
        """None: a gateway answers only who has a session there."""
        return ()

    def gateways(self) -> Sequence[GatewayReport]:
        """Each gateway, in the order of their URLs."""
        return tuple(
            GatewayReport(
                node.state,
                sum(room.node is node for room in self._rooms.values()),
                sum(session.room.node is node for session in self._sessions.values()),
            )
            for node in self._nodes
        )
