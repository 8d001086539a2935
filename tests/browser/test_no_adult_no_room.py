"""ROLE-5 in the page: a pupil reads that it is a break, what they type is kept, and the teacher who returns reads what happened."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.test_live_view import visitor
from tests.support.page import STEP_MS, by_test, invite, join_by_code, open_room, saved, text_of, write
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")
FROZEN_MS = 14_000 + STEP_MS
SIZES = {"phone": (390, 844), "laptop": (1366, 768), "projector": (1920, 1080)}


async def show(page: Page, name: str) -> None:
    """With PASSERELLE_TEST_SHOTS, pictures of it, to be looked at."""
    folder = os.environ.get("PASSERELLE_TEST_SHOTS")
    if folder:
        for size, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            await page.screenshot(path=str(Path(folder) / f"{name}-{size}.png"))


async def test_pupils_read_that_it_is_a_break_and_the_teacher_what_happened(
    server: ServerProcess, browser: Browser
) -> None:
    async with visitor(browser) as host, visitor(browser) as pupil:
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, server.url, code, "Zoé")
        await write(pupil, "Avant. ")
        await saved(pupil)
        await by_test(pupil, "hand").click()
        await expect(by_test(pupil, "pause")).to_be_hidden()
        address = host.url
        await host.goto("about:blank")

        await expect(by_test(pupil, "pause")).to_contain_text("On fait une pause", timeout=FROZEN_MS)
        await expect(by_test(pupil, "editor")).to_have_attribute("contenteditable", "false", timeout=STEP_MS)
        await expect(by_test(pupil, "hand")).to_have_attribute("aria-pressed", "true")
        await by_test(pupil, "chat").click()
        await expect(by_test(pupil, "chat-input")).to_have_count(0)
        await show(pupil, "pupil")

        await host.goto(address)
        await expect(by_test(pupil, "pause")).to_be_hidden(timeout=STEP_MS)
        await expect(by_test(pupil, "announcement")).to_contain_text("la séance reprend")
        await write(pupil, "Après.")
        await saved(pupil)
        assert "Avant. Après." in await text_of(pupil)
        await expect(by_test(host, "pause")).to_contain_text("la séance était en pause", timeout=STEP_MS)
        await show(host, "host")
        await by_test(host, "pause-read").click()
        await expect(by_test(host, "pause")).to_be_hidden()
