"""What permessage-deflate costs and saves at the y-websocket endpoint: `python -m benchmarks.websocket_deflate`.

One server process on one core, thirty raw clients on another, for each way of deflating:

- `off`: the server agrees to nothing;
- `product`: nothing carried over, what goes to a class from 128 bytes on, one deflated frame for all of them;
- `openings`: so, but from 16 KiB on: the text for those who open it, and no typing;
- `takeover`: every message, with each connection's own deflate context, as servers usually do.

Cold open: the process has just started; thirty open a text with 260,000 edits at once (the recorded history
b4-automerge-paper, or one of its shape). Typing: thirty type 4 characters a second with cursors. Memory: by
connection, of 300 idle ones that have each sent one deflated message (`idle`: none).
"""

import argparse
import asyncio
import base64
import os
import signal
import sys
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt

from benchmarks.documents import yjs_bytes
from benchmarks.documents.admission import admit
from benchmarks.documents.process_tree import cpu_seconds, rss_bytes, tree
from tests.support.documents import recorded_history
from tests.support.server_process import free_port

MODES = ("off", "openings", "product", "takeover")
CLASS = 30
CROWD = 300
TYPING_S = 20.0
DOCUMENT = "texte"
OFFER = "permessage-deflate; client_max_window_bits"
"""What Chromium offers."""
READY_S = 30.0


# --- the server, in each way ------------------------------------------------------------------------


def serve(mode: str) -> int:
    from server import deflate, yjs_websocket
    from server.cli import main

    if mode == "off":
        deflate.is_offered = lambda _header: False
    elif mode == "openings":
        deflate.CLASS_FROM_BYTES = deflate.OWN_FROM_BYTES
    elif mode == "takeover":
        deflate.AGREEMENT = "permessage-deflate"
        _deflate_by_connection(yjs_websocket)
    return main(["run"])


def _deflate_by_connection(yjs_websocket: Any) -> None:
    from server import deflate

    contexts: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def frame(reader: Any, message: bytes) -> bytes:
        context = contexts.setdefault(reader, None) or zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        contexts[reader] = context
        deflated = context.compress(message) + context.flush(zlib.Z_SYNC_FLUSH)
        return deflate._frame(deflate.DEFLATED_BINARY, deflated.removesuffix(deflate.FLUSH_MARK))

    def broadcast(_self: Any, readers: Any, messages: Any, _full_bytes: int, own: Any) -> list[int]:
        for place, reader in enumerate(readers):
            reader.write(b"".join(frame(reader, message) for message in own.get(place, messages)))
        return []

    yjs_websocket.WebSocketFanOut.broadcast = broadcast
    yjs_websocket.YjsConnection.send = lambda self, message: self.write(frame(self, message))


