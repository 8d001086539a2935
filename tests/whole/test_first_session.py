"""The first live session: a host, two classes and a museum's guest, in four real browsers.

Each has a camera of one colour and a microphone of one tone, so that it is proven whose picture
and whose sound arrived, not only that some did.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.chromium import chromium_path, launched_chromium
from tests.support.fake_media import FakeDevice
from tests.support.network_cut import cuttable_proxy, network_processes
from tests.support.page import (
    READ_MEDIA,
    READ_TONES,
    SECOND,
    STEP_MS,
    by_test,
    enter_session,
    invite,
    join_by_link,
    open_room,
    saved,
    text_of,
    write,
)
from tests.support.server_process import ServerProcess, running_server

HOST = FakeDevice("Mme Roy", (200, 40, 40), 440.0)
RIMOUSKI = FakeDevice("Rimouski", (40, 160, 60), 660.0)
MONTREAL = FakeDevice("Montréal", (40, 70, 200), 880.0)
MUSEUM = FakeDevice("Musée", (210, 180, 40), 1_100.0)
EVERYONE = (HOST, RIMOUSKI, MONTREAL, MUSEUM)
CUT_S = 10.0


@dataclass
class Person:
    device: FakeDevice
    browser: Browser
    page: Page


@contextlib.asynccontextmanager
async def person(device: FakeDevice, folder: Path, *, whole: bool = False) -> AsyncIterator[Person]:
    """`whole`: in Chromium as people have it, with its window; half the processor time without."""
    async with launched_chromium(device, folder, executable=chromium_path(whole=whole)) as browser:
        context = await browser.new_context(
            permissions=["camera", "microphone"], viewport={"width": 1280, "height": 720}, locale="fr-CA"
        )
        page = await context.new_page()
        yield Person(device, browser, page)


async def eventually(check: Any, deadline_s: float, what: str) -> Any:
    """The first true answer of `check`, asked again until the deadline: a picture gives no event."""
    try:
        async with asyncio.timeout(deadline_s * SECOND):
            while not (answer := await check()):
                await asyncio.sleep(0.2)
            return answer
    except TimeoutError:
        raise AssertionError(what) from None


def is_colour(seen: dict[str, Any], rgb: tuple[int, int, int]) -> bool:
    """Within what VP8 at a low rate makes of a plain colour."""
    return all(abs(seen[channel] - wanted) < 45 for channel, wanted in zip("rgb", rgb, strict=True))


async def sees(viewer: Person, others: list[Person]) -> None:
    """The viewer's page shows each other's own colour, and the frames keep coming."""
    last: dict[str, int] = {}

    async def all_shown() -> bool:
        shown = {tile["name"]: tile for tile in await viewer.page.evaluate(READ_MEDIA)}
        for other in others:
            tile = shown.get(other.device.name)
            if tile is None or not is_colour(tile, other.device.rgb):
                return False
            # A connection built anew counts from zero again: what counts is that the count moves.
            before, last[other.device.name] = last.get(other.device.name), tile["frames"]
            if before is None or tile["frames"] == before:
                return False
        return True

    async def described() -> Any:
        return await all_shown() or None

    try:
        await eventually(described, 30, f"{viewer.device.name} does not see everyone")
    except AssertionError as error:
        raise AssertionError(f"{error}: {await viewer.page.evaluate(READ_MEDIA)}") from None


async def hears(viewer: Person, others: list[Person]) -> None:
    """Each other's tone is the loudest in what comes from them."""
    names = {
        tile["participant"]: tile["name"]
        for tile in await viewer.page.evaluate(
            "() => [...document.querySelectorAll('[data-testid=tile]')]"
            ".map((tile) => ({ participant: tile.dataset.participant, name: tile.dataset.name }))"
        )
    }

    async def all_heard() -> Any:
        tones = {names.get(ear["participant"]): ear["tone"] for ear in await viewer.page.evaluate(READ_TONES, 1.2)}
        wanted = {other.device.name: other.device.tone_hz for other in others}
        missing = {name: tones.get(name) for name, hz in wanted.items() if abs((tones.get(name) or 0) - hz) > 30}
        return True if not missing else None

    await eventually(all_heard, 30, f"{viewer.device.name} does not hear everyone")


