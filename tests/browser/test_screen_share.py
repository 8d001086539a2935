"""A screen is shared with its sound: a tab in real Chromium that plays music, seen and heard by another browser."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.support.chromium import chromium_that_shares, launched_chromium
from tests.support.deadlines import SECOND
from tests.support.page import STEP_MS, by_test, invite, join_by_link, open_room
from tests.support.sdk_page import bundle_sdk, hears_tone, sdk_context, sdk_page, sees, wait_for
from tests.support.server_process import ServerProcess, running_server
from tests.support.session_setup import post, room_of_two

pytestmark = pytest.mark.timeout(60)
TITLE = "Le film"
"""In ASCII: Chromium waits for ever for a title of other letters."""
LEFT_HZ, RIGHT_HZ = 660, 1_320
COLOUR = (40, 80, 200)
GONE_WITHIN_S = 3.0 * SECOND

LESSON = """
([title, left, right, colour]) => {
  // Music in two channels; the background changes with each frame once `film` is set.
  document.title = title;
  document.body.style.background = `rgb(${colour})`;
  const context = new AudioContext();
  const channels = context.createChannelMerger(2);
  for (const [channel, hertz] of [left, right].entries()) {
    const tone = context.createOscillator(), volume = context.createGain();
    tone.frequency.value = hertz;
    volume.gain.value = 0.3;
    tone.connect(volume);
    volume.connect(channels, 0, channel);
    tone.start();
  }
  channels.connect(context.destination);
  const dot = document.createElement('p');
  dot.textContent = '·';
  document.body.append(dot);
  globalThis.film = false;
  setInterval(() => film && (dot.style.marginLeft = `${Math.random() * 400}px`), 40);
}
"""
TONES = """
async (stream) => {
  // The loudest tone of each channel, in hertz; 0: silence.
  globalThis.ears ??= new AudioContext();
  const source = ears.createMediaStreamSource(stream), channels = ears.createChannelSplitter(2);
  source.connect(channels);
  const heard = [0, 1].map((channel) => {
    const analyser = ears.createAnalyser();
    analyser.fftSize = 8192;
    analyser.smoothingTimeConstant = 0;
    channels.connect(analyser, channel);
    return analyser;
  });
  await new Promise((resolve) => setTimeout(resolve, 400));
  const tones = heard.map((analyser) => {
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    const loudest = bins.reduce((best, each, bin) => (bin >= 8 && each > bins[best] ? bin : best), 8);
    return bins[loudest] > -70 ? (loudest * ears.sampleRate) / analyser.fftSize : 0;
  });
  source.disconnect();
  return tones;
}
"""
IN_STEREO = f"""
async ([id, ...expected]) => {{
  const remote = seen.get(id)?.remote;
  if (!remote) return false;
  const tones = await ({TONES})(remote.stream);
  return tones.every((tone, channel) => Math.abs(tone - expected[channel]) < 12);
}}
"""
SENT_SOUNDS = """
async () => {
  const formats = [];
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values())
      if (stats.type === 'outbound-rtp' && stats.kind === 'audio') formats.push(report.get(stats.codecId)?.sdpFmtpLine ?? '');
  return formats;
}
"""
VOICE_HZ = 440
PUBLISH_VOICE = """
async (hertz) => {
  const context = new AudioContext(), tone = context.createOscillator(), voice = context.createMediaStreamDestination();
  tone.frequency.value = hertz;
  tone.connect(voice);
  tone.start();
  return (await room.media.publish(voice.stream.getAudioTracks()[0], 'microphone')).id;
}
"""


async def lesson_in(context: BrowserContext, server: ServerProcess) -> Page:
    """A tab of the same context: those of others are not offered."""
    page = await context.new_page()
    await page.goto(f"{server.url}/healthz")
    await page.evaluate("document.body.replaceChildren()")
    await page.evaluate(LESSON, [TITLE, LEFT_HZ, RIGHT_HZ, list(COLOUR)])
    return page


async def test_a_shared_tab_is_seen_and_heard_in_stereo_until_the_browser_ends_it(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        sharing = await stack.enter_async_context(chromium_that_shares(TITLE))
        looking = await stack.enter_async_context(launched_chromium())
        script = bundle_sdk(tmp_path)
        room, tokens = await room_of_two(server)
        contexts = [await sdk_context(browser) for browser in (sharing, looking)]
        lesson = await lesson_in(contexts[0], server)
        pages = [await sdk_page(context, server, script) for context in contexts]
        for page, token in zip(pages, tokens, strict=True):
            assert await page.evaluate("(token) => enter(token)", token) == "admitted"
            await page.evaluate("room.media.start()")
        host, guest = pages
        voice = await host.evaluate(PUBLISH_VOICE, VOICE_HZ)
        shared = await host.evaluate(
            "async () => Object.fromEntries((await room.media.shareScreen()).map(({ source, id }) => [source, id]))"
        )
        assert shared.keys() == {"screen", "screen_audio"}
        await asyncio.gather(
            wait_for(guest, IN_STEREO, [shared["screen_audio"], LEFT_HZ, RIGHT_HZ]),
            hears_tone(guest, voice, VOICE_HZ),
            picture_follows(lesson, guest, shared["screen"]),
        )
        sent = await host.evaluate(SENT_SOUNDS)
        assert [
            ("stereo=1" in each, "usedtx=0" in each) for each in sorted(sent, key=lambda each: "stereo" in each)
        ] == [
            (False, False),
            (True, True),
        ]
        hints = "room.media.localTracks.map(({ source, mediaStreamTrack }) => [source, mediaStreamTrack.contentHint])"
        assert dict(await host.evaluate(hints))["screen_audio"] == "music"
        await who_may_not_share_is_refused(guest, server, room, tokens[0], script)
        began = time.monotonic()
        await lesson.close()  # the browser ends the share, as its own bar does
        await wait_for(guest, "() => seen.size === 1", deadline_s=GONE_WITHIN_S)
        print(f"the share was gone {time.monotonic() - began:.2f} s after its end")
        assert await host.evaluate("room.media.localTracks.map(({ source }) => source)") == ["microphone"]


async def picture_follows(lesson: Page, guest: Page, screen: str) -> None:
    await lesson.evaluate("globalThis.film = true")  # of a page at rest come one or two pictures a second
    await sees(guest, screen, COLOUR)
    other = (200, 160, 30)
    await lesson.evaluate("(rgb) => { document.body.style.background = `rgb(${rgb})` }", list(other))
    await sees(guest, screen, other)


async def who_may_not_share_is_refused(
    beside: Page, server: ServerProcess, room: str, host_token: str, script: str
) -> None:
    """By the server, whatever their page shows."""
    path = f"/api/rooms/{room}/invitations"
    invitation = await post(server, path, {"role": "observer", "lobby": False}, host_token)
    joined = await post(server, "/api/join", {"invitation": invitation["id"], "name": "Parent"})
    page = await sdk_page(beside.context, server, script)
    assert await page.evaluate("(token) => enter(token)", joined["token"]) == "admitted"
    await page.evaluate("room.media.start()")
    await page.evaluate("publishColour('#c8b428', 'screen')")
    await wait_for(page, "() => room.media.localTracks.length === 0")
    assert await page.evaluate("room.view.tracks.filter(({ source }) => source === 'screen').length") == 1
    await page.close()


SHARED_PICTURE = "() => document.querySelector('.with-screen .grid video')?.videoWidth > 0"
HINT = "(hint) => globalThis.captured?.getVideoTracks()[0].contentHint === hint"
KEEP_CAPTURED = """
  const capture = navigator.mediaDevices.getDisplayMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getDisplayMedia = async (options) => (globalThis.captured = await capture(options));
