"""Who connects and says nothing: closed after a while, or at once when they are too many; who has asked, never."""

import asyncio
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from server.silent_callers import HEAD_S, MAX_SILENT, SilentCallers, is_silent
from tests.support.deadlines import SECOND


@dataclass(eq=False)
class Caller:
    _waiter: "asyncio.Future[None] | None"
    _request_count: int = 0


async def test_who_is_silent_for_too_long_is_closed_and_nobody_else() -> None:
    def waiting() -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    callers = SilentCallers()
    silent, asked, busy = Caller(waiting()), Caller(waiting(), 1), Caller(None)
    assert callers.to_close([silent, asked, busy], 100.0) == []
    late = Caller(waiting())
    assert callers.to_close([silent, asked, busy, late], 100.0 + HEAD_S - 0.1) == []
    assert callers.to_close([late, silent, asked, busy], 100.0 + HEAD_S) == [silent]
    late._request_count = 1
    assert callers.to_close([late, asked, busy], 100.0 + 3 * HEAD_S) == []


async def test_of_too_many_those_who_are_silent_longest_go() -> None:
    loop = asyncio.get_running_loop()
    callers = SilentCallers()
    first = [Caller(loop.create_future()) for _ in range(MAX_SILENT)]
    assert callers.to_close(first, 0.0) == []
    more = [Caller(loop.create_future()) for _ in range(3)]
    assert callers.to_close([*more, *first], 1.0) == first[:3]


async def test_aiohttp_s_connections_are_told_apart() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    assert runner.server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    async with aiohttp.ClientSession() as session, asyncio.timeout(10 * SECOND):
        async with session.get(f"http://127.0.0.1:{port}/") as answered:
            assert answered.status == 200
        while len(runner.server.connections) < 2:
            await asyncio.sleep(0.01)
        [silent] = [connection for connection in runner.server.connections if is_silent(connection)]
        silent.force_close()
        assert await reader.read() == b""
        async with session.get(f"http://127.0.0.1:{port}/") as answered:  # on the same connection as before
            assert answered.status == 200
        assert len(runner.server.connections) == 1
    writer.transport.abort()
    await runner.cleanup()
