"""What clients send to a media session: what is taken, in which order, and what is refused."""

import asyncio

import pytest

from signaling.description_check import MAX_TRACKS_PER_ROOM
from signaling.errors import SignalingError
from signaling.messages import (
    Candidate,
    RebuildPeerConnection,
    SetLayout,
    SetSound,
    SetTrackMuted,
    StopMedia,
    Subscribe,
    TrickledCandidate,
    Unpublish,
)
from tests.support.media_house import SILENT, MediaHouse
from tests.support.media_service import a_description, named

CANDIDATE = Candidate(candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host", sdp_mid="0")


async def test_every_message_needs_the_session_of_its_own_connection(house: MediaHouse) -> None:
    started = await house.start("c1", who="p1")
    await house.start("c2", who="p2")
    session, media = started.session_id, house.media
    house.sfu.calls.clear()
    for connection, session_id in (("c2", session), ("c1", "unknown"), ("nobody", session)):
        for call in (
            media.receive_description(connection, a_description(session_id, "publish", "offer")),
            media.receive_candidate(
                connection, TrickledCandidate(session_id=session_id, pc="publish", candidate=CANDIDATE)
            ),
            media.set_track_muted(connection, SetTrackMuted(session_id=session_id, track_id="t", muted=True)),
            media.unpublish(connection, Unpublish(session_id=session_id, track_id="t")),
            media.subscribe(connection, Subscribe(session_id=session_id, tracks=[])),
            media.set_layout(connection, SetLayout(session_id=session_id, tracks=[])),
            media.set_sound(connection, SetSound(session_id=session_id, without_sound=True)),
            media.rebuild(connection, RebuildPeerConnection(session_id=session_id, pc="publish")),
            media.stop_session(connection, StopMedia(session_id=session_id)),
        ):
            with pytest.raises(SignalingError) as refused:
                await call
            assert refused.value.code == "unknown-session"
    assert house.sfu.calls == []


async def test_an_offer_is_answered_once_and_a_repeated_one_again(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    offer = a_description(session, "publish", "offer", 1)
    house.sfu.calls.clear()
    house.outbox.sent.clear()
    await house.media.receive_description("c1", offer)
    await house.media.receive_description("c1", offer)  # its answer is on its way
    house.sfu.answer(session, 1)
    house.sfu.answer(session, 1)
    assert house.sfu.calls == [("publish", session, 1)]
    assert len(house.outbox.to("c1")) == 1
    await house.media.receive_description("c1", offer)  # it was lost
    house.sfu.answer(session, 1)
    assert house.sfu.calls == [("publish", session, 1)] * 2
    assert len(house.outbox.to("c1")) == 2


async def test_an_answer_to_an_offer_that_was_replaced_is_not_sent(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.outbox.sent.clear()
    for number in (1, 2):
        await house.media.receive_description("c1", a_description(session, "publish", "offer", number))
    house.sfu.answer(session, 1)
    house.sfu.answer(session, 2)
    assert [payload.negotiation for _event, payload in house.outbox.to("c1")] == [2]


async def test_an_offer_behind_the_present_one_is_dropped_until_a_rebuild(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.calls.clear()
    for number in (5, 4):
        await house.media.receive_description("c1", a_description(session, "publish", "offer", number))
    await house.media.rebuild("c1", RebuildPeerConnection(session_id=session, pc="publish"))
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1))
    assert [call[0] for call in house.sfu.calls] == ["publish", "rebuild", "publish"]


async def test_a_refused_offer_says_why_and_may_be_mended(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.refusal = ValueError("no fingerprint")
    offer = a_description(session, "publish", "offer", 1)
    with pytest.raises(SignalingError, match="no fingerprint") as refused:
        await house.media.receive_description("c1", offer)
    assert refused.value.code == "invalid-description"
    await house.media.receive_description("c1", offer)
    assert house.sfu.calls[-2:] == [("publish", session, 1)] * 2


async def test_an_answer_is_taken_once_and_never_to_what_was_not_offered(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.offer(session, 2)
    house.sfu.calls.clear()
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", 3))
    assert refused.value.code == "invalid-description"
    house.sfu.refusal = ValueError("not this one")
    with pytest.raises(SignalingError):
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", 2))
    for number in (1, 2, 2):
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", number))
    assert house.sfu.calls == [("subscribe", session, 2)] * 2


@pytest.mark.parametrize(
    ("room", "pc", "kind", "to"),
    [
        ("room", "publish", "answer", None),
        ("room", "subscribe", "offer", None),
        ("room", "publish", "rollback", None),
        ("room", "peer", "offer", "other"),
        ("room", "publish", "offer", "other"),
        ("private", "publish", "offer", None),
        ("private", "peer", "offer", None),
    ],
)
async def test_a_description_of_the_wrong_kind_is_refused(
    house: MediaHouse, room: str, pc: str, kind: str, to: str | None
) -> None:
    session = (await house.start("c1", room=room)).session_id
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, pc, kind, 1, to=to))  # type: ignore[arg-type]
    assert refused.value.code == "invalid-description"


async def test_descriptions_and_candidates_go_from_peer_to_peer(house: MediaHouse) -> None:
    first, later = await house.two_peers()
    await house.media.receive_description("c2", a_description(later, "peer", "offer", 1, named("t"), to=first))
    await house.media.receive_candidate(
        "c2", TrickledCandidate(session_id=later, pc="peer", candidate=CANDIDATE, to=first)
    )
    (event, description), (_, candidate) = house.outbox.to("c1")
    assert (event, description.from_, description.session_id) == ("media_description", later, first)
    assert (candidate.from_, candidate.candidate) == (later, CANDIDATE)
    assert [track.id for track in house.media.tracks("private")] == ["t"]
    assert house.outbox.tracks[0][1].participant_id == "p2"


async def test_what_one_session_has_relayed_to_others_is_bounded(house: MediaHouse) -> None:
    first, later = await house.two_peers()
    long = a_description(later, "peer", "rollback", 0, to=first, sdp="x" * 60_000)
    with pytest.raises(SignalingError) as refused:
        for _ in range(30):
            await house.media.receive_description("c2", long)
    assert refused.value.code == "too-many-requests"
    house.clock.now += 60
    await house.media.receive_description("c2", long)


async def test_nobody_publishes_what_they_may_not(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    offer = a_description(session, "publish", "offer", 1, named("t"))
    house.rights.grants["p"] = SILENT
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", offer)
    assert refused.value.code == "permission-denied"
    del house.rights.grants["p"]
    await house.media.receive_description("c1", offer)


async def test_a_track_id_belongs_to_who_published_it(house: MediaHouse) -> None:
    mine = (await house.start("c1", who="p1")).session_id
    theirs = (await house.start("c2", who="p2")).session_id
    house.sfu.publish(theirs, "t")
    for call, code in (
        (
            house.media.receive_description("c1", a_description(mine, "publish", "offer", 1, named("t"))),
            "track-id-taken",
        ),
        (house.media.set_track_muted("c1", SetTrackMuted(session_id=mine, track_id="t", muted=True)), "not-found"),
        (house.media.unpublish("c1", Unpublish(session_id=mine, track_id="t")), "not-found"),
    ):
        with pytest.raises(SignalingError) as refused:
            await call
        assert refused.value.code == code
    with pytest.raises(SignalingError):
        twice = a_description(mine, "publish", "offer", 1, named("a"), named("a", mid="1"))
        await house.media.receive_description("c1", twice)


async def test_tracks_of_a_room_are_bounded(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    for number in range(MAX_TRACKS_PER_ROOM):
        house.sfu.publish(session, f"t{number}")
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("more")))
    assert refused.value.code == "too-many-tracks"
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("t1")))


async def test_a_slow_engine_gets_a_sessions_messages_in_their_order(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    other = (await house.start("c2", who="other")).session_id
    house.sfu.calls.clear()
    house.sfu.gate.clear()
    media = house.media
    calls = [
        asyncio.create_task(media.receive_description("c1", a_description(session, "publish", "offer", 1, named("t")))),
        asyncio.create_task(media.set_track_muted("c1", SetTrackMuted(session_id=session, track_id="t", muted=True))),
        asyncio.create_task(media.subscribe("c1", Subscribe(session_id=session, tracks=[]))),
        asyncio.create_task(media.set_layout("c1", SetLayout(session_id=session, tracks=[]))),
        asyncio.create_task(media.unpublish("c1", Unpublish(session_id=session, track_id="t"))),
    ]
    await asyncio.sleep(0)
    house.sfu.gate.set()
    await asyncio.gather(*calls)
    assert [call[0] for call in house.sfu.calls] == ["publish", "mute", "subscribe", "layout", "unpublish"]
    await media.subscribe("c2", Subscribe(session_id=other, tracks=[]))