"""


@pytest.mark.long
async def test_a_teacher_shows_a_film_from_a_tab_and_the_others_see_it_large(tmp_path: Path) -> None:
    """With the page, as people do."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        sharing = await stack.enter_async_context(chromium_that_shares(TITLE))
        looking = await stack.enter_async_context(launched_chromium())
        context = await sharing.new_context(permissions=["camera", "microphone"], locale="fr-FR")
        lesson = await lesson_in(context, server)
        await context.add_init_script(KEEP_CAPTURED)
        teacher = await context.new_page()
        await open_room(teacher, server.url, "Les marées", "Mme Roy")
        invited = await invite(teacher, "class", "Rimouski")
        class_page = await looking.new_page(permissions=["camera", "microphone"], locale="fr-FR")
        await join_by_link(class_page, invited.url, "6e B")
        await by_test(teacher, "screen").click()
        await class_page.wait_for_function(SHARED_PICTURE, timeout=STEP_MS)
        await expect(by_test(teacher, "screen")).to_have_attribute("aria-pressed", "true")
        await lesson.evaluate("globalThis.film = true")
        await teacher.wait_for_function(HINT, arg="motion", timeout=STEP_MS)
        await lesson.evaluate("globalThis.film = false")
        await teacher.wait_for_function(HINT, arg="detail", timeout=STEP_MS)
        await teacher.screenshot(path=tmp_path / "sharing.png")
        await class_page.screenshot(path=tmp_path / "shared.png")
        await by_test(teacher, "screen").click()
        await expect(class_page.locator(".with-screen")).to_have_count(0, timeout=STEP_MS)
        assert await teacher.evaluate("captured.getTracks().every(({ readyState }) => readyState === 'ended')")
