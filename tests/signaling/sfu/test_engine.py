"""The engine with its worker process, and aiortc clients over loopback."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from signaling.engines import (
    DescriptionToSend,
    EngineUnavailable,
    MediaGrants,
    PeerConnectionLost,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.sfu import SfuEngine
from signaling.messages import PublishedMedia, SessionDescription, ShownTrack, Subscription
from tests.support.deadlines import SECOND
from tests.support.media_session import EVERYTHING, AiortcClient, RecordedEvents, clients, eventually

DEADLINE = 8 * SECOND
LISTENER = MediaGrants(publish_audio=False, publish_video=False, publish_screen=False, subscribe=True)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def plays(client: AiortcClient, *track_ids: str, frames: int = 5) -> None:
    """Each of the tracks goes on being decoded."""
    before = dict(client.frames)
    await eventually(
        lambda: all(client.frames.get(each, 0) >= before.get(each, 0) + frames for each in track_ids),
        DEADLINE,
        f"{track_ids} of {client.frames}",
    )


def appeared(track_id: str) -> object:
    return lambda event: isinstance(event, TrackAppeared) and event.track.id == track_id


def disappeared(track_id: str) -> object:
    return lambda event: isinstance(event, TrackDisappeared) and event.track_id == track_id


def is_offer_to(session_id: str) -> object:
    return lambda event: (
        isinstance(event, DescriptionToSend) and (event.pc, event.session_id) == ("subscribe", session_id)
    )


async def forwarded(engine: SfuEngine, track_id: str) -> int:
    (worker,) = await engine.statistics()
    return sum(track.packets_forwarded for track in worker.tracks if track.track_id == track_id)


async def test_tracks_reach_everyone_in_the_room_and_nobody_else(engine: SfuEngine, events: RecordedEvents) -> None:
    async with (
        clients(engine, events, "one", "a", "b", "c") as (a, b, c),
        clients(engine, events, "two", "x", "y") as (x, y),
    ):
        await asyncio.gather(a.publish_tracks("camera", "microphone"), x.publish_tracks("microphone"))
        await asyncio.gather(
            plays(b, "a-camera", "a-microphone"), plays(c, "a-camera", "a-microphone"), plays(y, "x-microphone")
        )
        assert set(a.frames) == set()
        assert set(b.frames) == {"a-camera", "a-microphone"}
        assert set(y.frames) == {"x-microphone"}


async def test_h264_passes(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", codec="H264")
        await plays(b, "a-camera")


async def test_a_track_that_comes_takes_the_line_of_one_that_went(engine: SfuEngine, events: RecordedEvents) -> None:
    """Fifty comings and goings do not make fifty m-lines."""
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        for _ in range(3):
            await engine.unpublish("a", "a-microphone")
            await eventually(lambda: not b.mids, DEADLINE, "the line is idle")
            await a.publish_tracks("microphone")
            await plays(b, "a-microphone")
        assert b.receive is not None
        assert len(b.receive.getTransceivers()) == 1


async def test_a_session_names_the_tracks_it_wants(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await engine.subscribe("b", [Subscription(track_id="a-microphone"), Subscription(track_id="unknown")])
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-microphone")
        assert "a-camera" not in b.frames
        await engine.subscribe("b", None)
        await plays(b, "a-camera", "a-microphone")
        await engine.subscribe("b", [])
        count = await forwarded(engine, "a-camera")
        await eventually(lambda: not b.mids, DEADLINE)
        assert await forwarded(engine, "a-camera") <= count


async def test_only_pictures_of_the_layout_come_and_every_sound(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        offers = len(events.of(DescriptionToSend))
        await engine.set_layout("b", [ShownTrack(track_id="unknown", width=320, height=180)])
        count = await forwarded(engine, "a-camera")
        await plays(b, "a-microphone", frames=20)
        assert await forwarded(engine, "a-camera") == count
        await engine.set_layout("b", [ShownTrack(track_id="a-camera", width=320, height=180)])
        await plays(b, "a-camera", "a-microphone")
        assert len(events.of(DescriptionToSend)) == offers, "nothing is negotiated for it"


async def test_a_mute_stops_packets_and_is_told(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        since = len(events.all)
        await engine.set_track_muted("a", "a-microphone", True)
        told = await events.wait_for(lambda event: isinstance(event, TrackAppeared), DEADLINE, since)
        assert told.track.muted
        count = await forwarded(engine, "a-microphone")
        await plays(b, "a-camera", frames=10)
        assert await forwarded(engine, "a-microphone") == count
        await engine.set_track_muted("a", "a-microphone", False)
        await plays(b, "a-microphone")


async def test_what_is_no_longer_allowed_stops_at_once(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        since = len(events.all)
        await engine.set_grants("a", MediaGrants(True, False, False, True))
        await events.wait_for(disappeared("a-camera"), DEADLINE, since)
        await plays(b, "a-microphone", frames=20)  # and what was in the decoder's queue
        before = b.frames["a-camera"]
        await plays(b, "a-microphone", frames=20)
        assert b.frames["a-camera"] == before
        await engine.set_grants("b", MediaGrants(True, True, True, False))
        await eventually(lambda: not b.mids, DEADLINE)
        (worker,) = await engine.statistics()
        assert all(track.subscribers == 0 for track in worker.tracks)


async def test_a_forbidden_source_is_answered_inactive(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await engine.set_grants("a", MediaGrants(True, False, False, True))
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-microphone")
        answer = next(event.description.sdp for event in events.of(DescriptionToSend) if event.pc == "publish")
        video = answer[answer.index("m=video") :]
        assert "a=inactive" in video
        assert not any(event.track.source == "camera" for event in events.of(TrackAppeared))


async def test_a_rebuilt_publisher_keeps_its_tracks(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        since = len(events.all)
        await engine.rebuild("a", "publish")
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        assert not [event for event in events.all[since:] if isinstance(event, TrackDisappeared)]
        assert not [event for event in events.all[since:] if is_offer_to("b")(event)]


async def test_a_rebuilt_subscriber_gets_an_offer_for_a_fresh_connection(
    engine: SfuEngine, events: RecordedEvents
) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        since = len(events.all)
        first = await events.wait_for(is_offer_to("b"))
        old, b.receive = b.receive, None
        await engine.rebuild("b", "subscribe")
        fresh = await events.wait_for(is_offer_to("b"), DEADLINE, since)
        assert fresh.negotiation > first.negotiation
        assert fresh.description.sdp.split("\r\n")[1] != first.description.sdp.split("\r\n")[1]
        await plays(b, "a-microphone")
        assert old is not None
        await old.close()


async def test_a_closed_connection_is_noticed_soon(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        assert a.publish is not None
        await a.publish.close()
        lost = await events.wait_for(lambda event: isinstance(event, PeerConnectionLost), 3 * SECOND)
        assert (lost.session_id, lost.pc, lost.reason) == ("a", "publish", "failed")


async def test_a_closed_session_takes_its_tracks_along(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("camera", "microphone")
        await plays(b, "a-camera", "a-microphone")
        await engine.close_session("a")
        assert {event.track_id for event in events.of(TrackDisappeared)} == {"a-camera", "a-microphone"}
        await eventually(lambda: not b.mids, DEADLINE)
        await engine.close_session("b")
        assert engine.health().rooms == engine.health().sessions == 0


async def test_whip_publishes_and_whep_watches(engine: SfuEngine, events: RecordedEvents) -> None:
    async with clients(engine, events, "r", "b") as (b,):
        await engine.open_session("r", "obs", "museum", EVERYTHING)
        publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        media = [AudioStreamTrack(), VideoStreamTrack()]
        for track in media:
            publisher.addTrack(track)
        await publisher.setLocalDescription(await publisher.createOffer())
        answer = await engine.accept_whip("obs", publisher.localDescription.sdp)
        assert "a=candidate:" in answer
        await publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        sources = {event.track.source: event.track.id for event in events.of(TrackAppeared)}
        assert set(sources) == {"microphone", "camera"}
        await plays(b, *sources.values())

        await engine.open_session("r", "screen", "hall", LISTENER)
        viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        received: dict[str, int] = {}
        tasks = []

        async def count(track: AudioStreamTrack) -> None:
            while True:
                await track.recv()
                received[track.kind] = received.get(track.kind, 0) + 1

        viewer.on("track", lambda track: tasks.append(asyncio.create_task(count(track))))
        for kind in ("audio", "video"):
            viewer.addTransceiver(kind, direction="recvonly")
        await viewer.setLocalDescription(await viewer.createOffer())
        answer = await engine.accept_whep("screen", viewer.localDescription.sdp)
        await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await eventually(lambda: received.get("audio", 0) > 5 and received.get("video", 0) > 5, DEADLINE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for track in media:
            track.stop()
        await publisher.close()
        await viewer.close()


async def test_whip_and_whep_refuse_what_they_cannot_use(engine: SfuEngine) -> None:
    await engine.open_session("r", "s", "p", LISTENER)
    for accept in (engine.accept_whip, engine.accept_whep):
        with pytest.raises(ValueError):
            await accept("s", "v=0\r\n")
        with pytest.raises(EngineUnavailable):
            await accept("nobody", "v=0\r\n")


async def test_a_description_that_cannot_be_used_is_told_and_harms_nobody(
    engine: SfuEngine, events: RecordedEvents
) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        assert a.publish is not None
        good = a.publish.localDescription.sdp
        await engine.open_session("r", "evil", "p-evil", EVERYTHING)
        taken = [PublishedMedia(mid="0", track_id="a-microphone", source="microphone")]
        unfit = [PublishedMedia(mid="0", track_id="e", source="camera")]
        absent = [PublishedMedia(mid="9", track_id="e", source="microphone")]
        for sdp, media in ((good, taken), (good, unfit), (good, absent), ("", []), ("m=audio 9 X 0\r\na=mid:0", [])):
            with pytest.raises(ValueError):
                offer = SessionDescription(type="offer", sdp=sdp)
                await engine.receive_description("evil", "publish", 1, offer, media, None)
        with pytest.raises(ValueError):
            answer = SessionDescription(type="answer", sdp=good)
            await engine.receive_description("evil", "publish", 1, answer, [], None)
        with pytest.raises(ValueError):
            await engine.receive_description("b", "subscribe", 1, SessionDescription(type="offer", sdp=good), [], None)
        await plays(b, "a-microphone")


async def test_mangled_descriptions_do_not_end_the_worker(engine: SfuEngine, events: RecordedEvents) -> None:
    source = random.Random(7)
    chromium = (Path(__file__).parent / "descriptions" / "chromium_156_offer.sdp").read_text("ascii")
    await engine.open_session("r", "evil", "p-evil", EVERYTHING)
    (before,) = await engine.statistics()
    media = [PublishedMedia(mid="0", track_id="e", source="microphone")]
    for number in range(40):
        lines = chromium.splitlines()
        for _ in range(3):
            place = source.randrange(len(lines))
            lines[place] = lines[place][: source.randrange(len(lines[place]) + 1)]
        offer = SessionDescription(type="offer", sdp="\r\n".join(lines))
        try:
            await engine.receive_description("evil", "publish", number, offer, media, None)
        except ValueError:
            pass
    (after,) = await engine.statistics()
    assert after.port == before.port
    assert not [event for event in events.of(PeerConnectionLost) if event.pc is None]


async def test_datagrams_from_strangers_disturb_nobody(engine: SfuEngine, events: RecordedEvents) -> None:
    source = random.Random(8)
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number in range(1_500):
                first = (0, 1, 22, 128, 129, 200, 255)[number % 7]
                data = bytes((first,)) + source.randbytes(source.randrange(0, 300))
                stranger.sendto(data, ("127.0.0.1", engine.udp_ports[0]))
                if number % 50 == 0:
                    await engine.statistics()  # no more than the kernel keeps for a worker that waits for the processor
        await plays(b, "a-microphone", frames=20)
        (worker,) = await engine.statistics()
        assert worker.strangers > 1_000


async def test_messages_about_sessions_that_are_gone_do_nothing(engine: SfuEngine, events: RecordedEvents) -> None:
    offer = SessionDescription(type="offer", sdp="v=0")
    await engine.receive_description("gone", "publish", 1, offer, [], None)
    await engine.receive_candidate("gone", "publish", None, None)
    await engine.set_grants("gone", LISTENER)
    await engine.set_track_muted("gone", "t", True)
    await engine.unpublish("gone", "t")
    await engine.subscribe("gone", None)
    await engine.rebuild("gone", "subscribe")
    await engine.close_session("gone")
    assert events.all == []


async def test_an_engine_that_does_not_run_takes_no_sessions() -> None:
    engine = SfuEngine(lambda _: None, ["127.0.0.1"])
    with pytest.raises(EngineUnavailable):
        await engine.open_session("r", "s", "p", EVERYTHING)
    assert not engine.health().ready
    await engine.stop()


@asynccontextmanager
async def _many(engine: SfuEngine, count: int) -> AsyncIterator[list[str]]:
    ids = [f"s{number}" for number in range(count)]
    for session_id in ids:
        await engine.open_session("full", session_id, session_id, EVERYTHING)
    yield ids
    for session_id in ids:
        await engine.close_session(session_id)


async def test_a_full_worker_says_so(engine: SfuEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.engines.sfu.engine.MAX_SESSIONS_PER_WORKER", 3)
    async with _many(engine, 3):
        with pytest.raises(EngineUnavailable):
            await engine.open_session("other", "s4", "p", EVERYTHING)
    await engine.open_session("other", "s4", "p", EVERYTHING)
