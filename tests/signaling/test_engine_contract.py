"""What every media engine owes its caller: the same tests over each of them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection

from signaling.engines import (
    DescriptionToSend,
    EngineUnavailable,
    LayersWatched,
    MediaEngine,
    MediaGrants,
    PeerConnectionLost,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.janus import JanusEngine
from signaling.engines.layer_demand import UNWATCHED_S
from signaling.engines.p2p import P2pEngine
from signaling.engines.sfu import SfuEngine
from signaling.messages import (
    Candidate,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    ShownTrack,
    Subscription,
    TrackSource,
)
from tests.support.deadlines import SECOND
from tests.support.janus_server import JanusServer, own_address, running_janus
from tests.support.media_session import (
    EVERYTHING,
    AiortcClient,
    RecordedEvents,
    eventually,
    loopback_for_aioice,
)
from tests.support.peer_client import PeerClient

DEADLINE = 10 * SECOND
CALLS = 100
PICTURES_ONLY = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True, sound=False)
SOUND_ONLY = MediaGrants(publish_audio=True, publish_video=False, publish_screen=False, subscribe=True)

# One engine of each kind for the file: a worker takes most of a second to start.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Stage:
    """An engine, and two people `a` and `b` in room `r`, whichever way they are connected."""

    kind: str
    engine: MediaEngine
    events: RecordedEvents
    janus: JanusServer | None = None

    def __post_init__(self) -> None:
        self.people: dict[str, Any] = {}

    @property
    def publishing(self) -> PeerConnectionName:
        return "peer" if self.kind == "p2p" else "publish"

    async def enter(self, session_id: str, room_id: str = "r", grants: MediaGrants = EVERYTHING) -> None:
        client = PeerClient if self.kind == "p2p" else AiortcClient
        self.people[session_id] = await client(self.engine, self.events, room_id, session_id).open(grants)

    async def publish(self, session_id: str, *sources: TrackSource, to: str = "b") -> dict[str, str]:
        client = self.people[session_id]
        if isinstance(client, PeerClient):
            return await client.publish_to(to, *sources)
        return await client.publish_tracks(*sources)

    async def describe(self, session_id: str, description: SessionDescription, *media: PublishedMedia) -> None:
        to = "b" if self.kind == "p2p" else None
        await self.engine.receive_description(session_id, self.publishing, 1, description, list(media), to)

    async def plays(self, session_id: str, track_id: str) -> None:
        frames = self.people[session_id].frames
        await eventually(lambda: frames.get(track_id, 0) > 5, DEADLINE, f"{track_id} plays at {session_id}")

    async def hears(self, kind: type[Any], matches: Callable[[Any], bool], since: int = 0) -> Any:
        return await self.events.wait_for(lambda event: isinstance(event, kind) and matches(event), DEADLINE, since)

    async def clear(self) -> None:
        for client in self.people.values():
            await client.close()
            await self.engine.close_session(client.session_id)
        self.people.clear()


def make_engine(kind: str, events: RecordedEvents, janus: JanusServer | None) -> MediaEngine:
    match kind:
        case "p2p":
            return P2pEngine(events)
        case "sfu":
            return SfuEngine(events, ["127.0.0.1"])
    assert janus is not None
    return JanusEngine(events, [janus.url], token_secret=janus.token_secret, admin_key=janus.admin_key)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["p2p", "sfu", "janus"])
async def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with contextlib.AsyncExitStack() as stack:
        janus = None
        if request.param == "janus":
            janus = await stack.enter_async_context(running_janus(tmp_path_factory.mktemp("janus")))
        events = RecordedEvents()
        engine = make_engine(request.param, events, janus)
        await engine.start()
        with loopback_for_aioice() if janus is None else loopback_for_aioice(own_address()):
            yield Stage(request.param, engine, events, janus)
        await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(shared: Stage) -> AsyncIterator[Stage]:
    shared.events.all.clear()
    yield shared
    await shared.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def two(stage: Stage) -> Stage:
    await stage.enter("a")
    await stage.enter("b")
    return stage


async def an_offer(*kinds: str) -> tuple[str, list[str]]:
    """An SDP that sends these kinds, and its mids."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceivers = [connection.addTransceiver(kind, direction="sendonly") for kind in kinds]
    await connection.setLocalDescription(await connection.createOffer())
    sdp, mids = connection.localDescription.sdp, [each.mid for each in transceivers]
    await connection.close()
    return sdp, mids


