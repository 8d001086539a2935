"""A camera's layers at which nobody looks are not sent, by the browser SDK in real Chromium; they come back at once."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.janus_server import running_janus, settings_for
from tests.support.network_cut import CuttableProxy, cuttable_proxy
from tests.support.sdk_page import bundle_sdk, sdk_context, sdk_page, two_admitted, wait_for
from tests.support.server_process import running_server
from tests.support.session_setup import room_of_two

pytestmark = pytest.mark.timeout(120)
CAMERA = FakeDevice("rouge", (200, 40, 40), 440.0, 960, 540)
BEGINS_S = 20.0 * SECOND
"""Chromium sends the largest layer once its bandwidth estimate has grown."""
GIVEN_UP_S = 5.0 + 3.0 * SECOND
BACK_WITHIN_S = 2.0 * SECOND
RESUMED_WITHIN_S = 20.0 * SECOND

PUBLISH = """
async () => {
  const { video } = { video: { width: 960, height: 540 } };
  const [track] = (await navigator.mediaDevices.getUserMedia({ video })).getVideoTracks();
  return (await room.media.publish(track, 'camera')).id;
}
"""
SENT = """
async () => {
  const sent = {};
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values())
      if (stats.type === 'outbound-rtp' && stats.kind === 'video') sent[stats.rid] = stats.framesSent ?? 0;
  return sent;
}
"""
SENT_IN_A_SECOND = f"""
async (expected) => {{
  const before = await ({SENT})();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const after = await ({SENT})();
  const sent = Object.keys(after).filter((rid) => after[rid] > before[rid] + 1).sort().join('');
  return sent === expected;
}}
"""
COMES = """
async ([id, height]) => {
  const element = seen.get(id)?.element;
  const frames = () => element.getVideoPlaybackQuality().totalVideoFrames;
  if (element?.videoHeight !== height) return false;
  const before = frames();
  await new Promise((resolve) => setTimeout(resolve, 150));
  return frames() > before;
}
"""


async def look(page: Page, camera: str, *tile: int) -> None:
    """The page shows the camera in a tile of this width and height, or not at all."""
    shown: list[dict[str, Any]] = [{"track_id": camera, "width": tile[0], "height": tile[1]}] if tile else []
    await page.evaluate("(tracks) => room.media.setLayout(tracks)", shown)


async def comes_back(page: Page, camera: str, *tile: int) -> float:
    began = time.monotonic()
    await look(page, camera, *tile)
    await wait_for(page, COMES, [camera, tile[1]], BACK_WITHIN_S)
    return time.monotonic() - began


async def cut_and_resume(line: CuttableProxy, page: Page) -> None:
    """The publisher's connection breaks, and its session goes on over the next."""
    before = await page.evaluate("events.filter((e) => e[0] === 'connection' && e[1] === 'connected').length")
    await line.cut()
    line.mend()
    resumed = "(before) => events.filter((e) => e[0] === 'connection' && e[1] === 'connected').length > before"
    await wait_for(page, resumed, before)


async def lose_what_is_said(line: CuttableProxy, page: Page, camera: str) -> None:
    """The page asks for the largest layer while nothing reaches the publisher, whose connection then breaks."""
    line.hold()
    await look(page, camera, 960, 540)
    await asyncio.sleep(1.0)  # the server, which looks ten times a second, has said so; a loss tells nobody
    await line.cut()
    line.release()
    line.mend()


