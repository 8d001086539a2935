"""The sign of quality on a tile: of a bad line, in words, and gone when the line is good; never of a good one."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from passerelle_client import PasserelleApi
from passerelle_client.protocol import RoomCreated
from tests.support.bad_line import BadLine, Line
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.page import STEP_MS, by_test, enter_session
from tests.support.server_process import running_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
RED = FakeDevice("rouge", (200, 40, 40), 440.0, 960, 540)
BAD = Line(loss=0.25, delay_s=0.05)
SIGN_MS = 20_000 * SECOND
THROUGH = """
  const take = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = async function ({ type, sdp }) {
    return take.call(this, { type, sdp: await through(sdp) });
  };
"""


@contextlib.asynccontextmanager
async def bad_line() -> AsyncIterator[BadLine]:
    line = BadLine(Line())
    await line.start()
    try:
        yield line
    finally:
        await line.stop()


async def guest_page(browser: Browser, link: str, name: str, line: BadLine | None = None) -> Page:
    page = await (await browser.new_context(permissions=["camera", "microphone"])).new_page()
    if line is not None:
        await page.expose_function("through", line.through)
        await page.add_init_script(THROUGH)
    await page.goto(link)
    await by_test(page, "join-name").fill(name)
    await by_test(page, "join").click()
    await enter_session(page)
    return page


def sign_of(page: Page, name: str) -> Locator:
    return page.locator(f"[data-testid=tile][data-name={name}]").get_by_test_id("quality")


async def guest_link(api: PasserelleApi, created: RoomCreated, origin: str) -> str:
    invitation = await api.create_invitation(created.room.id, created.token, "guest", lobby=False)
    return f"{origin}/entrer#{invitation.id}"


async def test_a_bad_line_is_told_on_its_tile_and_a_good_one_never(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path) as server,
        PasserelleApi(server.url) as api,
        bad_line() as line,
        launched_chromium(RED, tmp_path) as sending,
        launched_chromium(None, tmp_path) as looking,
    ):
        created = await api.create_room("Les marées")
        link = await guest_link(api, created, server.url)
        await guest_page(sending, link, "rouge")
        near = await guest_page(looking, link, "Près")
        far = await guest_page(looking, link, "Loin", line)
        for page in (near, far):
            await expect(page.locator("[data-testid=tile][data-name=rouge] video")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(far, "quality")).to_have_count(0)
        assert line.carried > 0
        line.become(BAD)
        sign, good = sign_of(far, "rouge"), sign_of(near, "rouge")
        await expect(sign).to_have_attribute("data-quality", "poor", timeout=SIGN_MS)
        await expect(sign).to_contain_text("faible")
        await expect(by_test(far, "announcement")).to_contain_text("arrive mal")
        # What comes from there is bad for everyone.
        await expect(sign_of(near, "Loin")).to_have_count(1, timeout=SIGN_MS)
        await expect(good).to_have_count(0)
        line.become(Line())
        await expect(sign).to_have_count(0, timeout=SIGN_MS)
        await expect(good).to_have_count(0)
