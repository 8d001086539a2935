"""Layers of a real Chromium's camera through a real gateway: each tile gets the one it needs."""

from pathlib import Path

from playwright.async_api import Page

from signaling.engines.janus import JanusEngine
from signaling.messages import ShownTrack, Subscription
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.janus_server import running_janus
from tests.support.media_page import relay, wait_in
from tests.support.media_session import RecordedEvents

RED = FakeDevice("red", (200, 30, 30), 440, width=960, height=540)
CAMERA = "red-camera"
FOLLOWS_S = 2.0 * SECOND
BEGINS_S = 20.0 * SECOND
"""Chromium sends the largest layer once its bandwidth estimate has grown."""


async def height_is(page: Page, height: int, timeout_s: float) -> None:
    """The picture comes in this height, and goes on coming."""
    await wait_in(page, f"(async () => (await stats())['{CAMERA}']?.height === {height})()", timeout_s)
    frames = (await page.evaluate("stats()"))[CAMERA]["frames"]
    await wait_in(page, f"(async () => (await stats())['{CAMERA}']?.frames > {frames + 4})()", timeout_s)


async def test_each_tile_gets_the_layer_it_needs(tmp_path: Path) -> None:
    """Of 960x540: a quarter, a half, all of it; nothing for a picture that is not shown; no more than is wished."""
    events = RecordedEvents()
    async with running_janus(tmp_path / "janus") as server, launched_chromium(RED, tmp_path) as browser:
        engine = JanusEngine(events, [server.url], token_secret=server.token_secret, admin_key=server.admin_key)
        await engine.start()
        try:
            async with relay(engine, events) as serving:
                pages = []
                for name in ("red", "green"):
                    page = await browser.new_page()
                    await page.goto(f"{serving.origin}/?session={name}&room=class")
                    await wait_in(page, "socket.readyState === 1")
                    pages.append(page)
                red, green = pages
                await red.evaluate("start('red', 'VP8', true)")
                await height_is(green, 540, BEGINS_S)
                for width, height, expected in ((200, 112, 135), (480, 270, 270), (1_280, 720, 540)):
                    await engine.set_layout("green", [ShownTrack(track_id=CAMERA, width=width, height=height)])
                    await height_is(green, expected, FOLLOWS_S)
                await engine.subscribe("green", [Subscription(track_id=CAMERA, max_height=150)])
                await height_is(green, 135, FOLLOWS_S)
        finally:
            await engine.stop()
