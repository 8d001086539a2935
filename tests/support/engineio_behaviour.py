"""What python-engineio does, mended or not. Run as a program it never meets our fixes.

Prints one JSON object: `mixed` (what a polling client gets of a binary packet that a WebSocket client was
sent before), `burst` (how many of 40 packets of one POST arrive), `pieces` (whether a POST in two pieces
arrives whole), `deflate` (whether a WebSocket deflates what is short), `again` (what a poll gets that is asked again),
`refused` (the status of a POST of a packet that only servers send, while nobody polls; None: no answer), `twice` (how
often a message arrives whose POST is sent twice), `long` (whether a long answer to a poll is whole, and whether it is put
together before any of it is written).
"""

import asyncio
import base64
import json
from contextlib import suppress
from typing import Any

import aiohttp
import engineio
from aiohttp import web
from engineio import packet

from tests.support.deadlines import SECOND

BURST = 40
LONG = "x" * 60_000
PATIENCE_S = 1.0
"""A server that answers half a POST does so within this; one that waits for the rest says nothing."""


class EngineServer:
    """A server and the ways to ask it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.heard: list[Any] = []
        self.server = engineio.AsyncServer(async_mode="aiohttp", cors_allowed_origins=[], http_compression=False)
        self.server.on("message", lambda _sid, data: self.heard.append(data))
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/engine.io/?EIO=4"

    async def open_polling(self) -> str:
        async with self.http.get(f"{self.url}&transport=polling") as response:
            sid: str = json.loads((await response.text())[1:])["sid"]
        return sid

    async def mixed(self) -> str:
        sid = await self.open_polling()
        async with self.http.ws_connect(f"{self.url}&transport=websocket", compress=0) as socket:
            opened = json.loads((await socket.receive_str())[1:])
            shared = packet.Packet(packet.MESSAGE, data=b"\x00\xff")
            await self.server.send_packet(opened["sid"], shared)
            await socket.receive_bytes()
            await self.server.send_packet(sid, shared)
            async with self.http.get(f"{self.url}&transport=polling&sid={sid}") as response:
                return await response.text() if response.status == 200 else f"status {response.status}"

    async def burst(self) -> int:
        sid = await self.open_polling()
        body = "\x1e".join(f"4{number}" for number in range(BURST))
        async with self.http.post(f"{self.url}&transport=polling&sid={sid}", data=body) as response:
            await response.read()
        await self.hear_the_rest()
        return len(self.heard)

    async def hear_the_rest(self) -> None:
        """What was sent before is heard before this one message."""
        sid = await self.open_polling()
        async with self.http.post(f"{self.url}&transport=polling&sid={sid}", data="4end") as response:
            await response.read()
        while "end" not in self.heard:
            await asyncio.sleep(0)
        self.heard.remove("end")

    async def pieces(self) -> bool:
        sid = await self.open_polling()
        body = f"4{LONG}".encode()
        head = (
            f"POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.encode() + body[:1_000])
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await reader.read(1)
        writer.write(body[1_000:])
        await reader.read()
        writer.close()
        await self.hear_the_rest()
        return self.heard == [LONG]

    async def again(self) -> str:
        """As browsers do when the connection breaks before the answer is there."""
        sid = await self.open_polling()
        for message in ("one", "two"):
            await self.server.send(sid, message)
            async with self.http.get(f"{self.url}&transport=polling&sid={sid}&t=a") as response:
                answer = await response.text()
        return answer

    async def refused(self) -> int | None:
        sid = await self.open_polling()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                async with self.http.post(f"{self.url}&transport=polling&sid={sid}", data="6") as response:
                    return response.status
        return None

    async def twice(self) -> int:
        """As browsers do when the connection breaks before the answer is there."""
        sid = await self.open_polling()
        for _ in range(2):
            async with self.http.post(f"{self.url}&transport=polling&sid={sid}&t=a", data="4one") as response:
                await response.read()
        await self.hear_the_rest()
        return len(self.heard)

    async def long(self) -> list[bool]:
        """Whether a long answer is whole, and whether it was put together before any of it was written."""
        sid = await self.open_polling()
        data = bytes(range(256)) * 4_001
        await self.server.send(sid, data)
        async with self.http.get(f"{self.url}&transport=polling&sid={sid}") as response:
            is_whole = await response.read() == b"b" + base64.b64encode(data)
        packets = [packet.Packet(packet.MESSAGE, data=data)]
        return [is_whole, isinstance(self.server._ok(packets)["response"], bytes)]

    async def deflate(self) -> bool:
        """By the first byte of its first frame (RFC 7692 section 6): engine.io's greeting of 100 bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        assert b"permessage-deflate" in await reader.readuntil(b"\r\n\r\n")
        (first,) = await reader.readexactly(1)
        writer.close()
        return bool(first & 0x40)


async def look() -> dict[str, Any]:
    async with aiohttp.ClientSession() as http:
        engine = EngineServer(http)
        app = web.Application()
        engine.server.attach(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        engine.port = runner.addresses[0][1]
        seen: dict[str, Any] = {}
        for question in ("mixed", "burst", "pieces", "deflate", "again", "refused", "twice", "long"):
            engine.heard.clear()
            async with asyncio.timeout(15 * SECOND):
                seen[question] = await getattr(engine, question)()
        await engine.server.shutdown()
        await runner.cleanup()
        return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(look())))
