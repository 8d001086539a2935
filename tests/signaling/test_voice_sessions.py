"""Voice by the signaling connection: who may, over which connection, by which engine."""

import asyncio
from typing import Any

import pytest

from signaling.engines import EngineUnavailable, Fallback, VoiceToSend
from signaling.errors import SignalingError
from signaling.messages import SetFallback
from signaling.voice_packet import VoiceFrame, VoiceRun, encode_packet, encode_runs, parse_packet
from tests.support.media_house import SILENT, MediaHouse

RUN = VoiceRun("mine", [VoiceFrame(0, 30, b"opus")])
RUNS = encode_runs([RUN])


async def fall_back(house: MediaHouse, session_id: str, connection: str = "c1", **wish: Any) -> None:
    await house.media.set_fallback(
        connection, SetFallback(session_id=session_id, **({"track_id": "mine", "listens": True} | wish))
    )


def voices(house: MediaHouse) -> list[Any]:
    return [call for call in house.sfu.calls if call[0] == "voice"]


def packets(house: MediaHouse, connection: str) -> list[int]:
    return [parse_packet(packet).number for receiver, packet in house.outbox.voice if receiver == connection]


async def test_voice_goes_to_the_engine_and_back_once_it_is_asked_for(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.media.receive_voice("c1", encode_packet(1, 0, RUNS))
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert voices(house) == []
    assert house.outbox.voice == []

    await fall_back(house, session, interval_ms=60)
    assert ("fallback", session, Fallback("mine", False, True, 0.06)) in house.sfu.calls
    house.media.receive_voice("c1", encode_packet(1, 0, RUNS))
    assert voices(house) == [("voice", session, [RUN])]
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert packets(house, "c1") == [1]
    assert house.media.fallback_count() == 1

    await fall_back(house, session, track_id=None, listens=False)
    house.media.receive_voice("c1", encode_packet(2, 0, RUNS))
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert (len(voices(house)), packets(house, "c1")) == (1, [1])
    assert house.media.fallback_count() == 0


async def test_who_may_not_speak_may_still_listen(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.rights.grants["p"] = SILENT
    with pytest.raises(SignalingError) as refused:
        await fall_back(house, session)
    assert refused.value.code == "permission-denied"
    await fall_back(house, session, track_id=None)


async def test_a_track_of_another_session_is_not_taken(house: MediaHouse) -> None:
    other = (await house.start("c2", who="q")).session_id
    house.sfu.publish(other, "mine")
    session = (await house.start("c1")).session_id
    with pytest.raises(SignalingError) as refused:
        await fall_back(house, session)
    assert refused.value.code == "track-id-taken"
    await fall_back(house, session, track_id="another")


async def test_the_engine_has_the_last_word_on_a_track(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.refusal = ValueError("a camera")
    with pytest.raises(SignalingError) as refused:
        await fall_back(house, session)
    assert refused.value.code == "track-id-taken"
    assert house.media.fallback_count() == 0


async def test_another_connection_cannot_speak_in_its_place(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await house.start("c2", who="q")
    with pytest.raises(SignalingError) as refused:
        await fall_back(house, session, "c2")
    assert refused.value.code == "unknown-session"
    await fall_back(house, session)
    house.media.receive_voice("c2", encode_packet(1, 0, RUNS))
    house.media.receive_voice("nobody", encode_packet(1, 0, RUNS))
    assert voices(house) == []


async def test_a_private_rooms_voice_goes_by_no_server(house: MediaHouse) -> None:
    session = (await house.start("c1", room="private")).session_id
    with pytest.raises(EngineUnavailable):
        await fall_back(house, session)
    house.media.receive_voice("c1", encode_packet(1, 0, RUNS))
    assert house.media.fallback_count() == 0


async def test_a_new_connection_begins_its_numbers_anew(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await fall_back(house, session)
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    house.media.connection_lost("c1")
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    await house.start("c2", session=session)
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert packets(house, "c2") == []
    await fall_back(house, session, "c2")
    house.media.receive_voice("c2", encode_packet(1, 0, RUNS))
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert (len(voices(house)), packets(house, "c2")) == (1, [1])


async def test_a_listener_that_does_not_keep_up_is_sent_the_newest_when_it_does(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await fall_back(house, session)
    for n in range(200):
        run = VoiceRun("other", [VoiceFrame(n * 960, 30, b"opus")])
        house.sfu.emit(VoiceToSend("room", session, encode_runs([run])))
    assert packets(house, "c1") == list(range(1, 26))
    house.media.receive_voice("c1", encode_packet(0, 25, b""))
    newest = [parse_packet(packet).runs[0].frames[0].timestamp // 960 for _to, packet in house.outbox.voice[25:]]
    assert newest == list(range(194, 200))


async def test_what_is_no_packet_harms_nobody(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await fall_back(house, session)
    for wrong in (b"", b"\x00" * 20, b"\x01" * 20, bytes(20_000)):
        house.media.receive_voice("c1", wrong)
    assert voices(house) == []
    house.media.receive_voice("c1", encode_packet(1, 0, RUNS))
    assert len(voices(house)) == 1


async def test_removal_ends_it(house: MediaHouse) -> None:
    session = (await house.start("c1")).session_id
    await fall_back(house, session)
    await house.media.remove_participant("room", "p")
    await asyncio.sleep(0)
    house.media.receive_voice("c1", encode_packet(1, 0, RUNS))
    house.sfu.emit(VoiceToSend("room", session, RUNS))
    assert (voices(house), house.outbox.voice) == ([], [])
