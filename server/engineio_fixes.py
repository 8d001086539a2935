"""What python-engineio 4.15.1 needs mended; tests/server/test_engineio_fixes.py says when each can go.

1. `Packet.encode` keeps one encoded form whether or not base64 was asked for, and one packet is shared
   by all receivers: in a room of WebSocket and polling clients, whoever is served second gets the
   other's form, a TypeError, and is disconnected.
2. `Payload.max_decode_packets` is 16: a polling client's POST of more is thrown away, answered 200.
3. A POST's body is read once, which gives what has arrived so far: of one longer than a network packet
   the rest is missing, and its messages are thrown away.
4. The aiohttp driver makes its WebSocketResponse with permessage-deflate: three times the CPU for
   messages of 70 bytes, and no setting.
"""

import asyncio
import base64
import functools
from typing import Any

import engineio.async_drivers.aiohttp as aiohttp_driver
from aiohttp.web import WebSocketResponse
from engineio import async_socket, exceptions, packet, payload

MAX_PACKETS_PER_POST = 2_048
"""A binary event is two packets: 1,000 updates after a stall. The POST's bytes are bounded besides."""

_encode = packet.Packet.encode


def _encode_each_form(self: Any, b64: bool = False) -> Any:
    if not self.binary:
        return _encode(self, b64=b64)
    if not b64:
        return self.data
    if self.encode_cache is None:
        self.encode_cache = "b" + base64.b64encode(self.data).decode("ascii")
    return self.encode_cache


class _WholeBody:
    """A body's stream whose `read` waits for all that was announced."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, size: int) -> bytes:
        """Raises: EngineIOError, and then the connection is closed, for a message is lost."""
        try:
            body: bytes = await self._stream.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise exceptions.EngineIOError("the body ended early") from error
        return body


_handle_post_request = async_socket.AsyncSocket.handle_post_request


async def _handle_whole_post_request(self: Any, environ: dict[str, Any]) -> None:
    await _handle_post_request(self, {**environ, "wsgi.input": _WholeBody(environ["wsgi.input"])})


def apply_fixes() -> None:
    """Mend the library, once for the process; calling it again changes nothing."""
    packet.Packet.encode = _encode_each_form
    payload.Payload.max_decode_packets = MAX_PACKETS_PER_POST
    async_socket.AsyncSocket.handle_post_request = _handle_whole_post_request
    aiohttp_driver.WebSocketResponse = functools.partial(WebSocketResponse, compress=False)
