"""The browser SDK alone in a real page: bundled, given to a blank page of the server's own origin."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.server_process import ROOT, ServerProcess
from tests.support.session_setup import room_of_two

CLIENT_SDK = ROOT / "client_sdk"
BUILT = CLIENT_SDK / "browser/dist/index.js"

HELPERS = """
globalThis.seen = new Map(); // track id -> {remote, element}
globalThis.events = [];
globalThis.enter = async (token, transports) => {
  const room = new Passerelle.Room({ token, baseUrl: location.origin, logLevel: 'debug', transports });
  globalThis.room = room;
  room.media.on('state', (state) => events.push(['media', state, performance.now()]));
  room.on('connection', (state) => events.push(['connection', state, performance.now()]));
  room.media.on('speakers', (ids) => events.push(['speakers', ids]));
  room.media.on('fallback', (state) => events.push(['fallback', state, performance.now()]));
  room.media.on('mutedByHost', (id) => events.push(['mutedByHost', id]));
  room.media.on('remoteTrack', (remote) => {
    const known = seen.get(remote.track.id);
    if (known) { events.push(['again', remote.track.id, known.remote === remote]); return; }
    const element = document.createElement(remote.track.kind);
    element.autoplay = true;
    element.muted = remote.track.kind === 'video';
    element.srcObject = remote.stream;
    document.body.append(element);
    seen.set(remote.track.id, { remote, element });
  });
  room.media.on('remoteTrackEnded', (id) => { seen.get(id)?.element.remove(); seen.delete(id); });
  return room.connect();
};
globalThis.publishCamera = async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180 }, audio: true });
  const ids = {};
  for (const track of stream.getTracks()) {
    const local = await room.media.publish(track, track.kind === 'video' ? 'camera' : 'microphone');
    ids[local.source] = local.id;
  }
  return ids;
};
globalThis.publishColour = async (colour, source) => {
  const canvas = document.createElement('canvas');
  canvas.width = 320; canvas.height = 180;
  const context = canvas.getContext('2d');
  let n = 0;
  setInterval(() => {
    context.fillStyle = colour; context.fillRect(0, 0, 320, 180);
    context.fillStyle = '#ffffff'; context.fillRect(n++ % 320, 0, 2, 2);
  }, 60);
  const [track] = canvas.captureStream(15).getVideoTracks();
  if (source === undefined) return track;
  return (await room.media.publish(track, source)).id;
};
globalThis.pictures = () => Object.fromEntries([...seen].filter(([, { element }]) => element.videoWidth).map(([id, { element }]) => {
  const canvas = document.createElement('canvas');
  canvas.width = 16; canvas.height = 9;
  const context = canvas.getContext('2d');
  context.drawImage(element, 0, 0, 16, 9);
  const [r, g, b] = context.getImageData(8, 6, 1, 1).data;
  return [id, { rgb: [r, g, b], frames: element.getVideoPlaybackQuality().totalVideoFrames }];
}));
globalThis.toneOf = async (id, seconds) => {
  const remote = seen.get(id)?.remote;
  if (!remote) return 0;
  globalThis.listening ??= new AudioContext();
  const analyser = listening.createAnalyser();
  analyser.fftSize = 8192;
  analyser.smoothingTimeConstant = 0;
  const source = listening.createMediaStreamSource(remote.stream);
  source.connect(analyser);
  let best = -70, tone = 0; // quieter is silence
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    let loudest = 8;
    for (let bin = 8; bin < bins.length; bin += 1) if (bins[bin] > bins[loudest]) loudest = bin;
    if (bins[loudest] > best) { best = bins[loudest]; tone = loudest * listening.sampleRate / analyser.fftSize; }
  }
  source.disconnect();
  return tone;
};
globalThis.loudness = async () => {
  const energy = {};
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values())
      if (stats.type === 'inbound-rtp' && stats.kind === 'audio') energy[stats.mid] = stats.totalAudioEnergy;
  return energy;
};
"""


WATCH_FOR_GAPS = """
(id) => {
  // Bursts of a tone, 0.25 s in each 0.4: how long none was heard, whatever brought them.
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  const samples = new Float32Array(analyser.fftSize);
  let source = null, of = null, heardAt = performance.now(), longest = 0;
  setInterval(() => {
    const mediaStreamTrack = seen.get(id)?.remote.mediaStreamTrack;
    if (mediaStreamTrack !== undefined && mediaStreamTrack !== of) {
      source?.disconnect();
      of = mediaStreamTrack;
      source = context.createMediaStreamSource(new MediaStream([of]));
      source.connect(analyser);
    }
    analyser.getFloatTimeDomainData(samples);
    const now = performance.now();
    if (samples.some((sample) => Math.abs(sample) > 0.02)) heardAt = now;
    longest = Math.max(longest, (now - heardAt) / 1000);
  }, 20);
  globalThis.longestGap = () => longest;
}
"""

WATCH_FOR_STILLS = """
(id) => {
  // How long the picture stood still, whatever brought it.
  let frames = -1, changedAt = performance.now(), longest = 0;
  setInterval(() => {
    const now = performance.now();
    const count = seen.get(id)?.element.getVideoPlaybackQuality().totalVideoFrames ?? frames;
    if (count !== frames) [frames, changedAt] = [count, now];
    longest = Math.max(longest, (now - changedAt) / 1000);
  }, 20);
  globalThis.longestStill = () => longest;
}
"""


def bundle_sdk(folder: Path) -> str:
    """The built SDK and its dependencies as one script that defines `Passerelle`."""
    if not _is_built():
        subprocess.run(
            ["npm", "--prefix", str(CLIENT_SDK), "run", "--silent", "build", "--workspace", "@passerelle/client"],
            cwd=CLIENT_SDK, check=True, timeout=120 * SECOND, capture_output=True,
        )  # fmt: skip
        BUILT.touch()  # which the compiler leaves alone where only a date has changed
    target = folder / "passerelle.js"
    subprocess.run(
        [
            str(CLIENT_SDK / "node_modules/.bin/rolldown"), str(BUILT),
            "--format", "iife", "--name", "Passerelle", "--platform", "browser", "--file", str(target),
        ],
        cwd=CLIENT_SDK / "browser", check=True, timeout=120 * SECOND, capture_output=True,
    )  # fmt: skip
    return target.read_text("utf-8")


def _is_built() -> bool:
    """Since its sources last changed. It is not built again then: other tests are reading it. (TypeScript's own tests,
    which run beside these, build it too: what has not changed is not written again.)"""
    sdk = CLIENT_SDK / "browser"
    sources = [*sdk.glob("src/**/*"), *sdk.glob("*.json")]
    return BUILT.exists() and _newest(BUILT.parent.iterdir()) >= _newest(sources)


def _newest(paths: Iterable[Path]) -> float:
    return max(path.stat().st_mtime for path in paths)


async def sdk_context(browser: Browser) -> BrowserContext:
    """A context whose pages may be given scripts, camera and microphone."""
    return await browser.new_context(bypass_csp=True, permissions=["camera", "microphone"])


async def sdk_page(context: BrowserContext, server: ServerProcess | str, script: str) -> Page:
    """A page of the server's origin with the SDK in it; its console goes into `page.console_lines`."""
    page = await context.new_page()
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    page.on("pageerror", lambda error: lines.append(f"uncaught: {error}"))
    page.console_lines = lines  # type: ignore[attr-defined]
    await page.goto(f"{server if isinstance(server, str) else server.url}/healthz")
    await page.evaluate("document.body.replaceChildren()")
    await page.add_script_tag(content=script)
    await page.add_script_tag(content=HELPERS)
    return page


