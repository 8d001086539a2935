// Two people in real Firefox, by WebDriver BiDi: a host opens a room, a class comes by link, they see
// each other and write one text. Run by test_firefox.py: node firefox_session.mjs <client_sdk> <url> <firefox>
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [clientSdk, url, executablePath] = process.argv.slice(2)
const { default: puppeteer } = await import(createRequire(join(clientSdk, 'package.json')).resolve('puppeteer-core'))
const timeout = 30_000

const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath,
  headless: true,
  extraPrefsFirefox: {
    'media.navigator.permission.disabled': true,
    'media.navigator.streams.fake': true,
    'media.autoplay.default': 0,
    'media.peerconnection.ice.loopback': true,
    'media.peerconnection.ice.obfuscate_host_addresses': false,
  },
})

const test = (name) => `[data-testid="${name}"]`
const seen = (page, name) => page.waitForSelector(test(name), { visible: true, timeout })
const press = async (page, name) => (await seen(page, name)).click()
const fill = async (page, name, text) => (await seen(page, name)).type(text)

async function newPerson() {
  // A context of its own: another device, as it were.
  const page = await (await browser.createBrowserContext()).newPage()
  await page.setViewport({ width: 1280, height: 720 })
  // As small a camera as Chromium's has in these tests; Firefox's own makes what is asked for.
  await page.evaluateOnNewDocument(() => {
    const devices = navigator.mediaDevices
    const open = devices.getUserMedia.bind(devices)
    devices.getUserMedia = ({ video, audio }) =>
      open({ audio, video: video && { width: 320, height: 180, frameRate: 15 } })
  })
  return page
}

const seesVideoOf = (page, name) =>
  page.waitForFunction(
    (wanted) => {
      const video = document.querySelector(`[data-testid=tile][data-name="${wanted}"] video`)
      return video !== null && video.videoWidth > 0 && video.currentTime > 1
    },
    { timeout },
    name,
  )

const reads = (page, expected) =>
  page.waitForFunction(
    (text) => {
      const editor = document.querySelector('[data-testid=editor]')?.cloneNode(true)
      editor?.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
      return editor?.textContent.replaceAll('\u2060', '') === text
    },
    { timeout },
    expected,
  )

async function write(page, text) {
  await page.waitForSelector(`${test('editor')}[contenteditable=true]`, { timeout })
  await page.click(test('editor'))
  await page.keyboard.type(text)
}

try {
  const host = await newPerson()
  await host.goto(url)
  await fill(host, 'room-name', 'Renards')
  await fill(host, 'host-name', 'Mme Roy')
  await press(host, 'open-room')
  await seen(host, 'device-check')
  await press(host, 'enter-session')
  await press(host, 'invite')
  await press(host, 'invite-create')
  const link = await host.waitForSelector(test('copy-link'), { timeout })
  const invitation = await link.evaluate((button) => button.dataset.text)
  await press(host, 'invite')

  const school = await newPerson()
  await school.goto(invitation)
  await fill(school, 'join-name', 'Gaspé')
  await press(school, 'join')
  await seen(school, 'device-check')
  await press(school, 'enter-session')
  await seen(school, 'live')

  await seesVideoOf(host, 'Gaspé')
  await seesVideoOf(school, 'Mme Roy')
  await write(host, 'Bonjour ')
  await reads(school, 'Bonjour ')
  await school.keyboard.press('Tab')
  await write(school, 'de Gaspé')
  await school.waitForSelector(`${test('save-state')}[data-state=saved]`, { timeout })
  const text = await school.$eval(test('editor'), (editor) => {
    const copy = editor.cloneNode(true)
    copy.querySelectorAll('.collaboration-carets__caret').forEach((caret) => caret.remove())
    return copy.textContent.replaceAll('\u2060', '')
  })
  await reads(host, text)
  console.log(JSON.stringify({ text }))
} finally {
  await browser.close()
}
