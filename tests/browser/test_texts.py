"""The room's texts in real Chromium: made from a template, listed, opened, read as the editor draws them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from passerelle_client import Room
from rooms.documents.sync import read_state_vector
from rooms.documents.template import TEMPLATE_CLIENT_ID
from tests.browser.test_accessibility import LAPTOP, PHONE, is_accessible, press_until, visitor
from tests.support.page import (
    STEP_MS,
    by_test,
    invite,
    join_by_code,
    nothing_scrolls_sideways,
    open_room,
    saved,
    text_of,
    write,
)
from tests.support.server_process import ServerProcess, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
VISIT = [
    "H1 Compte rendu de visite", "LI Où\u00a0: ", "LI Quand\u00a0: ", "LI Avec qui\u00a0: ",
    "H2 Ce que nous avons vu", "LI ", "LI ", "LI ", "H2 Ce que nous avons appris", "LI ", "LI ", "LI ",
    "H2 Ce qui nous a surpris", "P ", "H2 Les questions qui nous restent", "LI ", "LI ", "P ",
]  # fmt: skip
WORDS = ("neige", "chaud")
"""Without a letter in common: between two that are alike an editor cannot tell which one is new."""


def is_one_line_of_both(blocks: list[str]) -> bool:
    """Whose caret stands where the other writes goes on behind it: letters of both may be among each other."""
    return [sorted(block.removeprefix("P ")) for block in blocks] == [sorted("".join(WORDS))]


async def drawn(page: Page) -> list[str]:
    """Headings, items and paragraphs of the text on screen, as the browser has them."""
    found: list[str] = await page.evaluate(
        """() => {
          const copy = document.querySelector('[data-testid=editor]').cloneNode(true)
          copy.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
          const blocks = [...copy.querySelectorAll('h1, h2, h3, li, :scope > p')]
          return blocks.map((block) => `${block.tagName} ${block.textContent.replaceAll('\\u2060', '')}`)
        }"""
    )
    return found


async def until_drawn(page: Page, condition: Callable[[list[str]], bool]) -> None:
    """Raises: AssertionError, with what is drawn instead."""
    blocks: list[str] = []
    try:
        async with asyncio.timeout(STEP_MS / 1_000):
            while not condition(blocks := await drawn(page)):
                await asyncio.sleep(0.05)  # what is drawn is asked, it does not tell
    except TimeoutError:
        raise AssertionError(f"drawn: {blocks}") from None


async def shows(page: Page, blocks: list[str]) -> None:
    await expect(by_test(page, "editor")).to_contain_text(blocks[0].split(" ", 1)[1], timeout=STEP_MS)
    await saved(page)
    await until_drawn(page, lambda found: found == blocks)


async def nobody_has_written(host: Page, server: ServerProcess, title: str = "Compte rendu de visite") -> None:
    """No editor has, by opening the text: under no client id but the template's is there anything."""
    token = await host.evaluate("() => JSON.parse(localStorage.getItem('passerelle.places'))[0].token")
    async with await Room.connect(server.url, token) as room:
        (listed,) = [one for one in (await room.admitted()).documents if one.title == title]
        shared = room.document(listed.document)
        await shared.when_synced()
        assert list(read_state_vector(shared.doc.get_state())) == [TEMPLATE_CLIENT_ID]


async def look(page: Page, name: str) -> None:
    """A picture to look at, where somebody asks for one."""
    folder = os.environ.get("PASSERELLE_TEST_PICTURES")
    if folder:
        await page.screenshot(path=f"{folder}/{name}.png")


async def make_text(page: Page, ready: str, title: str = "") -> None:
    await by_test(page, "new-text").click()
    await by_test(page, f"ready-{ready}").check()
    if title:
        await by_test(page, "text-title").fill(title)
    await by_test(page, "make-text").click()
    await expect(by_test(page, "text-title")).to_be_hidden(timeout=STEP_MS)


