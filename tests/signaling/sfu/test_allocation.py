"""Two subscribers of the same cameras: what one's page and line say concerns that one alone."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.aiortc_seams import Certificate
from signaling.engines.sfu.bandwidth import FIRST_TRY_AFTER_S
from signaling.engines.sfu.codecs import NegotiatedCodec
from signaling.engines.sfu.published import PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket
from signaling.engines.sfu.subscribe import SubscribeConnection, SubscriberView
from signaling.engines.sfu.transport import MediaNetwork
from signaling.engines.sfu.udp import UdpMux
from signaling.messages import Track, TrackSource

CERTIFICATE = Certificate()
VOICE_BPS = 32_000.0
RATES = {"q": 150_000.0, "h": 500_000.0, "f": 1_500_000.0}


class Owner:
    def subscribe_connected(self) -> None: ...
    def subscribe_lost(self) -> None: ...


class House:
    def __init__(self) -> None:
        self.now = 100.0
        self._background: list[asyncio.Task[None]] = []
        mux = UdpMux(["127.0.0.1"], 9)
        self._network = MediaNetwork(
            mux, CERTIFICATE, lambda: self.now, self._spawn, lambda: None, lambda each: each(), lambda *_: None
        )
        self.connections: list[SubscribeConnection] = []

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(asyncio.create_task(work))

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
        await asyncio.gather(*self._background)

    def publish(self, track_id: str, source: TrackSource = "camera") -> PublishedTrack:
        """A track whose layers come and are measured."""
        kind = "audio" if source == "microphone" else "video"
        described = Track(id=track_id, participant_id="p", session_id="s", source=source, kind=kind, muted=False)
        track = PublishedTrack(described, "stream", heard=lambda *_: None, hurry=lambda: None)
        rids = list(RATES) if source == "camera" else []
        track.bind([NegotiatedCodec("VP8" if kind == "video" else "opus", 96, 97)], fresh=True, rids=rids)
        for index, layer in enumerate(track.layers):
            layer.receive(RtpPacket(96, 1, 1, 0, index, b"", b"\x10\x01x"), None, self.now)
            layer.rate_bps = RATES[layer.rid] if layer.rid else VOICE_BPS if kind == "audio" else 2_000_000.0
            layer.size = (1_280 >> (2 - index), 720 >> (2 - index)) if layer.rid else (1_920, 1_080)
        return track

    def subscribe(self, *tracks: PublishedTrack) -> SubscribeConnection:
        connection = SubscribeConnection(self._network, Owner())
        self.connections.append(connection)
        connection.set_tracks(tracks)
        for line, track in zip(connection.lines, tracks, strict=True):
            connection._attach(line, track)
        connection.allocate()
        return connection

    def settle(self) -> None:
        """Twenty seconds in which nobody's line says anything."""
        for _ in range(20):
            self.second()

    def second(self, sent_bps: dict[SubscribeConnection, float] | None = None) -> None:
        self.now += 1.0
        for connection in self.connections:
            for line in connection.lines:
                if line.target is not None:
                    line.counters.octets += int((line.target.rate_bps or 0) / 8)
            connection._judge_bandwidth(self.now)


def seen(connection: SubscribeConnection) -> dict[str, str | None]:
    """Track id → the rid that is sent; "all" of a track in one stream."""
    return {
        line.track.track.id: None if line.target is None else line.target.rid or "all"
        for line in connection.lines
        if line.track is not None
    }


def remb(bitrate_bps: float) -> bytes:
    return rtcp.receiver_report(1, ()) + rtcp.max_bitrate(1, int(bitrate_bps), [1])


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.close()


async def test_a_page_gets_what_its_tiles_need(house: House) -> None:
    a, b, voice = house.publish("a"), house.publish("b"), house.publish("v", "microphone")
    one, other = house.subscribe(a, b, voice), house.subscribe(a, b, voice)
    house.settle()
    one.set_view(SubscriberView({"a": (640, 360)}))
    assert seen(one) == {"a": "h", "b": None, "v": "all"}
    assert seen(other) == {"a": "f", "b": "f", "v": "all"}
    one.set_view(SubscriberView({"a": (640, 360), "b": (2_000, 1_100)}, {"b": 180}))
    assert seen(one) == {"a": "h", "b": "q", "v": "all"}, "a limit on the height holds whatever the tile"


