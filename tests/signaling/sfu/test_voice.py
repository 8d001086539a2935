"""Voice by the signaling connection in a room of the sfu: sessions, a clock that stands still, no sockets."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from signaling.engines import Fallback, MediaGrants, TrackAppeared, TrackDisappeared, VoiceToSend
from signaling.engines.sfu.audible import MAX_AUDIBLE
from signaling.engines.sfu.codecs import NegotiatedCodec
from signaling.engines.sfu.rtp import RtpPacket
from signaling.engines.sfu.sdp import SdpError
from signaling.engines.sfu.session import KEEP_TRACKS_S, Session
from signaling.voice_packet import VoiceFrame, VoiceRun, encode_packet, parse_packet
from tests.signaling.sfu.test_session import EVERYTHING, House, publish

SPEAKS_AND_LISTENS = Fallback("a-microphone", muted=False, listens=True, interval_s=0.04)
LISTENS = Fallback(None, muted=False, listens=True, interval_s=0.04)
NOTHING = Fallback(None, muted=False, listens=False, interval_s=0.04)
LOUD = 20


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.close()


def speak(session: Session, track_id: str, *timestamps: int, level: int = LOUD) -> None:
    frames = [VoiceFrame(each, level, b"opus %d" % each) for each in timestamps]
    session.receive_voice([VoiceRun(track_id, frames)], 1_000.0)


def heard(house: House, session_id: str) -> list[tuple[str, int]]:
    """Track and timestamp of every frame that was sent to a session, once the timers have run."""
    while house.later:
        house.later.pop(0)()
    bodies = [event.runs for event in house.of(VoiceToSend) if event.session_id == session_id]
    runs: list[VoiceRun] = []
    for body in bodies:
        runs += parse_packet(encode_packet(1, 0, body)).runs
    return [(run.track_id, frame.timestamp) for run in runs for frame in run.frames]


def two(house: House) -> Sequence[Session]:
    a, b = house.open("a"), house.open("b")
    a.set_fallback(SPEAKS_AND_LISTENS)
    b.set_fallback(LISTENS)
    return a, b


async def test_a_microphone_is_a_track_like_any_other(house: House) -> None:
    a, _b = two(house)
    [appeared] = house.of(TrackAppeared)
    assert (appeared.track.id, appeared.track.source, appeared.track.participant_id) == (
        "a-microphone", "microphone", "p-a",
    )  # fmt: skip
    speak(a, "a-microphone", 0, 960, 1_920)
    assert heard(house, "b") == [("a-microphone", 0), ("a-microphone", 960), ("a-microphone", 1_920)]
    assert heard(house, "a") == [], "nobody hears themselves"


async def test_frames_are_gathered_into_one_packet(house: House) -> None:
    a, _b = two(house)
    for timestamp in range(0, 4_800, 960):
        speak(a, "a-microphone", timestamp)
    assert len(house.later) == 1
    heard(house, "b")
    assert len(house.of(VoiceToSend)) == 1


async def test_what_comes_for_another_track_is_dropped(house: House) -> None:
    a, _b = two(house)
    speak(a, "somebody-elses", 0)
    assert heard(house, "b") == []


async def test_a_muted_microphone_is_silent_and_only_its_owners_word_unmutes(house: House) -> None:
    a, _b = two(house)
    a.set_muted("a-microphone", True)
    a.set_fallback(replace(SPEAKS_AND_LISTENS, interval_s=0.06))
    speak(a, "a-microphone", 0)
    assert heard(house, "b") == []
    a.set_muted("a-microphone", False)
    speak(a, "a-microphone", 960)
    assert heard(house, "b") == [("a-microphone", 960)]


async def test_who_may_not_speak_any_more_is_not_heard(house: House) -> None:
    a, _b = two(house)
    a.set_grants(MediaGrants(publish_audio=False, publish_video=False, publish_screen=False, subscribe=True))
    speak(a, "a-microphone", 0)
    assert heard(house, "b") == []
    assert [event.track_id for event in house.of(TrackDisappeared)] == ["a-microphone"]
    a.set_fallback(SPEAKS_AND_LISTENS)
    assert len(house.of(TrackAppeared)) == 1


async def test_who_may_not_listen_hears_nothing(house: House) -> None:
    a = house.open("a")
    a.set_fallback(SPEAKS_AND_LISTENS)
    b = house.open("b", MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=False))
    b.set_fallback(LISTENS)
    speak(a, "a-microphone", 0)
    assert heard(house, "b") == []
    b.set_grants(EVERYTHING)
    speak(a, "a-microphone", 960)
    assert heard(house, "b") == [("a-microphone", 960)]


async def test_a_device_without_sound_has_none_by_this_way_either(house: House) -> None:
    a, b = two(house)
    b.set_grants(replace(EVERYTHING, sound=False))
    speak(a, "a-microphone", 0)
    assert heard(house, "b") == []
    b.set_fallback(replace(SPEAKS_AND_LISTENS, track_id="b-microphone"))
    assert [event.track.id for event in house.of(TrackAppeared)] == ["a-microphone"]
    b.set_grants(EVERYTHING)
    speak(a, "a-microphone", 960)
    assert heard(house, "b") == [("a-microphone", 960)]


async def test_a_track_of_somebody_else_cannot_be_taken(house: House) -> None:
    two(house)
    c = house.open("c")
    with pytest.raises(SdpError):
        c.set_fallback(SPEAKS_AND_LISTENS)
    with pytest.raises(SdpError):
        publish(b := house.open("d"))
        b.set_fallback(replace(SPEAKS_AND_LISTENS, track_id="d-camera"))


async def test_the_track_outlives_a_lost_connection_for_as_long_as_voice_comes(house: House) -> None:
    a = house.open("a")
    publish(a)
    a.set_fallback(SPEAKS_AND_LISTENS)
    a.rebuild("publish")
    house.pass_time(KEEP_TRACKS_S + 2)
    assert [event.track_id for event in house.of(TrackDisappeared)] == ["a-camera"]
    a.set_fallback(NOTHING)
    house.pass_time(KEEP_TRACKS_S + 2)
    assert [event.track_id for event in house.of(TrackDisappeared)] == ["a-camera", "a-microphone"]


async def test_packets_of_a_peer_connection_take_over_from_voice(house: House) -> None:
    a, _b = two(house)
    speak(a, "a-microphone", 0, 960)
    publish(a)
    speak(a, "a-microphone", 1_920)
    assert a.publish is not None
    packet = b"\x80\x6f\x12\x34" + (777_000).to_bytes(4, "big") + (4_711).to_bytes(4, "big") + b"opus"
    a.publish.receive_rtp(packet)
    speak(a, "a-microphone", 2_880)
    assert [timestamp for _track, timestamp in heard(house, "b")] == [0, 960, 1_920, 777_000]
    assert not house.of(TrackDisappeared)
    # The connection is lost again: voice is asked for again, under the same name.
    a.set_fallback(NOTHING)
    a.set_fallback(SPEAKS_AND_LISTENS)
    speak(a, "a-microphone", 3_840)
    assert heard(house, "b")[-1] == ("a-microphone", 3_840)


async def test_only_the_loudest_are_sent(house: House) -> None:
    listener = house.open("z")
    listener.set_fallback(LISTENS)
    count = MAX_AUDIBLE + 2
    sessions = [house.open(f"s{n}") for n in range(count)]
    for n, session in enumerate(sessions):
        session.set_fallback(Fallback(f"t{n}", muted=False, listens=False, interval_s=0.04))
    for n, session in enumerate(sessions):
        speak(session, f"t{n}", 0, level=LOUD + n)
    assert {track for track, _timestamp in heard(house, "z")} == {f"t{n}" for n in range(MAX_AUDIBLE)}


async def test_speakers_are_known_by_their_level(house: House) -> None:
    a, _b = two(house)
    for n in range(20):
        a.receive_voice([VoiceRun("a-microphone", [VoiceFrame(960 * n, LOUD, b"x")])], 1_000.0 + n * 0.02)
    house.room.report_speakers(1_000.5)
    assert house.events[-1].participant_ids == ("p-a",)  # type: ignore[union-attr]


async def test_who_stops_listening_is_sent_nothing(house: House) -> None:
    a, b = two(house)
    b.set_fallback(NOTHING)
    speak(a, "a-microphone", 0)
    assert heard(house, "b") == []
    assert all(not track.lines for track in a.tracks.values())


async def test_a_packet_never_outgrows_its_bounds(house: House) -> None:
    """Somebody whose encoder makes the longest frames there are."""
    a, _b = two(house)
    track = a.tracks["a-microphone"]
    track.bind([NegotiatedCodec("opus", 111, None)], fresh=False)
    for n in range(60):
        packet = RtpPacket(111, 0, 10_000 + n, n * 960, 0, b"", bytes(1_275))
        track.layers[0].receive(packet, LOUD, 1_000.0)
    assert len(heard(house, "b")) == 60
