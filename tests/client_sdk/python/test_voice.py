"""Voice as Opus packets over the room's own connection: a real server, a real media worker, both transports."""

import asyncio
from collections.abc import Sequence

import pytest

from passerelle_client import Refused, Room, VoiceFrame
from passerelle_client.voice_packet import VoiceNumbers, VoiceRun, encode_packet, parse_packet
from signaling import voice_packet as server_packet
from tests.client_sdk.python.conftest import MakeSchool, School
from tests.client_sdk.python.test_room import becomes
from tests.support.deadlines import SECOND

DEADLINE = 10 * SECOND


class Ear:
    """What a room's voice brings: (track id, timestamp, payload)."""

    def __init__(self, room: Room) -> None:
        self.heard: list[tuple[str, int, bytes]] = []
        self._changed = asyncio.Event()
        room.voice.on("frames", self._hear)

    def _hear(self, track_id: str, frames: Sequence[VoiceFrame]) -> None:
        self.heard += [(track_id, frame.timestamp, frame.payload) for frame in frames]
        self._changed.set()

    async def until(self, wanted: tuple[str, int, bytes]) -> None:
        async with asyncio.timeout(DEADLINE):
            while wanted not in self.heard:
                self._changed.clear()
                await self._changed.wait()


def frames(first: int, count: int = 2) -> list[VoiceFrame]:
    return [VoiceFrame((first + n) * 960, 0x80 | 20, b"opus %d" % (first + n)) for n in range(count)]


async def goes_through(speaker: Room, ear: Ear, first: int = 0) -> None:
    sent = frames(first)
    speaker.voice.send(sent)
    for frame in sent:
        await ear.until((speaker.voice.track_id, frame.timestamp, frame.payload))


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_one_says_the_other_hears_byte_for_byte(school: School, transport: str) -> None:
    host, guest = await school.host(), await school.join("guest", transports=[transport])
    ears = {room: Ear(room) for room in (host, guest)}
    for room in (host, guest):
        await room.voice.start()
    await goes_through(guest, ears[host])
    await goes_through(host, ears[guest])
    view = await becomes(host, lambda view: guest.voice.track_id in {track.id for track in view.tracks})
    [track] = [track for track in view.tracks if track.id == guest.voice.track_id]
    assert (track.source, track.kind, track.muted) == ("microphone", "audio", False)


async def test_a_hosts_mute_stops_it_at_once_and_a_removal_for_good(school: School) -> None:
    host, guest = await school.host(), await school.join("guest")
    ear = Ear(host)
    await host.voice.start()
    await guest.voice.start()
    await goes_through(guest, ear)
    await host.mute_other(guest.voice.track_id)
    count = len(ear.heard)
    guest.voice.is_muted = False  # a client that pays no heed
    guest.voice.send(frames(100))
    await guest.voice.set_muted(False)
    await goes_through(guest, ear, 200)
    assert [timestamp for _track, timestamp, _payload in ear.heard[count:]] == [200 * 960, 201 * 960]
    await host.remove(guest.participant_id)
    theirs = guest.participant_id
    await becomes(host, lambda view: all(track.participant_id != theirs for track in view.tracks))


async def test_who_may_not_speak_is_refused_and_may_listen(school: School) -> None:
    host, observer = await school.host(), await school.join("observer")
    ear = Ear(observer)
    with pytest.raises(Refused) as refused:
        await observer.voice.start()
    assert refused.value.code == "permission-denied"
    await observer.voice.start(speaks=False)
    await host.voice.start()
    await goes_through(host, ear)


async def test_a_consultation_has_no_such_way(make_school: MakeSchool) -> None:
    school = await make_school(kind="consultation")
    host = await school.host()
    with pytest.raises(Refused) as refused:
        await host.voice.start()
    assert refused.value.code == "media-unavailable"


async def test_it_comes_back_after_a_cut(school: School) -> None:
    host, guest = await school.host(), await school.join("guest")
    ear = Ear(host)
    await host.voice.start()
    await guest.voice.start()
    await goes_through(guest, ear)
    again = asyncio.Event()
    guest.on("state", lambda state: again.set() if state == "connected" else None)
    client = guest._connection._client
    assert client is not None
    await client.eio.disconnect(abort=True)
    async with asyncio.timeout(DEADLINE):
        await again.wait()
    async with asyncio.timeout(DEADLINE):
        number = 500
        while not any(timestamp >= 500 * 960 for _track, timestamp, _payload in ear.heard):
            number += 2
            guest.voice.send(frames(number))
            await asyncio.sleep(0.04)  # the pace of a microphone


def test_too_much_at_once_is_the_callers_mistake() -> None:
    room = Room("http://localhost", "t")
    for wrong in ([], frames(0, 65), [VoiceFrame(0, 0, bytes(1_276))], [VoiceFrame(0, 0, b"")]):
        with pytest.raises(ValueError):
            room.voice.send(wrong)


def test_packets_are_those_of_the_server() -> None:
    sent = encode_packet(3, 2, [VoiceRun("track", frames(5))])
    theirs = server_packet.parse_packet(sent)
    assert (theirs.number, theirs.heard) == (3, 2)
    body = server_packet.encode_runs(theirs.runs)
    assert server_packet.encode_packet(3, 2, body) == sent
    assert parse_packet(sent)[2][0].frames[1].payload == b"opus 6"


def test_who_is_not_heard_sends_a_second_and_no_more() -> None:
    numbers = VoiceNumbers()
    sent = 0
    for n in range(100):
        numbers.put(VoiceRun("t", tuple(frames(n, 1))))
        sent += len(numbers.packets_to_send())
    assert (sent, numbers.dropped) == (25, 100 - 25 - 6)
    numbers.receive(encode_packet(0, 25, []))
    assert len(numbers.packets_to_send()) == 6
