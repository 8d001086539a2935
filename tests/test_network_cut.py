"""The tests' own line that can be cut: a socket it left open would be reported in whichever test comes next."""

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.deadlines import SECOND
from tests.support.network_cut import cuttable_proxy

CALLERS = 20
CUTS = 150


async def test_a_line_carries_both_ways_and_breaks_when_it_is_cut() -> None:
    async with an_echo() as port, cuttable_proxy(port) as proxy:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"bonjour" * 100_000)
            async with asyncio.timeout(10 * SECOND):
                assert await reader.readexactly(700_000) == b"bonjour" * 100_000
                await proxy.cut()
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.transport.abort()
            assert not await can_connect(proxy.port)
            proxy.mend()


async def test_a_line_that_is_cut_while_many_call_leaves_no_socket_open() -> None:
    chance = random.Random(7)
    async with an_echo() as port, cuttable_proxy(port) as proxy:
        callers = [asyncio.create_task(call_for_ever(proxy.port)) for _ in range(CALLERS)]
        for _ in range(CUTS):
            for _ in range(chance.randrange(6)):  # turns of the loop: the cut falls into each step of a call
                await asyncio.sleep(0)
            await proxy.cut()
            proxy.mend()
        await proxy.cut()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    gc.collect()  # which reports what was left open, and with that fails this test


@asynccontextmanager
async def an_echo() -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    lines: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()

    async def echo(line: socket.socket) -> None:
        with line, suppress(OSError):
            while data := await loop.sock_recv(line, 65_536):
                await loop.sock_sendall(line, data)

    def accept() -> None:
        with suppress(OSError):
            line, _ = listener.accept()
            line.setblocking(False)
            lines.append(asyncio.create_task(echo(line)))

    loop.add_reader(listener, accept)
    try:
        yield listener.getsockname()[1]
    finally:
        loop.remove_reader(listener)
        listener.close()
        await asyncio.gather(*lines, return_exceptions=True)


async def can_connect(port: int) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket() as near:
        near.setblocking(False)
        with suppress(OSError):
            await loop.sock_connect(near, ("127.0.0.1", port))
            await loop.sock_sendall(near, b"?")
            return await loop.sock_recv(near, 1) == b"?"
    return False


async def call_for_ever(port: int) -> None:
    while True:
        await asyncio.sleep(0)
        await can_connect(port)