def are_woven(text: str, word: str, other: str) -> bool:
    """Whether the text is both words, each with its letters in order: one may have begun after the other's first one."""
    if not text:
        return not word and not other
    return (text[0] == word[:1] and are_woven(text[1:], word[1:], other)) or (
        text[0] == other[:1] and are_woven(text[1:], word, other[1:])
    )


@contextlib.asynccontextmanager
async def a_host_and_pupils(
    browser: Browser, server: ServerProcess, count: int
) -> AsyncIterator[tuple[Page, list[Page]]]:
    async with visitor(browser) as host, contextlib.AsyncExitStack() as stack:
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await by_test(host, "close-panel").click()
        pupils = [await stack.enter_async_context(visitor(browser)) for _ in range(count)]
        for number, pupil in enumerate(pupils):
            await join_by_code(pupil, server.url, code, f"Élève {number}")
            await expect(by_test(pupil, "editor")).to_be_visible(timeout=STEP_MS)
        yield host, pupils


@pytest.mark.timeout(240)
async def test_a_template_is_drawn_once_for_all_who_open_it_at_once_and_they_write_in_it(
    server: ServerProcess, browser: Browser
) -> None:
    async with a_host_and_pupils(browser, server, 2) as (host, pupils):
        for pupil in pupils:  # a room with one text needs no list
            await expect(by_test(pupil, "text-choice")).to_be_hidden()
            await expect(by_test(pupil, "new-text")).to_be_hidden()
        await write(host, "Bonjour")
        await saved(host)
        await make_text(host, "visit")
        await expect(by_test(host, "text-choice").locator("option:checked")).to_have_text(
            "Compte rendu de visite", timeout=STEP_MS
        )
        await shows(host, VISIT)
        for pupil in pupils:
            await expect(by_test(pupil, "open-new-text")).to_contain_text("Compte rendu de visite", timeout=STEP_MS)
            await expect(by_test(pupil, "announcement")).to_contain_text("Compte rendu de visite", timeout=STEP_MS)
        await look(pupils[0], "pupil-offer")
        await asyncio.gather(*(by_test(pupil, "open-new-text").click() for pupil in pupils))
        for pupil in pupils:
            await shows(pupil, VISIT)
            await expect(by_test(pupil, "open-new-text")).to_be_hidden()
        await nobody_has_written(host, server)
        # Both at once in the same empty line, which is where a class begins: each keeps the order of their letters.
        await asyncio.gather(*(write(pupil, word, pause_ms=60.0) for pupil, word in zip(pupils, WORDS, strict=True)))
        await until_drawn(host, lambda blocks: are_woven(blocks[-1].removeprefix("P "), *WORDS))
        for page in (host, *pupils):
            await saved(page)
        assert (await drawn(host))[:-1] == VISIT[:-1]
        # And the first text is where it was.
        await by_test(pupils[0], "text-choice").select_option("texte")
        await expect(by_test(pupils[0], "editor")).to_contain_text("Bonjour", timeout=STEP_MS)


@pytest.mark.timeout(240)
async def test_a_template_that_ends_with_a_list_is_not_written_behind_by_those_who_open_it(
    server: ServerProcess, browser: Browser
) -> None:
    async with a_host_and_pupils(browser, server, 2) as (host, pupils):
        token = await host.evaluate("() => JSON.parse(localStorage.getItem('passerelle.places'))[0].token")
        item = {"type": "listItem", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "Qui ?"}]}]}
        async with await Room.connect(server.url, token) as room:
            await room.admitted()
            await room.create_document(
                "Liste", {"type": "doc", "content": [{"type": "bulletList", "content": [item, item]}]}
            )
        for pupil in pupils:
            await expect(by_test(pupil, "open-new-text")).to_be_visible(timeout=STEP_MS)
        await asyncio.gather(*(by_test(page, "open-new-text").click() for page in (host, *pupils)))
        for page in (host, *pupils):
            await shows(page, ["LI Qui ?", "LI Qui ?"])
        await nobody_has_written(host, server, "Liste")
        # Behind the list one comes as ever: an item that stays empty ends it.
        await write(pupils[0], "")
        await pupils[0].keyboard.press("Enter")
        await pupils[0].keyboard.press("Enter")
        await pupils[0].keyboard.type("après")
        await expect(by_test(host, "editor").locator("> p")).to_contain_text("après", timeout=STEP_MS)