# --- sessions -------------------------------------------------------------------------------------


async def test_rooms_are_there_as_long_as_somebody_is_in_them(stage: Stage) -> None:
    assert stage.engine.name == stage.kind
    assert stage.engine.health().ready
    await stage.engine.open_session("r", "a", "p", EVERYTHING)
    await stage.engine.open_session("other", "b", "p", EVERYTHING)
    assert (stage.engine.health().rooms, stage.engine.health().sessions) == (2, 2)
    await stage.engine.close_session("a")
    await stage.engine.close_session("a")
    assert (stage.engine.health().rooms, stage.engine.health().sessions) == (1, 1)
    await stage.engine.close_session("b")
    assert (stage.engine.health().rooms, stage.engine.health().sessions) == (0, 0)


async def test_what_is_said_of_a_session_that_is_not_there_is_ignored(stage: Stage) -> None:
    engine, sdp = stage.engine, (await an_offer("video"))[0]
    candidate = Candidate(candidate="candidate:1 1 udp 1 127.0.0.1 9 typ host", sdp_mid="0")
    media = [PublishedMedia(mid="0", track_id="t", source="camera")]
    offer = SessionDescription(type="offer", sdp=sdp)
    await engine.receive_description("gone", stage.publishing, 1, offer, media, "b")
    await engine.receive_candidate("gone", stage.publishing, candidate, "b")
    await engine.receive_candidate("gone", stage.publishing, None, "b")
    await engine.set_grants("gone", EVERYTHING)
    await engine.set_track_muted("gone", "t", True)
    await engine.unpublish("gone", "t")
    await engine.subscribe("gone", [Subscription(track_id="t")])
    await engine.subscribe("gone", None)
    await engine.set_layout("gone", [ShownTrack(track_id="t", width=320, height=180)])
    await engine.rebuild("gone", "publish")
    await engine.rebuild("gone", "subscribe")
    await engine.close_session("gone")
    for accept in (engine.accept_whip, engine.accept_whep):
        with pytest.raises(EngineUnavailable):
            await accept("gone", sdp)
    assert stage.events.all == []


async def test_tracks_that_are_not_there_are_ignored(two: Stage) -> None:
    before = len(two.events.all)
    await two.engine.set_track_muted("a", "unknown", True)
    await two.engine.unpublish("a", "unknown")
    assert not [each for each in two.events.all[before:] if isinstance(each, TrackAppeared | TrackDisappeared)]


@pytest.mark.long
async def test_a_publisher_is_told_when_nobody_looks_and_at_once_when_somebody_does(two: Stage) -> None:
    camera = (await two.publish("a", "camera"))["camera"]
    await two.plays("b", camera)
    assert [event.layers for event in two.events.of(LayersWatched)] == ([] if two.kind == "p2p" else [1]), (
        "all, at first"
    )

    async def told_after(*shown: ShownTrack) -> LayersWatched:
        since = len(two.events.all)
        await two.engine.set_layout("b", shown)
        return await two.hears(LayersWatched, lambda event: event.track_id == camera, since)  # type: ignore[no-any-return]

    if two.kind == "p2p":
        await two.engine.set_layout("b", [])
        await asyncio.sleep(UNWATCHED_S + 1.0)  # that nothing is said is the test
        assert not two.events.of(LayersWatched)
        return
    assert (await told_after()) == LayersWatched("r", "a", camera, 0)
    began = time.monotonic()
    assert (await told_after(ShownTrack(track_id=camera, width=320, height=180))) == LayersWatched("r", "a", camera, 1)
    assert time.monotonic() - began < 1.0 * SECOND
    await two.plays("b", camera)
    assert [event.layers for event in two.events.of(LayersWatched)] == [1, 0, 1]


# --- publishing -----------------------------------------------------------------------------------


async def test_what_one_publishes_the_other_plays(two: Stage) -> None:
    tracks = await two.publish("a", "camera", "microphone")
    for source, kind in (("camera", "video"), ("microphone", "audio")):
        appeared = await two.hears(TrackAppeared, lambda event, wanted=tracks[source]: event.track.id == wanted)
        assert appeared.room_id == "r"
        assert (appeared.track.participant_id, appeared.track.session_id) == ("p-a", "a")
        assert (appeared.track.source, appeared.track.kind, appeared.track.muted) == (source, kind, False)
    await two.plays("b", tracks["camera"])
    await two.plays("b", tracks["microphone"])


