"""The page asks for the pictures it shows, in the size it shows them; « mode campagne » for one small one."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from passerelle_client import PasserelleApi
from passerelle_client.protocol import RoomCreated
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.page import STEP_MS, by_test, enter_session
from tests.support.server_process import ServerProcess, running_server

pytestmark = pytest.mark.timeout(240)
RED = FakeDevice("rouge", (200, 40, 40), 440.0, 960, 540, 7)
GREEN = FakeDevice("vert", (40, 160, 60), 880.0, 960, 540, 7)
"""Seven pictures a second: sizes are looked at here, and to make each in three of them costs the most."""

LAPTOP = {"width": 1_366, "height": 768}
SMALL = {"width": 800, "height": 500}
"""Of those at whom nobody looks here: what they show costs less."""

PICTURES = """
() => [...document.querySelectorAll('[data-testid=tile]')].map((tile) => {
  const video = tile.querySelector('video')
  return { name: tile.dataset.name, height: video ? video.videoHeight : 0 }
})
"""


@dataclass
class Stage:
    server: ServerProcess
    viewer: Page
    """Of a host without a camera."""
    guests: list[Page]


async def guest_link(api: PasserelleApi, created: RoomCreated, server: ServerProcess) -> str:
    invitation = await api.create_invitation(created.room.id, created.token, "guest", lobby=False)
    return f"{server.url}/entrer#{invitation.id}"


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Two guests with cameras, each in a browser, and a host who looks."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(folder))
        api = await stack.enter_async_context(PasserelleApi(server.url))
        created = await api.create_room("Les marées")

        async def open_page(device: FakeDevice | None, viewport: Any, url: str, *permissions: str) -> Page:
            browser = await stack.enter_async_context(launched_chromium(device, folder))
            context = await browser.new_context(permissions=list(permissions), viewport=viewport)
            page = await context.new_page()
            await page.goto(url)
            return page

        guests: list[Page] = []
        for device in (RED, GREEN):
            page = await open_page(device, SMALL, await guest_link(api, created, server), "camera", "microphone")
            await by_test(page, "join-name").fill(device.name)
            await by_test(page, "join").click()
            await enter_session(page)
            guests.append(page)
        viewer = await open_page(None, LAPTOP, f"{server.url}/salle/{created.room.id}#jeton={created.token}")
        await enter_session(viewer)
        await expect(by_test(viewer, "live")).to_be_visible(timeout=STEP_MS)
        yield Stage(server, viewer, guests)


async def pictures(page: Page, condition: str) -> Any:
    """Name → height of the picture that arrives (0: none), once they are as the condition says."""
    handle = await page.wait_for_function(
        f"() => {{ const all = ({PICTURES})(); const of = (name) => all.find((one) => one.name === name)?.height ?? -1;"
        f" return ({condition}) && all }}",
        timeout=15_000 * SECOND,
        polling=100,
    )
    return {each["name"]: each["height"] for each in await handle.json_value()}


async def test_pictures_come_in_the_size_of_their_tiles_and_in_thrifty_mode_one_small_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        viewer = on.viewer
        await pictures(viewer, "of('rouge') > 0 && of('vert') > 0")
        await viewer.set_viewport_size({"width": 1_400, "height": 900})
        await by_test(viewer, "toggle-text").click()
        await pictures(viewer, "of('rouge') === 540 && of('vert') === 540")
        await viewer.set_viewport_size({"width": 700, "height": 420})
        await pictures(viewer, "of('rouge') < 540 && of('rouge') > 0 && of('vert') < 540")
        await by_test(viewer, "thrifty").click()
        await pictures(viewer, "[of('rouge'), of('vert')].sort((a, b) => a - b).join() === '0,135'")
        await expect(by_test(viewer, "thrifty")).to_have_attribute("aria-pressed", "true")
        await expect(by_test(viewer, "thrifty-count")).to_contain_text("Mo")
        sounds = viewer.locator("audio[data-participant]")
        await expect(sounds).to_have_count(2)
        await viewer.reload()
        await pictures(viewer, "[of('rouge'), of('vert')].sort((a, b) => a - b).join() === '0,135'")
        await by_test(viewer, "thrifty").click()
        await pictures(viewer, "of('rouge') > 0 && of('vert') > 0")
        await whoever_is_large_comes_large(on)
        await a_projector_shows_one_picture_and_a_large_text(on, tmp_path)


async def large(page: Page) -> list[str]:
    """Names in the large place, once somebody has it."""
    tiles = page.locator(".with-screen .grid").get_by_test_id("tile")
    await expect(tiles.first).to_be_visible(timeout=STEP_MS)
    return [str(await tile.get_attribute("data-name")) for tile in await tiles.all()]


async def whoever_is_large_comes_large(on: Stage) -> None:
    """What one pins for oneself, and whom a host shows to everyone; the others come small."""
    viewer, guest = on.viewer, on.guests[0]
    await viewer.set_viewport_size({"width": 1_400, "height": 900})
    await viewer.get_by_role("button", name="Épingler vert pour moi").click()
    assert await large(viewer) == ["vert"]
    await pictures(viewer, "of('vert') === 540 && of('rouge') > 0 && of('rouge') < 540")
    await viewer.get_by_role("button", name="Montrer rouge en grand à tout le monde").click()
    assert await large(guest) == ["rouge"]
    assert await large(viewer) == ["vert"], "what is pinned here stays"
    assert await by_test(guest, "spotlight").count() == 0, "only a host decides for everyone"
    await viewer.get_by_role("button", name="Ne plus épingler").click()
    await expect(viewer.locator(".with-screen .grid").get_by_test_id("tile")).to_have_attribute("data-name", "rouge")
    await pictures(viewer, "of('rouge') === 540 && of('vert') > 0 && of('vert') < 540")


async def a_projector_shows_one_picture_and_a_large_text(on: Stage, folder: Path) -> None:
    """With the keyboard, from the board; Escape ends it."""
    viewer = on.viewer
    await by_test(viewer, "editor").click()
    await viewer.keyboard.type("Le fleuve monte deux fois par jour.")
    await viewer.keyboard.press("Alt+KeyP")
    await expect(by_test(viewer, "tile")).to_have_count(1)
    await expect(by_test(viewer, "tile")).to_have_attribute("data-name", "rouge")
    await expect(by_test(viewer, "announcement")).to_contain_text("projecteur")
    await expect(by_test(viewer, "leave")).to_have_count(0)
    await viewer.wait_for_function(
        "() => parseFloat(getComputedStyle(document.querySelector('.tiptap')).fontSize) >= 0.029 * innerWidth",
        timeout=STEP_MS,
    )
    await viewer.screenshot(path=folder / "projector.png")
    await viewer.keyboard.press("Escape")
    await expect(by_test(viewer, "leave")).to_be_visible()
    await by_test(viewer, "tile").first.hover()
    await viewer.screenshot(path=folder / "spotlight.png")
    await viewer.get_by_role("button", name="Ne plus montrer en grand").click()
    await expect(on.guests[0].locator(".with-screen")).to_have_count(0, timeout=STEP_MS)
