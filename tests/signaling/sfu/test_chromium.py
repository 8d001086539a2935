"""Real browsers through the forwarder: the test that tells whether a new aiortc or Chromium still fits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from signaling.engines import SpeakersHeard
from signaling.engines.sfu import SfuEngine
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.local_sfu import LocalSfu, LossyMux
from tests.support.media_page import Relay, relay, wait_in
from tests.support.media_session import RecordedEvents

RED, GREEN, BLUE = (
    FakeDevice("red", (200, 30, 30), 440),
    FakeDevice("green", (30, 160, 30), 660),
    FakeDevice("blue", (30, 30, 200), 880),
)
COLOUR_TOLERANCE = 40
"""Of 255: the encoder's and the colour matrix's share is below 15."""


@asynccontextmanager
async def browsers(serving: Relay, folder: Path, *devices: FakeDevice) -> AsyncIterator[list[Page]]:
    async with AsyncExitStack() as stack:

        async def open_page(device: FakeDevice) -> Page:
            browser = await stack.enter_async_context(launched_chromium(device, folder))
            page = await browser.new_page()
            await page.goto(f"{serving.origin}/?session={device.name}&room=class")
            await wait_in(page, "socket.readyState === 1", 5 * SECOND)
            return page

        yield [await open_page(device) for device in devices]


async def sees(page: Page, device: FakeDevice, timeout_s: float) -> None:
    """The page shows this device's own colour, and goes on decoding."""
    red, green, blue = device.rgb
    near = f"c && Math.max(Math.abs(c[0]-{red}), Math.abs(c[1]-{green}), Math.abs(c[2]-{blue})) < {COLOUR_TOLERANCE}"
    await wait_in(page, f"(async () => {{ const c = colour('{device.name}-camera'); return {near}; }})()", timeout_s)
    await rises(page, device, "camera", "frames", timeout_s)


async def hears(page: Page, device: FakeDevice, timeout_s: float) -> None:
    await wait_in(page, f"(async () => (await stats())['{device.name}-microphone']?.energy > 0.01)()", timeout_s)


async def rises(page: Page, device: FakeDevice, source: str, figure: str, timeout_s: float) -> None:
    before = (await page.evaluate("stats()")).get(f"{device.name}-{source}", {}).get(figure, 0)
    await wait_in(
        page, f"(async () => (await stats())['{device.name}-{source}']?.{figure} > {before + 4})()", timeout_s
    )


async def packets_of(page: Page, device: FakeDevice) -> dict[str, int]:
    stats: dict[str, Any] = await page.evaluate("stats()")
    return {source: stats[f"{device.name}-{source}"]["packets"] for source in ("camera", "microphone")}


async def test_three_classes_see_and_hear_each_other(tmp_path: Path) -> None:
    """Two begin, a third comes later; one is muted; one's publish connection is rebuilt."""
    events = RecordedEvents()
    engine = SfuEngine(events, ["127.0.0.1"])
    await engine.start()
    try:
        async with relay(engine, events) as serving, browsers(serving, tmp_path, RED, GREEN, BLUE) as pages:
            red, green, blue = pages
            await asyncio.gather(red.evaluate("start('red')"), green.evaluate("start('green')"))
            await asyncio.gather(sees(red, GREEN, 5 * SECOND), sees(green, RED, 5 * SECOND))
            await comes_late(red, green, blue)
            await uses_what_was_negotiated(red)
            await is_muted(engine, red, green, blue)
            await is_rebuilt(green, red, blue)
            assert events.of(SpeakersHeard)
    finally:
        await engine.stop()


async def comes_late(red: Page, green: Page, blue: Page) -> None:
    started = time.monotonic()
    await blue.evaluate("start('blue')")
    await asyncio.gather(
        sees(blue, RED, 5 * SECOND),
        sees(blue, GREEN, 5 * SECOND),
        sees(red, BLUE, 5 * SECOND),
        sees(green, BLUE, 5 * SECOND),
    )
    assert time.monotonic() - started < 5 * SECOND
    await asyncio.gather(
        *(
            hears(page, device, 5 * SECOND)
            for page, others in ((red, (GREEN, BLUE)), (green, (RED, BLUE)), (blue, (RED, GREEN)))
            for device in others
        )
    )


