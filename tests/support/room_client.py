"""A client of the wire that believes nothing: python-socketio or raw WebSockets, and all that was heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import engineio.payload
import pycrdt
import socketio

from rooms.documents import sync
from tests.support.deadlines import SECOND
from tests.support.documents import Editor

DEADLINE_S = 5 * SECOND

# The client half of the library drops an answer of more than 16 packets.
engineio.payload.Payload.max_decode_packets = max(engineio.payload.Payload.max_decode_packets, 4_096)


class ConnectRefused(Exception):
    """The server's refusal of a connection."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class RoomClient:
    """One Socket.IO connection."""

    def __init__(self, websocket_options: dict[str, Any] | None = None) -> None:
        """`websocket_options`: for aiohttp's WebSocket."""
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.closed = asyncio.Event()
        self.sio = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            websocket_extra_options={"max_msg_size": 0, **(websocket_options or {})},  # as long as a browser takes
        )
        self._news = asyncio.Event()
        self._editors: dict[str, RemoteEditor] = {}
        self.sio.on("*", self._hear)
        self.sio.on("disconnect", lambda *_reason: self.closed.set())

    async def connect(self, url: str, token: Any, transport: str = "websocket") -> None:
        """Raises: ConnectRefused."""
        refusals: list[Any] = []
        self.sio.on("connect_error", refusals.append)
        try:
            await self.sio.connect(
                url,
                auth={"token": token} if token is not None else None,
                transports=[transport],
                wait_timeout=DEADLINE_S,
            )
        except socketio.exceptions.ConnectionError:
            await self.close()
            if refusals and isinstance(refusals[0], dict):
                raise ConnectRefused(refusals[0]["data"]["code"]) from None
            raise

    def _hear(self, event: str, *arguments: Any) -> None:
        self.heard.append((event, arguments))
        self._news.set()
        if event == "document_message" and arguments[0] in self._editors:
            self._editors[arguments[0]].send(arguments[1])

    # --- hearing ------------------------------------------------------------------------------

    def all(self, event: str) -> list[Any]:
        """Payloads of this event so far."""
        return [arguments[0] for name, arguments in self.heard if name == event]

    def room_events(self, kind: str) -> list[Any]:
        return [message["event"] for message in self.all("room_event") if message["event"]["type"] == kind]

    async def until(self, condition: Callable[[], Any], seconds: float = 5) -> Any:
        """What the condition gives, once that is true. Raises: TimeoutError."""
        async with asyncio.timeout(seconds * SECOND):
            while not (found := condition()):
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
        return found

    async def hear(self, event: str, number: int = 1) -> Any:
        """The payload of the number-th of these events."""
        return (await self.until(lambda: len(self.all(event)) >= number and self.all(event)))[number - 1]

    async def hear_in_room(self, kind: str, where: Callable[[Any], bool] = lambda _event: True) -> Any:
        """The first event of the room of that type."""
        return (await self.until(lambda: [event for event in self.room_events(kind) if where(event)]))[0]

    # --- asking -------------------------------------------------------------------------------

    async def call(self, event: str, payload: Any = None, **fields: Any) -> Any:
        """The acknowledgement."""
        return await self.sio.call(event, fields if payload is None else payload, timeout=DEADLINE_S)

    async def refusal(self, event: str, **fields: Any) -> str:
        """The code of the refusal. Raises: AssertionError when it is none."""
        answer = await self.call(event, fields)
        assert "error" in answer, answer
        return str(answer["error"]["code"])

    async def do(self, event: str, **fields: Any) -> Any:
        answer = await self.call(event, fields)
        assert "error" not in answer, answer
        return answer

    async def say(self, event: str, *arguments: Any) -> None:
        """Without an acknowledgement."""
        await self.sio.emit(event, arguments)

    async def say_goodbye(self) -> None:
        """As a page that is closed. The library's own way waits for the poll that is under way."""
        await self.sio._send_packet(self.sio.packet_class(socketio.packet.DISCONNECT, namespace="/"))

    async def close(self) -> None:
        """As a network that is cut."""
        with suppress(Exception):
            await self.sio.eio.disconnect(abort=True)
        http = self.sio.eio.http
        if http is not None and not http.closed:
            await http.close()

    # --- documents ----------------------------------------------------------------------------

    async def edit(self, document: str, name: str, doc: "pycrdt.Doc[pycrdt.Text] | None" = None) -> "RemoteEditor":
        """Open the document and wait until it is here; `doc`: what is known of it already."""
        editor = RemoteEditor(name, lambda message: self.sio.emit("document_message", (document, message)), doc)
        self._editors[document] = editor
        await self.do("document_open", document=document)
        await editor.begin()
        return editor


