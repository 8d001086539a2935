"""Every state of the page, for everyone: axe-core finds nothing against WCAG 2.2 AA, and the
keyboard alone opens a room, raises a hand, writes and leaves."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.page import (
    STEP_MS,
    by_test,
    enter_session,
    invite,
    join_by_code,
    join_by_link,
    nothing_scrolls_sideways,
    open_room,
    saved,
    text_of,
    write,
)
from tests.support.server_process import ServerProcess, running_server

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "client_sdk/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1366, "height": 768}
PROJECTOR = {"width": 1920, "height": 1080}
# A text without a name for a single frame is one a screen reader may have read out already.
WATCH_FOR_NAMELESS_TEXTS = """
  window.namelessTexts = 0
  new MutationObserver(() => {
    namelessTexts += document.querySelectorAll('.ProseMirror:not([aria-label])').length
  }).observe(document, { childList: true, subtree: true })
"""


@contextlib.asynccontextmanager
async def visitor(browser: Browser, viewport: Any = LAPTOP) -> AsyncIterator[Page]:
    # The page's own policy lets no script in but its own: axe is let in here, and only here.
    context: BrowserContext = await browser.new_context(
        bypass_csp=True, permissions=["camera", "microphone"], viewport=viewport, locale="fr-CA"
    )
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def is_accessible(page: Page, state: str, viewports: Sequence[dict[str, int]] = (PHONE, LAPTOP)) -> None:
    """Nothing found by axe-core, at these widths."""
    before = page.viewport_size
    # Not `set_viewport_size`, which resizes the window too: a window that fills the screen refuses.
    emulated = await page.context.new_cdp_session(page)
    for viewport in viewports:
        await emulated.send("Emulation.setDeviceMetricsOverride", {**viewport, "deviceScaleFactor": 1, "mobile": False})
        if not await page.evaluate("() => 'axe' in window"):
            await page.add_script_tag(path=AXE)
        found = await page.evaluate(
            "(rules) => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })"
            ".then(({ violations }) => violations.map(({ id, nodes }) =>"
            " ({ id, where: nodes.map((node) => node.html.slice(0, 160) + ' ' + node.failureSummary) })))",
            RULES,
        )
        assert found == [], f"{state} at {viewport['width']}: {found}"
    assert before is not None
    await emulated.send("Emulation.setDeviceMetricsOverride", {**before, "deviceScaleFactor": 1, "mobile": False})
    await emulated.detach()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "viewports", [(PHONE, LAPTOP), pytest.param((PHONE, LAPTOP, PROJECTOR), marks=pytest.mark.long)], ids=len
)
async def test_no_state_of_the_page_keeps_anyone_out(
    tmp_path: Path, browser: Browser, viewports: Sequence[dict[str, int]]
) -> None:
    looks_right = functools.partial(is_accessible, viewports=viewports)
    async with (
        running_server(tmp_path) as server,
        visitor(browser) as host,
        visitor(browser) as museum,
        visitor(browser) as pupil,
    ):
        await host.add_init_script(WATCH_FOR_NAMELESS_TEXTS)
        await host.goto(server.url)
        await looks_right(host, "first page")
        await by_test(host, "language").click()
        await expect(host.locator("html")).to_have_attribute("lang", "en-CA")
        await looks_right(host, "first page in English")
        await by_test(host, "language").click()
        await by_test(host, "network-check").click()
        await expect(by_test(host, "start-check")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "network check")
        await by_test(host, "start-check").click()
        await expect(by_test(host, "network-tests")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(host, "sheet")).to_be_visible(timeout=2 * STEP_MS)
        await by_test(host, "check-sound").click()
        await expect(by_test(host, "heard-no")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "network check, its verdict and the sheet for the technicians")
        await host.goto(f"{server.url}/entrer")
        await looks_right(host, "a link without an invitation")
        await host.goto(server.url)
        await by_test(host, "room-name").fill("Les oiseaux")
        await by_test(host, "host-name").fill("Mme Roy")
        await by_test(host, "open-room").click()
        await expect(by_test(host, "device-check")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "device check")
        await enter_session(host)
        await expect(by_test(host, "invite")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(host, "editor")).to_be_visible(timeout=STEP_MS)
        assert await host.evaluate("() => namelessTexts") == 0, "the text had no name at first"
        await looks_right(host, "alone")
        await by_test(host, "spotlight").click()
        await by_test(host, "pin").click()
        await expect(by_test(host, "pin")).to_have_attribute("aria-pressed", "true")
        await looks_right(host, "pinned, and in the light")
        await by_test(host, "pin").click()
        await by_test(host, "projector").click()
        await expect(by_test(host, "leave")).to_have_count(0)
        await looks_right(host, "the view for the projector")
        await host.keyboard.press("Escape")
        await expect(by_test(host, "leave")).to_be_visible()
        for_guest = await invite(host, "guest", "Musée")
        for_pupils = await invite(host, "pupil")
        await looks_right(host, "invitations")
        await by_test(host, "show-big").first.click()
        await looks_right(host, "the code, large")
        await host.keyboard.press("Escape")
        await by_test(host, "revoke").first.click()
        await expect(by_test(host, "confirm-no")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "sure to revoke?")
        await by_test(host, "confirm-no").click()

        await museum.goto(for_guest.url)
        await looks_right(museum, "joining by link")
        await join_by_link(museum, for_guest.url, "Musée")
        await expect(by_test(museum, "waiting")).to_be_visible(timeout=STEP_MS)
        await looks_right(museum, "waiting")
        await by_test(host, "people").click()
        await expect(by_test(host, "admit")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "somebody at the door")
        await by_test(host, "admit").click()
        await expect(by_test(museum, "live")).to_be_visible(timeout=STEP_MS)

        await join_by_code(pupil, server.url, for_pupils.code, "Zoé")
        await expect(by_test(pupil, "live")).to_be_visible(timeout=STEP_MS)
        await write(pupil, "Bonjour")
        await saved(pupil)
        await looks_right(pupil, "a pupil writing")
        await by_test(museum, "hand").click()
        await expect(by_test(host, "hands")).to_be_visible(timeout=STEP_MS)
        await looks_right(host, "people, a raised hand")
        await by_test(museum, "chat").click()
        await by_test(museum, "chat-input").fill("Bonjour à tous")
        await by_test(museum, "chat-send").click()
        await expect(by_test(museum, "chat-line")).to_be_visible(timeout=STEP_MS)
        await looks_right(museum, "chat")
        await by_test(museum, "leave").click()
        await looks_right(museum, "leaving?")
        await by_test(museum, "leave-for-good").click()
        await expect(by_test(museum, "message")).to_be_visible(timeout=STEP_MS)
        await looks_right(museum, "left")
        await server.kill()
        await expect(by_test(pupil, "status")).to_contain_text("Reconnexion", timeout=STEP_MS)
        await looks_right(pupil, "reconnecting")


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
async def test_the_way_in_is_on_the_screen_whatever_there_is_to_choose(
    server: ServerProcess, browser: Browser, viewport: Any
) -> None:
    async with visitor(browser, viewport) as page:
        await page.goto(server.url)
        await by_test(page, "room-name").fill("Les oiseaux")
        await by_test(page, "host-name").fill("Mme Roy")
        await by_test(page, "open-room").click()
        await expect(by_test(page, "without-sound")).to_be_attached()
        await expect(by_test(page, "enter-session")).to_be_in_viewport(ratio=1)
        # What is chosen last is not left behind the button; while the camera comes, all of it moves.
        async with asyncio.timeout(STEP_MS / 1_000):
            while not await is_clear_of_the_way_in(page):
                await asyncio.sleep(0.05)  # a page does not tell when it stands


async def is_clear_of_the_way_in(page: Page) -> bool:
    last = by_test(page, "without-sound")
    await last.blur()
    await last.focus()
    box, way_in = await last.bounding_box(), await by_test(page, "enter-session").bounding_box()
    assert box
    assert way_in
    is_beside = box["x"] > way_in["x"] + way_in["width"]
    return is_beside or box["y"] + box["height"] <= way_in["y"]


async def press_until(page: Page, name: str) -> None:
    """Tab to the control of that test id."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement?.dataset?.testid") == name:
            return
    raise AssertionError(f"the keyboard does not reach {name}")


