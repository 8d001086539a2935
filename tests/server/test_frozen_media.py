"""ROLE-5 in sound and picture: while no adult is there no packet of anybody else's leaves a media engine, by RTP or over
the signaling connection; and between peers the Python SDK keeps silent by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiortc.mediastreams import AudioStreamTrack

from passerelle_client import Room, VoiceFrame
from passerelle_client.media_tracks import IncomingTrack
from tests.server.test_gateway_api import gateway_settings
from tests.support.colour_track import BLUE, RED, ColourTrack, remote
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address, running_janus
from tests.support.media_session import eventually, loopback_for_aioice
from tests.support.running_house import Person, RunningHouse, running_house

pytestmark = pytest.mark.timeout(120)
DEADLINE = 10 * SECOND
GRACE_S = 0.5
"""Instead of ten: what is measured here begins when the room is frozen."""
SILENT_WITHIN_S = 0.5 * SECOND
"""MED-3: after a mute."""
HEARD_AGAIN_WITHIN_S = 2.0 * SECOND
"""ROLE-5: after the adult's return."""


class Lesson:
    def __init__(self, house: RunningHouse, host: Person, stack: AsyncExitStack) -> None:
        self.house = house
        self.host = host
        self._stack = stack

    async def enter(self, person: Person, *, media: bool = True, **options: Any) -> Room:
        room = await Room.connect(self.house.url, person.token, **options)
        self._stack.push_async_callback(room.close)
        if media:
            await room.media.start()
        return room

    async def join(self, role: str, name: str, **options: Any) -> Room:
        return await self.enter(await self.house.guest(self.host, role, name), **options)

    def in_turn(self, work: Awaitable[None]) -> None:
        """Beside everything else, until the end."""
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)


@asynccontextmanager
async def lesson(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "interclass", *, is_on_janus: bool = False
) -> AsyncIterator[Lesson]:
    monkeypatch.setattr("rooms.supervision.GRACE_S", GRACE_S)
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if is_on_janus:
            settings = gateway_settings(await stack.enter_async_context(running_janus(folder / "janus")))
        stack.enter_context(loopback_for_aioice(own_address() if is_on_janus else "127.0.0.1"))
        house = await stack.enter_async_context(running_house(folder / "data", media=True, **settings))
        yield Lesson(house, await house.room(kind=kind), stack)


async def packets(room: Room) -> dict[str, int]:
    """RTP packets that came to it by peer connections since the beginning, by the line that brought them."""
    link: Any = room.media._link
    connections = (
        [peer._connection for peer in link.peers.values()]
        if room.media.engine == "p2p"
        else [link.subscribe._connection]
    )
    counted = {}
    for number, connection in enumerate(connections):
        for transceiver in connection.getTransceivers():
            for report in (await transceiver.receiver.getStats()).values():
                if report.type == "inbound-rtp":
                    name = f"{number} {transceiver.mid} {report.ssrc}"
                    counted[name] = report.packetsReceived
    return counted


class Ear:
    """Frames of one track, as they are played."""

    def __init__(self) -> None:
        self.heard = 0

    async def listen(self, track: IncomingTrack) -> None:
        with suppress(Exception):  # the track's end
            while True:
                await track.recv()
                self.heard += 1


async def speak(room: Room) -> None:
    """By its signaling connection; a client that pays no heed to what it is told."""
    number = 0
    while True:
        room.voice.is_muted = False
        room.voice.send([VoiceFrame((number + n) * 960, 0x80 | 20, b"opus") for n in range(2)])
        number += 2
        await asyncio.sleep(0.04)


async def all_more(counts: Callable[[], Awaitable[dict[str, int]]], more: int, within_s: float, ways: int) -> None:
    """Until on so many ways that much more has come. Raises: TimeoutError."""
    before = await counts()
    async with asyncio.timeout(within_s):
        while sum(now - before.get(way, 0) >= more for way, now in (await counts()).items()) < ways:
            await asyncio.sleep(0.01)


async def freeze(here: Lesson, host: Room, watching: Room) -> float:
    """The only adult leaves; when those who are left know that the room is frozen."""
    await host.close()
    await eventually(lambda: watching.frozen, DEADLINE, "the room is frozen")
    return time.monotonic()