class RemoteEditor(Editor):
    """An Editor at the other end of a network. What it says goes out in order."""

    def __init__(self, name: str, emit: Callable[[bytes], Any], doc: "pycrdt.Doc[pycrdt.Text] | None" = None) -> None:
        super().__init__(name, doc=doc)
        self._emit = emit
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self.opened = object()  # type: ignore[assignment]

    async def begin(self) -> None:
        self._sender = asyncio.create_task(self._send_all())
        self.tell(sync.sync_step_1(self.doc.get_state()))
        await self.until(lambda: self.is_synced and self.sent > 0)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.005)

    def tell(self, message: bytes) -> None:
        self._outbox.put_nowait(message)

    async def _send_all(self) -> None:
        while True:
            await self._emit(await self._outbox.get())

    def show(self, state: dict[str, Any]) -> None:
        """Its cursor."""
        self.awareness.set_local_state(state)
        self.tell(sync.awareness_message(self.awareness.encode_awareness_update([self.doc.client_id])))

    async def end(self) -> None:
        self.opened = None  # what is written from now on stays here
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)


class YjsSocket:
    """One y-websocket connection: raw frames, and an editor on them if asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.editor: RemoteEditor | None = None
        self.frames: list[bytes] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.closed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.frames.append(message.data)
                if self.editor is not None:
                    self.editor.send(message.data)
            elif message.type is aiohttp.WSMsgType.CLOSE:
                self.close_code, self.close_reason = message.data, message.extra or ""
            else:
                break
        if self.close_code is None:
            self.close_code = self.socket.close_code
        self.closed.set()

    async def edit(self, name: str, doc: "pycrdt.Doc[pycrdt.Text] | None" = None) -> RemoteEditor:
        self.editor = RemoteEditor(name, self.socket.send_bytes, doc)
        for frame in self.frames:
            self.editor.send(frame)
        await self.editor.begin()
        return self.editor

    async def wait_closed(self) -> tuple[int | None, str]:
        async with asyncio.timeout(DEADLINE_S):
            await self.closed.wait()
        return self.close_code, self.close_reason

    async def end(self) -> None:
        if self.editor is not None:
            await self.editor.end()
        await self.socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


@asynccontextmanager
async def connected(url: str, token: Any, transport: str = "websocket") -> AsyncIterator[RoomClient]:
    client = RoomClient()
    await client.connect(url, token, transport)
    try:
        yield client
    finally:
        for editor in client._editors.values():
            await editor.end()
        await client.close()


@asynccontextmanager
async def yjs_connected(
    http: aiohttp.ClientSession, url: str, room: str, document: str, token: str, *, ack: bool = True, **options: Any
) -> AsyncIterator[YjsSocket]:
    query = f"?token={token}" + ("&ack=1" if ack else "")
    address = f"{url.replace('http', 'ws', 1)}/yjs/{room}/{document}{query}"
    # A browser takes messages of any length.
    socket = YjsSocket(await http.ws_connect(address, autoclose=False, max_msg_size=0, **options))
    try:
        yield socket
    finally:
        await socket.end()
