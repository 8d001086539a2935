"""An author of a recorded history: sends its updates as they were, each once what it builds on has come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pycrdt
import socketio

from rooms.documents import sync
from tests.support.recorded_updates import Content, Step, reads

MOST_UNSAVED = 100
"""Messages of a document on their way at once: over long polling all that wait, of ten documents, go in one POST,
two packets each, and the server takes no more than 2,048."""


class RecordedAuthor:
    """One document over one connection; it asks for acknowledgements."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.denials: list[str] = []
        self._send = send
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._sent = self._saved = 0
        self._is_synced = False
        self._clocks: dict[int, int] = {}
        self._changed = asyncio.Event()

    def hear(self, message: bytes) -> None:
        """One message of the server."""
        kind, rest = message[0], message[1:]
        if kind == sync.SYNC:
            body = pycrdt.Decoder(rest[1:]).read_message() or b""
            if rest[0] == sync.STEP_1:
                self._answers.put_nowait(body)
            else:
                self.doc.apply_update(body)
                self._clocks = {}
                self._is_synced = self._is_synced or rest[0] == sync.STEP_2
        elif kind == sync.SAVED:
            self._saved = pycrdt.Decoder(rest).read_var_uint()
        elif kind == sync.AUTH:
            self.denials.append(rest[2:].decode())
        self._changed.set()

    async def play(self, steps: Sequence[Step]) -> None:
        """Join, send the steps, return when the server has stored them all."""
        await self._send(sync.sync_step_1(self.doc.get_state()))
        self._sent += 1
        await self._send(sync.sync_step_2(self.doc.get_update(await self._answers.get())))
        await self._until(lambda: self._is_synced)
        for step in steps:
            if not self._has(step):
                await self._until(lambda step=step: self._has(step))
            self.doc.apply_update(step.update)
            self._sent += 1
            await self._send(sync.sync_update(step.update))
            if self._sent - self._saved >= MOST_UNSAVED:
                await self._until(lambda: self._sent - self._saved < MOST_UNSAVED)
        await self._until(lambda: self._saved == self._sent)

    async def until_reads(self, expected: Content) -> None:
        await self._until(lambda: reads(self.doc, expected))

    def _has(self, step: Step) -> bool:
        if step.needs and not self._clocks:
            self._clocks = read_state_vector(self.doc.get_state())
        return all(self._clocks.get(client, 0) >= clock for client, clock in step.needs.items())

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.denials, self.denials
            self._changed.clear()
            await self._changed.wait()


def read_state_vector(state: bytes) -> dict[int, int]:
    decoder = pycrdt.Decoder(state)
    return {decoder.read_var_uint(): decoder.read_var_uint() for _ in range(decoder.read_var_uint())}


class SocketIoLine:
    """One Socket.IO connection with an author for each document."""

    def __init__(self) -> None:
        self._client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self._authors: dict[str, RecordedAuthor] = {}
        self._client.on("document_message", lambda document, message: self._authors[document].hear(message))

    async def connect(self, url: str, token: str, transport: str) -> None:
        await self._client.connect(url, auth={"token": token}, transports=[transport])

    async def author(self, document: str) -> RecordedAuthor:
        async def send(message: bytes) -> None:
            await self._client.emit("document_message", (document, message))

        author = self._authors[document] = RecordedAuthor(send)
        answer = await self._client.call("document_open", {"document": document})
        assert "error" not in answer, answer
        return author

    async def close(self) -> None:
        with suppress(Exception):  # the server may have been killed
            await self._client.eio.disconnect(abort=True)
        if self._client.eio.http is not None and not self._client.eio.http.closed:
            await self._client.eio.http.close()


class YWebSocketLine:
    """A y-websocket connection for each document."""

    def __init__(self) -> None:
        self._http = aiohttp.ClientSession()
        self._reading: list[asyncio.Task[None]] = []

    async def connect(self, url: str, token: str, room: str) -> None:
        self._address = f"{url.replace('http', 'ws', 1)}/yjs/{room}/{{}}?token={token}&ack=1"

    async def author(self, document: str) -> RecordedAuthor:
        socket = await self._http.ws_connect(self._address.format(document), max_msg_size=0)
        author = RecordedAuthor(socket.send_bytes)
        self._reading.append(asyncio.create_task(self._read(socket, author)))
        return author

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, author: RecordedAuthor) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                author.hear(message.data)

    async def close(self) -> None:
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._http.close()


@asynccontextmanager
async def author_line(transport: str, url: str, room: str, token: str) -> AsyncIterator[SocketIoLine | YWebSocketLine]:
    """One participant's connection over that transport: y-websocket, websocket or polling (Socket.IO)."""
    line: SocketIoLine | YWebSocketLine
    if transport == "y-websocket":
        line = YWebSocketLine()
        await line.connect(url, token, room)
    else:
        line = SocketIoLine()
        await line.connect(url, token, transport)
    try:
        yield line
    finally:
        await line.close()
