"""What python-engineio 4.15.1 needs mended; tests/server/test_engineio_fixes.py says when each can go.

1. `Packet.encode` keeps one encoded form whether or not base64 was asked for, and one packet is shared
   by all receivers: in a room of WebSocket and polling clients, whoever is served second gets the
   other's form, a TypeError, and is disconnected.
2. `Payload.max_decode_packets` is 16: a polling client's POST of more is thrown away, answered 200.
3. A POST's body is read once, which gives what has arrived so far: of one longer than a network packet
   the rest is missing, and its messages are thrown away.
4. A POST with anything in it that cannot be read (or too many packets, see 2) is answered 200 like any other,
   and what came behind is thrown away: its sender waits for ever for the rest to be saved. It is disconnected.
5. The aiohttp driver makes its WebSocketResponse with permessage-deflate for every message: three times the
   CPU for messages of 70 bytes, and no setting. Ours deflates long ones (server/deflate.py). Nor does the driver
   say which transport a socket is on, so that a peer that reads nothing could not be hung up on.
6. A poll whose connection breaks takes its packets with it: browsers and aiohttp ask the same again on another
   connection, as HTTP allows for GET (RFC 9110 section 9.2.2), and get what comes after. Nobody notices; half a
   binary event, an answer, a document's first sync are gone for good. Each poll has a stamp of its own (`t`), so
   the same stamp is the same poll, and gets the same packets.
7. A POST that is refused (see 4) is answered when a poll has fetched the goodbye, and of who polls no more only when
   the connection is given up, 12 s later. It is answered at once.
8. A POST that comes twice is carried out twice. Browsers send one again when the connection, used before, breaks
   without an answer (Chromium does for every method), and a proxy may have passed the first one on: each update in it
   would be counted twice, and its writer told that one is saved which has not come yet. As with polls, the same stamp
   is the same POST: it is carried out once, and answered alike.
9. A long answer to a poll is put together in base64, all of it at once: of 20 MB the loop stands for a tenth of a
   second, and 27 MB are in memory three times. Ours is encoded in pieces, as it is written (server/polling_answers.py).
"""

import asyncio
import base64
from typing import Any
from urllib.parse import parse_qs

import engineio.async_drivers.aiohttp as aiohttp_driver
from aiohttp.web import WebSocketResponse
from engineio import async_socket, base_server, exceptions, packet, payload

from server import polling_answers
from server.control_frames import GuardedWebSocket
from server.deflate import SharedMessage, is_long
from server.polling_answers import LongAnswer

MAX_PACKETS_PER_POST = 2_048
"""A binary event is two packets: 1,000 updates after a stall. The POST's bytes are bounded besides."""
MAX_BODY_S = 60.0
"""Longest time that a POST may take to arrive: 1 MB at 150 kbit/s."""

ENCODED_AT_ONCE_BYTES = 768 * 1024
"""Of what a poll fetches; more is one long message, for our queue gives no more at once. 3 ms."""

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
            async with asyncio.timeout(MAX_BODY_S):
                body: bytes = await self._stream.readexactly(size)
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            raise exceptions.EngineIOError("the body ended early") from error
        return body


_handle_post_request = async_socket.AsyncSocket.handle_post_request


async def _handle_whole_post_request(self: Any, environ: dict[str, Any]) -> None:
    """Raises: EngineIOError, after which the client connects anew and says again what was lost."""
    try:
        await _handle_post_request(self, {**environ, "wsgi.input": _WholeBody(environ["wsgi.input"])})
    except exceptions.EngineIOError:
        await _hang_up(self)
        raise
    except (ValueError, LookupError, TypeError) as error:  # what the library has for bytes that are no packets
        await _hang_up(self)
        raise exceptions.EngineIOError("a POST that cannot be read whole") from error


async def _hang_up(self: Any) -> None:
    await self.close(wait=False, reason=self.server.reason.SERVER_DISCONNECT)
    # Of one that it does not know any more, as it ended while the body was on its way, the library has no answer.
    self.server.sockets.setdefault(self.sid, self)


