"""Real Chromium (Debian's), headless, one process for each person: each has a camera and a microphone of
its own.

Where it is there the build without a window is taken (chromium-headless-shell): the same engine, and half the processor
time, for the whole one draws its toolbar for each person though nobody sees it. The first session's
host has the whole one, and so does what needs a flag that is the window's."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

from playwright.async_api import Browser, Playwright, async_playwright

from tests.support.fake_media import FakeDevice

FLAGS = [
    "--disable-quic",
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]


def chromium_path(*, whole: bool = False) -> str:
    path = (
        (None if whole else shutil.which("chromium-headless-shell"))
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    assert path, "no Chromium here: make services"
    return path


class _Driver:
    """What drives the browsers that are open at once in one loop: each costs 0.4 s of processor time to start."""

    def __init__(self) -> None:
        self._users = 0
        self._start = asyncio.Lock()
        self._playwright: Playwright | None = None

    async def take(self) -> Playwright:
        async with self._start:
            if self._playwright is None:
                self._playwright = await async_playwright().start()
            self._users += 1
            return self._playwright

    async def give_back(self) -> None:
        async with self._start:
            self._users -= 1
            if self._users == 0 and self._playwright is not None:
                playwright, self._playwright = self._playwright, None
                await playwright.stop()


_drivers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Driver] = WeakKeyDictionary()


@asynccontextmanager
async def playwright_driver() -> AsyncIterator[Playwright]:
    """This loop's: the first who takes it starts it, the last who gives it back ends it."""
    driver = _drivers.setdefault(asyncio.get_running_loop(), _Driver())
    playwright = await driver.take()
    try:
        yield playwright
    finally:
        await driver.give_back()


@asynccontextmanager
async def chromium_that_shares(title: str) -> AsyncIterator[Browser]:
    """A browser without devices, the whole one: the other has no tabs to capture. Whoever asks for a screen in it is given
    the tab of this title, with its sound, without a question."""
    asks_nobody = "--use-fake-ui-for-media-stream"  # it would give a made-up screen without sound
    flags = [*(flag for flag in FLAGS if flag != asks_nobody and "fake-device" not in flag)]
    flags.append(f"--auto-select-tab-capture-source-by-title={title}")
    async with playwright_driver() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(whole=True),
            chromium_sandbox=False,
            args=flags,
            ignore_default_args=["--mute-audio"],  # of a muted browser the sound of a tab is silence
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def launched_chromium(
    device: FakeDevice | None = None, folder: Path | None = None, *extra_flags: str, executable: str | None = None
) -> AsyncIterator[Browser]:
    """A browser of its own; `device` gives it a camera and a microphone from files in `folder`. `executable`: what
    starts it, in place of Chromium itself."""
    flags = [*FLAGS, *extra_flags]
    if device is not None:
        assert folder is not None
        camera, microphone = device.write(folder)
        flags += [f"--use-file-for-fake-video-capture={camera}", f"--use-file-for-fake-audio-capture={microphone}"]
    async with playwright_driver() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable or chromium_path(), chromium_sandbox=False, args=flags
        )
        try:
            yield browser
        finally:
            await browser.close()
