"""The devices that somebody chose, and what becomes of the choice."""

from pathlib import Path

from playwright.async_api import expect

from tests.support.chromium import chromium_path, launched_chromium
from tests.support.page import (
    STEP_MS,
    by_test,
    open_room,
)
from tests.support.server_process import running_server


async def test_what_was_chosen_is_remembered_and_what_is_plugged_in_again_is_used_again(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        launched_chromium(
            None, None, "--use-fake-device-for-media-stream=device-count=2", executable=chromium_path(whole=True)
        ) as browser,
    ):
        page = await browser.new_page(permissions=["camera", "microphone"], locale="fr-CA")
        used = "() => document.querySelector('[data-testid=tile] video')?.srcObject?.getTracks()[0]?.getSettings().deviceId"
        await open_room(page, server.url, "Les oiseaux", "Mme Roy")
        await expect(page.locator("[data-testid=tile] video")).to_be_visible(timeout=STEP_MS)
        first = await (await page.wait_for_function(used, timeout=STEP_MS)).json_value()
        await by_test(page, "devices").click()
        cameras = page.locator("dialog[open] select").first
        await expect(cameras.locator("option")).to_have_count(3)  # both, and none
        ids = await cameras.locator("option").evaluate_all("(options) => options.map(({ value }) => value)")
        second = next(each for each in ids if each not in (first, "none"))
        await cameras.select_option(second)
        in_use = f"(id) => ({used})() === id"
        await page.wait_for_function(in_use, arg=second, timeout=STEP_MS)
        await page.keyboard.press("Escape")
        await page.evaluate(
            """() => {
              const [track] = document.querySelector('[data-testid=tile] video').srcObject.getTracks()
              track.stop()
              track.dispatchEvent(new Event('ended'))
            }"""
        )
        await expect(by_test(page, "notice")).to_contain_text("débranchée", timeout=STEP_MS)
        # As a browser says that something was plugged in.
        await page.evaluate("() => navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
        await page.wait_for_function(in_use, arg=second, timeout=STEP_MS)
        await open_room(page, server.url, "Une autre salle", "Mme Roy")
        await page.wait_for_function(in_use, arg=second, timeout=STEP_MS)