async def test_one_bad_line_lowers_its_own_pictures_only(house: House) -> None:
    a, b, voice = house.publish("a"), house.publish("b"), house.publish("v", "microphone")
    bad, good = house.subscribe(a, b, voice), house.subscribe(a, b, voice)
    house.settle()
    bad.set_view(SubscriberView({"a": (1_280, 720), "b": (320, 180)}))
    house.second()
    assert seen(bad) == {"a": "f", "b": "q", "v": "all"}
    bad.receive_rtcp(remb(1_600_000))
    bad.receive_rtcp(remb(800_000))
    assert seen(bad) == {"a": "h", "b": "q", "v": "all"}
    assert seen(good) == {"a": "f", "b": "f", "v": "all"}
    house.second()
    house.second()
    bad.receive_rtcp(remb(300_000))
    house.second()
    house.second()
    bad.receive_rtcp(remb(200_000))
    assert seen(bad) == {"a": "q", "b": None, "v": "all"}, "the smaller tile goes first"
    house.second()
    house.second()
    for falling in (60_000, 50_000, 40_000):
        bad.receive_rtcp(remb(falling))
        house.second()
        house.second()
    assert seen(bad) == {"a": None, "b": None, "v": "all"}, "sound stays"
    for _ in range(int(FIRST_TRY_AFTER_S) + 120):
        house.second()
    assert seen(bad) == {"a": "f", "b": "q", "v": "all"}, "step by step, while the line says nothing"


async def test_a_detailed_voice_is_counted_as_what_it_costs(house: House) -> None:
    """A line of 700 kbit/s: with an ordinary voice there is room for the middle layer, with one of 300 kbit/s not."""
    a, voice = house.publish("a"), house.publish("v", "microphone")
    thin = house.subscribe(a, voice)
    house.settle()
    thin.receive_rtcp(remb(1_000_000))
    thin.receive_rtcp(remb(700_000))
    assert seen(thin) == {"a": "h", "v": "all"}
    voice.layers[0].rate_bps = 300_000.0
    house.second()
    assert seen(thin) == {"a": "q", "v": "all"}
    voice.layers[0].rate_bps = VOICE_BPS
    house.second()
    assert seen(thin) == {"a": "h", "v": "all"}


async def test_of_many_microphones_the_loudest_few_are_counted(house: House) -> None:
    """Thirty open ones would else leave a line of 1.2 Mbit/s no picture."""
    a, voices = house.publish("a"), [house.publish(f"v{number}", "microphone") for number in range(30)]
    thin = house.subscribe(a, *voices)
    house.settle()
    thin.receive_rtcp(remb(1_000_000))
    thin.receive_rtcp(remb(700_000))
    assert seen(thin)["a"] == "h"


async def test_loss_lowers_pictures(house: House) -> None:
    a = house.publish("a")
    connection = house.subscribe(a)
    house.settle()
    (line,) = connection.lines

    def report(highest: int, lost: int) -> None:
        connection.receive_rtcp(rtcp.receiver_report(1, [rtcp.ReportBlock(line.ssrc, 0, lost, highest, 0, 0, 0)]))

    report(1_000, 0)
    for lost in range(1, 30):
        report(1_000 + 100 * lost, 15 * lost)
        house.second()
        assert seen(connection) == {"a": "f"}, "a bad radio is no thin line"
    report(4_000, 480)
    house.second()
    assert seen(connection) == {"a": "h"}


async def test_a_screen_in_one_stream_comes_whole_or_not_at_all(house: House) -> None:
    screen, face = house.publish("s", "screen"), house.publish("a")
    connection = house.subscribe(screen, face)
    house.settle()
    house.second()
    connection.set_view(SubscriberView({"s": (1_600, 900), "a": (320, 180)}))
    assert seen(connection) == {"s": "all", "a": "q"}
    connection.receive_rtcp(remb(2_300_000))
    connection.receive_rtcp(remb(1_000_000))
    for _ in range(3):
        house.second()
    connection.receive_rtcp(remb(600_000))
    assert seen(connection) == {"s": None, "a": "q"}


async def test_what_a_page_asks_for_is_known_whatever_its_line_carries(house: House) -> None:
    a, b = house.publish("a"), house.publish("b")
    one, other = house.subscribe(a, b), house.subscribe(a, b)
    one.set_view(SubscriberView({"a": (640, 360)}))
    other.set_view(SubscriberView({"a": (200, 112)}, {"b": None}))
    assert [[line.asked for line in connection.lines] for connection in (one, other)] == [[2, 0], [1, 0]]
    house.settle()
    one.receive_rtcp(remb(400_000))
    house.second()
    house.second()
    one.receive_rtcp(remb(300_000))
    assert seen(one)["a"] == "q"
    assert one.lines[0].asked == 2