class Server:
    def __init__(self, mode: str, data: Path) -> None:
        self._mode, self._data = mode, data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PASSERELLE_")},
            "PASSERELLE_PORT": str(self.port),
            "PASSERELLE_DATA": str(self._data),
            "PASSERELLE_MEDIA_ADDRESSES": "127.0.0.1",
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, "--serve", self._mode, env=environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        os.sched_setaffinity(self._process.pid, {0})
        async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Of the web process; the media workers have nothing to do."""
        return cpu_seconds([self._process.pid])

    def rss_bytes(self) -> int:
        return rss_bytes([self._process.pid])

    async def kill(self) -> None:
        for pid in reversed(tree(self._process.pid)):
            os.kill(pid, signal.SIGKILL)
        await self._process.wait()


# --- a client -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class Client(asyncio.Protocol):
    """Opens a document and counts; what comes is not inflated."""

    path: str
    received: int = 0
    longest: int = 0
    """Bytes of the longest frame so far."""
    is_open: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _buffer: bytearray = field(default_factory=bytearray)

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        await self.until(lambda: self.is_open)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(READY_S):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Extensions: {OFFER}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            assert b" 101 " in self._buffer[:32], self._buffer[:200]
            del self._buffer[: end + 4]
            self.is_open = True
        else:
            self.received += len(data)
        while (size := frame_size(self._buffer)) is not None and size <= len(self._buffer):
            self.longest = max(self.longest, size)
            del self._buffer[:size]
        self.news.set()

    def say(self, *messages: bytes) -> None:
        self.transport.write(b"".join(map(yjs_bytes.client_frame, messages)))

    def say_deflated(self, message: bytes) -> None:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        payload = (deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
        frame = bytearray(yjs_bytes.client_frame(payload))
        frame[0] |= 0x40
        self.transport.write(bytes(frame))


def frame_size(buffer: bytearray) -> int | None:
    """Of the frame at the beginning, header and all; None until that is known."""
    if len(buffer) < 2:
        return None
    length, header = buffer[1] & 0x7F, 2
    if length > 125:
        header = 4 if length == 126 else 10
        if len(buffer) < header:
            return None
        length = int.from_bytes(buffer[2:header], "big")
    return header + length


# --- what is measured ---------------------------------------------------------------------------------


@dataclass
class Result:
    cold_s: float = 0.0
    cold_cpu_s: float = 0.0
    cold_bytes: int = 0
    typing_cpu_s: float = 0.0
    typing_bytes: int = 0
    idle_kb: float = 0.0
    used_kb: float = 0.0


async def measure(mode: str, text: bytes) -> Result:
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(mode, Path(folder) / "data")
        await server.start()
        try:
            dialect = await admit(server.url, [DOCUMENT], CLASS)
            await _store(server, dialect.path(DOCUMENT), text)
            await server.kill()
            await server.start()
            clients = await _cold_open(server, [dialect.path(DOCUMENT) for _ in range(CLASS)], result)
            await _type(server, clients, result)
            for client in clients:
                client.transport.close()
            await _crowd(server, mode, result)
        finally:
            await server.kill()
    return result


async def _store(server: Server, path: str, text: bytes) -> None:
    writer = Client(path + "&ack=1")
    await writer.connect(server.port)
    before = writer.received
    writer.say(yjs_bytes.ASK_FOR_ALL, yjs_bytes.sync_message(yjs_bytes.STEP_2, text))
    await writer.until(lambda: writer.received > before)
    reader = Client(path)
    await reader.connect(server.port)
    reader.say(yjs_bytes.ASK_FOR_ALL)
    await reader.until(lambda: reader.longest > 10_000)  # what is shown is stored
    writer.transport.close()
    reader.transport.close()


async def _cold_open(server: Server, paths: list[str], result: Result) -> list[Client]:
    clients = [Client(path) for path in paths]
    cpu, began_at = server.cpu_seconds(), time.monotonic()

    async def open_one(client: Client) -> None:
        await client.connect(server.port)
        client.say(yjs_bytes.ASK_FOR_ALL, yjs_bytes.NOTHING_OF_MINE)
        await client.until(lambda: client.longest > 10_000)

    await asyncio.gather(*map(open_one, clients))
    result.cold_s = time.monotonic() - began_at
    await asyncio.sleep(0.5)
    result.cold_cpu_s = server.cpu_seconds() - cpu
    result.cold_bytes = sum(client.received for client in clients)
    return clients


async def _type(server: Server, clients: list[Client], result: Result) -> None:
    cpu, bytes_before = server.cpu_seconds(), sum(client.received for client in clients)

    async def type_on(number: int, client: Client) -> None:
        await asyncio.sleep(number / CLASS / 4)
        for clock in range(int(TYPING_S * 4)):
            client_id = 10_000 + number
            client.say(
                yjs_bytes.sync_message(yjs_bytes.UPDATE, yjs_bytes.one_character(client_id, clock, b"a")),
                yjs_bytes.cursor(client_id, clock + 1, clock, f"Élève {number}"),
            )
            await asyncio.sleep(0.25)

    await asyncio.gather(*(type_on(number, client) for number, client in enumerate(clients)))
    result.typing_cpu_s = server.cpu_seconds() - cpu
    result.typing_bytes = sum(client.received for client in clients) - bytes_before


async def _crowd(server: Server, mode: str, result: Result) -> None:
    """Connections to empty documents: their memory without, then with a deflated message each."""
    documents = [f"vide-{number}" for number in range(10)]
    dialect = await admit(server.url, documents, CROWD // len(documents))
    paths = [dialect.path(document) for document in documents for _ in range(CROWD // len(documents))]
    before = server.rss_bytes()
    clients = [Client(path) for path in paths]
    for client in clients:
        await client.connect(server.port)
        client.say(yjs_bytes.ASK_FOR_ALL, yjs_bytes.NOTHING_OF_MINE)
        await client.until(lambda client=client: client.received > 8)
    result.idle_kb = (server.rss_bytes() - before) / CROWD / 1000
    for client in clients:
        before_answer = client.received
        client.say_deflated(yjs_bytes.ASK_FOR_ALL) if mode != "off" else client.say(yjs_bytes.ASK_FOR_ALL)
        await client.until(lambda client=client, heard=before_answer: client.received > heard)
    result.used_kb = (server.rss_bytes() - before) / CROWD / 1000
    for client in clients:
        client.transport.close()


def show(results: dict[str, Result]) -> None:
    plain = results["off"]
    print("| | cold open: MB | s | CPU s | CPU ms/MB | typing: MB | CPU s | CPU ms/MB | kB idle | kB used |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for mode, one in results.items():
        cold, typing = plain.cold_bytes / 1e6, plain.typing_bytes / 1e6  # delivered, that is: not deflated
        print(
            f"| {mode} | {one.cold_bytes / 1e6:.2f} | {one.cold_s:.3f} | {one.cold_cpu_s:.2f} "
            f"| {one.cold_cpu_s / cold * 1000:.0f} | {one.typing_bytes / 1e6:.2f} | {one.typing_cpu_s:.2f} "
            f"| {one.typing_cpu_s / typing * 1000:.0f} | {one.idle_kb:.1f} | {one.used_kb:.1f} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    os.sched_setaffinity(0, {os.cpu_count() - 1 if os.cpu_count() else 0})
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in recorded_history("b4-automerge-paper").updates:
        doc.apply_update(update)
    show({mode: asyncio.run(measure(mode, doc.get_update())) for mode in MODES})
    return 0


if __name__ == "__main__":
    sys.exit(main())
