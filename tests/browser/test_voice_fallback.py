"""Where no path of ICE leads anywhere, voice goes by the signaling connection: two real browsers hear each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.chromium import launched_chromium
from tests.support.closed_network import closed_network
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.janus_server import own_address
from tests.support.page import READ_TONES, STEP_MS, by_test, enter_session
from tests.support.sdk_page import (
    GREEN,
    RED,
    WATCH_FOR_GAPS,
    bundle_sdk,
    hears_tone,
    sdk_context,
    sdk_page,
    sees,
    wait_for,
)
from tests.support.server_process import ServerProcess, running_server
from tests.support.session_setup import room_of_two
from tests.support.turn_server import running_deployed_turn_server

pytestmark = pytest.mark.timeout(180)
SECRET = "a-secret-of-the-relay"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bundle_sdk(tmp_path_factory.mktemp("sdk"))


@dataclass
class Person:
    device: FakeDevice
    page: Page
    tracks: dict[str, str]


@contextlib.asynccontextmanager
async def person(
    server: ServerProcess,
    script: str,
    folder: Path,
    device: FakeDevice,
    token: str,
    transport: str,
    executable: str | None = None,
) -> AsyncIterator[Person]:
    async with launched_chromium(device, folder, "--ignore-certificate-errors", executable=executable) as browser:
        page = await sdk_page(await sdk_context(browser), server, script)
        await page.evaluate("([token, transports]) => enter(token, transports)", [token, [transport]])
        tracks = await page.evaluate("publishCamera()")
        await page.evaluate("globalThis.startedAt = performance.now(); room.media.start()")
        yield Person(device, page, tracks)


async def hear_each_other(one: Person, other: Person, deadline_s: float = 20.0 * SECOND) -> None:
    await asyncio.gather(
        hears_tone(one.page, other.tracks["microphone"], other.device.tone_hz, deadline_s),
        hears_tone(other.page, one.tracks["microphone"], one.device.tone_hz, deadline_s),
    )


HEARD_WITHIN_S = 8.0


@pytest.mark.parametrize("transport", ["websocket", pytest.param("polling", marks=pytest.mark.long)])
async def test_voice_goes_both_ways_where_ice_cannot(tmp_path: Path, script: str, transport: str) -> None:
    """One has a way for media, the other has none: the server joins them. A host's mute and a removal count."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        _room, tokens = await room_of_two(server)
        network = await stack.enter_async_context(closed_network(tmp_path))
        await network.forward(server.port)
        red = await stack.enter_async_context(person(server, script, tmp_path, RED, tokens[0], "websocket"))
        green = await stack.enter_async_context(
            person(server, script, tmp_path, GREEN, tokens[1], transport, network.executable)
        )
        await hear_each_other(red, green)
        assert await red.page.evaluate("room.media.state") == "connected"
        assert await green.page.evaluate("[room.media.state, room.media.fallback]") == ["voice-only", "on"]
        assert await green.page.evaluate(FELL_BACK_AFTER_S) < (HEARD_WITHIN_S - 2) * SECOND

        await is_muted_by_a_host(red, green)
        await green.page.evaluate("(id) => room.media.setMuted(id, false)", green.tracks["microphone"])
        await hear_each_other(red, green)
        await red.page.evaluate("room.remove(room.view.participants.find(({ role }) => role === 'guest').id)")
        await wait_for(red.page, "() => seen.size === 0")
        await wait_for(green.page, "() => room.media.state === 'idle' || room.media.state === 'failed'")


FELL_BACK_AFTER_S = """
(events.find(([kind, state]) => kind === 'fallback' && state === 'on')[2] - globalThis.startedAt) / 1000
"""


async def is_muted_by_a_host(host: Person, other: Person) -> None:
    """Nothing of it leaves the server half a second later."""
    microphone = other.tracks["microphone"]
    await host.page.evaluate("(id) => room.muteOther(id)", microphone)
    silence = """async (id) => {
        const muted = room.view.tracks.find((track) => track.id === id).muted;
        const before = Object.values(await loudness());
        await new Promise((resolve) => setTimeout(resolve, 500));
        const after = Object.values(await loudness());
        return muted && JSON.stringify(before) === JSON.stringify(after);
    }"""
    await wait_for(host.page, silence, microphone)
    await wait_for(other.page, "(id) => room.media.localTracks.find((track) => track.id === id).muted", microphone)


@pytest.mark.long
async def test_a_better_way_is_taken_when_there_is_one(tmp_path: Path, script: str) -> None:
    """The relay's port opens later: the same tracks go on by it, and pictures come."""
    async with contextlib.AsyncExitStack() as stack:
        turn = await stack.enter_async_context(running_deployed_turn_server(tmp_path, SECRET, own_address()))
        environment = {
            "TURN_URLS": f"turns:localhost:{turn.tls}?transport=tcp",
            "TURN_SECRET": SECRET,
            "PASSERELLE_MEDIA_ADDRESSES": own_address(),
        }
        server = await stack.enter_async_context(running_server(tmp_path, environment))
        _room, tokens = await room_of_two(server)
        network = await stack.enter_async_context(closed_network(tmp_path))
        await network.forward(server.port)
        red = await stack.enter_async_context(person(server, script, tmp_path, RED, tokens[0], "websocket"))
        green = await stack.enter_async_context(
            person(server, script, tmp_path, GREEN, tokens[1], "websocket", network.executable)
        )
        await hear_each_other(red, green)
        assert await green.page.evaluate("room.media.state") == "voice-only"
        await green.page.evaluate(WATCH_FOR_GAPS, red.tracks["microphone"])
        await network.forward(turn.tls)
        await green.page.evaluate("dispatchEvent(new Event('online'))")
        await wait_for(green.page, "() => room.media.state === 'connected' && room.media.fallback === 'off'")
        await hear_each_other(red, green)
        await asyncio.gather(
            sees(red.page, green.tracks["camera"], GREEN.rgb), sees(green.page, red.tracks["camera"], RED.rgb)
        )
        gap_s = await green.page.evaluate("longestGap()")
        assert gap_s < 1.0, "words were lost at the change"


async def test_the_page_says_so_and_plays_what_comes(tmp_path: Path) -> None:
    """As it is served, with its content security policy."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        room, tokens = await room_of_two(server)
        network = await stack.enter_async_context(closed_network(tmp_path))
        await network.forward(server.port)
        pages: list[Page] = []
        for device, token, program in ((RED, tokens[0], None), (GREEN, tokens[1], network.executable)):
            browser = await stack.enter_async_context(launched_chromium(device, tmp_path, executable=program))
            context = await browser.new_context(permissions=["camera", "microphone"], locale="fr-CA")
            page = await context.new_page()
            await page.goto(f"{server.url}/salle/{room}#jeton={token}")
            await enter_session(page)
            pages.append(page)
        museum, school = pages
        await expect(by_test(school, "status")).to_contain_text(
            "La voix passe par une voie de secours", timeout=3 * STEP_MS
        )
        await asyncio.gather(plays(school, RED.tone_hz), plays(museum, GREEN.tone_hz))


async def plays(page: Page, tone_hz: float) -> None:
    async with asyncio.timeout(20 * SECOND):
        heard: list[float] = []
        while not any(abs(tone - tone_hz) < 30 for tone in heard):
            heard = [ear["tone"] for ear in await page.evaluate(READ_TONES, 0.7)]
