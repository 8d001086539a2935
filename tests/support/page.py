"""Using the page as people do: a host, a class, a pupil, a guest, each in a browser."""

from dataclasses import dataclass

from playwright.async_api import Page, expect

from tests.support.deadlines import SECOND

STEP_MS = 15_000 * SECOND
"""Deadline of one step; a step is an event that is waited for."""
# For those that say none: Playwright's own five seconds know nothing of a busy machine.
expect.set_options(timeout=STEP_MS)

READ_MEDIA = """
async () => {
  const found = []
  for (const tile of document.querySelectorAll('[data-testid=tile]')) {
    const video = tile.querySelector('video')
    if (!video || !video.videoWidth) continue
    const canvas = document.createElement('canvas')
    canvas.width = 16; canvas.height = 9
    const context = canvas.getContext('2d')
    context.drawImage(video, 0, 0, 16, 9)
    const [r, g, b] = context.getImageData(8, 6, 1, 1).data
    found.push({ name: tile.dataset.name, r, g, b, frames: video.getVideoPlaybackQuality().totalVideoFrames })
  }
  return found
}
"""

READ_TONES = """
async (seconds) => {
  const context = new AudioContext()
  const ears = [...document.querySelectorAll('audio[data-participant]')].map((audio) => {
    const analyser = context.createAnalyser()
    analyser.fftSize = 8192
    analyser.smoothingTimeConstant = 0
    context.createMediaStreamSource(audio.srcObject).connect(analyser)
    return { participant: audio.dataset.participant, analyser, best: -Infinity, tone: 0 }
  })
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 60))
    for (const ear of ears) {
      const bins = new Float32Array(ear.analyser.frequencyBinCount)
      ear.analyser.getFloatFrequencyData(bins)
      let loudest = 8
      for (let bin = 8; bin < bins.length; bin += 1) if (bins[bin] > bins[loudest]) loudest = bin
      if (bins[loudest] > ear.best) {
        ear.best = bins[loudest]
        ear.tone = (loudest * context.sampleRate) / ear.analyser.fftSize
      }
    }
  }
  await context.close()
  return ears.map(({ participant, tone, best }) => ({ participant, tone, best }))
}
"""


@dataclass(frozen=True, slots=True)
class Invited:
    """What the host's panel shows of an invitation."""

    url: str
    code: str


def by_test(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.get_by_test_id(name)


async def open_room(page: Page, url: str, room: str, host: str) -> None:
    """From the first page to live, as a host: three presses."""
    await page.goto(url)
    await by_test(page, "room-name").fill(room)
    await by_test(page, "host-name").fill(host)
    await by_test(page, "open-room").click()
    await enter_session(page)
    await expect(by_test(page, "live")).to_be_visible(timeout=STEP_MS)
    await expect(by_test(page, "invite")).to_be_visible(timeout=STEP_MS)


async def open_room_with_key(page: Page, url: str, key: str) -> None:
    """As `open_room`, on a server that asks for its key: the page says so at the first try."""
    await page.goto(url)
    await by_test(page, "room-name").fill("Les oiseaux")
    await by_test(page, "host-name").fill("Mme Roy")
    await by_test(page, "open-room").click()
    await by_test(page, "api-key").fill(key, timeout=STEP_MS)
    await by_test(page, "open-room").click()
    await enter_session(page)
    await expect(by_test(page, "invite")).to_be_visible(timeout=STEP_MS)


async def enter_session(page: Page) -> None:
    """The camera check, and in."""
    await expect(by_test(page, "device-check")).to_be_visible(timeout=STEP_MS)
    await by_test(page, "enter-session").click(timeout=STEP_MS)


async def invite(page: Page, role: str, label: str = "") -> Invited:
    """Make an invitation in the host's panel, and read its link and code."""
    if not await by_test(page, "invite-create").is_visible():
        await by_test(page, "invite").click()
    await expect(page.locator(".invitations")).to_have_attribute("aria-busy", "false", timeout=STEP_MS)
    cards = page.locator(f"[data-testid=invitation][data-role={role}]")
    before = await cards.count()
    await by_test(page, "invite-role").select_option(role)
    await by_test(page, "invite-label").fill(label)
    await by_test(page, "invite-create").click()
    await expect(cards).to_have_count(before + 1, timeout=STEP_MS)
    card = cards.filter(has_text=label).last if label else cards.last
    url = await card.get_by_test_id("copy-link").get_attribute("data-text")
    code = await card.get_by_test_id("invitation-code").inner_text()
    assert url
    return Invited(url, code.strip())


async def join_by_link(page: Page, url: str, name: str) -> None:
    """From the link to the door: two presses for a class."""
    await page.goto(url)
    await by_test(page, "join-name").fill(name)
    await by_test(page, "join").click()
    await enter_session(page)


async def join_by_code(page: Page, url: str, code: str, name: str) -> None:
    """As a pupil: a code and a first name."""
    await page.goto(url)
    await by_test(page, "code").fill(code)
    await by_test(page, "code-name").fill(name)
    await by_test(page, "enter-by-code").click()


_CURSOR_IS_AT_THE_END = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise((drawn) => requestAnimationFrame(drawn))
  const editor = document.querySelector('[data-testid=editor]')
  const last = [...editor.querySelectorAll('p, h1, h2, h3, pre')].at(-1)
  const selection = document.getSelection()
  if (!last || !selection.focusNode || !last.contains(selection.focusNode)) return false
  const rest = document.createRange()
  rest.setStart(selection.focusNode, selection.focusOffset)
  rest.setEndAfter(last)
  const after = rest.cloneContents()
  after.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
  return after.textContent.replaceAll('\\u2060', '') === ''
}"""


async def write(page: Page, text: str, *, pause_ms: float = 5.0) -> None:
    """Type at the end of the shared text. A person pauses for 60 ms between two letters, or longer."""
    editor = by_test(page, "editor")
    await expect(editor).to_have_attribute("contenteditable", "true", timeout=STEP_MS)
    await editor.click()
    for _ in range(5):
        await page.keyboard.press("Control+End")
        # Somebody else's cursor, drawn before the editor has noticed, puts one's own back to where the click was.
        if await page.evaluate(_CURSOR_IS_AT_THE_END):
            break
    await page.keyboard.type(text, delay=pause_ms)


async def text_of(page: Page) -> str:
    """The shared text without the cursors' labels."""
    text = await page.evaluate(
        """() => {
          const copy = document.querySelector('[data-testid=editor]').cloneNode(true)
          copy.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
          return [...copy.children].map((block) => block.textContent.replaceAll('\\u2060', '')).join('\\n')
        }"""
    )
    return str(text)


async def nothing_scrolls_sideways(page: Page) -> None:
    """Once what follows the window's size has followed it."""
    await page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth", timeout=STEP_MS)


async def saved(page: Page) -> None:
    """Until the page says that everything is stored."""
    await expect(by_test(page, "save-state")).to_have_attribute("data-state", "saved", timeout=STEP_MS)