async def test_the_keyboard_alone_is_enough(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as page:
        await page.goto(server.url)
        await press_until(page, "room-name")
        await page.keyboard.type("Clavier")
        await press_until(page, "host-name")
        await page.keyboard.type("Ève")
        await page.keyboard.press("Enter")
        await expect(by_test(page, "device-check")).to_be_visible(timeout=STEP_MS)
        await press_until(page, "enter-session")
        await page.keyboard.press("Enter")
        await expect(by_test(page, "editor")).to_have_attribute("contenteditable", "true", timeout=STEP_MS)
        await press_until(page, "editor")
        await page.keyboard.type("Sans souris")
        await saved(page)
        assert await text_of(page) == "Sans souris"
        # Tab indents nothing here: the keyboard leaves the text as it came.
        await press_until(page, "hand")
        await page.keyboard.press("Enter")
        await expect(by_test(page, "hand")).to_have_attribute("aria-pressed", "true", timeout=STEP_MS)
        await press_until(page, "leave")
        await page.keyboard.press("Enter")
        await press_until(page, "leave-for-good")
        await page.keyboard.press("Enter")
        await expect(by_test(page, "message")).to_be_visible(timeout=STEP_MS)


async def test_zoom_to_two_hundred_percent_hides_nothing(server: ServerProcess, browser: Browser) -> None:
    """A 1280-pixel laptop at 200 % is a page of 640: every control is still there and nothing scrolls sideways."""
    small = {"width": 640, "height": 400}
    async with visitor(browser, small) as page:
        await open_room(page, server.url, "Loupe", "Mme Roy")
        for name in ("microphone", "camera", "hand", "people", "chat", "leave"):
            await expect(by_test(page, name)).to_be_in_viewport(timeout=STEP_MS)
        await nothing_scrolls_sideways(page)