async def _handle_post_once(self: Any, environ: dict[str, Any]) -> None:
    """Raises: EngineIOError, for each that comes."""
    stamp = _stamp_of(environ)
    if not stamp:
        await _handle_whole_post_request(self, environ)
        return
    sent, post = getattr(self, "last_post", ("", None))
    if sent != stamp or post is None:
        post = asyncio.ensure_future(_handle_whole_post_request(self, environ))
        self.last_post = (stamp, post)
    await asyncio.shield(post)  # what it began is finished, though whoever sent it has gone


def _stamp_of(environ: dict[str, Any]) -> str:
    """What makes a request another one; empty for clients that give none."""
    stamp: str = parse_qs(environ.get("QUERY_STRING", "")).get("t", [""])[0]
    return stamp


_handle_get_request = async_socket.AsyncSocket.handle_get_request


async def _handle_poll_once(self: Any, environ: dict[str, Any]) -> Any:
    """The packets of the poll before are kept until the next one comes: a moment, for a client that is there."""
    stamp = "" if environ.get("HTTP_UPGRADE") else _stamp_of(environ)
    if not stamp:
        return await _handle_get_request(self, environ)
    asked, poll = getattr(self, "last_poll", ("", None))
    if asked == stamp and poll is not None:
        return await asyncio.shield(poll)
    poll = asyncio.ensure_future(_handle_get_request(self, environ))
    self.last_poll = (stamp, poll)
    return await poll


_ok = base_server.BaseServer._ok
_make_response = aiohttp_driver.make_response


def _ok_in_pieces(
    self: Any, packets: Any = None, headers: Any = None, jsonp_index: int | None = None
) -> dict[str, Any]:
    answer: dict[str, Any]
    # What is compressed is put together anyway; our server compresses no answer.
    is_plain = jsonp_index is None and not self.http_compression
    if not packets or not is_plain or not polling_answers.is_long(packets, ENCODED_AT_ONCE_BYTES):
        answer = _ok(self, packets, headers, jsonp_index)
        return answer
    answer = _ok(self, [], headers)
    answer["response"] = LongAnswer(packets)
    return answer


def _make_response_in_pieces(status: str, headers: Any, body: Any, environ: dict[str, Any]) -> Any:
    if isinstance(body, LongAnswer):
        return body.response(status, headers)
    return _make_response(status, headers, body, environ)


class LongDeflatingWebSocket(aiohttp_driver.WebSocket):  # type: ignore[misc]
    """The driver's WebSocket, which deflates long messages alone. It leaves its transport with the engine.io
    socket that it serves, as `websocket_transport`."""

    async def __call__(self, environ: dict[str, Any]) -> WebSocketResponse:
        request = environ["aiohttp.request"]
        self._sock = GuardedWebSocket(max_msg_size=self.server.max_http_buffer_size)
        await self._sock.prepare(request)
        self.environ = environ
        self._protocol = request.protocol
        self.handler.__self__.websocket_transport = request.transport
        try:
            await self.handler(self)
        except ConnectionError:
            pass  # hung up on while it said goodbye
        return self._sock

    async def send(self, message: str | bytes) -> None:
        """Raises: ConnectionError."""
        if (
            not self._sock.takes_deflated
            or not isinstance(message, SharedMessage)
            or not is_long(message, message.readers)
        ):
            await super().send(message)
            return
        transport = self._protocol.transport
        if transport is None or self._sock.closed:
            raise ConnectionResetError("the WebSocket is closed")
        transport.write(message.deflated_frame())
        await self._protocol._drain_helper()  # as aiohttp does behind what it writes


def apply_fixes() -> None:
    """Mend the library, once for the process; calling it again changes nothing."""
    packet.Packet.encode = _encode_each_form
    payload.Payload.max_decode_packets = MAX_PACKETS_PER_POST
    async_socket.AsyncSocket.handle_post_request = _handle_post_once
    async_socket.AsyncSocket.handle_get_request = _handle_poll_once
    base_server.BaseServer._ok = _ok_in_pieces
    aiohttp_driver._async["make_response"] = _make_response_in_pieces
    aiohttp_driver._async["websocket"] = LongDeflatingWebSocket
