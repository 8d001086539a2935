"""The p2p engine: what it relays, and what it will not."""

import pytest

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    EngineUnavailable,
    MediaGrants,
    PeerAppeared,
    PeerDisappeared,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.p2p import MAX_SESSIONS, P2pEngine
from signaling.messages import (
    MAX_TRACKS_PER_SESSION,
    Candidate,
    PublishedMedia,
    SessionDescription,
    TrackSource,
)
from tests.support.media_session import EVERYTHING, RecordedEvents

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
PICTURES = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True, sound=False)
NOTHING = MediaGrants(publish_audio=False, publish_video=False, publish_screen=False, subscribe=True)
SOUND = MediaGrants(publish_audio=True, publish_video=False, publish_screen=False, subscribe=True)
SCREEN = MediaGrants(publish_audio=False, publish_video=False, publish_screen=True, subscribe=True)
CANDIDATE = Candidate(candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host", sdp_mid="0")


def sdp(*lines: tuple[str, str]) -> str:
    """Of (kind, direction) lines, whose mids count from 0."""
    return HEAD + "".join(
        f"m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na={direction}\r\n"
        for mid, (kind, direction) in enumerate(lines)
    )


def offer(*lines: tuple[str, str]) -> SessionDescription:
    return SessionDescription(type="offer", sdp=sdp(*lines))


def answer(*lines: tuple[str, str]) -> SessionDescription:
    return SessionDescription(type="answer", sdp=sdp(*lines))


def named(mid: int, source: TrackSource, track_id: str | None = None, *, muted: bool = False) -> PublishedMedia:
    return PublishedMedia(mid=str(mid), track_id=track_id or f"track-{source}", source=source, muted=muted)


CAMERA = (("video", "sendrecv"),)


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


@pytest.fixture
async def engine(events: RecordedEvents) -> P2pEngine:
    engine = P2pEngine(events)
    await engine.open_session("room", "first", "p-first", EVERYTHING)
    await engine.open_session("room", "later", "p-later", EVERYTHING)
    return engine


async def test_who_is_there_first_is_impolite_for_good(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.open_session("room", "third", "p-third", EVERYTHING)
    assert [(each.session_id, each.peer_session_id, each.polite) for each in events.of(PeerAppeared)] == [
        ("later", "first", True),
        ("first", "later", False),
        ("third", "first", True),
        ("first", "third", False),
        ("third", "later", True),
        ("later", "third", False),
    ]
    assert {each.peer_participant_id for each in events.of(PeerAppeared)} == {"p-first", "p-later", "p-third"}


async def test_the_fifth_device_is_turned_away_and_the_rest_not_disturbed(events: RecordedEvents) -> None:
    engine = P2pEngine(events)
    for number in range(MAX_SESSIONS):
        await engine.open_session("room", f"s{number}", "p", EVERYTHING)
    before = len(events.all)
    with pytest.raises(EngineUnavailable):
        await engine.open_session("room", "one-too-many", "p", EVERYTHING)
    assert len(events.all) == before
    await engine.close_session("s0")
    await engine.open_session("room", "now-there-is-place", "p", EVERYTHING)


async def test_descriptions_and_candidates_reach_the_one_they_are_for(
    engine: P2pEngine, events: RecordedEvents
) -> None:
    await engine.open_session("room", "third", "p-third", EVERYTHING)
    await engine.open_session("elsewhere", "stranger", "p", EVERYTHING)
    events.all.clear()
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera")], "first")
    await engine.receive_candidate("later", "peer", CANDIDATE, "first")
    await engine.receive_candidate("later", "peer", None, "first")
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [], "stranger")
    await engine.receive_candidate("later", "peer", CANDIDATE, "stranger")
    await engine.receive_candidate("later", "peer", CANDIDATE, "later")
    (description,) = events.of(DescriptionToSend)
    assert (description.session_id, description.from_session_id, description.negotiation) == ("first", "later", 1)
    assert [(one.mid, one.track_id, one.participant_id) for one in description.media] == [
        ("0", "track-camera", "p-later")
    ]
    assert [(each.session_id, each.from_session_id, each.candidate) for each in events.of(CandidateToSend)] == [
        ("first", "later", CANDIDATE),
        ("first", "later", None),
    ]


async def test_a_track_is_announced_once_to_however_many_peers(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.open_session("room", "third", "p-third", EVERYTHING)
    for peer in ("first", "third"):
        await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera")], peer)
    (appeared,) = events.of(TrackAppeared)
    assert appeared.track.participant_id == "p-later"
    assert appeared.track.session_id == "later"
    assert (appeared.track.kind, appeared.track.muted) == ("video", False)
    await engine.unpublish("later", "track-camera")
    assert [each.track_id for each in events.of(TrackDisappeared)] == ["track-camera"]


async def test_an_older_description_does_not_undo_a_mute(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera")], "first")
    await engine.set_track_muted("later", "track-camera", True)
    await engine.set_track_muted("later", "track-camera", True)
    await engine.receive_description("later", "peer", 2, offer(*CAMERA), [named(0, "camera")], "first")
    assert [each.track.muted for each in events.of(TrackAppeared)] == [False, True]
    await engine.set_track_muted("later", "track-camera", False)
    await engine.receive_description("later", "peer", 3, offer(*CAMERA), [named(0, "camera", muted=True)], "first")
    assert [each.track.muted for each in events.of(TrackAppeared)] == [False, True, False, True]


async def test_a_named_line_that_sends_nothing_publishes_nothing(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.receive_description("later", "peer", 1, offer(("video", "recvonly")), [named(0, "camera")], "first")
    (description,) = events.of(DescriptionToSend)
    assert list(description.media) == []
    assert events.of(TrackAppeared) == []


@pytest.mark.parametrize(
    ("grants", "lines", "media", "allowed"),
    [
        (NOTHING, [("audio", "recvonly"), ("video", "recvonly")], [], True),
        (NOTHING, [("audio", "sendrecv")], [], False),
        (NOTHING, [("video", "sendonly")], [], False),
        (SOUND, [("audio", "sendrecv"), ("video", "recvonly")], [named(0, "microphone")], True),
        (SOUND, [("audio", "sendrecv"), ("video", "sendrecv")], [named(0, "microphone")], False),
        (SOUND, [("audio", "sendrecv")], [named(0, "screen_audio")], False),
        (SCREEN, [("video", "sendrecv")], [named(0, "screen")], True),
        (SCREEN, [("video", "sendrecv")], [named(0, "camera")], False),
        (SCREEN, [("video", "sendrecv")], [], False),
        (EVERYTHING, [("audio", "sendrecv"), ("video", "sendrecv")], [], True),
    ],
)
async def test_nobody_sends_what_they_may_not(
    events: RecordedEvents,
    grants: MediaGrants,
    lines: list[tuple[str, str]],
    media: list[PublishedMedia],
    allowed: bool,
) -> None:
    engine = P2pEngine(events)
    await engine.open_session("room", "host", "p-host", EVERYTHING)
    await engine.open_session("room", "guest", "p-guest", grants)
    if allowed:
        await engine.receive_description("guest", "peer", 1, offer(*lines), media, "host")
    else:
        with pytest.raises(ValueError, match="may not"):
            await engine.receive_description("guest", "peer", 1, offer(*lines), media, "host")
    assert bool(events.of(DescriptionToSend)) is allowed
    assert bool(events.of(TrackAppeared)) is (allowed and bool(media))


async def test_answers_are_held_to_the_same_rights(events: RecordedEvents) -> None:
    engine = P2pEngine(events)
    await engine.open_session("room", "guest", "p-guest", NOTHING)
    await engine.open_session("room", "host", "p-host", EVERYTHING)
    await engine.receive_description("host", "peer", 1, offer(*CAMERA), [named(0, "camera")], "guest")
    with pytest.raises(ValueError, match="may not"):
        await engine.receive_description("guest", "peer", 1, answer(("video", "sendrecv")), [], "host")
    await engine.receive_description("guest", "peer", 1, answer(("video", "recvonly")), [], "host")
    assert [each.session_id for each in events.of(DescriptionToSend)] == ["guest", "host"]


async def test_what_is_no_longer_allowed_disappears(engine: P2pEngine, events: RecordedEvents) -> None:
    both = [("audio", "sendrecv"), ("video", "sendrecv")]
    media = [named(0, "microphone"), named(1, "camera")]
    await engine.receive_description("later", "peer", 1, offer(*both), media, "first")
    await engine.set_grants("later", SOUND)
    assert [each.track_id for each in events.of(TrackDisappeared)] == ["track-camera"]
    with pytest.raises(ValueError, match="may not"):
        await engine.receive_description("later", "peer", 2, offer(*both), media, "first")


@pytest.mark.parametrize(
    "media",
    [
        [named(0, "microphone")],
        [named(5, "camera")],
        [named(0, "camera", "one"), named(0, "camera", "two")],
        [named(0, "camera", "one"), named(1, "camera", "one")],
        [PublishedMedia(mid="", track_id="t", source="camera")],
    ],
)
async def test_media_that_does_not_fit_its_lines_is_refused(engine: P2pEngine, media: list[PublishedMedia]) -> None:
    with pytest.raises(ValueError):
        await engine.receive_description("later", "peer", 1, offer(("video", "sendrecv")), media, "first")


async def test_a_track_id_of_somebody_else_is_refused(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera", "mine")], "first")
    with pytest.raises(ValueError, match="taken"):
        await engine.receive_description("first", "peer", 1, offer(*CAMERA), [named(0, "camera", "mine")], "later")


async def test_a_track_keeps_its_source(engine: P2pEngine) -> None:
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera", "t")], "first")
    with pytest.raises(ValueError, match="source"):
        await engine.receive_description("later", "peer", 2, offer(*CAMERA), [named(0, "screen", "t")], "first")


async def test_tracks_of_a_session_are_bounded_over_all_its_descriptions(engine: P2pEngine) -> None:
    for number in range(MAX_TRACKS_PER_SESSION):
        media = [named(0, "camera", f"t{number}")]
        await engine.receive_description("later", "peer", number, offer(*CAMERA), media, "first")
    with pytest.raises(ValueError, match="no more than"):
        await engine.receive_description("later", "peer", 99, offer(*CAMERA), [named(0, "camera", "more")], "first")


async def test_late_and_invented_answers_are_not_relayed(engine: P2pEngine, events: RecordedEvents) -> None:
    lines = answer(("video", "recvonly"))
    await engine.receive_description("first", "peer", 1, lines, [], "later")
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [], "first")
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [], "first")
    await engine.receive_description("first", "peer", 1, lines, [], "later")
    await engine.receive_description("first", "peer", 1, lines, [], "later")
    assert [each.description.type for each in events.of(DescriptionToSend)] == ["offer", "answer"]


async def test_a_description_that_is_dropped_teaches_nothing(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.receive_description("first", "peer", 7, answer(*CAMERA), [named(0, "camera")], "later")
    assert events.of(TrackAppeared) == []


async def test_the_rest_hears_of_a_leaver_and_can_go_on(engine: P2pEngine, events: RecordedEvents) -> None:
    await engine.receive_description("later", "peer", 1, offer(*CAMERA), [named(0, "camera")], "first")
    await engine.close_session("later")
    assert [each.track_id for each in events.of(TrackDisappeared)] == ["track-camera"]
    assert [(each.session_id, each.peer_session_id) for each in events.of(PeerDisappeared)] == [("first", "later")]
    await engine.open_session("room", "again", "p-later", EVERYTHING)
    await engine.receive_description("again", "peer", 1, offer(*CAMERA), [], "first")
    assert events.of(DescriptionToSend)[-1].from_session_id == "again"


async def test_there_is_nothing_to_publish_to_or_watch_by_http(engine: P2pEngine) -> None:
    for accept in (engine.accept_whip, engine.accept_whep):
        with pytest.raises(EngineUnavailable):
            await accept("first", sdp(*CAMERA))


@pytest.mark.parametrize("direction", ["sendrecv", "sendonly", "recvonly"])
async def test_a_device_without_sound_may_not_even_take_it(
    engine: P2pEngine, events: RecordedEvents, direction: str
) -> None:
    await engine.set_grants("later", PICTURES)
    events.all.clear()
    lines = (("video", "sendrecv"), ("audio", direction))
    with pytest.raises(ValueError, match="without sound"):
        await engine.receive_description("later", "peer", 1, offer(*lines), [named(0, "camera")], "first")
    assert events.all == []
    silent = offer(("video", "sendrecv"), ("audio", "inactive"))
    await engine.receive_description("later", "peer", 1, silent, [named(0, "camera")], "first")
    assert [each.session_id for each in events.of(DescriptionToSend)] == ["first"]
    await engine.receive_description("first", "peer", 1, answer(*lines), [], "later")
    assert len(events.of(DescriptionToSend)) == 2, "what the others would send is theirs to say"
