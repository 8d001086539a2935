"""Publishers and subscribers of one load, by the engines' contract: the same for every engine."""

import asyncio
import re
import time
from dataclasses import dataclass

from benchmarks.media.peer import LightPeer
from signaling.engines import DescriptionToSend, EngineEvent, MediaEngine, MediaGrants
from signaling.engines.sfu.aiortc_seams import Certificate
from signaling.engines.sfu.codecs import MID, offered_codecs, offered_extensions
from signaling.engines.sfu.rtp import ExtensionWriter
from signaling.engines.sfu.sdp import SentStream, WrittenSection, parse_description, write_description
from signaling.messages import PublishedMedia, SessionDescription

GRANTS = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True)
PAYLOAD_BYTES = 1_100
BURSTS_PER_S = 30
"""Frames: what a burst has is forwarded at once."""
PACKETS_PER_BURST = 4
"""120 packets a second, 1.06 Mbit/s."""
CHECK_EVERY_S = 2.0
JOIN_DEADLINE_S = 60.0
JOINS_AT_ONCE = 10
DRAIN_S = 0.5
MEASURING_PEERS = 4
"""Subscribers that decrypt: each costs the generator a microsecond a packet."""
GOOD_LINE_BPS = 1_000_000_000
_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shape:
    """So many rooms, in each one publisher and so many subscribers."""

    rooms: int
    subscribers_each: int
    tracks: int = 1
    """Of each publisher. What a track may send is bounded by the worker (MAX_PACKETS_PER_S, twelve times the
    rate), so a publisher that sends more shares it out among several."""

    @property
    def joins(self) -> int:
        return self.rooms * (1 + self.subscribers_each)

    @property
    def packets_per_s(self) -> int:
        """Forwarded, at one times the rate."""
        return self.rooms * self.subscribers_each * BURSTS_PER_S * PACKETS_PER_BURST


@dataclass(frozen=True, slots=True)
class Sent:
    expected: int
    """Packets that should have been delivered."""
    received: int
    seconds: float
    delays_s: list[float]


