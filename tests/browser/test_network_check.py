"""Before the visit: the page tries the network, without an account, and says what a school should open."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.chromium import chromium_path, launched_chromium
from tests.support.fake_media import FakeDevice
from tests.support.janus_server import own_address
from tests.support.page import STEP_MS, by_test
from tests.support.server_process import ServerProcess, running_server
from tests.support.turn_server import DeployedTurnServer, running_deployed_turn_server

pytestmark = pytest.mark.timeout(150)
DEVICE = FakeDevice("Mme Roy", (200, 40, 40), 440.0)
TRUST = "--ignore-certificate-errors"
"""The relay's certificate is self-made here; a real one is needed in service."""
NO_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"
"""What an administrator of Chromebooks can set, and what a network without UDP comes to: media by TCP alone."""
CHECK_MS = 2 * STEP_MS


@contextlib.asynccontextmanager
async def relayed_server(folder: Path) -> AsyncIterator[tuple[ServerProcess, DeployedTurnServer]]:
    """A server whose media have the machine's own address, and coturn as it is deployed."""
    coturn = folder / "coturn"
    coturn.mkdir()
    async with running_deployed_turn_server(coturn, "tests-only", own_address()) as relay:
        environment = {
            "PASSERELLE_MEDIA_ADDRESSES": own_address(),
            "TURN_URLS": ",".join(
                (
                    f"turn:127.0.0.1:{relay.plain}",
                    f"turn:127.0.0.1:{relay.plain}?transport=tcp",
                    f"turns:localhost:{relay.tls}?transport=tcp",
                )
            ),
            "TURN_SECRET": "tests-only",
        }
        async with running_server(folder, environment) as server:
            yield server, relay


async def opened(browser: Browser, url: str) -> Page:
    context = await browser.new_context(
        permissions=["camera", "microphone", "clipboard-read", "clipboard-write"],
        viewport={"width": 1366, "height": 768},
        locale="fr-CA",
    )
    page = await context.new_page()
    await page.goto(url)
    return page


async def outcomes(page: Page) -> dict[str, Any]:
    """Test → outcome, once the verdict is there."""
    await expect(by_test(page, "verdict")).to_be_visible(timeout=CHECK_MS)
    rows = page.locator("[data-testid^=test-]")
    return {
        str(await row.get_attribute("data-testid")).removeprefix("test-"): await row.get_attribute("data-outcome")
        for row in await rows.all()
    }


async def test_a_teacher_checks_network_camera_and_sound_and_has_a_sheet_for_the_technicians(tmp_path: Path) -> None:
    async with (
        relayed_server(tmp_path) as (server, relay),
        launched_chromium(DEVICE, tmp_path, TRUST) as browser,
    ):
        page = await opened(browser, server.url)
        await by_test(page, "network-check").click()
        await by_test(page, "start-check").click()
        found = await outcomes(page)
        assert found == dict.fromkeys(
            ("websocket", "polling", "udp", "relay_udp", "relay_tcp", "relay_tls", "delay", "download", "upload"),
            "passes",
        )
        await expect(by_test(page, "verdict")).to_have_attribute("data-verdict", "good")
        await expect(by_test(page, "test-udp").locator("strong")).to_have_text(re.compile(r"^\d+\sms$"))
        await expect(by_test(page, "test-download").locator("strong")).to_contain_text("Mbit/s")

        devices = by_test(page, "own-devices")
        await expect(devices.locator("video")).to_be_visible(timeout=STEP_MS)
        await page.wait_for_function("() => document.querySelector('[data-testid=level]')?.value > 0", timeout=STEP_MS)
        await by_test(page, "check-sound").click()
        await by_test(page, "heard-yes").click(timeout=STEP_MS)
        await expect(by_test(page, "heard")).to_contain_text("marche")

        sheet = by_test(page, "sheet")
        await page.evaluate("navigator.clipboard.writeText('')")
        await by_test(page, "copy-sheet").click()
        async with asyncio.timeout(STEP_MS / 1_000):
            while not (text := await page.evaluate("navigator.clipboard.readText()")):
                await asyncio.sleep(0.05)  # it says so for two seconds, which may be over before one looks
        for port in (server.port, relay.plain, relay.tls):
            await expect(sheet.locator("table")).to_contain_text(str(port))
            assert str(port) in text
        assert own_address() in text
        assert "change à chaque démarrage" in text, "no media port is chosen here"
        await page.screenshot(path=tmp_path / "network-check.png", full_page=True)
        # On a phone nothing of the table is cut, and it still is one to a screen reader.
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.wait_for_function(
            "() => { const box = document.querySelector('.sheet-scroll'); return box.scrollWidth <= box.clientWidth }"
        )
        await expect(sheet.get_by_role("cell", name=str(relay.tls))).to_be_visible()
        # A browser that lets nothing into its clipboard: what was to be copied is there to be copied by hand.
        await page.evaluate(
            "() => { navigator.clipboard.writeText = () => Promise.reject(new Error());"
            " document.execCommand = () => false }"
        )
        await by_test(page, "copy-sheet").click()
        await expect(by_test(page, "to-copy")).to_have_value(re.compile(str(relay.tls)))
        await page.emulate_media(media="print")
        await expect(sheet).to_be_visible()
        await expect(by_test(page, "start-check")).to_be_hidden()
        await expect(by_test(page, "copy-sheet")).to_be_hidden()
        await page.screenshot(path=tmp_path / "network-check-printed.png", full_page=True)


