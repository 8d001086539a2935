"""What a teacher relies on in the middle of a session: raised hands are seen, doors open and close, a
secret is not on the projector, and whoever left finds the way back."""

import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from passerelle_client import PasserelleApi, Room
from tests.support.network_cut import cuttable_proxy
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
    write,
)
from tests.support.server_process import ServerProcess, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
LAPTOP = (1366, 768)
PHONE = (390, 844)
HANDS_GO_UP = re.compile("lève la main|mains se lèvent")


@contextlib.asynccontextmanager
async def visitor(browser: Browser, size: tuple[int, int] = LAPTOP) -> AsyncIterator[Page]:
    context = await browser.new_context(
        permissions=["camera", "microphone"], viewport={"width": size[0], "height": size[1]}, locale="fr-CA"
    )
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
        assert errors == [], "the page threw"
    finally:
        await context.close()


async def test_hands_are_seen_in_order_without_opening_anything(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as zoe,
        visitor(browser, PHONE) as leo,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(zoe, server.url, code, "Zoé")
        await join_by_code(leo, server.url, code, "Léo")
        strip = by_test(host, "hands-strip")
        await by_test(leo, "hand").click()
        await expect(strip).to_contain_text("Léo", timeout=STEP_MS)
        await by_test(zoe, "hand").click()
        await expect(strip.get_by_role("button")).to_have_text(["Léo", "Zoé"], timeout=STEP_MS)
        # A screen reader hears it too; arrivals and hands of one moment come as one announcement.
        await expect(by_test(host, "announcement")).to_contain_text(HANDS_GO_UP, timeout=STEP_MS)
        await strip.get_by_role("button", name="Baisser la main de Léo").click()
        await expect(by_test(leo, "hand")).to_have_attribute("aria-pressed", "false", timeout=STEP_MS)
        await expect(strip.get_by_role("button")).to_have_text(["Zoé"], timeout=STEP_MS)


async def test_who_is_there_without_a_picture_is_said_and_nothing_lies_over_a_name(
    server: ServerProcess, browser: Browser
) -> None:
    async with visitor(browser) as host, PasserelleApi(server.url) as api, contextlib.AsyncExitStack() as pupils:
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        alone = by_test(host, "alone")
        await expect(alone).to_have_text("Il n’y a que vous pour l’instant.")
        await lies_over_no_name(host, "alone")
        code = (await invite(host, "pupil")).code
        await by_test(host, "invite").click()
        for name, said in (("Zoé", "Zoé est là, sans image."), ("Léo", "2 personnes sont là, sans image.")):
            token = (await api.join(name, code=code)).token
            await pupils.enter_async_context(await Room.connect(server.url, token))
            await expect(alone).to_have_text(said, timeout=STEP_MS)
        await lies_over_no_name(host, "pupils")


async def lies_over_no_name(page: Page, shown: str) -> None:
    """What is said beside one's own picture, on a laptop and on a phone, with the text and without.

    With PASSERELLE_TEST_SHOTS, pictures of it, to be looked at.
    """
    folder = os.environ.get("PASSERELLE_TEST_SHOTS")
    for width, height in (PHONE, LAPTOP):
        await page.set_viewport_size({"width": width, "height": height})
        for text in ("with", "without"):
            # Sizes follow in the next frame; the toggle's own layout is waited for by the boxes being apart.
            await page.wait_for_function(APART, timeout=STEP_MS)
            if folder:
                await page.screenshot(path=str(Path(folder) / f"{shown}-{width}-{text}-text.png"))
            await by_test(page, "toggle-text").click()


APART = """() => {
  const box = (selector) => document.querySelector(selector).getBoundingClientRect();
  const words = box('.alone p'), button = box('.alone button'), name = box('.tile-name'), stage = box('.stage');
  const apart = (one, other) => one.right <= other.left || other.right <= one.left || one.bottom <= other.top || other.bottom <= one.top;
  const within = ({ left, right, top, bottom }) =>
    left >= stage.left && right <= stage.right && top >= stage.top - 1 && bottom <= stage.bottom + 1 && right - left > 20;
  return [words, button].every((one) => apart(one, name) && within(one)) && within(name) && apart(words, button);
}"""


async def test_all_who_wait_are_let_in_at_once(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as museum,
        visitor(browser, PHONE) as aquarium,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        url = (await invite(host, "guest", "Partenaires")).url
        await join_by_link(museum, url, "Musée")
        await join_by_link(aquarium, url, "Aquarium")
        await expect(by_test(host, "door")).to_contain_text("2 personnes", timeout=STEP_MS)
        # Who waits no longer is no longer at the door, and may come to it again.
        await by_test(aquarium, "leave-door").click()
        await expect(by_test(host, "door")).to_contain_text("Musée", timeout=STEP_MS)
        await by_test(aquarium, "come-back").click()
        await expect(by_test(host, "door")).to_contain_text("2 personnes", timeout=STEP_MS)
        await by_test(host, "people").click()
        await by_test(host, "admit-all").click()
        for guest in (museum, aquarium):
            await expect(by_test(guest, "live")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(host, "door")).to_be_hidden(timeout=STEP_MS)
        # Removing asks first, and "no" is an answer.
        await by_test(host, "remove").first.click()
        await by_test(host, "confirm-no").click()
        await expect(by_test(museum, "live")).to_be_visible()
        await host.get_by_role("button", name="Retirer Musée").click()
        await by_test(host, "confirm-yes").click()
        await expect(by_test(museum, "message")).to_contain_text("plus dans la salle", timeout=STEP_MS)
        await expect(by_test(aquarium, "live")).to_be_visible()


async def test_secrets_leave_the_address_bar_and_survive_a_reload(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as school,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        url = (await invite(host, "class")).url
        await school.goto(url)
        await expect(by_test(school, "join-name")).to_be_visible(timeout=STEP_MS)
        assert "#" not in school.url
        await school.reload()
        await by_test(school, "join-name").fill("Gaspé")
        await by_test(school, "join").click()
        await enter_session(school)
        await expect(by_test(school, "live")).to_be_visible(timeout=STEP_MS)
        assert "#" not in school.url
        assert "eyJ" not in school.url


async def test_who_left_comes_back_and_a_pupil_leaves_nothing_behind(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as pupil,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, server.url, code, "Zoé")
        await write(pupil, "Un huard")
        await saved(pupil)
        await by_test(pupil, "leave").click()
        await by_test(pupil, "leave-for-good").click()
        await by_test(pupil, "come-back").click()
        await expect(by_test(pupil, "editor")).to_contain_text("Un huard", timeout=STEP_MS)
        await by_test(pupil, "leave").click()
        await by_test(pupil, "leave-for-good").click()
        await pupil.get_by_role("button", name="Retour à l’accueil").click()
        await expect(by_test(pupil, "code")).to_be_visible(timeout=STEP_MS)
        await expect(pupil.get_by_text("Les oiseaux")).to_have_count(0)
        # The host, who has no invitation, finds the room again on the first page.
        await by_test(host, "leave").click()
        await by_test(host, "leave-for-good").click()
        await host.get_by_role("button", name="Retour à l’accueil").click()
        await host.get_by_role("link", name="Les oiseaux").click()
        await expect(by_test(host, "invite")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(host, "editor")).to_contain_text("Un huard", timeout=STEP_MS)


async def test_the_divider_moves_by_keyboard_and_stays(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as page:
        await open_room(page, server.url, "Les oiseaux", "Mme Roy")
        divider = by_test(page, "divider")
        before = await page.locator(".text-side").bounding_box()
        await divider.focus()
        for _ in range(4):
            await page.keyboard.press("ArrowLeft")
        await expect(divider).to_have_attribute("aria-valuenow", "56")
        after = await page.locator(".text-side").bounding_box()
        assert before is not None
        assert after is not None
        assert after["width"] > before["width"] + 100
        await page.reload()
        await expect(divider).to_have_attribute("aria-valuenow", "56", timeout=STEP_MS)


async def test_the_tools_of_the_text_are_one_stop_of_the_tab_key(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as page:
        await open_room(page, server.url, "Les oiseaux", "Mme Roy")
        await expect(by_test(page, "editor")).to_have_attribute("contenteditable", "true", timeout=STEP_MS)
        tools = page.get_by_role("toolbar").get_by_role("button")
        await expect(page.get_by_role("toolbar").locator("button[tabindex='0']")).to_have_count(1)
        await tools.first.focus()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("button", name="Gras")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.type("Huard")
        await expect(by_test(page, "editor").locator("strong")).to_have_text("Huard")


async def test_a_phone_shows_one_thing_well(tmp_path: Path, browser: Browser) -> None:
    async with (
        running_server(tmp_path) as server,
        visitor(browser, PHONE) as page,
    ):
        await open_room(page, server.url, "Un nom de salle assez long pour un petit écran", "Mme Roy")
        await expect(by_test(page, "editor")).to_be_visible(timeout=STEP_MS)
        await by_test(page, "thrifty").click()
        await expect(by_test(page, "thrifty-count")).to_have_count(1)
        # The name of the room and every button in one line.
        await page.wait_for_function("() => document.querySelector('.live-header').offsetHeight < 66", timeout=STEP_MS)
        assert await page.evaluate("() => document.querySelector('.live-header h1').offsetWidth") > 100
        await by_test(page, "chat").click()
        await expect(by_test(page, "chat-input")).to_be_in_viewport(timeout=STEP_MS)
        await expect(by_test(page, "editor")).to_be_hidden()
        await page.keyboard.press("Escape")
        await expect(by_test(page, "editor")).to_be_visible()
        await expect(by_test(page, "chat")).to_be_focused()
        await server.kill()
        await expect(by_test(page, "status")).to_contain_text("Reconnexion", timeout=STEP_MS)
        await nothing_scrolls_sideways(page)
        for name in ("hand", "leave"):
            await expect(by_test(page, name)).to_be_in_viewport()


async def test_a_pupil_alone_with_a_professional_checks_their_camera_first(
    server: ServerProcess, browser: Browser
) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as pupil,
    ):
        await host.goto(server.url)
        await by_test(host, "private-room").check()
        await by_test(host, "room-name").fill("Rencontre")
        await by_test(host, "host-name").fill("Mme Roy")
        await by_test(host, "open-room").click()
        await enter_session(host)
        await expect(by_test(host, "invite")).to_be_visible(timeout=STEP_MS)
        # Alone, with an open microphone, and called neither mute nor a class.
        await expect(by_test(host, "microphone")).to_have_attribute("title", "Couper le micro", timeout=STEP_MS)
        await expect(by_test(host, "tile")).not_to_contain_text("micro coupé")
        await expect(by_test(host, "invite-first")).to_have_text("Inviter quelqu’un")
        code = (await invite(host, "pupil")).code
        await join_by_code(pupil, server.url, code, "Zoé")
        await enter_session(pupil)
        await expect(by_test(pupil, "waiting")).to_be_visible(timeout=STEP_MS)
        await by_test(host, "admit-first").click(timeout=STEP_MS)
        await expect(by_test(pupil, "camera")).to_be_visible(timeout=STEP_MS)
        await expect(host.locator("[data-testid=tile][data-name='Zoé'] video")).to_be_visible(timeout=STEP_MS)


async def test_a_camera_that_is_unplugged_is_told_and_another_is_one_press_away(
    server: ServerProcess, browser: Browser
) -> None:
    async with visitor(browser) as page:
        await page.add_init_script(
            """
            globalThis.opened = []
            const devices = navigator.mediaDevices
            const open = devices.getUserMedia.bind(devices)
            devices.getUserMedia = async (wanted) => {
              const stream = await open(wanted)
              opened.push(...stream.getVideoTracks())
              return stream
            }
            """
        )
        await open_room(page, server.url, "Les oiseaux", "Mme Roy")
        picture = page.locator("[data-testid=tile] video")
        await expect(picture).to_be_visible(timeout=STEP_MS)
        # What a browser does when the plug is pulled: the track stops, and says that it has ended.
        await page.evaluate("() => { opened.at(-1).stop(); opened.at(-1).dispatchEvent(new Event('ended')) }")
        await expect(by_test(page, "notice")).to_contain_text("débranchée", timeout=STEP_MS)
        await expect(picture).to_have_count(0)
        await by_test(page, "camera").click()
        await expect(picture).to_be_visible(timeout=STEP_MS)


async def test_a_camera_button_that_is_pressed_twice_opens_one_camera(server: ServerProcess, browser: Browser) -> None:
    """While the first press still waits for the device; and whoever leaves meanwhile leaves none on."""
    async with visitor(browser) as page:
        await page.add_init_script(
            """
            globalThis.cameras = []
            globalThis.mayOpen = Promise.resolve()
            const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
            navigator.mediaDevices.getUserMedia = async (wanted) => {
              await mayOpen
              const stream = await open(wanted)
              cameras.push(...stream.getVideoTracks())
              return stream
            }
            """
        )
        hold = "() => { mayOpen = new Promise((open) => { globalThis.letOpen = open }) }"
        unplug = "() => { cameras.at(-1).stop(); cameras.at(-1).dispatchEvent(new Event('ended')) }"
        opened = "(count) => cameras.length === count"
        on = "(count) => cameras.filter(({ readyState }) => readyState === 'live').length === count"
        await open_room(page, server.url, "Les oiseaux", "Mme Roy")
        picture = page.locator("[data-testid=tile] video")
        await expect(picture).to_be_visible()
        await page.evaluate(unplug)
        await expect(picture).to_have_count(0)
        await page.evaluate(hold)
        for _ in range(2):
            await by_test(page, "camera").click()
        await page.evaluate("letOpen()")
        await page.wait_for_function(opened, arg=3, timeout=STEP_MS)
        await page.wait_for_function(on, arg=1, timeout=STEP_MS)
        await expect(picture).to_be_visible()
        await page.evaluate(unplug)
        await expect(picture).to_have_count(0)
        await page.evaluate(hold)
        await by_test(page, "camera").click()
        await by_test(page, "leave").click()
        await by_test(page, "leave-for-good").click()
        await expect(by_test(page, "message")).to_be_visible()
        await page.evaluate("letOpen()")
        await page.wait_for_function(opened, arg=4, timeout=STEP_MS)
        await page.wait_for_function(on, arg=0, timeout=STEP_MS)


async def test_what_is_typed_while_a_chat_line_is_on_its_way_stays_and_the_line_is_sent_once(
    server: ServerProcess, browser: Browser
) -> None:
    async with visitor(browser) as page, cuttable_proxy(server.port) as line:
        await open_room(page, line.url, "Les oiseaux", "Mme Roy")
        await by_test(page, "chat").click()
        chat = by_test(page, "chat-input")
        await chat.fill("Bonjour")
        line.hold()
        await chat.press("Enter")
        await chat.press("Enter")
        await chat.press_sequentially("Encore")
        line.release()
        await expect(by_test(page, "chat-line")).to_have_count(1)
        await expect(chat).to_have_value("Encore")
        await chat.press("Enter")
        await expect(by_test(page, "chat-line").locator(".chat-text")).to_have_text(["Bonjour", "Encore"])


async def test_a_part_of_the_page_that_does_not_come_is_told_with_a_way_out(
    server: ServerProcess, browser: Browser
) -> None:
    # Without a service worker, which would bring the part from the device.
    context = await browser.new_context(permissions=["camera", "microphone"], locale="fr-CA", service_workers="block")
    async with context:
        page = await context.new_page()
        await page.route("**/Editor-*.js", lambda route: route.abort())
        await page.goto(server.url)
        await by_test(page, "room-name").fill("Les oiseaux")
        await by_test(page, "host-name").fill("Mme Roy")
        await by_test(page, "open-room").click()
        await enter_session(page)
        await expect(by_test(page, "mishap")).to_be_visible(timeout=STEP_MS)
        await expect(by_test(page, "leave")).to_be_visible()
        await page.unroute("**/Editor-*.js")
        await by_test(page, "mishap").get_by_role("button").click()
        await expect(by_test(page, "editor")).to_be_visible(timeout=STEP_MS)


async def test_a_browser_that_holds_sound_back_is_asked_by_a_button(server: ServerProcess, browser: Browser) -> None:
    async with (
        visitor(browser) as host,
        visitor(browser) as school,
    ):
        # As browsers refuse after a reload: no sound until the page is touched.
        await school.add_init_script(
            """
            const play = HTMLMediaElement.prototype.play
            let touched = false
            addEventListener('pointerdown', () => { touched = sessionStorage.getItem('reloaded') !== null || touched }, true)
            HTMLMediaElement.prototype.play = function () {
              const refused = this instanceof HTMLAudioElement && sessionStorage.getItem('reloaded') !== null && !touched
              return refused ? Promise.reject(new DOMException('not touched', 'NotAllowedError')) : play.call(this)
            }
            """
        )
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        await join_by_link(school, (await invite(host, "class")).url, "Gaspé")
        await expect(school.locator("audio[data-participant]")).to_have_count(1, timeout=STEP_MS)
        await expect(by_test(school, "enable-sound")).to_have_count(0)
        await school.evaluate("() => sessionStorage.setItem('reloaded', 'yes')")
        await school.reload()
        await by_test(school, "enable-sound").click(timeout=STEP_MS)
        await expect(by_test(school, "enable-sound")).to_have_count(0)
        await school.wait_for_function(
            "() => !document.querySelector('audio[data-participant]').paused", timeout=STEP_MS
        )


async def test_a_device_beside_the_board_has_no_sound_and_may_have_it_again(
    server: ServerProcess, browser: Browser
) -> None:
    """No microphone and no loudspeaker, so no echo; the picture all the same, through a reload too."""
    async with (
        visitor(browser) as host,
        visitor(browser) as tablet,
    ):
        await open_room(host, server.url, "Les oiseaux", "Mme Roy")
        await tablet.goto((await invite(host, "class")).url)
        await by_test(tablet, "join-name").fill("Gaspé")
        await by_test(tablet, "join").click()
        await by_test(tablet, "without-sound").check()
        await expect(by_test(tablet, "level")).to_have_count(0)
        await enter_session(tablet)
        seen_by_host = host.locator("[data-testid=tile][data-name=Gaspé] video")
        await expect(seen_by_host).to_be_visible(timeout=STEP_MS)
        await expect(tablet.locator("[data-testid=tile][data-name='Mme Roy'] video")).to_be_visible(timeout=STEP_MS)
        for _ in range(2):
            await expect(by_test(tablet, "is-without-sound")).to_be_visible(timeout=STEP_MS)
            await expect(tablet.locator("audio[data-participant]")).to_have_count(0)
            await expect(by_test(tablet, "microphone")).to_have_count(0)
            await expect(host.locator("audio[data-participant]")).to_have_count(0)
            await tablet.reload()
        await by_test(tablet, "devices").click(timeout=STEP_MS)
        await by_test(tablet, "without-sound").uncheck()
        await expect(host.locator("audio[data-participant]")).to_have_count(1, timeout=STEP_MS)
        await expect(tablet.locator("audio[data-participant]")).to_have_count(1, timeout=STEP_MS)


FILTERS = """() => {
  const { noiseSuppression, echoCancellation, autoGainControl } = microphones.at(-1).getSettings();
  return microphones.at(-1).readyState === 'live' && [noiseSuppression, echoCancellation, autoGainControl].join();
}"""
KEEP_MICROPHONES = """
  globalThis.microphones = [];
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await open(wanted);
    microphones.push(...stream.getAudioTracks());
    return stream;
  };
"""


async def test_sound_in_detail_is_unfiltered_and_stays_chosen(server: ServerProcess, browser: Browser) -> None:
    async with visitor(browser) as page:
        await page.add_init_script(KEEP_MICROPHONES)
        await open_room(page, server.url, "Consultation", "Mme Roy")
        await page.wait_for_function(f"() => ({FILTERS})() === 'true,true,true'", timeout=STEP_MS)
        await by_test(page, "devices").click()
        await by_test(page, "detailed-sound").check()
        await page.wait_for_function(f"() => ({FILTERS})() === 'false,false,false'", timeout=STEP_MS)
        await expect(by_test(page, "notice")).to_be_empty()
        await open_room(page, server.url, "La suivante", "Mme Roy")
        await page.wait_for_function(f"() => ({FILTERS})() === 'false,false,false'", timeout=STEP_MS)
        await by_test(page, "devices").click()
        await expect(by_test(page, "detailed-sound")).to_be_checked()
        await by_test(page, "detailed-sound").uncheck()
        await page.wait_for_function(f"() => ({FILTERS})() === 'true,true,true'", timeout=STEP_MS)
