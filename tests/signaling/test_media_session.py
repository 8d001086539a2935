"""Media sessions: whose they are, and what survives a lost connection."""

import asyncio
from dataclasses import replace

import pytest

from signaling import media_session
from signaling.engines import EngineUnavailable
from signaling.errors import SignalingError
from signaling.mailbox import MAX_MESSAGES
from signaling.media_session import MAX_SESSIONS_PER_PARTICIPANT
from signaling.messages import SetSound, StartMedia, StopMedia
from tests.support.deadlines import SECOND
from tests.support.media_house import MediaHouse
from tests.support.media_service import a_description, named
from tests.support.media_session import EVERYTHING, eventually
from tests.support.virtual_time import in_virtual_time

# --- beginning ------------------------------------------------------------------------------------


async def test_a_session_begins_with_credentials_of_its_own(house: MediaHouse) -> None:
    started = await house.start("c1")
    assert (started.engine, started.resumed, started.peers) == ("sfu", False, [])
    (server,) = started.ice_servers
    assert server.username == f"{int(house.clock.now) + 3_600}:p"
    assert house.media.session_counts() == {"sfu": 1, "p2p": 0}


async def test_a_newcomer_learns_who_is_there_and_they_learn_of_the_newcomer(house: MediaHouse) -> None:
    first = await house.start("c1", who="p1", room="private")
    later = await house.start("c2", who="p2", room="private")
    assert first.peers == []
    assert [(peer.session_id, peer.participant_id, peer.polite) for peer in later.peers] == [
        (first.session_id, "p1", True)
    ]
    ((event, joined),) = house.outbox.to("c1")
    assert (event, joined.peer.session_id, joined.peer.polite) == ("media_peer_joined", later.session_id, False)
    assert house.outbox.to("c2") == [], "its peers stand in the answer"


async def test_nothing_is_heard_of_a_session_before_its_id_is_known(house: MediaHouse) -> None:
    """The sfu offers while the session opens; the client cannot place that yet."""
    started = await house.media.start("room", "p", "c1", StartMedia())
    assert house.outbox.sent == []
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.sent == []
    await asyncio.sleep(0)
    assert [payload.negotiation for _event, payload in house.outbox.to("c1")] == [1, 2]


async def test_an_engine_that_cannot_leaves_no_session_behind(house: MediaHouse) -> None:
    house.sfu.refusal = EngineUnavailable("full")
    with pytest.raises(EngineUnavailable):
        await house.start("c1")
    assert house.media.session_counts()["sfu"] == 0
    del house.engines["sfu"]
    with pytest.raises(EngineUnavailable):
        await house.start("c1")


async def test_a_second_start_of_a_connection_replaces_its_session(house: MediaHouse) -> None:
    old = await house.start("c1")
    new = await house.start("c1")
    assert old.session_id != new.session_id
    assert set(house.sfu.open_sessions) == {new.session_id}


async def test_who_is_removed_while_a_session_opens_gets_none(house: MediaHouse) -> None:
    house.sfu.gate.clear()
    starting = asyncio.create_task(house.start("c1"))
    await eventually(lambda: house.media.session_counts()["sfu"], SECOND)
    await house.media.remove_participant("room", "p")
    house.sfu.gate.set()
    with pytest.raises(SignalingError):
        await starting
    assert house.sfu.open_sessions == {}
    assert house.media.session_counts()["sfu"] == 0


async def test_sessions_of_a_participant_are_bounded_and_lost_ones_give_way(house: MediaHouse) -> None:
    for number in range(MAX_SESSIONS_PER_PARTICIPANT):
        await house.start(f"c{number}")
    with pytest.raises(SignalingError) as refused:
        await house.start("one-more")
    assert refused.value.code == "too-many-sessions"
    await house.start("somebody-else", who="other")
    house.media.connection_lost("c3")
    await house.start("one-more")
    assert house.media.session_counts()["sfu"] == MAX_SESSIONS_PER_PARTICIPANT + 1


async def test_sessions_of_a_room_are_bounded(house: MediaHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_session, "MAX_SESSIONS_PER_ROOM", 2)
    await house.start("c1", who="p1")
    await house.start("c2", who="p2")
    with pytest.raises(SignalingError) as refused:
        await house.start("c3", who="p3")
    assert refused.value.code == "too-many-sessions"
    await house.start("c3", who="p3", room="private")


# --- a connection that is lost --------------------------------------------------------------------


async def test_a_session_goes_on_over_a_new_connection_and_misses_nothing(house: MediaHouse) -> None:
    started = await house.start("c1")
    house.sfu.publish(started.session_id, "t")
    house.outbox.sent.clear()
    house.media.connection_lost("c1")
    for number in (2, 3):
        house.sfu.offer(started.session_id, number)
    assert house.outbox.sent == []
    resumed = await house.media.start("room", "p", "c2", StartMedia(session_id=started.session_id))
    house.sfu.offer(started.session_id, 4)
    await asyncio.sleep(0)
    assert (resumed.session_id, resumed.resumed) == (started.session_id, True)
    assert [payload.negotiation for _event, payload in house.outbox.to("c2")] == [2, 3, 4]
    assert house.outbox.gone == []
    with pytest.raises(SignalingError):
        await house.media.stop_session("c1", StopMedia(session_id=started.session_id))


