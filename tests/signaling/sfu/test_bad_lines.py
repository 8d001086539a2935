"""What a class on a bad line sees and hears, in real Chromium: no picture that stands still, and sound with few
gaps. Longer, with all of the product, and on a thin line: tests/whole/test_bad_line.py."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from signaling.engines.sfu import SfuEngine
from tests.support.bad_line import BadLine, Line
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.media_page import Relay, relay, wait_in
from tests.support.media_session import RecordedEvents
from tests.support.speech import SpeakingDevice

NEAR, FAR = SpeakingDevice("near", (200, 30, 30), 440), SpeakingDevice("far", (30, 160, 30), 660)
SETTLE_S = 3.0
LOOK_EVERY_S = 0.1
WATCHED_S = 5.0
LOSSY = Line(loss=0.05, delay_s=0.15)
REPAIRED = 50
"""Packets that brought what repairs the one before: a second of speech."""


async def opened(stack: AsyncExitStack, serving: Relay, folder: Path, device: SpeakingDevice) -> Page:
    browser = await stack.enter_async_context(launched_chromium(device, folder))
    page = await browser.new_page()
    await page.goto(f"{serving.origin}/?session={device.name}&room=class")
    await wait_in(page, "socket.readyState === 1", 5 * SECOND)
    return page


async def watched(page: Page, seconds: float) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Longest time without a new picture, and the figures of the near class's media before and after."""
    before: dict[str, Any] = await page.evaluate("stats()")
    began = changed_at = time.monotonic()
    frames, longest = before["near-camera"]["frames"], 0.0
    while (now := time.monotonic()) - began < seconds:
        after: dict[str, Any] = await page.evaluate("stats()")
        if after["near-camera"]["frames"] != frames:
            frames, changed_at = after["near-camera"]["frames"], now
        longest = max(longest, now - changed_at)
        await asyncio.sleep(LOOK_EVERY_S)
    return longest, before, after


async def test_sound_and_picture_get_through(tmp_path: Path) -> None:
    events, bad = RecordedEvents(), BadLine(LOSSY)
    engine = SfuEngine(events, ["127.0.0.1"])
    await engine.start()
    await bad.start()
    try:
        async with relay(engine, events) as serving, AsyncExitStack() as stack:
            serving.lines["far"] = bad
            near, far = [await opened(stack, serving, tmp_path, device) for device in (NEAR, FAR)]
            await asyncio.gather(near.evaluate("start('near')"), far.evaluate("start('far')"))
            await wait_in(far, "(async () => (await stats())['near-camera']?.frames > 5)()", 15 * SECOND)
            await wait_in(near, "(async () => (await stats())['far-microphone']?.energy > 0.01)()", 15 * SECOND)
            await asyncio.sleep(SETTLE_S)
            longest, before, after = await watched(far, WATCHED_S)
            # Speech is coded so that the next packet repairs one (in-band FEC), once the encoder has heard of losses.
            await wait_in(far, f"(async () => (await stats())['near-microphone'].repaired > {REPAIRED})()", 20 * SECOND)
    finally:
        await bad.stop()
        await engine.stop()
    was, now = before["near-microphone"], after["near-microphone"]
    sound = {key: now[key] - was[key] for key in ("packets", "samples", "concealed", "lost", "repaired")}
    print(f"longest without a new picture {longest:.2f} s", sound, bad.carried, bad.lost)
    assert bad.lost > 0.5 * LOSSY.loss * bad.carried
    assert sound["packets"] > 0.7 * 50 * WATCHED_S  # in a pause between two sentences there are none
    # The line is made by this process, and the browser has to keep up: both are late on a busy machine.
    assert sound["concealed"] < 0.1 * SECOND * sound["samples"]
    assert longest < 1.0 * SECOND