LOOK = """async ([argument, milliseconds]) => {
  const look = %s;
  for (const end = performance.now() + milliseconds; ; ) {
    const value = await look(argument);
    if (value || performance.now() > end) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""


async def wait_for(page: Page, expression: str, argument: Any = None, deadline_s: float = 20.0 * SECOND) -> Any:
    """The first true value of a JavaScript function of `argument`, which may be async: Playwright's own
    `wait_for_function` takes the promise of one for a true value."""
    value = await page.evaluate(LOOK % expression, [argument, deadline_s * 1_000])
    if not value:
        lines = "\n".join(page.console_lines[-40:])  # type: ignore[attr-defined]
        state = await page.evaluate(
            "JSON.stringify([room.media.state, room.connectionState, pictures(), events.slice(-20)])"
        )
        raise AssertionError(f"{expression} of {json.dumps(argument)}: {state}\n{lines}")
    return value


SEES = """
([id, rgb, after]) => {
  const picture = pictures()[id];
  return picture && picture.frames > after && picture.rgb.every((value, at) => Math.abs(value - rgb[at]) < 45) ? picture.frames : 0;
}
"""


async def sees(page: Page, track_id: str, device_rgb: tuple[int, int, int], deadline_s: float = 20.0 * SECOND) -> None:
    """The page decodes this track: its colour is there, and frames go on coming."""
    frames = await wait_for(page, SEES, [track_id, list(device_rgb), 0], deadline_s)
    await wait_for(page, SEES, [track_id, list(device_rgb), frames + 3], deadline_s)


RED = FakeDevice("rouge", (200, 40, 40), 440.0)
GREEN = FakeDevice("vert", (40, 160, 60), 880.0)


async def hears_tone(page: Page, track_id: str, tone_hz: float, deadline_s: float = 20.0 * SECOND) -> None:
    """What comes as this track is the tone."""
    heard = "async ([id, hz]) => Math.abs((await toneOf(id, 0.5)) - hz) < 30"
    await wait_for(page, heard, [track_id, tone_hz], deadline_s)


async def two_admitted(server: ServerProcess, browser: Browser, folder: Path) -> list[Page]:
    """Two pages in one room, each in a context of its own."""
    script = bundle_sdk(folder)
    _room, tokens = await room_of_two(server)
    pages = [await sdk_page(await sdk_context(browser), server, script) for _ in tokens]
    for page, token in zip(pages, tokens, strict=True):
        assert await page.evaluate("(token) => enter(token)", token) == "admitted"
    return pages