class ByVoice:
    """Somebody whose voice goes over the signaling connection, by long polling, and who does not stop speaking."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.heard: dict[str, int] = {}
        """By track."""
        room.voice.on("frames", self._hear)

    def _hear(self, track_id: str, frames: Sequence[VoiceFrame]) -> None:
        self.heard[track_id] = self.heard.get(track_id, 0) + len(frames)


@pytest.mark.parametrize("is_on_janus", [False, pytest.param(True, marks=pytest.mark.long)], ids=["sfu", "janus"])
async def test_nobody_is_heard_or_seen_by_way_of_the_server_in_a_frozen_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_on_janus: bool
) -> None:
    """Neither by RTP nor, where the engine can do it, by the signaling connection."""
    async with lesson(tmp_path, monkeypatch, is_on_janus=is_on_janus) as here:
        host = await here.enter(here.host, media=False)
        speaker, listener = [await here.join("class", name) for name in ("6e A", "6e B")]
        assert speaker.media.engine == ("janus" if is_on_janus else "sfu")
        published = [
            await speaker.media.publish(AudioStreamTrack(), "microphone"),
            await speaker.media.publish(ColourTrack(RED), "camera"),
        ]
        for source in ("microphone", "camera"):
            await remote(listener.media, source, speaker)
        voice = None
        if not is_on_janus:
            voice = ByVoice(await here.join("class", "6e C", media=False, transports=["polling"]))
            await voice.room.voice.start()
            here.in_turn(speak(voice.room))
            await remote(listener.media, "microphone", voice.room)

        async def counts() -> dict[str, int]:
            return {
                **await packets(listener),
                **({f"voice {each}": n for each, n in voice.heard.items()} if voice else {}),
            }

        ways = 4 if voice else 2
        await all_more(counts, 20, DEADLINE, ways)
        await freeze(here, host, listener)
        await asyncio.sleep(SILENT_WITHIN_S)
        before = await counts()
        # Clients that would rather be heard: they unmute, publish something else, begin anew.
        for local in published:
            await speaker.media.set_muted(local.id, False)
        late = await speaker.media.publish(ColourTrack(BLUE), "screen")
        if voice:
            await voice.room.voice.set_muted(False)
            await asyncio.sleep(0.5)
            await voice.room.voice.close()
            await voice.room.voice.start()
        await asyncio.sleep(1.0)
        after = await counts()
        assert {way: n for way, n in after.items() if n != before.get(way, 0)} == {}
        began = time.monotonic()
        back = asyncio.create_task(here.enter(here.host, media=False))
        await all_more(counts, 10, HEARD_AGAIN_WITHIN_S, ways)
        print(f"all are heard again {time.monotonic() - began:.2f} s after the adult began to come back")
        await back
        assert listener.view is not None
        await eventually(lambda: not any(each.muted for each in listener.view.tracks), DEADLINE, "nobody is muted")  # type: ignore[union-attr]
        assert late.id in {track.id for track in listener.view.tracks}


@pytest.mark.parametrize("held_s", [0.5, pytest.param(6.0, marks=pytest.mark.long)])
async def test_between_peers_the_sdk_sends_and_takes_nothing_in_a_frozen_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_s: float
) -> None:
    """`held_s`: also for longer than a path may bring nothing that is expected to."""
    async with lesson(tmp_path, monkeypatch, "consultation") as here:
        host = await here.enter(here.host)
        pupil, parent = await here.join("pupil", "Zoé"), await here.join("guest", "Sa mère")
        assert pupil.media.engine == "p2p"
        local = await pupil.media.publish(AudioStreamTrack(), "microphone")
        ear = Ear()
        here.in_turn(ear.listen((await remote(parent.media, "microphone", pupil)).media_stream_track))

        async def heard() -> dict[str, int]:
            return {"heard": ear.heard}

        async def received() -> dict[str, int]:
            return await packets(parent)

        await all_more(heard, 20, DEADLINE, 1)
        await freeze(here, host, pupil)
        await eventually(lambda: parent.frozen, DEADLINE)
        await asyncio.sleep(SILENT_WITHIN_S)
        before, link = await received(), parent.media._link
        await asyncio.sleep(held_s)
        assert await received() == before, "nothing is sent"
        assert parent.media._link is link, "and that is no reason to begin anew"
        # Of one that pays no heed nothing is taken.
        heard_before = ear.heard
        local.outgoing.is_held = False
        await all_more(received, 20, DEADLINE, 1)
        assert ear.heard == heard_before
        local.outgoing.is_held = True
        await here.enter(here.host)
        await all_more(heard, 20, DEADLINE, 1)
        assert not local.outgoing.is_held
