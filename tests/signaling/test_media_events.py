"""What becomes of what the house and the engines say about media sessions."""

import asyncio

import msgspec
import pytest

from signaling.engines import (
    LayersWatched,
    PeerConnectionLost,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.errors import SignalingError
from signaling.messages import LayersWanted, MediaClosed, SetTrackMuted, StopMedia
from tests.support.deadlines import SECOND
from tests.support.media_house import SILENT, MediaHouse
from tests.support.media_service import SDP, a_description, a_track, named
from tests.support.media_session import eventually


async def test_a_host_mutes_and_the_owner_is_told(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    assert await house.media.mute_by_host("room", "t"), "no packet leaves any more"
    assert house.sfu.calls[-1] == ("mute", session, "t", True)
    assert house.outbox.events_to("c1")[-1] == "media_muted"
    for room, track in (("room", "unknown"), ("private", "t")):
        with pytest.raises(SignalingError) as refused:
            await house.media.mute_by_host(room, track)
        assert refused.value.code == "not-found"


async def test_in_a_frozen_room_what_pupils_publish_is_muted_until_it_thaws(house: MediaHouse) -> None:
    pupil, host = (await house.start("c1")).session_id, (await house.start("c2", who="host")).session_id
    house.sfu.publish(pupil, "heard")
    house.sfu.publish(pupil, "muted")
    house.sfu.publish(host, "hosts")
    muted = msgspec.structs.replace(a_track("muted", pupil), muted=True)
    house.sfu.emit(TrackAppeared("room", muted))

    house.rights.silenced = {"p"}
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert house.sfu.calls == [("mute", pupil, "heard", True)]
    # What their owner wants meanwhile counts afterwards; what is new begins silent.
    await house.media.set_track_muted("c1", SetTrackMuted(session_id=pupil, track_id="muted", muted=False))
    assert house.sfu.calls[-1] == ("mute", pupil, "muted", True)
    await house.media.receive_description("c1", a_description(pupil, "publish", "offer", 1, named("new")))
    assert [(one.track_id, one.muted) for one in house.sfu.described] == [("new", True)]
    with pytest.raises(SignalingError) as refused:
        await house.media.accept_whip("room", "p", SDP)
    assert refused.value.code == "room-frozen"

    house.rights.silenced = set()
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert sorted(house.sfu.calls) == [("mute", pupil, each, False) for each in ("heard", "muted", "new")]
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert house.sfu.calls == [], "once"


async def test_a_freeze_does_not_wait_for_what_an_engine_is_slow_with(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    for track in ("one", "two"):
        house.sfu.publish(session, track)
    house.sfu.held_back = ("publish",)
    house.sfu.gate.clear()
    offer = a_description(session, "publish", "offer", 1, named("new"))
    slow = asyncio.create_task(house.media.receive_description("c1", offer))
    await asyncio.sleep(0)
    house.rights.silenced = {"p"}
    house.sfu.calls.clear()
    freeze = asyncio.create_task(house.media.follow_silence("room"))
    await eventually(lambda: len(house.sfu.calls) == 2, SECOND)
    assert sorted(house.sfu.calls) == [("mute", session, each, True) for each in ("one", "two")]
    # What it was slow with began before the freeze, and would be heard when it is done: it is silenced then.
    house.sfu.publish(session, "new")
    house.sfu.gate.set()
    await asyncio.gather(slow, freeze)
    assert ("mute", session, "new", True) in house.sfu.calls


async def test_who_is_removed_loses_every_session_for_good(house: MediaHouse) -> None:
    sessions = [(await house.start(connection)).session_id for connection in ("c1", "c2")]
    kept = (await house.start("c3", who="other")).session_id
    house.sfu.publish(sessions[0], "t")
    await house.media.remove_participant("room", "p")
    assert set(house.sfu.open_sessions) == {kept}
    assert [track.id for track in house.media.tracks("room")] == []
    for connection in ("c1", "c2"):
        closed = house.outbox.to(connection)[-1][1]
        assert isinstance(closed, MediaClosed)
        assert (closed.reason, closed.retry) == ("forbidden", False)


async def test_changed_rights_reach_the_engine(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.rights.grants["p"] = SILENT
    await house.media.refresh_grants("room")
    assert house.sfu.calls[-1] == ("grants", session, SILENT)


async def test_a_lost_worker_ends_the_session_and_its_tracks(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    house.sfu.emit(PeerConnectionLost("room", session, "publish", "failed"))
    assert house.media.session_counts()["sfu"] == 1, "one connection of it can be built anew"
    house.sfu.emit(PeerConnectionLost("room", session, None, "worker_lost"))
    await eventually(lambda: house.outbox.gone == [("room", "t")], SECOND)
    assert house.media.session_counts()["sfu"] == 0
    closed = [payload for event, payload in house.outbox.to("c1") if event == "media_closed"]
    assert [(each.pc, each.reason, each.retry) for each in closed] == [
        ("publish", "failed", True),
        (None, "worker_lost", True),
    ]


async def test_a_track_of_a_session_that_has_ended_is_not_announced(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await house.media.stop_session("c1", StopMedia(session_id=session))
    house.sfu.publish(session, "late")
    assert house.media.tracks("room") == ()
    assert house.outbox.tracks == []


async def test_a_publisher_is_told_which_layers_are_looked_at(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    house.sfu.emit(LayersWatched("room", session, "t", 3))  # as a line begins: its publisher knows
    told = [payload for event, payload in house.outbox.to("c1") if event == "media_layers"]
    assert told == []
    house.sfu.emit(LayersWatched("room", session, "t", 1))
    assert house.outbox.to("c1")[-1] == ("media_layers", LayersWanted(session_id=session, track_id="t", layers=1))


async def test_who_resumes_is_told_which_layers_are_looked_at_now(house: MediaHouse) -> None:
    """What was said as the connection broke may be lost, and the engine says nothing twice."""
    session = (await house.start("c1")).session_id
    for track, layers in (("t", 3), ("t", 1), ("gone", 3), ("gone", 0)):
        house.sfu.publish(session, track)
        house.sfu.emit(LayersWatched("room", session, track, layers))
    house.sfu.emit(TrackDisappeared("room", "gone"))
    house.media.connection_lost("c1")
    resumed = await house.start("c2", session=session)
    assert resumed.resumed
    assert resumed.layers == [LayersWanted(session_id=session, track_id="t", layers=1)]
    house.sfu.emit(LayersWatched("room", session, "t", 3))  # on another line, whatever was said of the last
    assert house.outbox.to("c2")[-1] == ("media_layers", LayersWanted(session_id=session, track_id="t", layers=3))
    assert (await house.start("c3")).layers == []


async def test_speakers_are_passed_on(house: MediaHouse) -> None:
    house.sfu.emit(SpeakersHeard("room", ("p1", "p2")))
    assert house.outbox.speakers == [("room", ["p1", "p2"])]
