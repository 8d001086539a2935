"""The page through what happens in a school: a pupil's code, a class by link, a server that goes
away, a lost network, a reload in the middle of it, two languages, a refused camera."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, TimeoutError, expect

from tests.support.locked_store import held_store
from tests.support.network_cut import cuttable_proxy
from tests.support.page import (
    STEP_MS,
    by_test,
    enter_session,
    invite,
    join_by_code,
    join_by_link,
    open_room,
    saved,
    text_of,
    write,
)
from tests.support.server_process import ServerProcess, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def visitor(browser: Browser, *permissions: str) -> AsyncIterator[Page]:
    context = await browser.new_context(
        permissions=list(permissions), viewport={"width": 1366, "height": 768}, locale="fr-CA"
    )
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
        assert errors == [], "the page threw"
    finally:
        await context.close()


async def reads(page: Page, expected: str) -> None:
    """Until the shared text is that, cursors left out. As long as two steps: the page may be loading."""
    try:
        await page.wait_for_function(
            """(expected) => {
              const editor = document.querySelector('[data-testid=editor]')
              if (!editor) return false
              const copy = editor.cloneNode(true)
              copy.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
              const blocks = [...copy.children].map((block) => block.textContent.replaceAll('\\u2060', ''))
              return blocks.join('\\n') === expected
            }""",
            arg=expected,
            timeout=2 * STEP_MS,
        )
    except TimeoutError:
        read = await text_of(page) if await by_test(page, "editor").count() else await page.inner_text("body")
        raise AssertionError(f"the page reads {read!r}, not {expected!r}") from None


async def woven(page: Page, words: str, behind: str = "") -> str:
    """The shared text, once behind those words stand just these letters, in whatever order. As long as `reads`."""
    text = ""
    try:
        async with asyncio.timeout(2 * STEP_MS / 1_000):
            while not text.startswith(behind) or sorted(text.removeprefix(behind)) != sorted(words):
                await asyncio.sleep(0.05)  # what stands there is asked, it does not tell
                text = await text_of(page)
    except TimeoutError:
        raise AssertionError(f"the page reads {text!r}, not the letters of {words!r} behind {behind!r}") from None
    return text


async def has_state(page: Page, state: str) -> None:
    await expect(by_test(page, "save-state")).to_have_attribute("data-state", state, timeout=2 * STEP_MS)


async def test_a_pupil_types_a_code_as_children_type_and_writes_with_the_class(
    server: ServerProcess, browser: Browser
) -> None:
    async with (
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil", "Élèves de Rimouski")).code
        await join_by_code(pupil, server.url, code.replace("-", "  ").upper(), "Zoé")
        await expect(by_test(pupil, "live")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(pupil, "microphone")).to_have_count(0)
        await write(pupil, "Un huard !")
        await saved(pupil)
        await reads(host, "Un huard !")
        await by_test(pupil, "hand").click()
        await by_test(host, "people").click()
        await expect(by_test(host, "hands")).to_contain_text("Zoé", timeout=STEP_MS)
        # The host closes the writing: the server says no, the page shows it.
        await by_test(host, "writing").click()
        await expect(by_test(pupil, "editor")).to_have_attribute("contenteditable", "false", timeout=STEP_MS)
        await expect(by_test(pupil, "save-state")).to_contain_text("Lecture seule")


async def test_a_wrong_code_is_told_kindly(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as pupil:
        await join_by_code(pupil, server.url, "lune renard 42", "Zoé")
        await expect(pupil.get_by_role("alert")).to_contain_text("n’existe pas", timeout=STEP_MS)


async def test_undo_takes_back_ones_own_words_only(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, server.url, code, "Zoé")
        await write(pupil, "De Zoé. ")
        await reads(host, "De Zoé. ")
        await write(host, "De Mme Roy.")
        await reads(pupil, "De Zoé. De Mme Roy.")
        await pupil.get_by_role("button", name="Annuler mon changement").click()
        await reads(host, "De Mme Roy.")
        await pupil.get_by_role("button", name="Refaire").click()
        await reads(host, "De Zoé. De Mme Roy.")
        await pupil.get_by_role("button", name="Titre", exact=True).click()
        await expect(by_test(host, "editor").locator("h1")).to_have_count(1, timeout=STEP_MS)
        await expect(by_test(host, "editor").locator(".collaboration-carets__label")).to_have_text("Zoé")
        await both_write_in_one_empty_line(host, pupil)


async def both_write_in_one_empty_line(host: Page, pupil: Page) -> None:
    """At once: what each wrote is theirs to take back."""
    before = await text_of(host)
    await write(host, "")
    await host.keyboard.press("Enter")
    await reads(pupil, f"{before}\n")
    await pupil.context.set_offline(True)
    await has_state(pupil, "offline")
    await write(pupil, "Plume")
    await write(host, "Bec")
    await pupil.context.set_offline(False)
    await has_state(pupil, "saved")
    merged = await woven(pupil, "PlumeBec", behind=f"{before}\n")
    await reads(host, merged)
    await pupil.get_by_role("button", name="Annuler mon changement").click()
    await reads(host, f"{before}\nBec")
    await pupil.get_by_role("button", name="Refaire").click()
    await reads(host, merged)


@pytest.mark.timeout(180)
async def test_the_server_goes_away_and_nothing_is_lost(tmp_path: Path, browser: Browser) -> None:
    """Killed while two write; both write on; one reloads the page meanwhile; it comes back."""
    async with (
        running_server(tmp_path) as server,
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, server.url, code, "Zoé")
        await write(pupil, "Avant. ")
        await saved(pupil)
        await pupil.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        await server.kill()
        await has_state(pupil, "offline")
        await has_state(host, "offline")
        await write(pupil, "Zoé hors ligne. ")
        await pupil.reload()
        await reads(pupil, "Avant. Zoé hors ligne. ")
        await has_state(pupil, "offline")
        # A page that never reached the server since: it has the text, and writes on.
        await write(pupil, "Et après. ")
        await write(host, "Roy hors ligne. ")
        await server.start()
        await has_state(pupil, "saved")
        await has_state(host, "saved")
        merged = await woven(pupil, "Avant. Zoé hors ligne. Et après. Roy hors ligne. ")
        await reads(host, merged)
        await server.restart()
        await has_state(pupil, "saved")
        await reads(pupil, merged)


WATCH_SAVE_STATE = """
() => {
  const shown = document.querySelector('[data-testid=save-state]')
  window.saveStates = []
  new MutationObserver(() => window.saveStates.push(shown.dataset.state))
    .observe(shown, { attributes: true, attributeFilter: ['data-state'] })
}
"""


async def test_nothing_is_called_saved_that_the_store_does_not_have(tmp_path: Path, browser: Browser) -> None:
    """Another process holds the store: the class writes on, the page says that it is not saved, then that it is."""
    async with (
        running_server(tmp_path) as server,
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        await join_by_code(pupil, server.url, (await invite(host, "pupil")).code, "Zoé")
        await write(pupil, "Avant. ")
        await saved(pupil)
        await pupil.evaluate(WATCH_SAVE_STATE)
        async with held_store(server.data):
            await write(pupil, "Pas encore. ")
            await reads(host, "Avant. Pas encore. ")  # shown only once the store has failed
            await has_state(pupil, "unsaved")
            await expect(by_test(pupil, "save-state")).to_contain_text("Pas encore enregistré")
            assert set(await pupil.evaluate("window.saveStates")) == {"unsaved"}
        await has_state(pupil, "saved")
        await expect(by_test(pupil, "save-state")).to_contain_text("Enregistré")
        await server.restart()
        await has_state(host, "saved")
        await reads(host, "Avant. Pas encore. ")


@pytest.mark.timeout(180)
async def test_twenty_seconds_without_network_cost_nothing(server: ServerProcess, browser: Browser) -> None:
    async with (
        cuttable_proxy(server.port) as proxy,
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, proxy.url, code, "Zoé")
        await write(pupil, "Avant. ")
        await saved(pupil)
        await proxy.cut()
        await has_state(pupil, "offline")
        await expect(by_test(pupil, "status")).to_contain_text("Reconnexion")
        await write(pupil, "Pendant. ")
        await by_test(pupil, "chat").click()
        await by_test(pupil, "chat-input").fill("Êtes-vous là ?")
        await by_test(pupil, "chat-send").click()
        await expect(by_test(pupil, "unsent-line")).to_contain_text("Êtes-vous là ?")
        await expect(by_test(pupil, "notice")).to_contain_text("au retour du réseau")
        await by_test(host, "people").click()
        await expect(by_test(host, "roster")).to_contain_text("absent", timeout=2 * STEP_MS)
        proxy.mend()
        await has_state(pupil, "saved")
        await expect(by_test(pupil, "chat-line")).to_contain_text("Êtes-vous là ?", timeout=STEP_MS)
        await expect(by_test(pupil, "unsent-line")).to_have_count(0)
        await reads(host, "Avant. Pendant. ")
        await expect(by_test(host, "roster")).not_to_contain_text("absent", timeout=STEP_MS)


async def test_a_class_without_a_camera_comes_in_all_the_same(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser, "camera", "microphone") as host,
        visitor(browser) as school,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        url = (await invite(host, "class")).url
        await school.add_init_script(
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
        )
        await school.goto(url)
        await by_test(school, "join-name").fill("Classe de Gaspé")
        await by_test(school, "join").click()
        await expect(school.get_by_role("alert")).to_contain_text("n’a pas donné la caméra", timeout=STEP_MS)
        await enter_session(school)
        await expect(by_test(school, "live")).to_be_visible(timeout=STEP_MS)
        await expect(school.locator("[data-testid=tile][data-name='Mme Roy'] video")).to_be_visible(timeout=STEP_MS)


async def test_removed_means_out_and_a_revoked_link_opens_nothing(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser, "camera", "microphone") as host,
        visitor(browser, "camera", "microphone") as museum,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        url = (await invite(host, "guest", "Musée")).url
        await join_by_link(museum, url, "Musée")
        await expect(by_test(host, "admit-first")).to_be_visible(timeout=STEP_MS)
        await by_test(host, "admit-first").click()
        await expect(by_test(museum, "live")).to_be_visible(timeout=STEP_MS)
        await by_test(host, "revoke").last.click()
        await by_test(host, "confirm-yes").click()
        await expect(by_test(museum, "message")).to_contain_text("plus dans la salle", timeout=STEP_MS)
        await join_by_link_refused(museum, url)


async def join_by_link_refused(page: Page, url: str) -> None:
    await page.goto("about:blank")
    await page.goto(url)
    await by_test(page, "join-name").fill("Musée")
    await by_test(page, "join").click()
    await expect(by_test(page, "message")).to_contain_text("n’ouvre plus rien", timeout=STEP_MS)


@pytest.mark.timeout(120)
async def test_a_list_of_invitations_that_was_overtaken_is_not_shown(server: ServerProcess, browser: Browser) -> None:
    """The one asked for as the panel opens is on its way while an invitation is made, and comes after the next."""
    async with visitor(browser) as host:
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        asked: list[str] = []
        held, later_is_there, held_is_there = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def answer(route: Route) -> None:
            if route.request.method != "GET":
                await route.continue_()
                return
            asked.append(route.request.url)
            is_first = len(asked) == 1
            response = await route.fetch()
            if is_first:
                held.set()
                await later_is_there.wait()
            await route.fulfill(response=response)
            if is_first:
                held_is_there.set()

        await host.route("**/invitations", answer)
        await by_test(host, "invite").click()
        await asyncio.wait_for(held.wait(), STEP_MS / 1_000)
        await by_test(host, "invite-create").click()
        await expect(by_test(host, "invitation")).to_have_count(1, timeout=STEP_MS)
        async with host.expect_response(lambda response: response.request.method == "GET", timeout=STEP_MS):
            later_is_there.set()
        await asyncio.wait_for(held_is_there.wait(), STEP_MS / 1_000)
        await host.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        await expect(by_test(host, "invitation")).to_have_count(1)


async def pressed_twice(page: Page, form: str) -> None:
    await page.evaluate(
        """(selector) => {
          const form = document.querySelector(selector)
          form.requestSubmit()
          form.requestSubmit()
        }""",
        form,
    )


async def test_an_invitation_pressed_twice_is_one_and_two_settings_at_once_are_both_kept(
    server: ServerProcess, browser: Browser
) -> None:
    async with visitor(browser, "camera", "microphone") as host:
        await open_room(host, server.url, "Les impatients", "Mme Roy")
        await by_test(host, "invite").click()
        await expect(host.locator(".invitations")).to_have_attribute("aria-busy", "false", timeout=STEP_MS)
        await pressed_twice(host, "form.invite-form")
        await expect(by_test(host, "invitation")).to_have_count(1, timeout=STEP_MS)
        await invite(host, "class")
        await expect(by_test(host, "invitation")).to_have_count(2, timeout=STEP_MS)

        await by_test(host, "people").click()
        await expect(by_test(host, "classes-wait")).not_to_be_checked(timeout=STEP_MS)
        await host.evaluate(
            "() => ['classes-wait', 'pupils-wait']"
            ".forEach((one) => document.querySelector(`[data-testid=${one}]`).click())"
        )
        # Drawn anew, a switch shows what the room says, not what was pressed.
        await by_test(host, "chat").click()
        await expect(by_test(host, "chat-input")).to_be_visible(timeout=STEP_MS)
        await by_test(host, "people").click()
        for switch in ("classes-wait", "pupils-wait"):
            await expect(by_test(host, switch)).to_be_checked(timeout=STEP_MS)


HOLD_DEVICES = """(() => {
  const devices = navigator.mediaDevices
  const open = devices.getUserMedia.bind(devices)
  window.opened = []
  devices.getUserMedia = async (wanted) => {
    const stream = await open(wanted)
    window.opened.push(...stream.getTracks())
    if (sessionStorage.getItem('hold')) await new Promise((release) => (window.release = release))
    return stream
  }
})()"""


async def test_a_camera_that_opens_after_one_has_left_is_closed_again(server: ServerProcess, browser: Browser) -> None:
    """After a reload the page opens the camera of before by itself."""
    async with visitor(browser, "camera", "microphone") as host:
        await host.add_init_script(HOLD_DEVICES)
        await open_room(host, server.url, "La lampe", "Mme Roy")
        await host.evaluate("() => sessionStorage.setItem('hold', 'yes')")
        await host.reload()
        await host.wait_for_function("() => window.release !== undefined", timeout=STEP_MS)
        await by_test(host, "leave").click()
        await by_test(host, "leave-for-good").click()
        await expect(by_test(host, "come-back")).to_be_visible(timeout=STEP_MS)
        assert await host.evaluate("() => window.opened.some((track) => track.readyState === 'live')")
        await host.evaluate("() => window.release()")
        await host.wait_for_function(
            "() => window.opened.every((track) => track.readyState === 'ended')", timeout=STEP_MS
        )


async def test_english_is_one_press_away_and_stays(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as page:
        await page.goto(server.url)
        await expect(page.get_by_role("heading", name="J’ai un code")).to_be_visible(timeout=STEP_MS)
        await by_test(page, "language").click()
        await expect(page.get_by_role("heading", name="I have a code")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="I have a code")).to_be_visible(timeout=STEP_MS)
        await expect(page.locator("html")).to_have_attribute("lang", "en-CA")