@pytest.mark.timeout(240)
async def test_those_who_open_an_empty_text_at_once_and_write_at_once_write_in_one_line(
    server: ServerProcess, browser: Browser
) -> None:
    async with a_host_and_pupils(browser, server, 2) as (host, pupils):
        await write(host, "Bonjour")
        token = await host.evaluate("() => JSON.parse(localStorage.getItem('passerelle.places'))[0].token")
        async with await Room.connect(server.url, token) as room:
            await room.admitted()
            await room.create_document("Vide")
        for pupil in pupils:
            await expect(by_test(pupil, "editor")).to_contain_text("Bonjour", timeout=STEP_MS)
            await expect(by_test(pupil, "open-new-text")).to_be_visible(timeout=STEP_MS)
        await asyncio.gather(*(by_test(pupil, "open-new-text").click() for pupil in pupils))
        for pupil in pupils:  # the editor of the other text has gone
            await expect(by_test(pupil, "editor")).not_to_contain_text("Bonjour", timeout=STEP_MS)
        await asyncio.gather(*(write(pupil, word, pause_ms=60.0) for pupil, word in zip(pupils, WORDS, strict=True)))
        for pupil in pupils:
            await saved(pupil)
            await until_drawn(pupil, is_one_line_of_both)


@pytest.mark.timeout(240)
async def test_texts_are_switched_renamed_copied_and_found_again_after_a_reload(
    tmp_path: Path, browser: Browser
) -> None:
    async with (
        running_server(tmp_path) as server,
        a_host_and_pupils(browser, server, 1) as (host, [pupil]),
    ):
        await make_text(host, "empty", "Équipe bleue")
        await write(host, "Consigne")
        await host.keyboard.press("Control+a")
        await host.get_by_role("button", name="Gras").click()
        await saved(host)
        await make_text(host, "copy", "Équipe verte")
        await expect(by_test(host, "editor").locator("strong")).to_have_text("Consigne", timeout=STEP_MS)
        await write(host, " verte")
        await saved(host)
        await by_test(pupil, "text-choice").select_option(label="Équipe bleue")
        await expect(by_test(pupil, "editor")).to_have_text("Consigne", timeout=STEP_MS)
        await by_test(host, "rename-text").click()
        await by_test(host, "text-new-title").fill("Équipe jaune")
        await by_test(host, "set-text-title").click()
        await expect(by_test(pupil, "text-choice").locator("option")).to_have_text(
            ["Texte commun", "Équipe bleue", "Équipe jaune"], timeout=STEP_MS
        )
        await by_test(host, "text-choice").select_option(label="Texte commun")
        await by_test(host, "rename-text").click()
        await by_test(host, "text-new-title").fill("Dictée du lundi")
        await by_test(host, "set-text-title").click()
        await expect(by_test(pupil, "text-choice").locator("option").first).to_have_text(
            "Dictée du lundi", timeout=STEP_MS
        )
        await pupil.reload()
        await expect(by_test(pupil, "editor")).to_have_text("Consigne", timeout=STEP_MS)
        await write(pupil, " lue")
        await saved(pupil)
        # Without the server the page opens the same text again, and writing goes on in it.
        await pupil.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        await server.kill()
        await expect(by_test(pupil, "save-state")).to_have_attribute("data-state", "offline", timeout=STEP_MS)
        await pupil.reload()
        await expect(by_test(pupil, "editor")).to_contain_text("Consigne lue", timeout=STEP_MS)
        await write(pupil, " hors ligne")
        await server.start()
        await saved(pupil)
        await by_test(host, "text-choice").select_option(label="Équipe bleue")
        await expect(by_test(host, "editor")).to_contain_text("Consigne lue hors ligne", timeout=STEP_MS)


