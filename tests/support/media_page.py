"""A page in real Chromium that talks to an engine through a small relay in the test's process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from playwright.async_api import Page

from signaling.engines import DescriptionToSend, EngineEvent, MediaEngine
from signaling.messages import PublishedMedia, SessionDescription
from tests.support.bad_line import BadLine
from tests.support.deadlines import SECOND
from tests.support.media_session import EVERYTHING, RecordedEvents

PAGE = Path(__file__).with_name("media_page.html")


class Relay:
    """Serves the page; `?session=…&room=…` of its address opens that session."""

    def __init__(self, engine: MediaEngine, events: RecordedEvents) -> None:
        self._engine = engine
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._to_send: asyncio.Queue[DescriptionToSend] = asyncio.Queue()
        self._runner: web.AppRunner | None = None
        self._task: asyncio.Task[None] | None = None
        self.origin = ""
        self.lines: dict[str, BadLine] = {}
        """By session: through which the forwarder reaches its page; others are near."""
        events.listeners.append(self._hear)

    def _hear(self, event: EngineEvent) -> None:
        if isinstance(event, DescriptionToSend) and event.session_id in self._sockets:
            self._to_send.put_nowait(event)

    async def _send(self) -> None:
        while True:
            event = await self._to_send.get()
            line = self.lines.get(event.session_id)
            sdp = event.description.sdp
            message = {
                "pc": event.pc,
                "negotiation": event.negotiation,
                "sdp": sdp if line is None else line.through(sdp),
                "media": [msgspec.to_builtins(each) for each in event.media],
            }
            socket = self._sockets.get(event.session_id)
            if socket is not None and not socket.closed:
                await socket.send_json(message)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/signaling", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://localhost:{self._runner.addresses[0][1]}"
        self._task = asyncio.create_task(self._send())

    async def stop(self) -> None:
        assert self._task is not None
        assert self._runner is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for socket in list(self._sockets.values()):
            await socket.close()
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session_id, room_id = request.query["session"], request.query["room"]
        self._sockets[session_id] = socket
        await self._engine.open_session(room_id, session_id, f"p-{session_id}", EVERYTHING)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(session_id, json.loads(message.data))
        finally:
            del self._sockets[session_id]
            await self._engine.close_session(session_id)
        return socket

    async def _receive(self, session_id: str, message: dict[str, Any]) -> None:
        pc, number = message["pc"], message["negotiation"]
        media = msgspec.convert(message.get("media", []), list[PublishedMedia])
        kind: Any = "offer" if pc == "publish" else "answer"
        description = SessionDescription(type=kind, sdp=message["sdp"])
        await self._engine.receive_description(session_id, pc, number, description, media, None)


@asynccontextmanager
async def relay(engine: MediaEngine, events: RecordedEvents) -> AsyncIterator[Relay]:
    serving = Relay(engine, events)
    await serving.start()
    try:
        yield serving
    finally:
        await serving.stop()


async def wait_in(page: Page, condition: str, timeout_s: float = 5.0 * SECOND) -> Any:
    """The value of a JavaScript expression once it is true, polled in the page. It may be async."""
    script = f"""async () => {{
        const end = performance.now() + {timeout_s * 1000};
        for (;;) {{
            const value = await ({condition});
            if (value) return value;
            if (performance.now() > end) return null;
            await new Promise((resolve) => setTimeout(resolve, 50));
        }}
    }}"""
    value = await page.evaluate(script)
    assert value, f"still not true after {timeout_s} s: {condition}: {await page.evaluate('stats()')}"
    return value
