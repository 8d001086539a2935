"""Two media workers, two rooms: one worker dies, its room is back on the other within five seconds."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from playwright.async_api import Page

from passerelle_client import PasserelleApi, Room
from passerelle_client.media import RemoteTrack
from passerelle_client.protocol import RoomCreated
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.media_session import eventually, loopback_for_aioice
from tests.support.sdk_page import GREEN, RED, bundle_sdk, sdk_context, sdk_page, sees
from tests.support.server_process import ServerProcess, running_server

pytestmark = pytest.mark.timeout(180)
BACK_S = 5.0


class Camera(VideoStreamTrack):
    """Sees GREEN."""

    async def recv(self) -> Any:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(160, 120, "yuv420p")
        for plane, value in zip(frame.planes, (117, 96, 73), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


@dataclass
class Person:
    """Somebody with the Python SDK, and what they receive."""

    room: Room
    frames: dict[str, int] = field(default_factory=dict)
    """track id → frames received"""
    states: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.room.media.on("state", self.states.append)
        self.room.media.on("remote_track", self._receive)

    def _receive(self, remote: RemoteTrack) -> None:
        self._tasks.append(asyncio.create_task(self._count(remote)))

    async def _count(self, remote: RemoteTrack) -> None:
        with contextlib.suppress(Exception):
            while True:
                await remote.media_stream_track.recv()
                self.frames[remote.track.id] = self.frames.get(remote.track.id, 0) + 1

    async def receives(self, track_id: str, deadline_s: float) -> None:
        """Further frames of it arrive."""
        before = self.frames.get(track_id, 0)
        await eventually(lambda: self.frames.get(track_id, 0) > before + 5, deadline_s, f"{track_id} goes on")

    async def close(self) -> None:
        await self.room.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class Stage:
    server: ServerProcess
    page: Page
    page_camera: str
    python: Person
    python_camera: str
    elsewhere: Person
    sound: str
    """Of somebody in the other room, which `elsewhere` hears."""


async def guest_token(api: PasserelleApi, room: RoomCreated) -> str:
    invitation = await api.create_invitation(room.room.id, room.token, "guest", lobby=False)
    return (await api.join("Musée", invitation=invitation.id)).token


async def person(stack: AsyncExitStack, server: ServerProcess, token: str) -> Person:
    found = Person(await Room.connect(server.url, token))
    stack.push_async_callback(found.close)
    await found.room.media.start()
    return found


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stack.enter_context(loopback_for_aioice())
        script = bundle_sdk(folder)
        server = await stack.enter_async_context(running_server(folder, {"PASSERELLE_MEDIA_WORKERS": "2"}))
        await both_workers_ready(server)
        api = await stack.enter_async_context(PasserelleApi(server.url))
        one, other = await api.create_room("Les marées"), await api.create_room("Les vents")
        guest = [await guest_token(api, room) for room in (one, other)]
        browser = await stack.enter_async_context(launched_chromium(RED, folder))
        page = await sdk_page(await sdk_context(browser), server, script)
        assert await page.evaluate("(token) => enter(token)", one.token) == "admitted"
        tracks = await page.evaluate("publishCamera()")
        await page.evaluate("room.media.start()")
        python = await person(stack, server, guest[0])
        camera = await python.room.media.publish(Camera(), "camera")
        speaker, elsewhere = await person(stack, server, other.token), await person(stack, server, guest[1])
        sound = await speaker.room.media.publish(AudioStreamTrack(), "microphone")
        yield Stage(server, page, tracks["camera"], python, camera.id, elsewhere, sound.id)


async def everything_flows(on: Stage, deadline_s: float) -> None:
    await asyncio.gather(
        sees(on.page, on.python_camera, GREEN.rgb, deadline_s),
        on.python.receives(on.page_camera, deadline_s),
        on.elsewhere.receives(on.sound, deadline_s),
    )


async def test_a_killed_worker_costs_its_rooms_five_seconds_and_the_others_nothing(tmp_path: Path) -> None:
    """Chromium and the Python SDK come back by themselves, on the worker that is left; and when that one is
    killed, too, on the first one's successor."""
    async with stage(tmp_path) as on:
        await everything_flows(on, 20 * SECOND)
        first, second = media_workers(on.server.pid)
        await on.page.evaluate("events.length = 0")
        on.python.states.clear()
        on.elsewhere.states.clear()
        await killed_and_back(on, first)
        is_one = bool(on.python.states)
        assert is_one != bool(on.elsewhere.states), "the other worker's room goes on"
        assert is_one == await on.page.evaluate(
            "events.some(([what, state]) => what === 'media' && state !== 'connected')"
        )
        await both_workers_ready(on.server)
        await killed_and_back(on, second)
        await both_workers_ready(on.server)


async def killed_and_back(on: Stage, pid: int) -> None:
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: on.python.states or on.elsewhere.states, BACK_S * SECOND, "its room notices")
    await everything_flows(on, BACK_S * SECOND)
    assert time.monotonic() - killed_at < BACK_S * SECOND


async def both_workers_ready(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20 * SECOND):
        while True:
            async with session.get(f"{server.url}/metrics") as response:
                if "\npasserelle_media_workers 2.0" in await response.text():
                    return
            await asyncio.sleep(0.05)


def media_workers(server_pid: int) -> list[int]:
    """The processes that forward media."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{server_pid}\n" in status.read_text():
                found.append(int(status.parent.name))
    return found
