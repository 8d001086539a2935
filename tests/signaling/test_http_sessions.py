"""Media sessions over HTTP (WHIP, WHEP): whose they are, and that nothing is left of them."""

from dataclasses import replace

import pytest

from signaling.engines import EngineUnavailable, PeerConnectionLost
from signaling.errors import SignalingError
from tests.support.deadlines import SECOND
from tests.support.media_house import MediaHouse
from tests.support.media_session import EVERYTHING, eventually


async def test_a_session_over_http_is_its_participants_alone(house: MediaHouse) -> None:
    session, answer = await house.media.accept_whip("room", "p", "offer")
    assert answer == "answer"
    for room, who, wanted in (("room", "other", session), ("private", "p", session), ("room", "p", "unknown")):
        with pytest.raises(SignalingError) as refused:
            await house.media.end_http_session(room, who, wanted)
        assert refused.value.code == "not-found"
    assert not (await house.start("c1", session=session)).resumed
    assert session in house.sfu.open_sessions
    await house.media.end_http_session("room", "p", session)
    assert session not in house.sfu.open_sessions


async def test_an_encoder_is_offered_nothing_for_it_cannot_answer(house: MediaHouse) -> None:
    """An offer without an answer is given up after half a minute, and would take the encoder's picture along."""
    encoder, _answer = await house.media.accept_whip("room", "p", "offer")
    player, _answer = await house.media.accept_whep("room", "p", "offer")
    assert not house.sfu.opened_with[encoder].subscribe
    assert house.sfu.opened_with[player].subscribe
    await house.media.refresh_grants("room")
    assert ("grants", encoder, replace(EVERYTHING, subscribe=False)) in house.sfu.calls
    assert ("grants", player, EVERYTHING) in house.sfu.calls


async def test_an_ordinary_session_does_not_end_over_http(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    with pytest.raises(SignalingError):
        await house.media.end_http_session("room", "p", session)


async def test_a_refused_offer_over_http_leaves_nothing(house: MediaHouse) -> None:
    house.sfu.refusal = ValueError("no media")
    with pytest.raises(SignalingError) as refused:
        await house.media.accept_whip("room", "p", "offer")
    assert refused.value.code == "invalid-description"
    with pytest.raises(EngineUnavailable):
        await house.media.accept_whep("private", "p", "offer")
    assert house.media.session_counts() == {"sfu": 0, "p2p": 0}


async def test_a_publisher_over_http_that_is_gone_ends_its_session(house: MediaHouse) -> None:
    session, _answer = await house.media.accept_whip("room", "p", "offer")
    house.sfu.publish(session, "t")
    house.sfu.emit(PeerConnectionLost("room", session, "publish", "failed"))
    await eventually(lambda: not house.sfu.open_sessions, SECOND)
    assert house.outbox.gone == [("room", "t")]