async def test_a_resumed_session_is_told_who_is_there_now(house: MediaHouse) -> None:
    """What was sent to a socket that was dead already is lost without a trace."""
    first, later = await house.two_peers()
    resumed = await house.start("c3", who="p1", room="private", session=first)
    assert [(peer.session_id, peer.polite) for peer in resumed.peers] == [(later, False)]


async def test_a_session_ends_when_nobody_comes_back(house: MediaHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_session, "GRACE_S", 0.02)
    started = await house.start("c1")
    house.sfu.publish(started.session_id, "t")
    house.media.connection_lost("c1")
    await eventually(lambda: not house.sfu.open_sessions, SECOND)
    assert house.outbox.gone == [("room", "t")]
    again = await house.start("c2", session=started.session_id)
    assert not again.resumed
    assert again.session_id != started.session_id


@in_virtual_time
async def test_who_comes_back_in_time_is_not_ended_later() -> None:
    house = MediaHouse()
    started = await house.start("c1")
    house.media.connection_lost("c1")
    await asyncio.sleep(media_session.GRACE_S - 1)
    await house.start("c2", session=started.session_id)
    await asyncio.sleep(2 * media_session.GRACE_S)
    assert set(house.sfu.open_sessions) == {started.session_id}


async def test_too_many_messages_meanwhile_make_a_new_session(house: MediaHouse) -> None:
    started = await house.start("c1")
    house.media.connection_lost("c1")
    for number in range(MAX_MESSAGES + 1):
        house.sfu.offer(started.session_id, number + 2)
    again = await house.start("c2", session=started.session_id)
    assert not again.resumed
    assert set(house.sfu.open_sessions) == {again.session_id}


async def test_the_connection_that_has_a_session_gets_new_credentials(house: MediaHouse) -> None:
    started = await house.start("c1")
    house.clock.now += 1_800
    again = await house.start("c1", session=started.session_id)
    assert (again.session_id, again.resumed) == (started.session_id, True)
    assert again.ice_servers[0].username != started.ice_servers[0].username
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.events_to("c1")[-1] == "media_description"


async def test_a_session_that_moves_is_no_longer_its_old_connections(house: MediaHouse) -> None:
    started = await house.start("c1")
    house.outbox.sent.clear()
    await house.start("c2", session=started.session_id)
    ((event, closed),) = house.outbox.to("c1")
    assert (event, closed.reason, closed.retry) == ("media_closed", "replaced", False)
    house.media.connection_lost("c1")
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.events_to("c2")[-1] == "media_description"


async def test_going_on_with_one_session_ends_the_connections_other_one(house: MediaHouse) -> None:
    first = await house.start("c1")
    house.media.connection_lost("c1")
    second = await house.start("c2")
    await house.start("c2", session=first.session_id)
    assert set(house.sfu.open_sessions) == {first.session_id}
    assert ("close", second.session_id) in house.sfu.calls


@pytest.mark.parametrize(("who", "room"), [("somebody-else", "room"), ("p", "another-room")])
async def test_nobody_takes_over_anothers_session(house: MediaHouse, who: str, room: str) -> None:
    house.rights.engines["another-room"] = "sfu"
    started = await house.start("c1")
    house.media.connection_lost("c1")
    stranger = await house.start("c2", who=who, room=room, session=started.session_id)
    assert not stranger.resumed
    assert stranger.session_id != started.session_id
    assert (await house.start("c3", session=started.session_id)).resumed


async def test_a_device_without_sound_neither_takes_nor_gives_any_and_may_have_it_again(house: MediaHouse) -> None:
    session = (await house.media.start("room", "p", "c1", StartMedia(without_sound=True))).session_id
    microphone = a_description(session, "publish", "offer", 1, named("sound", "microphone"))
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", microphone)
    assert refused.value.code == "permission-denied"
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("picture")))
    await house.media.refresh_grants("room")
    assert house.sfu.calls[-1] == ("grants", session, replace(EVERYTHING, sound=False)), "the room gave it nothing"
    await house.media.set_sound("c1", SetSound(session_id=session, without_sound=False))
    assert house.sfu.calls[-1] == ("grants", session, EVERYTHING)
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 2, named("s", "microphone")))
    before = len(house.sfu.calls)
    await house.media.set_sound("c1", SetSound(session_id=session, without_sound=False))
    assert len(house.sfu.calls) == before, "as it was"


async def test_a_session_that_goes_on_has_the_sound_that_its_device_has_now(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.media.connection_lost("c1")
    await house.media.start("room", "p", "c2", StartMedia(session_id=session, without_sound=True))
    assert ("grants", session, replace(EVERYTHING, sound=False)) in house.sfu.calls


async def test_stopping_leaves_nothing(house: MediaHouse) -> None:
    for number in range(5):
        await house.start(f"c{number}", who=f"p{number}")
    house.media.connection_lost("c1")
    await house.media.accept_whep("room", "p", "offer")
    await house.media.stop()
    assert house.sfu.open_sessions == {}
    assert house.media.session_counts() == {"sfu": 0, "p2p": 0}
