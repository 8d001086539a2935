"""A class behind a bad line, with all of the product: what it sees, hears and writes, and what others do of it.

Its browser has a network of its own, whose only way out loses, delays and mixes up whole packets (TCP's too). What is
heard is speech. Made-up sound counts as `quality.ts` counts it: `concealedSamples` without `silentConcealedSamples`, of
`totalSamplesReceived`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.bad_line import Line
from tests.support.chromium import chromium_path, launched_chromium
from tests.support.closed_network import closed_network
from tests.support.deadlines import SECOND
from tests.support.sdk_page import bundle_sdk, sdk_context, sdk_page, sees, wait_for
from tests.support.server_process import running_server
from tests.support.session_setup import room_of_two
from tests.support.speech import SpeakingDevice

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
MUSEUM, SCHOOL = SpeakingDevice("musée", (200, 40, 40), 440.0), SpeakingDevice("école", (40, 160, 60), 880.0)
WATCHED_S = 60
SETTLE_S = 5.0
LOSSY = Line(loss=0.05, delay_s=0.15)
"""Each way: 300 ms there and back."""
THIN = Line(loss=0.03, delay_s=0.15, jitter_s=0.04, down_bps=500_000, up_bps=200_000)

WATCH = """
async ([camera, microphone, seconds]) => {
  // How the other's sound and picture arrive: the longest wait for a new picture, and the sound's figures.
  const figures = async () => {
    for (const { report } of await room.media.peerConnectionStats())
      for (const stats of report.values())
        if (stats.type === 'inbound-rtp' && stats.trackIdentifier === seen.get(microphone).remote.mediaStreamTrack.id)
          return {
            packets: stats.packetsReceived, lost: stats.packetsLost, samples: stats.totalSamplesReceived,
            concealed: stats.concealedSamples - (stats.silentConcealedSamples ?? 0), repaired: stats.fecPacketsReceived ?? 0,
          };
  };
  const pictures = () => seen.get(camera).element.getVideoPlaybackQuality().totalVideoFrames;
  const before = await figures();
  let frames = pictures(), changedAt = performance.now(), longest = 0;
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = performance.now();
    if (pictures() !== frames) { frames = pictures(); changedAt = now; }
    longest = Math.max(longest, now - changedAt);
  }
  const after = await figures();
  return { longest: longest / 1000, ...Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]])) };
}
"""
SHARED_TEXT = """
async (mine) => {
  // What is written carries its moment: both browsers have the machine's clock.
  const clock = () => performance.timeOrigin + performance.now();
  const text = room.document('texte');
  globalThis.edits = text.doc.getMap('edits');
  globalThis.delays = [];
  await text.whenSynced();
  edits.observe((event, { local }) => {
    if (local) return;
    for (const key of event.keysChanged) if (!key.startsWith(mine)) delays.push(clock() - edits.get(key));
  });
  globalThis.write = async (seconds) => {
    let count = 0;
    for (const end = performance.now() + seconds * 1000; performance.now() < end; count += 1) {
      edits.set(mine + count, clock());
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    return count;
  };
}
"""


@contextlib.asynccontextmanager
async def museum_and_school(folder: Path, line: Line) -> AsyncIterator[tuple[Page, Page]]:
    """Each sees and hears the other; `tracks` of each page are its own."""
    async with contextlib.AsyncExitStack() as stack:
        network = await stack.enter_async_context(closed_network(folder))
        machine = network.lay_bad_line(line)
        server = await stack.enter_async_context(running_server(folder, {"PASSERELLE_MEDIA_ADDRESSES": machine}))
        await network.open_on_line(machine, server.port)
        url = f"http://{machine}:{server.port}"
        script = bundle_sdk(folder)
        _room, tokens = await room_of_two(server)
        pages: list[Page] = []
        for device, token, program in (
            (MUSEUM, tokens[0], chromium_path(whole=True)),
            (SCHOOL, tokens[1], network.executable),
        ):
            flags = [f"--unsafely-treat-insecure-origin-as-secure={url}"]
            browser = await stack.enter_async_context(launched_chromium(device, folder, *flags, executable=program))
            page = await sdk_page(await sdk_context(browser), url, script)
            assert await page.evaluate("(token) => enter(token)", token) == "admitted"
            await page.evaluate("async () => { globalThis.tracks = await publishCamera(); await room.media.start() }")
            pages.append(page)
        museum, school = pages
        yield museum, school


@pytest.mark.parametrize("line", [pytest.param(LOSSY, id="lossy"), pytest.param(THIN, id="thin")])
async def test_a_class_on_a_bad_line_sees_hears_and_writes(tmp_path: Path, line: Line) -> None:
    async with museum_and_school(tmp_path, line) as (museum, school):
        theirs = [await page.evaluate("tracks") for page in (school, museum)]
        await asyncio.gather(
            sees(museum, theirs[0]["camera"], SCHOOL.rgb, 30 * SECOND),
            sees(school, theirs[1]["camera"], MUSEUM.rgb, 30 * SECOND),
            *(
                wait_for(page, "(id) => seen.has(id)", other["microphone"])
                for page, other in zip((museum, school), theirs, strict=True)
            ),
        )
        await asyncio.gather(museum.evaluate(SHARED_TEXT, "m"), school.evaluate(SHARED_TEXT, "e"))
        await asyncio.sleep(SETTLE_S)  # the line's rate is being found
        figures: list[dict[str, Any]] = await asyncio.gather(
            *(
                page.evaluate(WATCH, [other["camera"], other["microphone"], WATCHED_S])
                for page, other in zip((museum, school), theirs, strict=True)
            ),
            museum.evaluate("(seconds) => write(seconds)", WATCHED_S),
            school.evaluate("(seconds) => write(seconds)", WATCHED_S),
        )
        of_school, of_museum, *written = figures
        for page, count in ((school, written[0]), (museum, written[1])):
            await wait_for(page, "(count) => delays.length === count", count)
        delays = [sorted(await page.evaluate("delays")) for page in (school, museum)]
    p95 = [each[int(0.95 * len(each))] / 1_000 for each in delays]
    print(line, "the museum's, at the school:", of_museum, "the school's, at the museum:", of_school)
    print("written, until seen (p95, s): at the school", p95[0], "at the museum", p95[1])
    for heard in (of_museum, of_school):
        assert heard["packets"] > 0.9 * 50 * WATCHED_S * 0.9
        assert heard["lost"] < (0.05 if line is THIN else 0.1) * (heard["packets"] + heard["lost"])
        assert heard["concealed"] < 0.05 * heard["samples"]
    assert max(p95) < 1.5
    if line is LOSSY:
        assert max(of_museum["longest"], of_school["longest"]) < 1.0
