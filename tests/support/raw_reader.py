"""A y-websocket client on a bare socket, that reads when the test says so: a tab that the browser has paused."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rooms.documents.sync import encode_state_vector, sync_step_1

RECEIVE_BUFFER_BYTES = 64 * 1024
"""Of the kernel: what is under way is soon more, and waits in the server."""
FIN = 0x80
PING, PONG = 0x09, 0x0A
THERE_EACH_S = 2.0


class RawReader:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, message: bytes) -> None:
        """One of less than 126 bytes, as a browser would (RFC 6455 section 5.2; masked with zeroes)."""
        self._writer.write(bytes((0x82, 0x80 | len(message))) + bytes(4) + message)

    async def message(self) -> bytes:
        """The next one, put together. Raises: IncompleteReadError, ConnectionError: there is none."""
        message = b""
        while True:
            first, payload = await self._frame()
            message += payload
            if first & FIN:
                return message

    async def _frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next one but pings."""
        while True:
            first, length = await self._reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            payload = await self._reader.readexactly(length)
            if first & 0x0F != PING:
                return first, payload

    async def say_that_it_is_there(self) -> None:
        """As the browser does for a tab that stands still: its answers to pings, which it would have to read."""
        while True:
            self._writer.write(bytes((0x80 | PONG, 0x80)) + bytes(4))
            await asyncio.sleep(THERE_EACH_S)


@asynccontextmanager
async def raw_reader(url: str, room_id: str, document: str, token: str) -> AsyncIterator[RawReader]:
    """It has asked for the document; nothing of the answer has been read."""
    host, port = url.removeprefix("http://").split(":")
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    bare.setblocking(False)
    await asyncio.get_running_loop().sock_connect(bare, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=bare)
    try:
        writer.write(
            f"GET /yjs/{room_id}/{document}?token={token} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        raw = RawReader(reader, writer)
        raw.say(sync_step_1(encode_state_vector({})))
        there = asyncio.create_task(raw.say_that_it_is_there())
        try:
            yield raw
        finally:
            there.cancel()
    finally:
        writer.transport.abort()