@pytest.mark.parametrize(
    "engine", ["sfu", pytest.param("sfu-long", marks=pytest.mark.long), pytest.param("janus", marks=pytest.mark.long)]
)
async def test_what_nobody_looks_at_is_not_sent_and_comes_back_at_once(tmp_path: Path, engine: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        settings = {}
        if engine == "janus":
            settings = settings_for(await stack.enter_async_context(running_janus(tmp_path / "janus")))
        server = await stack.enter_async_context(running_server(tmp_path, settings))
        browser = await stack.enter_async_context(launched_chromium(CAMERA, tmp_path))
        script = bundle_sdk(tmp_path)
        _room, tokens = await room_of_two(server)
        line = await stack.enter_async_context(cuttable_proxy(server.port))
        pages = [await sdk_page(await sdk_context(browser), url, script) for url in (line.url, server.url)]
        for page, token in zip(pages, tokens, strict=True):
            assert await page.evaluate("(token) => enter(token)", token) == "admitted"
        sending, looking = pages
        camera = await sending.evaluate(PUBLISH)
        await asyncio.gather(*(page.evaluate("room.media.start()") for page in pages))
        await look(looking, camera, 960, 540)
        await wait_for(looking, COMES, [camera, 540], BEGINS_S)
        await wait_for(sending, SENT_IN_A_SECOND, "fhq", BEGINS_S)
        await look(looking, camera, 240, 135)
        await wait_for(sending, SENT_IN_A_SECOND, "q", GIVEN_UP_S)
        back = [await comes_back(looking, camera, 960, 540)]
        if engine != "sfu":
            await look(looking, camera)
            await wait_for(sending, SENT_IN_A_SECOND, "", GIVEN_UP_S)
            back.append(await comes_back(looking, camera, 480, 270))
            await wait_for(sending, SENT_IN_A_SECOND, "hq", GIVEN_UP_S)
            back.append(await comes_back(looking, camera, 960, 540))
            await look(looking, camera, 240, 135)
            await wait_for(sending, SENT_IN_A_SECOND, "q", GIVEN_UP_S)
            await cut_and_resume(line, sending)
            for _second in range(3):
                assert await sending.evaluate(SENT_IN_A_SECOND, "q"), "what nobody looks at rests on"
            await lose_what_is_said(line, looking, camera)
            await wait_for(looking, COMES, [camera, 540], RESUMED_WITHIN_S)
        print(engine, "back after", [f"{each:.2f} s" for each in back])
        assert not [line for line in sending.console_lines if line.startswith("uncaught")]  # type: ignore[attr-defined]


PUBLISH_DETAIL = """
async () => {
  // 720p of soft spots that move: more than the largest layer's limit holds, and no noise that nothing could code.
  const noise = new OffscreenCanvas(160, 90), canvas = document.createElement('canvas');
  const pixels = noise.getContext('2d').createImageData(160, 90);
  for (let at = 0; at < pixels.data.length; at += 4) for (let c = 0; c < 4; c += 1) pixels.data[at + c] = c === 3 ? 255 : Math.random() * 256;
  noise.getContext('2d').putImageData(pixels, 0, 0);
  [canvas.width, canvas.height] = [1280, 720];
  const context = canvas.getContext('2d');
  let n = 0;
  setInterval(() => context.drawImage(noise, -((n += 3) % 300), -(n % 150), 1600, 900), 50);
  return (await room.media.publish(canvas.captureStream(20).getVideoTracks()[0], 'camera')).id;
}
"""
BYTES_SENT = """
async () => {
  let sent = 0;
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values()) if (stats.type === 'outbound-rtp' && stats.kind === 'video') sent += stats.bytesSent + stats.headerBytesSent;
  return sent;
}
"""
MEASURED_S = 10.0
LEAST_SPARED = 0.75
"""Of 2,150 kbit/s the smallest layer may have 150: 0.93, if the line and the processor carry all of them."""


async def sent_in_ten_seconds(sending: Page) -> float:
    before = await sending.evaluate(BYTES_SENT)
    await asyncio.sleep(MEASURED_S)  # the length is what is measured
    return float(await sending.evaluate(BYTES_SENT)) - before


@pytest.mark.long
async def test_a_class_that_is_seen_small_spares_its_line(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        browser = await stack.enter_async_context(launched_chromium())
        pages = sending, looking = await two_admitted(server, browser, tmp_path)
        camera = await sending.evaluate(PUBLISH_DETAIL)
        await asyncio.gather(*(page.evaluate("room.media.start()") for page in pages))
        await look(looking, camera, 1280, 720)
        await wait_for(looking, COMES, [camera, 720], BEGINS_S)
        await wait_for(sending, SENT_IN_A_SECOND, "fhq")
        large = await sent_in_ten_seconds(sending)
        await look(looking, camera, 320, 180)
        await wait_for(sending, SENT_IN_A_SECOND, "q", GIVEN_UP_S)
        small = await sent_in_ten_seconds(sending)
        print(f"sent in {MEASURED_S:.0f} s: seen large {large / 1e3:.0f} kB, seen small alone {small / 1e3:.0f} kB")
        assert small < large * (1 - LEAST_SPARED)