class Generator:
    """`hear` is the engine's sink; `build` makes the peers, `send` one stretch of media, `close` ends all."""

    def __init__(self, shape: Shape, address: str) -> None:
        self._shape = shape
        self._address = address
        self._certificate = Certificate()
        self._publishers: list[LightPeer] = []
        self._subscribers: list[LightPeer] = []
        self._sessions: list[str] = []
        self._descriptions: dict[tuple[str, str], asyncio.Queue[DescriptionToSend]] = {}
        self._burst = 0
        self._sequences = [0] * shape.tracks

    def hear(self, event: EngineEvent) -> None:
        if isinstance(event, DescriptionToSend):
            self._queue(event.session_id, event.pc).put_nowait(event)

    def _queue(self, session_id: str, pc: str) -> asyncio.Queue[DescriptionToSend]:
        return self._descriptions.setdefault((session_id, pc), asyncio.Queue())

    # --- joining --------------------------------------------------------------------------------

    async def build(self, engine: MediaEngine) -> None:
        async with asyncio.timeout(JOIN_DEADLINE_S):
            for room in range(self._shape.rooms):
                await self._publish(engine, f"room-{room}", f"p{room}")
            viewers = self._shape.rooms * self._shape.subscribers_each
            for first in range(0, viewers, JOINS_AT_ONCE):
                at_once = range(first, min(viewers, first + JOINS_AT_ONCE))
                await asyncio.gather(*(self._subscribe(engine, number) for number in at_once))

    async def _publish(self, engine: MediaEngine, room_id: str, session_id: str) -> None:
        peer = await self._open(engine, room_id, session_id, measures=False)
        self._publishers.append(peer)
        sections = [
            WrittenSection(
                "video",
                str(track),
                "sendonly",
                offered_codecs("video"),
                offered_extensions("video"),
                ssrc=self._ssrc(peer, track),
                stream=SentStream("bench", f"{session_id}-{track}", "bench"),
            )
            for track in range(self._shape.tracks)
        ]
        offer = write_description(1, 1, peer.describe("actpass"), sections)
        media = [
            PublishedMedia(mid=str(track), track_id=f"{session_id}-{track}", source="camera")
            for track in range(self._shape.tracks)
        ]
        await engine.receive_description(
            session_id, "publish", 1, SessionDescription(type="offer", sdp=offer), media, None
        )
        await self._connect(peer, (await self._queue(session_id, "publish").get()).description.sdp)

    def _ssrc(self, peer: LightPeer, track: int) -> int:
        return 1 + self._publishers.index(peer) * self._shape.tracks + track

    async def _subscribe(self, engine: MediaEngine, number: int) -> None:
        session_id, room_id = f"s{number}", f"room-{number % self._shape.rooms}"
        peer = await self._open(engine, room_id, session_id, measures=number < MEASURING_PEERS)
        self._subscribers.append(peer)
        offer = await self._queue(session_id, "subscribe").get()
        sections = [
            WrittenSection("video", each.mid, "recvonly", offered_codecs("video"), offered_extensions("video"))
            for each in parse_description(offer.description.sdp).sections
        ]
        answer = SessionDescription(type="answer", sdp=write_description(1, 1, peer.describe("active"), sections))
        connecting = asyncio.create_task(self._connect(peer, offer.description.sdp))
        await engine.receive_description(session_id, "subscribe", offer.negotiation, answer, [], None)
        await connecting

    async def _open(self, engine: MediaEngine, room_id: str, session_id: str, *, measures: bool) -> LightPeer:
        await engine.open_session(room_id, session_id, session_id, GRANTS)
        self._sessions.append(session_id)
        return LightPeer(self._certificate, self._address, measures=measures)

    async def _connect(self, peer: LightPeer, sdp: str) -> None:
        found = _CANDIDATE.search(sdp)
        assert found is not None, "no candidate in the server's description"
        peer.connect(parse_description(sdp), (found[1], int(found[2])))
        while not peer.connected.is_set():
            # An answer may still be on its way to the server: its checks are answered then.
            try:
                async with asyncio.timeout(0.2):
                    await peer.connected.wait()
            except TimeoutError:
                peer.check()

    # --- media ------------------------------------------------------------------------------------

    async def send(self, factor: int, seconds: float) -> Sent:
        """Every publisher sends `factor` times its rate."""
        for peer in self._subscribers:
            peer.delays_s.clear()
        received, sent = self._received(), 0
        begin, bursts = time.monotonic(), int(seconds * BURSTS_PER_S)
        for number in range(bursts):
            await asyncio.sleep(max(0.0, begin + number / BURSTS_PER_S - time.monotonic()))
            if number % int(CHECK_EVERY_S * BURSTS_PER_S) == 0:
                for peer in (*self._publishers, *self._subscribers):
                    peer.check()
                for peer in self._subscribers:
                    peer.allow(GOOD_LINE_BPS)
            sent += self._send_burst(PACKETS_PER_BURST * factor)
        took = time.monotonic() - begin
        await asyncio.sleep(DRAIN_S)
        delays = [delay for peer in self._subscribers for delay in peer.delays_s]
        return Sent(sent * self._shape.subscribers_each, self._received() - received, took, delays)

    def _send_burst(self, packets: int) -> int:
        """Of each publisher, shared out among its tracks."""
        shares = [
            packets // self._shape.tracks + (track < packets % self._shape.tracks)
            for track in range(self._shape.tracks)
        ]
        for track, share in enumerate(shares):
            self._send_picture(track, share)
        self._burst += 1
        return packets * len(self._publishers)

    def _send_picture(self, track: int, packets: int) -> None:
        block = ExtensionWriter(str(track), offered_extensions("video")[MID], None, None).block(bytes(3), None)
        # VP8 (RFC 7741): a first packet of a key frame every second, else of others.
        key, delta = (
            bytearray(b"\x10\x00" + bytes(PAYLOAD_BYTES - 2)),
            bytearray(b"\x00\x01" + bytes(PAYLOAD_BYTES - 2)),
        )
        for number in range(packets):
            payload = key if number == 0 and self._burst % BURSTS_PER_S == 0 else delta
            for index, peer in enumerate(self._publishers):
                ssrc = 1 + index * self._shape.tracks + track
                peer.send_packet(self._sequences[track] & 0xFFFF, self._burst * 3_000, ssrc, block, payload)
            self._sequences[track] += 1

    def _received(self) -> int:
        return sum(peer.received for peer in self._subscribers)

    async def close(self, engine: MediaEngine) -> None:
        for session_id in self._sessions:
            await engine.close_session(session_id)
        for peer in (*self._publishers, *self._subscribers):
            await peer.close()
