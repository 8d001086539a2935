"""A WebSocket that takes itself for a Janus gateway, for what no real one does on demand."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

Answer = dict[str, Any] | str | None


class FakeGateway:
    """Sessions, handles and keep-alives as Janus does; the rest is `message`, which a test replaces: the
    answer to a request (a str is sent as it is), None: none ever."""

    def __init__(self) -> None:
        self.url = ""
        self.message: Callable[[dict[str, Any]], Answer] = lambda request: None
        self.everything: Callable[[dict[str, Any]], Answer] | None = None
        """Set: asked for every request, the first ones too."""
        self.protocols: tuple[str, ...] = ("janus-protocol",)
        self.requests: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._sockets: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=self.protocols)
        await socket.prepare(request)
        self._sockets.add(socket)
        async for frame in socket:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            received = frame.json()
            self.requests.append(received)
            answer = self._answer(received) if self.everything is None else self.everything(received)
            if isinstance(answer, str):
                await socket.send_str(answer)
            elif answer is not None:
                await socket.send_json({"transaction": received["transaction"], **answer})
        self._sockets.discard(socket)
        return socket

    def _answer(self, received: dict[str, Any]) -> Answer:
        match received["janus"]:
            case "create" | "attach":
                return {"janus": "success", "data": {"id": next(self._ids)}}
            case "keepalive":
                return {"janus": "ack"}
            case "message":
                return self.message(received)
        return {"janus": "success"}

    async def hang_up(self) -> None:
        await asyncio.gather(*(socket.close() for socket in tuple(self._sockets)))


@asynccontextmanager
async def fake_gateway() -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway()
    app = web.Application()
    app.router.add_get("/", gateway.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await gateway.hang_up()
        await runner.cleanup()
