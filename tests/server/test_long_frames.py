"""A long message over a WebSocket goes in fragments: whole at the other end, with nothing else among them but pings."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from server.direct_socket import DirectSocket
from server.long_frames import FRAGMENT_BYTES, LongMessage
from server.yjs_websocket import WebSocketFanOut, YjsConnection
from tests.support.deadlines import SECOND
from tests.support.documents import until

DEADLINE_S = 10 * SECOND
LONG = b"".join(number.to_bytes(4, "big") for number in range(3_000_000))
"""12 MB: more than any socket takes up."""


@pytest.mark.parametrize("size", [0, 1, FRAGMENT_BYTES - 3, FRAGMENT_BYTES - 2, 3 * FRAGMENT_BYTES + 70_000])
def test_the_fragments_are_the_message_and_only_the_last_says_so(size: int) -> None:
    message = LongMessage(b"he", LONG[:size])
    assert message.left_bytes == size + 2
    payload, opcodes = b"", list[int]()
    while message.left_bytes:
        head, piece = message.next_fragment()
        frame = head + bytes(piece)
        start = {126: 4, 127: 10}.get(frame[1], 2)
        length = int.from_bytes(frame[2:start], "big") if start > 2 else frame[1]
        assert length == len(frame) - start <= FRAGMENT_BYTES
        opcodes.append(frame[0])
        payload += frame[start:]
    assert payload == b"he" + LONG[:size]
    *others, last = opcodes
    assert [opcode & 0x0F for opcode in opcodes] == [2] + [0] * len(others)
    assert last & 0x80
    assert not any(opcode & 0x80 for opcode in others)


@dataclass
class Line:
    connection: YjsConnection
    client: aiohttp.ClientWebSocketResponse

    @property
    def pipe(self) -> Any:
        """Of the client, to be paused."""
        return self.client._response.connection.transport  # type: ignore[union-attr]

    async def hear(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(DEADLINE_S):
            return await self.client.receive()

    async def hear_all(self, sent: Sequence[bytes]) -> None:
        for expected in sent:
            message = await self.hear()
            assert message.type is WSMsgType.BINARY
            assert message.data == expected


@asynccontextmanager
async def lines(count: int) -> AsyncIterator[list[Line]]:
    fan_out, made = WebSocketFanOut(), asyncio.Queue[YjsConnection]()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = DirectSocket(heartbeat=25.0)
        await socket.prepare(request)
        assert request.transport is not None
        connection = YjsConnection(socket, request.transport, "room", "p", fan_out, wants_acknowledgement=True)
        made.put_nowait(connection)
        async for _message in socket:
            pass
        await connection.wait_closed()
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as http:
            opened = []
            for _ in range(count):
                url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
                client = await http.ws_connect(url, max_msg_size=0, autoping=False, autoclose=False)
                opened.append(Line(await made.get(), client))
            yield opened
            for line in opened:
                await line.client.close()
    finally:
        await runner.cleanup()


async def test_what_is_sent_behind_a_long_message_comes_behind_it() -> None:
    async with lines(1) as (line,):
        line.connection.send(b"before")
        line.connection.send_long(b"1", LONG)
        line.connection.send(b"behind")
        assert line.connection.write_unless_full(b"\x82\x01x", len(LONG) + 1_000)
        line.connection.send_long(b"2", LONG)
        line.connection.send(b"last")
        await line.hear_all([b"before", b"1" + LONG, b"behind", b"x", b"2" + LONG, b"last"])
        # And the usual way afterwards.
        await until(lambda: line.connection._long is None)
        line.connection.send(b"short")
        await line.hear_all([b"short"])


async def test_a_reader_that_takes_nothing_counts_with_all_that_is_left_and_keeps_nobody_waiting() -> None:
    async with lines(2) as (slow, quick):
        slow.pipe.pause_reading()
        for line in (slow, quick):
            line.connection.send_long(b"", LONG)
        assert slow.connection.buffered_bytes() >= len(LONG)
        await quick.hear_all([LONG])
        assert slow.connection.buffered_bytes() > 1_000_000
        # Of all of it the transport holds a fragment or two.
        assert slow.connection.transport.get_write_buffer_size() <= 2 * FRAGMENT_BYTES
        assert not slow.connection.write_unless_full(b"\x82\x01x", 1_000_000)
        slow.pipe.resume_reading()
        await slow.hear_all([LONG])
        await until(lambda: slow.connection.buffered_bytes() == 0)


async def test_a_ping_goes_between_the_fragments() -> None:
    async with lines(1) as (line,):
        line.pipe.pause_reading()
        line.connection.send_long(b"", LONG)
        await until(lambda: line.connection.transport.get_write_buffer_size() > 0)
        await line.connection._socket.ping(b"there?")
        line.pipe.resume_reading()
        assert (await line.hear()).type is WSMsgType.PING
        await line.hear_all([LONG])


async def test_a_close_ends_it_and_nothing_follows() -> None:
    async with lines(1) as (line,):
        line.pipe.pause_reading()
        line.connection.send_long(b"", LONG)
        line.connection.send(b"behind")
        await until(lambda: line.connection.transport.get_write_buffer_size() > 0)
        line.connection.close(4403, "forbidden")
        line.pipe.resume_reading()
        message = await line.hear()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 4403)
        await until(lambda: line.connection._long is None)
        line.connection.send_long(b"", LONG)
        assert line.connection.buffered_bytes() == 0


async def test_a_reader_that_is_cut_off_holds_nothing_any_more() -> None:
    async with lines(1) as (line,):
        line.pipe.pause_reading()
        line.connection.send_long(b"", LONG)
        await until(lambda: line.connection.transport.get_write_buffer_size() > 0)
        line.pipe.abort()
        await until(lambda: line.connection._long is None)