async def test_an_offer_is_answered_under_its_own_number(two: Stage) -> None:
    await two.publish("a", "microphone")
    answer = await two.hears(
        DescriptionToSend, lambda event: event.session_id == "a" and event.description.type == "answer"
    )
    assert (answer.pc, answer.negotiation, answer.room_id) == (two.publishing, 1, "r")


async def test_rooms_hear_nothing_of_each_other(two: Stage) -> None:
    await two.enter("x", "elsewhere")
    await two.enter("y", "elsewhere")
    track = (await two.publish("a", "microphone"))["microphone"]
    await two.plays("b", track)
    heard = [each for each in two.events.all if getattr(each, "session_id", None) in ("x", "y")]
    assert not [each for each in heard if isinstance(each, DescriptionToSend)]
    assert {each.room_id for each in two.events.of(TrackAppeared)} == {"r"}


async def test_muting_is_told_once_for_each_change(two: Stage) -> None:
    track = (await two.publish("a", "microphone"))["microphone"]
    for muted in (True, True, False):
        await two.engine.set_track_muted("a", track, muted)
    assert [each.track.muted for each in two.events.of(TrackAppeared)] == [False, True, False]


async def test_a_track_that_begins_muted_is_announced_so(two: Stage) -> None:
    sdp, (mid,) = await an_offer("audio")
    media = PublishedMedia(mid=mid, track_id="quiet", source="microphone", muted=True)
    await two.describe("a", SessionDescription(type="offer", sdp=sdp), media)
    appeared = await two.hears(TrackAppeared, lambda event: event.track.id == "quiet")
    assert appeared.track.muted


async def test_an_unpublished_track_disappears_and_the_others_stay(two: Stage) -> None:
    tracks = await two.publish("a", "camera", "microphone")
    await two.engine.unpublish("a", tracks["camera"])
    await two.engine.unpublish("a", tracks["camera"])
    assert [each.track_id for each in two.events.of(TrackDisappeared)] == [tracks["camera"]]
    await two.plays("b", tracks["microphone"])


async def test_whoever_leaves_takes_their_tracks_along(two: Stage) -> None:
    tracks = await two.publish("a", "camera", "microphone")
    await two.engine.close_session("a")
    await two.hears(TrackDisappeared, lambda event: event.track_id == tracks["camera"])
    await two.hears(TrackDisappeared, lambda event: event.track_id == tracks["microphone"])
    assert {each.room_id for each in two.events.of(TrackDisappeared)} == {"r"}


async def test_whoever_comes_back_publishes_under_the_same_ids(two: Stage) -> None:
    track = (await two.publish("a", "microphone"))["microphone"]
    client = two.people.pop("a")
    await client.close()
    await two.engine.close_session("a")
    two.events.all.clear()
    await two.enter("a")
    assert (await two.publish("a", "microphone"))["microphone"] == track
    await two.hears(TrackAppeared, lambda event: event.track.id == track)


# --- what is refused ------------------------------------------------------------------------------


async def test_what_is_no_longer_allowed_stops(two: Stage) -> None:
    tracks = await two.publish("a", "camera", "microphone")
    await two.plays("b", tracks["camera"])
    await two.engine.set_grants("a", SOUND_ONLY)
    await two.hears(TrackDisappeared, lambda event: event.track_id == tracks["camera"])
    assert [each.track_id for each in two.events.of(TrackDisappeared)] == [tracks["camera"]]


async def test_what_was_never_allowed_does_not_appear(stage: Stage) -> None:
    await stage.enter("a", grants=SOUND_ONLY)
    await stage.enter("b")
    sdp, mids = await an_offer("audio", "video")
    media = [
        PublishedMedia(mid=mids[0], track_id="sound", source="microphone"),
        PublishedMedia(mid=mids[1], track_id="picture", source="camera"),
    ]
    with contextlib.suppress(ValueError):  # refused whole, or the sound alone is taken
        await stage.describe("a", SessionDescription(type="offer", sdp=sdp), *media)
    assert "picture" not in {each.track.id for each in stage.events.of(TrackAppeared)}