async def test_where_udp_is_barred_the_page_says_so_and_finds_the_way_by_tcp(tmp_path: Path) -> None:
    async with (
        relayed_server(tmp_path) as (server, relay),
        launched_chromium(DEVICE, tmp_path, TRUST, NO_UDP, executable=chromium_path(whole=True)) as browser,
    ):
        page = await opened(browser, f"{server.url}/controle")
        await by_test(page, "start-check").click()
        found = await outcomes(page)
        assert {test: found[test] for test in ("udp", "relay_udp", "relay_tcp", "relay_tls")} == {
            "udp": "blocked",
            "relay_udp": "blocked",
            "relay_tcp": "passes",
            "relay_tls": "passes",
        }
        await expect(by_test(page, "test-udp")).to_contain_text("bloqué")
        await expect(by_test(page, "verdict")).to_have_attribute("data-verdict", "good")
        await expect(by_test(page, "verdict")).to_contain_text("détour par un relais")
        for protocol, word in (("UDP", "bloqué"), ("TCP", "passe")):
            cell = page.get_by_role("cell", name=protocol, exact=True)
            row = by_test(page, "sheet").get_by_role("row").filter(has_text=str(relay.plain)).filter(has=cell)
            await expect(row).to_contain_text(word)
        await page.screenshot(path=tmp_path / "no-udp.png", full_page=True)


async def test_a_filter_that_bars_everything_but_the_page_is_told_plainly(tmp_path: Path) -> None:
    """No relay, no UDP, no WebSocket: the voice alone, by long polling; and the sheet says what is missing."""
    async with (
        running_server(tmp_path) as server,
        launched_chromium(None, None, NO_UDP, executable=chromium_path(whole=True)) as browser,
    ):
        page = await opened(browser, "about:blank")
        await page.route_web_socket(re.compile("/socket.io/"), lambda socket: socket.close())
        await page.goto(f"{server.url}/controle")
        await by_test(page, "start-check").click()
        found = await outcomes(page)
        assert {test: found[test] for test in ("websocket", "polling", "udp", "relay_tls")} == {
            "websocket": "blocked",
            "polling": "passes",
            "udp": "blocked",
            "relay_tls": "absent",
        }
        await expect(by_test(page, "verdict")).to_have_attribute("data-verdict", "voice")
        await expect(by_test(page, "verdict")).to_contain_text("voie de secours")
        await expect(by_test(page, "sheet")).to_contain_text("n’a pas de relais")
