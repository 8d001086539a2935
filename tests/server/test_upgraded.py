"""A WebSocket that has let go of its request works as before, and nothing of the request stays."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from server.direct_socket import DirectSocket
from server.upgraded import UpgradedConnection, detach
from tests.support.deadlines import SECOND
from tests.whole.test_hostile_sockets import BINARY, FINAL, PING, Line, frame

DEADLINE_S = 10 * SECOND
MESSAGE = b"x" * 50_000


class Endpoint:
    """Lets go of each request, and keeps what is heard after that."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended: asyncio.Future[WSMsgType] = asyncio.get_running_loop().create_future()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.requests: list[weakref.ref[web.Request]] = []
        self.connection: UpgradedConnection | None = None
        self.transport: asyncio.Transport | None = None
        self.socket: DirectSocket | None = None
        self.task: asyncio.Task[None] | None = None
        self.server: web.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = self.socket = DirectSocket(max_msg_size=100_000, heartbeat=25.0)
        await socket.prepare(request)
        self.transport = request.transport
        self.requests.append(weakref.ref(request))
        self.connection = detach(request, socket)
        self.task = asyncio.create_task(self._hear(socket))
        return socket

    async def _hear(self, socket: DirectSocket) -> None:
        while True:
            await self.may_read.wait()
            message = await socket.receive()
            if message.type is not WSMsgType.BINARY:
                await socket.close()
                self.ended.set_result(message.type)
                return
            self.heard.append(message.data)

    async def until_heard(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.heard) < count:
                await asyncio.sleep(0.002)

    async def until_let_go_of(self) -> None:
        assert self.server is not None
        async with asyncio.timeout(DEADLINE_S):
            while self.connection is None or self.server.connections:
                await asyncio.sleep(0.002)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_get("/", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.server, served.port = runner.server, runner.addresses[0][1]
    yield served
    if served.transport is not None:
        served.transport.abort()
    if served.task is not None:
        served.task.cancel()
        await asyncio.gather(served.task, return_exceptions=True)
    await runner.cleanup()


async def end_of(endpoint: Endpoint) -> WSMsgType:
    async with asyncio.timeout(DEADLINE_S):
        return await endpoint.ended


async def test_nothing_of_the_request_stays_while_the_websocket_does(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, autoping=False) as socket:
        await endpoint.until_let_go_of()
        gc.collect()
        assert [reference() for reference in endpoint.requests] == [None]
        await socket.send_bytes(b"there")
        await endpoint.until_heard(1)
        await socket.ping(b"here?")
        answer = await socket.receive(DEADLINE_S)
        assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"here?")
        await socket.close(code=4000)
        assert endpoint.socket is not None
        assert (await end_of(endpoint), endpoint.socket.close_code) == (WSMsgType.CLOSE, 4000)


async def test_the_server_closes_with_its_code(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await endpoint.until_let_go_of()
        assert endpoint.socket is not None
        closing = asyncio.create_task(endpoint.socket.close(code=4403, message=b"enough"))
        message = await socket.receive(DEADLINE_S)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4403, "enough")
        async with asyncio.timeout(DEADLINE_S):
            await closing
    assert endpoint.transport is not None
    assert endpoint.transport.is_closing()


async def test_who_vanishes_is_noticed(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await endpoint.until_let_go_of()
        assert socket._writer.transport is not None
        socket._writer.transport.abort()
        assert await end_of(endpoint) is WSMsgType.CLOSED


async def test_a_broken_frame_closes_and_nothing_behind_it_is_heard(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await endpoint.until_let_go_of()
        await socket.send_bytes(b"one")
        await socket.send_bytes(b"y" * 200_000)
        message = await socket.receive(DEADLINE_S)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
        assert await end_of(endpoint) is WSMsgType.ERROR
    assert endpoint.heard == [b"one"]


async def test_what_comes_with_the_request_itself_is_heard(endpoint: Endpoint) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    try:
        line = Line(reader, writer)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n" + frame(FINAL | BINARY, b"first")
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        line.writer.write(frame(FINAL | BINARY, b"second") + frame(FINAL | PING, b""))
        await endpoint.until_heard(2)
        assert endpoint.heard == [b"first", b"second"]
    finally:
        writer.transport.abort()


async def test_who_sends_faster_than_is_read_waits_and_loses_nothing(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await endpoint.until_let_go_of()
        endpoint.may_read.clear()
        sending = asyncio.create_task(send_all(socket, 400))
        async with asyncio.timeout(DEADLINE_S):
            while endpoint.connection is None or not endpoint.connection._reading_paused:
                await asyncio.sleep(0.002)
        assert not sending.done()
        endpoint.may_read.set()
        await sending
        await endpoint.until_heard(400)
        assert set(endpoint.heard) == {MESSAGE}


async def send_all(socket: aiohttp.ClientWebSocketResponse, count: int) -> None:
    for _ in range(count):
        await socket.send_bytes(MESSAGE)
