"""Messages are handed over where they are read, in the order in which they came, and nothing else changes."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from server.control_frames import MAX_CONTROL_FRAMES
from server.direct_socket import DirectSocket
from tests.support.deadlines import SECOND

DEADLINE_S = 10 * SECOND


class Endpoint:
    """Takes every message at once, but for those that begin with `refuse`."""

    def __init__(self) -> None:
        self.direct: list[bytes] = []
        self.queued: list[bytes] = []
        self.ended: asyncio.Future[WSMsgType] = asyncio.get_running_loop().create_future()
        self.url = ""
        self.heartbeat_s = 25.0
        self.socket: DirectSocket | None = None

    def take(self, data: bytes) -> bool:
        if data.startswith(b"refuse"):
            return False
        self.direct.append(data)
        return True

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = self.socket = DirectSocket(max_msg_size=1_000, heartbeat=self.heartbeat_s)
        await socket.prepare(request)
        socket.take_with(self.take)
        while True:
            message = await socket.receive()
            if message.type is not WSMsgType.BINARY:
                self.ended.set_result(message.type)
                return socket
            self.queued.append(message.data)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.router.add_get("/", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield served
    await runner.cleanup()


async def end_of(endpoint: Endpoint) -> WSMsgType:
    async with asyncio.timeout(DEADLINE_S):
        return await endpoint.ended


@pytest.mark.parametrize("compress", [0, 15])
async def test_messages_do_not_pass_through_the_queue(endpoint: Endpoint, compress: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, compress=compress) as socket:
        for number in range(100):
            await socket.send_bytes(b"%d" % number * 20)
        await socket.close()
    assert await end_of(endpoint) is WSMsgType.CLOSE
    assert endpoint.direct == [b"%d" % number * 20 for number in range(100)]
    assert endpoint.queued == []


async def test_what_is_not_taken_is_queued_and_what_comes_behind_it_stays_behind(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await socket.send_bytes(b"first")
        await socket.send_bytes(b"refuse")
        await socket.send_bytes(b"refuse again")
        await socket.close()
    await end_of(endpoint)
    assert (endpoint.direct, endpoint.queued) == ([b"first"], [b"refuse", b"refuse again"])


async def test_text_and_messages_that_are_too_long_end_as_they_always_did(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await socket.send_bytes(b"one")
        await socket.send_bytes(b"x" * 2_000)
        closed = await socket.receive(DEADLINE_S)
        assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1009)
    assert await end_of(endpoint) is WSMsgType.ERROR
    assert endpoint.direct == [b"one"]


async def test_pings_are_answered(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, autoping=False) as socket:
        await socket.ping(b"here?")
        answer = await socket.receive(DEADLINE_S)
        assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"here?")


async def test_who_says_nothing_is_pinged_and_let_go_of_if_no_answer_comes(endpoint: Endpoint) -> None:
    endpoint.heartbeat_s = 0.1 * SECOND
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, autoping=False) as socket:
        for _ in range(2):
            assert (await socket.receive(DEADLINE_S)).type is WSMsgType.PING
            await socket.pong()
        assert (await socket.receive(DEADLINE_S)).type is WSMsgType.PING
        assert await end_of(endpoint) is WSMsgType.ERROR


async def test_anything_that_comes_is_as_good_as_the_answer_to_a_ping(endpoint: Endpoint) -> None:
    endpoint.heartbeat_s = 0.1 * SECOND
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, autoping=False) as socket:
        for _ in range(3):
            assert (await socket.receive(DEADLINE_S)).type is WSMsgType.PING
            await socket.send_bytes(b"here")
        await socket.close()
    assert await end_of(endpoint) is WSMsgType.CLOSE


async def test_who_has_just_said_something_is_not_pinged(endpoint: Endpoint) -> None:
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url) as socket:
        await socket.send_bytes(b"refuse")
        async with asyncio.timeout(DEADLINE_S):
            while not endpoint.queued:
                await asyncio.sleep(0.001)
        server = endpoint.socket
        assert server is not None
        server._heartbeat_when = loop.time() - 1.0  # as if the ping that was planned before were due
        server._send_heartbeat()
        assert server._pong_response_cb is None
        assert server._heartbeat_when > loop.time() + 20.0
        server._heartbeat_when = server._heard_at = loop.time() - 30.0
        server._send_heartbeat()
        assert server._pong_response_cb is not None


async def test_a_flood_of_pings_ends_the_connection(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(endpoint.url, autoping=False) as socket:
        for _ in range(MAX_CONTROL_FRAMES + 1):
            await socket.ping()
        answers = [await socket.receive(DEADLINE_S) for _ in range(MAX_CONTROL_FRAMES + 1)]
        assert {answer.type for answer in answers[:-1]} == {WSMsgType.PONG}
        assert (answers[-1].type, answers[-1].data) == (WSMsgType.CLOSE, 1008)
    assert await end_of(endpoint) is WSMsgType.ERROR