async def everyone_meets(server: ServerProcess, guest_url: str, people: list[Person]) -> None:
    host, rimouski, montreal, museum = people
    await open_room(host.page, server.url, "Les oiseaux du fleuve", host.device.name)
    for_class = await invite(host.page, "class")
    for_guest = await invite(host.page, "guest", "Biodôme")
    await join_by_link(rimouski.page, for_class.url, rimouski.device.name)
    await join_by_link(montreal.page, for_class.url, montreal.device.name)
    for page in (rimouski.page, montreal.page):
        await expect(by_test(page, "live")).to_be_visible(timeout=STEP_MS)
    await join_by_link(museum.page, for_guest.url.replace(server.url, guest_url), museum.device.name)
    await expect(by_test(museum.page, "waiting")).to_be_visible(timeout=STEP_MS)
    assert "Rimouski" not in await museum.page.inner_text("body"), "who waits knows only that"
    await expect(by_test(host.page, "admit-first")).to_be_visible(timeout=STEP_MS)
    await expect(host.page.get_by_text("Biodôme").first).to_be_visible(timeout=STEP_MS)
    await by_test(host.page, "admit-first").click()
    await expect(by_test(museum.page, "live")).to_be_visible(timeout=STEP_MS)


@pytest.mark.timeout(300)
async def test_two_classes_and_a_museum_meet_and_write(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        proxy = await stack.enter_async_context(cuttable_proxy(server.port))
        people = [
            await stack.enter_async_context(person(device, tmp_path, whole=device is HOST)) for device in EVERYONE
        ]
        museum = people[3]
        await everyone_meets(server, proxy.url, people)

        others = [[other for other in people if other is not one] for one in people]
        await asyncio.gather(*map(sees, people, others))
        await asyncio.gather(*map(hears, people, others))

        await asyncio.gather(*(write(one.page, f"{one.device.name} écrit.\n") for one in people))
        await all_read_the_same(people, [f"{one.device.name} écrit." for one in people])

        await the_plug_is_pulled(museum, proxy)
        await sees(museum, people[:3])
        await sees(people[0], [museum])
        await write(museum.page, "Le musée est revenu.\n")
        await all_read_the_same(people, ["Le musée est revenu."])


async def all_read_the_same(people: list[Person], parts: list[str]) -> None:
    async def agreed() -> Any:
        texts = [await text_of(one.page) for one in people]
        together = "".join(texts[0].split())
        complete = all(sorted("".join(part.split())) and _has_letters(together, part) for part in parts)
        return True if len(set(texts)) == 1 and complete else None

    try:
        await eventually(agreed, 20, "the texts differ")
    except AssertionError as error:
        raise AssertionError(f"{error}: {[await text_of(one.page) for one in people]}") from None
    for one in people:
        await saved(one.page)


def _has_letters(text: str, part: str) -> bool:
    """Four people who type at one place at once may weave their words; no letter is lost."""
    remaining = list(text)
    for letter in part.replace(" ", ""):
        if letter not in remaining:
            return False
        remaining.remove(letter)
    return True


async def the_plug_is_pulled(guest: Person, proxy: Any) -> None:
    """Ten seconds without any packet, UDP or TCP, and the TCP connections broken."""
    pid = await browser_pid(guest.browser)
    processes = network_processes(pid)
    assert processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    await proxy.cut()
    try:
        await asyncio.sleep(CUT_S)  # the length of the cut is the test, not a wait for something
    finally:
        proxy.mend()
        for process in processes:
            os.kill(process, signal.SIGCONT)


async def browser_pid(browser: Browser) -> int:
    session = await browser.new_browser_cdp_session()
    info = await session.send("SystemInfo.getProcessInfo")
    (pid,) = [process["id"] for process in info["processInfo"] if process["type"] == "browser"]
    return int(pid)


@pytest.mark.timeout(180)
async def test_a_private_meeting_stays_between_two_browsers(tmp_path: Path) -> None:
    """A consultation: picture and sound go from browser to browser, never through the server."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        people = [await stack.enter_async_context(person(device, tmp_path)) for device in (HOST, MUSEUM)]
        professional, parent = people
        await professional.page.goto(server.url)
        await by_test(professional.page, "private-room").check()
        await open_room_form(professional.page, "Rencontre", professional.device.name)
        for_parent = await invite(professional.page, "guest")
        await join_by_link(parent.page, for_parent.url, parent.device.name)
        await expect(by_test(professional.page, "admit-first")).to_be_visible(timeout=STEP_MS)
        await by_test(professional.page, "admit-first").click()
        await expect(by_test(parent.page, "live")).to_be_visible(timeout=STEP_MS)
        await sees(parent, [professional])
        await sees(professional, [parent])
        await hears(parent, [professional])
        assert await media_sessions(server, "sfu") == 0
        assert await media_sessions(server, "p2p") == 2


async def open_room_form(page: Page, room: str, host: str) -> None:
    await by_test(page, "room-name").fill(room)
    await by_test(page, "host-name").fill(host)
    await by_test(page, "open-room").click()
    await enter_session(page)
    await expect(by_test(page, "invite")).to_be_visible(timeout=STEP_MS)


async def media_sessions(server: ServerProcess, engine: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
        line = next(
            line
            for line in (await response.text()).splitlines()
            if line.startswith(f'passerelle_media_sessions{{engine="{engine}"}}')
        )
    return float(line.rsplit(" ", 1)[1])