async def uses_what_was_negotiated(page: Page) -> None:
    """AES-GCM because we are the DTLS server; Opus with in-band FEC and DTX."""
    for pc in ("publish", "subscribe"):
        found = await page.evaluate(f"transport('{pc}')")
        assert found["transport"]["srtpCipher"] == "SRTP_AEAD_AES_256_GCM"
        assert found["transport"]["dtlsRole"] == "client"
    opus = next(
        each["sdpFmtpLine"]
        for each in (await page.evaluate("transport('publish')"))["codecs"]
        if "opus" in each["mimeType"]
    )
    assert "useinbandfec=1" in opus
    assert "usedtx=1" in opus


async def is_muted(engine: SfuEngine, red: Page, green: Page, blue: Page) -> None:
    """No packet arrives 500 ms after the server's mute, whatever the page still sends."""
    for source in ("camera", "microphone"):
        await engine.set_track_muted("red", f"red-{source}", True)
    await asyncio.sleep(0.5 * SECOND)
    before = [await packets_of(page, RED) for page in (green, blue)]
    await rises(green, BLUE, "camera", "frames", 5 * SECOND)
    assert [await packets_of(page, RED) for page in (green, blue)] == before
    for source in ("camera", "microphone"):
        await engine.set_track_muted("red", f"red-{source}", False)
    await asyncio.gather(*(rises(page, RED, "camera", "frames", 3 * SECOND) for page in (green, blue)))
    await rises(green, RED, "microphone", "packets", 3 * SECOND)


async def is_rebuilt(page: Page, *others: Page) -> None:
    """A fresh publish connection with the same tracks: back in under 3 s, nothing negotiated anew."""
    await page.evaluate("publish.close()")
    started = time.monotonic()
    before = [(await other.evaluate("stats()"))["green-camera"]["frames"] for other in others]
    await page.evaluate("start('green')")
    await asyncio.gather(
        *(
            wait_in(other, f"(async () => (await stats())['green-camera'].frames > {count + 10})()", 3 * SECOND)
            for other, count in zip(others, before, strict=True)
        )
    )
    assert time.monotonic() - started < 3 * SECOND


async def test_h264_and_vp8_survive_lost_packets(tmp_path: Path) -> None:
    """5 % of all media packets lost, in and out: pictures go on, sound too."""
    events = RecordedEvents()
    mux = LossyMux(["127.0.0.1"], 0, share=0.05)
    local = LocalSfu(events, mux)
    local.hub.open()
    try:
        async with relay(local, events) as serving, browsers(serving, tmp_path, RED, GREEN) as (red, green):
            await asyncio.gather(red.evaluate("start('red', 'H264')"), green.evaluate("start('green', 'VP8')"))
            await asyncio.gather(sees(red, GREEN, 8 * SECOND), sees(green, RED, 8 * SECOND))
            await asyncio.gather(goes_on(green, RED, 60), goes_on(red, GREEN, 60))
            assert mux.loss.lost > 20
            nacked = [
                (await page.evaluate("stats()"))[f"{name}-camera"]["nacks"]
                for page, name in ((green, "red"), (red, "green"))
            ]
            assert sum(nacked) > 0
            resent = sum(track.packets_resent for track in local.hub.statistics().tracks)
            assert resent > 0
    finally:
        await local.hub.close()


async def goes_on(page: Page, device: FakeDevice, frames: int) -> None:
    """So many further frames of a camera that makes 15 a second. What is lost twice over is seen as
    a short freeze; together they stay below a second (by the clock: of a machine of one's own)."""
    name = f"{device.name}-camera"
    before = (await page.evaluate("stats()"))[name]
    await wait_in(page, f"(async () => (await stats())['{name}'].frames > {before['frames'] + frames})()", 8 * SECOND)
    after = (await page.evaluate("stats()"))[name]
    assert after["frozen"] - before["frozen"] < 1.0 * SECOND