async def test_a_device_without_sound_is_sent_pictures_alone(stage: Stage) -> None:
    await stage.enter("a")
    await stage.enter("b", grants=PICTURES_ONLY)
    tracks = await stage.publish("a", "microphone", "camera")
    await stage.plays("b", tracks["camera"])
    assert stage.people["b"].frames.get(tracks["microphone"], 0) == 0
    if stage.kind == "p2p":
        return  # what the other browser sends is for the device's own descriptions to take or leave: test_p2p.py
    offers = [each for each in stage.events.of(DescriptionToSend) if each.pc == "subscribe" and each.session_id == "b"]
    assert offers
    assert {media.track_id for each in offers for media in each.media} == {tracks["camera"]}
    assert not any("m=audio" in each.description.sdp for each in offers)
    await stage.engine.set_grants("b", EVERYTHING)
    await stage.plays("b", tracks["microphone"])
    before = len(stage.events.all)
    await stage.engine.set_grants("b", PICTURES_ONLY)
    await stage.hears(
        DescriptionToSend,
        lambda event: event.session_id == "b" and {media.track_id for media in event.media} == {tracks["camera"]},
        before,
    )


async def test_a_device_without_sound_may_not_give_any(stage: Stage) -> None:
    await stage.enter("a", grants=PICTURES_ONLY)
    await stage.enter("b")
    sdp, (mid,) = await an_offer("audio")
    for source in ("microphone", "screen_audio"):
        with contextlib.suppress(ValueError):  # refused whole, or nothing of it is taken
            media = PublishedMedia(mid=mid, track_id=source, source=source)  # type: ignore[arg-type]
            await stage.describe("a", SessionDescription(type="offer", sdp=sdp), media)
    assert stage.events.of(TrackAppeared) == []


