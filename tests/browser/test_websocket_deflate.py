"""Chromium's own WebSocket with what the server deflates, and the server with what Chromium does."""

import base64
import zlib
from pathlib import Path

import pycrdt

from rooms.documents import sync
from server import deflate
from tests.support.chromium import launched_chromium
from tests.support.room_client import yjs_connected
from tests.support.running_house import running_house

TEXT = "".join(f"{zlib.crc32(str(number).encode()):08x} " for number in range(10_000))

EXCHANGE = """
async ([address, messages]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  const socket = new WebSocket(address)
  socket.binaryType = 'arraybuffer'
  await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = failed })
  const answer = new Promise((came) => {
    socket.onmessage = ({ data }) => {
      const message = new Uint8Array(data)
      if (message[0] === 0 && message[1] === 1) came(message) // sync step 2
    }
  })
  for (const message of messages) socket.send(bytes(message))
  let text = ''
  for (const byte of await answer) text += String.fromCharCode(byte)
  return { extensions: socket.extensions, answer: btoa(text) }
}
"""


async def test_chromium_reads_and_writes_deflated_messages(tmp_path: Path) -> None:
    deflate._deflate_and_keep.cache_clear()
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["text"] = pycrdt.Text("de Chromium " * 3_000)
    async with running_house(tmp_path / "data") as house, launched_chromium() as browser:
        host = await house.room()
        guest = await house.guest(host)
        async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as yjs:
            editor = await yjs.edit("a")
            editor.type(TEXT)
            await editor.until(lambda: editor.all_saved)
            page = await browser.new_page()
            await page.goto(f"{house.url}/healthz")
            address = f"{house.url.replace('http', 'ws', 1)}/yjs/{host.room_id}/texte?token={guest.token}"
            messages = [sync.sync_step_1(b"\x00"), sync.sync_step_2(doc.get_update())]
            heard = await page.evaluate(EXCHANGE, [address, [base64.b64encode(each).decode() for each in messages]])
            assert heard["extensions"].startswith("permessage-deflate")
            assert deflate._deflate_and_keep.cache_info().misses >= 1  # or what the page said is on its way to the host
            update = pycrdt.Decoder(base64.b64decode(heard["answer"])[2:]).read_message()
            assert update is not None
            copy: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
            copy.apply_update(update)
            assert str(copy.get("text", type=pycrdt.Text)) == TEXT
            await editor.until(lambda: len(editor.text) == len(TEXT) + len("de Chromium ") * 3_000)
