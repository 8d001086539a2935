"""Cameras in three layers of real Chromium, and a page whose tiles change their sizes."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from signaling.engines.sfu import SfuEngine
from signaling.messages import ShownTrack
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.media_page import Relay, relay, wait_in
from tests.support.media_session import RecordedEvents

pytestmark = pytest.mark.timeout(120)

RED = FakeDevice("red", (200, 30, 30), 440, 960, 540)
GREEN = FakeDevice("green", (30, 160, 30), 660, 960, 540)
SMALL, MIDDLE, LARGE = (240, 135), (480, 270), (960, 540)
FOLLOWS_S = 2.0
"""How soon a picture has the size of its tile."""
NO_FREEZE_S = 0.3
CODECS = {"VP8": {135, 270, 540}, "H264": {134, 135, 270, 540}}
"""Heights of the layers; OpenH264 makes even ones."""


@asynccontextmanager
async def pages(serving: Relay, folder: Path, *devices: FakeDevice | None) -> AsyncIterator[list[Page]]:
    async with AsyncExitStack() as stack:

        async def open_page(device: FakeDevice | None) -> Page:
            browser = await stack.enter_async_context(launched_chromium(device, folder))
            page = await browser.new_page()
            await page.goto(f"{serving.origin}/?session={device.name if device else 'viewer'}&room=class")
            await wait_in(page, "socket.readyState === 1", 5 * SECOND)
            return page

        yield [await open_page(device) for device in devices]


async def layout(engine: SfuEngine, **tiles: tuple[int, int]) -> None:
    shown = [ShownTrack(track_id=f"{name}-camera", width=w, height=h) for name, (w, h) in tiles.items()]
    await engine.set_layout("viewer", shown)


async def has_height(page: Page, heights: Mapping[str, int], deadline_s: float) -> float:
    """The pictures that arrive have these heights (OpenH264: up to one pixel less); how long it took."""
    started = time.monotonic()
    near = " && ".join(
        f"Math.abs((s['{name}-camera']?.height ?? 0) - {height}) <= 1" for name, height in heights.items()
    )
    await wait_in(page, f"(async () => {{ const s = await stats(); return {near}; }})()", deadline_s)
    return time.monotonic() - started


async def camera(page: Page, name: str) -> dict[str, Any]:
    return dict((await page.evaluate("stats()"))[f"{name}-camera"])


def dropped_by_the_system() -> int:
    """Datagrams of anybody's for which a socket's buffer had no room, since the system started."""
    names, figures = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Udp:")
    counts = dict(zip(names[1:], map(int, figures[1:]), strict=True))
    return counts["RcvbufErrors"] + counts["SndbufErrors"]


async def follows_its_tiles(engine: SfuEngine, viewer: Page) -> None:
    """Each change within 2 s; a picture that stays on the page never freezes for longer than 300 ms."""
    before = {name: await camera(viewer, name) for name in ("red", "green")}
    dropped_before = dropped_by_the_system()
    for tiles in (
        {"red": LARGE, "green": SMALL},
        {"red": SMALL, "green": LARGE},
        {"red": MIDDLE, "green": MIDDLE},
        {"red": LARGE, "green": LARGE},
        {"red": SMALL, "green": SMALL},
    ):
        await layout(engine, **tiles)
        await has_height(viewer, {name: height for name, (_, height) in tiles.items()}, FOLLOWS_S * SECOND)
    after = {name: await camera(viewer, name) for name in before}
    dropped = dropped_by_the_system() - dropped_before
    for name, was in before.items():
        now = after[name]
        assert now["frames"] > was["frames"]
        assert now["lost"] - was["lost"] <= dropped, "a change of layers is no loss to the subscriber"
        freezes = now["freezes"] - was["freezes"]
        assert now["frozen"] - was["frozen"] <= NO_FREEZE_S * SECOND * max(1, freezes)


async def leaves_and_comes_back(engine: SfuEngine, viewer: Page) -> None:
    """Off the page no byte of it comes; back on it, it is there within 2 s, in its tile's size."""
    await layout(engine, green=MIDDLE)
    await has_height(viewer, {"green": 270}, FOLLOWS_S * SECOND)
    async with asyncio.timeout(FOLLOWS_S * SECOND):
        while await comes_while_sound_does(viewer):
            pass  # what was on its way
    await layout(engine, green=MIDDLE, red=MIDDLE)
    await has_height(viewer, {"red": 270, "green": 270}, FOLLOWS_S * SECOND)


async def comes_while_sound_does(viewer: Page) -> int:
    """Packets of red's camera while twenty of its sound come."""
    before = (await camera(viewer, "red"))["packets"]
    sound = (await viewer.evaluate("stats()"))["red-microphone"]["packets"]
    await wait_in(viewer, f"(async () => (await stats())['red-microphone'].packets > {sound + 20})()", 5 * SECOND)
    return int((await camera(viewer, "red"))["packets"] - before)


@pytest.mark.parametrize("codec", ["VP8", pytest.param("H264", marks=pytest.mark.long)])
async def test_each_picture_has_the_size_of_its_tile(tmp_path: Path, codec: str) -> None:
    events = RecordedEvents()
    engine = SfuEngine(events, ["127.0.0.1"])
    await engine.start()
    try:
        async with relay(engine, events) as serving, pages(serving, tmp_path, RED, GREEN, None) as (red, green, viewer):
            await asyncio.gather(
                red.evaluate(f"start('red', '{codec}', true)"), green.evaluate(f"start('green', '{codec}', true)")
            )
            await has_height(viewer, {"red": 540, "green": 540}, 20 * SECOND)
            await follows_its_tiles(engine, viewer)
            await leaves_and_comes_back(engine, viewer)
            sent = {
                each["rid"]: each["frameHeight"]
                for each in (await red.evaluate("transport('publish')"))["outbound"]
                if each["kind"] == "video"
            }
            assert sent.keys() == {"q", "h", "f"}
            assert set(sent.values()) <= CODECS[codec]
    finally:
        await engine.stop()