GARBAGE = {
    "nothing": "",
    "a sentence": "I would like to send my camera.",
    "no media": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
    "nuls": "v=0\r\n" + "\0" * 200,
    "half a line": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=",
    "an impossible port": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video x y z\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_description_that_is_none_is_a_value_error_and_changes_nothing(two: Stage, garbage: str) -> None:
    media = PublishedMedia(mid="0", track_id="t", source="camera")
    with pytest.raises(ValueError):
        await two.describe("a", SessionDescription(type="offer", sdp=GARBAGE[garbage]), media)
    assert not [each for each in two.events.all if isinstance(each, TrackAppeared | PeerConnectionLost)]
    await two.plays("b", (await two.publish("a", "microphone"))["microphone"])


async def test_media_named_for_a_line_that_is_not_there_is_refused(two: Stage) -> None:
    sdp, (mid,) = await an_offer("audio")
    for media in (
        [PublishedMedia(mid="nowhere", track_id="t", source="microphone")],
        [PublishedMedia(mid=mid, track_id="t", source="camera")],
        [PublishedMedia(mid=mid, track_id=track, source="microphone") for track in ("t", "u")],
    ):
        with pytest.raises(ValueError):
            await two.describe("a", SessionDescription(type="offer", sdp=sdp), *media)
    assert two.events.of(TrackAppeared) == []


async def test_a_track_id_that_is_taken_is_refused(two: Stage) -> None:
    track = (await two.publish("a", "microphone"))["microphone"]
    sdp, (mid,) = await an_offer("audio")
    to = "a" if two.kind == "p2p" else None
    offer = SessionDescription(type="offer", sdp=sdp)
    media = [PublishedMedia(mid=mid, track_id=track, source="microphone")]
    with pytest.raises(ValueError, match="taken"):
        await two.engine.receive_description("b", two.publishing, 1, offer, media, to)


@pytest.mark.parametrize("pc", ["publish", "subscribe", "peer"])
async def test_a_peer_connection_that_the_engine_does_not_have_is_refused(two: Stage, pc: PeerConnectionName) -> None:
    if pc == two.publishing:
        return
    offer = SessionDescription(type="offer", sdp=(await an_offer("audio"))[0])
    with pytest.raises(ValueError):
        await two.engine.receive_description("a", pc, 1, offer, [], "b")


async def test_http_sessions_work_or_are_said_to_be_unavailable(two: Stage) -> None:
    sdp, _mids = await an_offer("audio", "video")
    if two.kind == "p2p":
        with pytest.raises(EngineUnavailable):
            await two.engine.accept_whip("a", sdp)
        with pytest.raises(EngineUnavailable):
            await two.engine.accept_whep("b", sdp)
        return
    answer = await two.engine.accept_whip("a", sdp)
    assert answer.startswith("v=0")
    assert "a=candidate" in answer, "no trickle over HTTP: the candidates are in the answer"
    appeared = {each.track.source: each.track for each in two.events.of(TrackAppeared)}
    assert set(appeared) == {"camera", "microphone"}
    for garbage in GARBAGE.values():
        with pytest.raises(ValueError):
            await two.engine.accept_whip("b", garbage)


# --- what is left behind --------------------------------------------------------------------------


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def engine_tasks() -> set[asyncio.Task[Any]]:
    """Of this process, without those of the tests' own aiortc clients."""
    return {
        task
        for task in asyncio.all_tasks()
        if f"{os.sep}signaling{os.sep}engines{os.sep}" in task.get_coro().cr_code.co_filename  # type: ignore[union-attr]
    }


def processes_of(engine: MediaEngine, janus: JanusServer | None = None) -> list[int]:
    workers = engine.worker_pids if isinstance(engine, SfuEngine) else []
    return [os.getpid(), *workers, *([janus.pid] if janus is not None else [])]


async def one_call(stage: Stage, number: int, sdp: str, mid: str) -> None:
    room, caller, listener = f"call-{number}", f"caller-{number}", f"listener-{number}"
    await stage.engine.open_session(room, caller, "p1", EVERYTHING)
    await stage.engine.open_session(room, listener, "p2", EVERYTHING)
    to = listener if stage.kind == "p2p" else None
    media = [PublishedMedia(mid=mid, track_id=f"t{number}", source="microphone")]
    offer = SessionDescription(type="offer", sdp=sdp)
    await stage.engine.receive_description(caller, stage.publishing, 1, offer, media, to)
    await stage.hears(TrackAppeared, lambda event: event.track.id == f"t{number}")
    await stage.engine.close_session(caller)
    await stage.engine.close_session(listener)


async def test_a_hundred_calls_leave_no_task_no_port_and_no_room(stage: Stage) -> None:
    sdp, (mid,) = await an_offer("audio")
    await one_call(stage, 0, sdp, mid)
    tasks = engine_tasks()
    files = {pid: open_files(pid) for pid in processes_of(stage.engine, stage.janus)}
    await asyncio.gather(*(one_call(stage, number, sdp, mid) for number in range(1, CALLS + 1)))
    assert (stage.engine.health().rooms, stage.engine.health().sessions) == (0, 0)
    gone = {f"t{n}" for n in range(CALLS + 1)}
    await eventually(lambda: {each.track_id for each in stage.events.of(TrackDisappeared)} == gone, DEADLINE)
    await eventually(
        lambda: all(open_files(pid) <= count for pid, count in files.items()), DEADLINE, f"files as before: {files}"
    )
    await eventually(lambda: not engine_tasks() - tasks, DEADLINE, "tasks as before")


async def test_a_stopped_engine_leaves_nothing_and_says_what_has_gone(shared: Stage) -> None:
    if shared.people:
        await shared.clear()
    tasks, files = engine_tasks(), open_files(os.getpid())
    for _ in range(2):
        events = RecordedEvents()
        stage = Stage(shared.kind, make_engine(shared.kind, events, shared.janus), events)
        await stage.engine.start()
        pids = processes_of(stage.engine)[1:]
        await stage.enter("a")
        await stage.enter("b")
        sdp, (mid,) = await an_offer("audio")
        media = PublishedMedia(mid=mid, track_id="t", source="microphone")
        await stage.describe("a", SessionDescription(type="offer", sdp=sdp), media)
        await stage.hears(TrackAppeared, lambda event: event.track.id == "t")
        await stage.engine.stop()
        for client in stage.people.values():
            await client.close()
        assert [each.track_id for each in events.of(TrackDisappeared)] == ["t"]
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert stage.engine.health().sessions == 0
    await eventually(lambda: not engine_tasks() - tasks, DEADLINE, "tasks as before")
    await eventually(lambda: open_files(os.getpid()) <= files, DEADLINE, "files as before")
