"""What was written without a server, in a tab that dies in the same instant."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.browser.conftest import DEVICE
from tests.browser.test_page import has_state, reads, visitor
from tests.support.chromium import launched_chromium
from tests.support.page import STEP_MS, by_test, invite, join_by_code, open_room, saved, write
from tests.support.server_process import ServerProcess, running_server

WRITE_AND_HANG = """
(words) => {
  document.execCommand('insertText', false, words)
  // Behind the editor's own microtask: the words are in the document, and no event of a database gets through.
  queueMicrotask(() => queueMicrotask(() => {
    console.log('hung')
    for (const end = performance.now() + 60_000; performance.now() < end; );
  }))
}
"""


async def kill_tabs(browser: Browser) -> None:
    session = await browser.new_browser_cdp_session()
    for process in (await session.send("SystemInfo.getProcessInfo"))["processInfo"]:
        if process["type"] == "renderer":
            os.kill(process["id"], signal.SIGKILL)


@contextlib.asynccontextmanager
async def a_class_without_its_server(tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, Browser, Page, Page]]:
    """Host and pupil share "Avant. "; then the server is killed, and the pupil's cursor is behind it."""
    async with (
        running_server(tmp_path) as server,
        launched_chromium(DEVICE, tmp_path) as browser,
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        await join_by_code(pupil, server.url, (await invite(host, "pupil")).code, "Zoé")
        await write(pupil, "Avant. ")
        await saved(pupil)
        await pupil.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        await server.kill()
        await has_state(pupil, "offline")
        await by_test(pupil, "editor").click()
        await pupil.keyboard.press("Control+End")
        yield server, browser, host, pupil


async def test_words_of_the_instant_before_a_tab_dies_are_kept(tmp_path: Path) -> None:
    """No server, and the tab is killed before it can learn that its last words are written: they are there."""
    async with a_class_without_its_server(tmp_path) as (_server, browser, _host, pupil):
        room, kept = pupil.url, await pupil.evaluate("() => ({ ...sessionStorage })")
        async with pupil.expect_console_message(lambda message: message.text == "hung"):
            hung = asyncio.ensure_future(pupil.evaluate(WRITE_AND_HANG, "Zoé hors ligne."))
        await kill_tabs(browser)
        await asyncio.gather(hung, return_exceptions=True)
        # The tab loaded again, with what a tab keeps of its session; one that crashed is closed to Playwright.
        tab = await pupil.context.new_page()
        await tab.add_init_script(f"Object.assign(sessionStorage, {json.dumps(kept)})")
        await tab.goto(room)
        await reads(tab, "Avant. Zoé hors ligne.")


KEPT_UPDATES = """
async () => {
  const name = (await indexedDB.databases()).map(({ name }) => name).find((name) => name.startsWith('passerelle/'))
  const answer = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result) })
  const db = await answer(indexedDB.open(name))
  const count = await answer(db.transaction('updates').objectStore('updates').count())
  db.close()
  return count
}
"""


async def test_much_written_offline_is_kept_as_one_update_and_written_on(tmp_path: Path) -> None:
    words = "é" * 600
    async with a_class_without_its_server(tmp_path) as (server, _browser, host, pupil):
        for word in words:
            await pupil.keyboard.insert_text(word)
        async with asyncio.timeout(STEP_MS / 1000):
            while await pupil.evaluate(KEPT_UPDATES) > 100:
                await pupil.wait_for_timeout(100)
        await write(pupil, "Fin.")
        await pupil.reload()
        await reads(pupil, f"Avant. {words}Fin.")
        await server.start()
        await has_state(pupil, "saved")
        await reads(host, f"Avant. {words}Fin.")