@pytest.mark.timeout(240)
async def test_a_host_makes_a_text_by_keyboard_and_every_state_is_accessible(
    server: ServerProcess, browser: Browser
) -> None:
    async with a_host_and_pupils(browser, server, 1) as (host, [pupil]):
        await look(host, "host-alone")
        await press_until(host, "new-text")
        await host.keyboard.press("Enter")
        await expect(by_test(host, "text-title")).to_be_focused(timeout=STEP_MS)
        await is_accessible(host, "new text")
        for name, viewport in (("phone", PHONE), ("laptop", LAPTOP), ("projector", {"width": 1920, "height": 1080})):
            await host.set_viewport_size(viewport)  # type: ignore[arg-type]
            await look(host, f"dialog-{name}")
        await host.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
        await host.keyboard.press("Escape")
        await expect(by_test(host, "text-title")).to_be_hidden(timeout=STEP_MS)
        await host.keyboard.press("Enter")
        await press_until(host, "ready-empty")
        for _ in range(3):
            await host.keyboard.press("ArrowDown")
        await expect(by_test(host, "ready-story")).to_be_checked(timeout=STEP_MS)
        await expect(by_test(host, "text-title")).to_have_value("Récit à plusieurs mains")
        await host.keyboard.press("Enter")
        await expect(by_test(host, "editor")).to_contain_text("Il était une fois", timeout=STEP_MS)
        await saved(host)
        assert (await text_of(host)).startswith("Notre récit\n")
        await is_accessible(host, "two texts")
        await expect(by_test(pupil, "open-new-text")).to_be_visible(timeout=STEP_MS)
        await is_accessible(pupil, "a text is offered")
        for name, viewport in (("phone", PHONE), ("laptop", LAPTOP), ("projector", {"width": 1920, "height": 1080})):
            for page, who in ((host, "host"), (pupil, "pupil")):
                await page.set_viewport_size(viewport)  # type: ignore[arg-type]
                await look(page, f"{who}-{name}")
                await nothing_scrolls_sideways(page)
        await pupil.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
        await press_until(pupil, "not-now")
        await pupil.keyboard.press("Enter")
        await expect(by_test(pupil, "open-new-text")).to_be_hidden(timeout=STEP_MS)
        await press_until(pupil, "text-choice")
        await pupil.keyboard.press("ArrowDown")
        await expect(by_test(pupil, "editor")).to_contain_text("Il était une fois", timeout=STEP_MS)
        await by_test(host, "rename-text").click()
        await is_accessible(host, "another title")
        await host.keyboard.press("Escape")
        await by_test(host, "language").click()
        await by_test(host, "new-text").click()
        await by_test(host, "ready-guest").check()
        await expect(by_test(host, "text-title")).to_have_value("Questions for the guest")
        await by_test(host, "make-text").click()
        await expect(by_test(host, "editor")).to_contain_text("Our questions", timeout=STEP_MS)


@pytest.mark.timeout(120)
async def test_who_only_reads_sees_the_texts_and_makes_none(server: ServerProcess, browser: Browser) -> None:
    async with a_host_and_pupils(browser, server, 0) as (host, _none):
        await make_text(host, "guest")
        code = (await invite(host, "pupil")).code
        async with visitor(browser) as pupil:
            await join_by_code(pupil, server.url, code, "Zoé")
            await by_test(pupil, "text-choice").select_option(label="Questions pour l’invité", timeout=STEP_MS)
            await expect(by_test(pupil, "editor")).to_contain_text("Nos questions", timeout=STEP_MS)
            await expect(by_test(pupil, "new-text")).to_be_hidden()
            await expect(by_test(pupil, "rename-text")).to_be_hidden()
