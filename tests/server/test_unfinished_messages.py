"""Who begins a message and does not end it is closed, over both kinds of WebSocket; who takes long over one is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import socketio
from aiohttp import web

from server import unfinished_messages
from server.direct_socket import DirectSocket
from server.engineio_fixes import apply_fixes
from server.unfinished_messages import MESSAGE_S, Begun, UnfinishedMessages, begun_message, watch_messages
from tests.support.deadlines import SECOND
from tests.whole.test_hostile_sockets import BINARY, FINAL, PING, Line, frame

DEADLINE_S = 10 * SECOND


def test_a_message_that_grows_for_too_long_is_closed_and_one_that_ended_is_not() -> None:
    messages = UnfinishedMessages()
    assert messages.to_close({"endless": Begun(True, 5), "slow": Begun(False, 5)}, 0.0) == []
    assert messages.to_close({"endless": Begun(True, 5), "slow": Begun(False, 900)}, MESSAGE_S / 2) == []
    # Of "slow" another is under way: less of it has come.
    assert messages.to_close({"endless": Begun(True, 9), "slow": Begun(False, 800)}, MESSAGE_S) == ["endless"]


def test_who_has_ended_it_begins_anew() -> None:
    messages = UnfinishedMessages()
    assert messages.to_close({"one": Begun(False, 5)}, 0.0) == []
    assert messages.to_close({}, MESSAGE_S / 2) == []
    assert messages.to_close({"one": Begun(False, 5)}, MESSAGE_S) == []
    assert messages.to_close({"one": Begun(True, 5)}, 2 * MESSAGE_S) == []


class Served:
    """Both endpoints on one server of aiohttp's, and what was heard."""

    def __init__(self, server: web.Server, port: int) -> None:
        self.server = server
        self.port = port
        self.heard: list[bytes] = []

    def begun(self) -> list[Begun]:
        return [begun for one in self.server.connections if (begun := begun_message(one)) is not None]

    async def until_begun(self, expected: list[Begun]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.begun() != expected:
                await asyncio.sleep(0.005)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    apply_fixes()
    heard: list[bytes] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        # Deflate as in the product: a parser that has inflated something shows the same fields.
        socket = DirectSocket(max_msg_size=1_000_000, heartbeat=25.0)
        await socket.prepare(request)
        async for message in socket:
            heard.append(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/yjs", listen)
    socketio.AsyncServer(async_mode="aiohttp", ping_interval=60).attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert runner.server is not None
    served = Served(runner.server, runner.addresses[0][1])
    served.heard = heard
    yield served
    await runner.cleanup()


@asynccontextmanager
async def line(served: Served, path: str) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        opened = Line(reader, writer)
        await opened.upgrade(path)
        yield opened
    finally:
        writer.transport.abort()


PATHS = ("/yjs", "/socket.io/?EIO=4&transport=websocket")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("pieces", "begun"),
    [
        ([frame(BINARY, b"abc"), frame(0, b"de")], Begun(True, 5)),
        ([frame(BINARY, b"abc"), frame(FINAL | PING, b"x"), frame(0, b"de"), frame(0, b"fgh")[:-2]], Begun(True, 5)),
        ([frame(FINAL | BINARY, b"x" * 90_000)[:-1]], Begun(False, 89_999)),
        ([frame(FINAL | BINARY, b"")[:1]], Begun(False, 1)),
    ],
    ids=["fragments", "fragments with a ping between", "a payload", "half a head"],
)
async def test_a_message_that_does_not_end_closes_its_connection(
    served: Served, path: str, pieces: list[bytes], begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished_messages, "MESSAGE_S", 0.2)
    monkeypatch.setattr(unfinished_messages, "LOOK_EACH_S", 0.02)
    async with line(served, path) as harmful, line(served, path) as other:
        for piece in pieces:
            harmful.writer.write(piece)
        await served.until_begun([begun])
        watch = asyncio.create_task(watch_messages(lambda: served.server.connections))
        try:
            async with asyncio.timeout(DEADLINE_S):
                assert await harmful.close_code() == 1008
            with pytest.raises(TimeoutError):  # who says nothing, says nothing wrong
                async with asyncio.timeout(0.05):
                    await other.close_code()
        finally:
            watch.cancel()


async def test_a_message_that_takes_its_time_is_heard_whole(served: Served) -> None:
    whole = frame(BINARY, b"x" * 70_000) + frame(FINAL, b"y" * 70_000)
    async with line(served, "/yjs") as slow:
        slow.writer.write(whole[:70_100])
        await served.until_begun([Begun(True, 70_000)])
        messages, now = UnfinishedMessages(), 0.0
        unfinished_messages.close_unfinished(messages, served.server.connections, now)
        unfinished_messages.close_unfinished(messages, served.server.connections, now + MESSAGE_S - 0.1)
        slow.writer.write(whole[70_100:])
        await served.until_begun([])
        assert served.heard == [b"x" * 70_000 + b"y" * 70_000]


async def test_deflated_messages_and_idle_connections_are_in_order(served: Served) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://127.0.0.1:{served.port}/yjs", compress=15) as ws,
    ):
        for text in (b"a" * 3_000, b"b" * 300_000):
            await ws.send_bytes(text)
        async with asyncio.timeout(DEADLINE_S):
            while len(served.heard) < 2:
                await asyncio.sleep(0.005)
        assert served.begun() == []
        assert [len(text) for text in served.heard] == [3_000, 300_000]
        assert any(one._payload_parser is not None for one in served.server.connections)
