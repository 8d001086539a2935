"""A browser that keeps nothing of a page: it works all the same, and says what that means."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.test_page import has_state, reads
from tests.support.chromium import FLAGS, chromium_path
from tests.support.page import STEP_MS, by_test, invite, join_by_code, open_room, saved, write
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = {
    "permissions": ["camera", "microphone"],
    "viewport": {"width": 1366, "height": 768},
    "locale": "fr-CA",
    "service_workers": "block",
}
BLOCK_ALL_COOKIES = {"profile": {"default_content_setting_values": {"cookies": 2}}}
REFUSE_AS_THEN = """
  const refuse = () => { throw new DOMException('Access is denied for this document.', 'SecurityError') }
  for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) Object.defineProperty(window, name, { get: refuse })
"""
STORAGE = "() => { try { return String(localStorage) } catch ({ name }) { return name } }"


@contextlib.asynccontextmanager
async def without_cookies(folder: Path) -> AsyncIterator[BrowserContext]:
    """The whole Chromium: the build without a window has no such setting. Its pages share nothing: there is nothing."""
    preferences = folder / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps(BLOCK_ALL_COOKIES))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder, executable_path=chromium_path(whole=True), chromium_sandbox=False, args=FLAGS, **SETTINGS
        )
        try:
            yield context
        finally:
            await context.close()


@pytest.mark.long
async def test_where_all_cookies_are_blocked_the_page_works_and_says_what_is_not_kept(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with without_cookies(tmp_path / "profile") as context:
        await a_host_and_a_pupil_work_all_the_same(context, server)


async def test_where_storage_throws_the_page_works_and_says_what_is_not_kept(
    server: ServerProcess, browser: Browser
) -> None:
    context = await browser.new_context(**SETTINGS)
    await context.add_init_script(REFUSE_AS_THEN)
    await a_host_and_a_pupil_work_all_the_same(context, server)
    await context.close()


async def a_host_and_a_pupil_work_all_the_same(context: BrowserContext, server: ServerProcess) -> None:
    errors: list[str] = []

    async def visitor() -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    host = await visitor()
    await open_room(host, server.url, "Les oiseaux", "Mme Roy")
    assert await host.evaluate(STORAGE) == "SecurityError"
    await expect(by_test(host, "nothing-kept")).to_contain_text("Une autre personne qui anime")
    await by_test(host, "nothing-kept-read").click()
    await expect(by_test(host, "nothing-kept")).to_have_count(0)
    await by_test(host, "thrifty").click()
    await by_test(host, "divider").press("ArrowLeft")
    await by_test(host, "language").click()
    await expect(host.locator("html")).to_have_attribute("lang", "en-CA")
    await by_test(host, "language").click()
    code = (await invite(host, "pupil")).code
    pupil = await visitor()  # in front of the host's page, which may be slow from here on
    await join_by_code(pupil, server.url, code, "Zoé")
    await expect(by_test(pupil, "nothing-kept")).to_contain_text("reprenez votre lien ou votre code", timeout=STEP_MS)
    await write(pupil, "Un huard !")
    await saved(pupil)
    await reads(host, "Un huard !")
    await pupil.reload()
    await expect(by_test(pupil, "message")).to_be_visible(timeout=STEP_MS)
    await join_by_code(pupil, server.url, code, "Zoé")
    await reads(pupil, "Un huard !")
    await context.set_offline(True)
    await has_state(pupil, "offline")
    await expect(by_test(pupil, "save-state")).to_contain_text("ne fermez pas cette page")
    await write(pupil, " Deux.")
    await context.set_offline(False)
    await has_state(pupil, "saved")
    await reads(host, "Un huard ! Deux.")
    assert errors == [], "the page threw"
