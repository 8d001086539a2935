"""permessage-deflate (RFC 7692), once for many: a text for the class that opens it, and what a busy class types.

aiohttp compresses every message or none, each connection's anew. Here both sides agree to carry nothing over from
message to message, so that short messages go as they are, and a longer one is deflated once for all who agreed. What
comes in may be deflated too; aiohttp inflates no more of it than the longest message (`max_msg_size`), and closes
with 1009. docs/development.md has the figures.
"""

import asyncio
import functools
import struct
import zlib
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_websocket import WebSocketWriter

CLASS_READERS = 8
"""What goes to so many at once is deflated even if it is short: it costs one deflate (25 us), and saves each."""
CLASS_FROM_BYTES = 128
"""Shorter messages go as they are: a few characters hardly shrink, a cursor (230 bytes) does by half."""
OWN_FROM_BYTES = 16 * 1024
"""Shorter messages to fewer readers go as they are: deflating takes longer than sending."""
DEFLATE_UP_TO_BYTES = 768 * 1024
"""Longer ones too: at 90 MB/s this much holds the loop for 9 ms."""
LEVEL = 1
"""A text with its history: 245 kB become 112 in 2.7 ms; level 6 makes 102, in 9.3 ms."""
KEPT_MESSAGES = 4
"""Deflated messages kept for the next reader, 768 KiB each at most."""
KEPT_S = 5.0
"""A class opens its text within so long; no text is kept for longer."""
AGREEMENT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
FLUSH_MARK = b"\x00\x00\xff\xff"
"""The end of each deflated message, which is not sent (RFC 7692 section 7.2.1)."""
DEFLATED_BINARY, PLAIN_BINARY = 0xC2, 0x82
"""First byte of a frame: a whole binary message, with and without RSV1."""


def is_offered(header: str) -> bool:
    """Whether the client offers what can be agreed to (RFC 7692 section 7.1): every parameter is known, and none
    asks for a smaller window of ours."""
    for offer in header.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name.lower() == "permessage-deflate" and all(map(_can_agree, parameters)):
            return True
    return False


def _can_agree(parameter: str) -> bool:
    name, _equals, value = (part.strip().strip('"') for part in parameter.lower().partition("="))
    if name == "server_max_window_bits":
        return value == "15"
    if name == "client_max_window_bits":
        return value == "" or value in {str(bits) for bits in range(8, 16)}
    return name in ("server_no_context_takeover", "client_no_context_takeover") and value == ""


def is_long(message: bytes, readers: int = 1) -> bool:
    """Whether it is deflated for those who agreed, when it goes to so many."""
    least = CLASS_FROM_BYTES if readers >= CLASS_READERS else OWN_FROM_BYTES
    return least <= len(message) <= DEFLATE_UP_TO_BYTES


class SharedMessage(bytes):
    """A message for many, deflated when the first of them is sent it."""

    readers: int = 1
    """To how many it goes."""
    _deflated: bytes | None = None

    def deflated_frame(self) -> bytes:
        if self._deflated is None:
            self._deflated = deflated_frame(self)
        return self._deflated


def plain_frame(message: bytes) -> bytes:
    """One unmasked binary frame with the whole message (RFC 6455 section 5.2), as a server sends it."""
    return _frame(PLAIN_BINARY, message)


def deflated_frame(message: bytes) -> bytes:
    """The same, deflated; the same object for the same long message within a few seconds. Takes up to 9 ms."""
    return _deflate_and_keep(bytes(message)) if len(message) >= OWN_FROM_BYTES else _deflate(message)


@functools.lru_cache(KEPT_MESSAGES)
def _deflate_and_keep(message: bytes) -> bytes:
    asyncio.get_running_loop().call_later(KEPT_S, _deflate_and_keep.cache_clear)
    return _deflate(message)


def _deflate(message: bytes) -> bytes:
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return _frame(DEFLATED_BINARY, deflated.removesuffix(FLUSH_MARK))


def frame_head(first: int, length: int) -> bytes:
    """What stands before so many bytes in an unmasked frame (RFC 6455 section 5.2). `first`: FIN, RSV and opcode."""
    if length < 126:
        return struct.pack("!BB", first, length)
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def _frame(first: int, payload: bytes) -> bytes:
    return frame_head(first, len(payload)) + payload


class DeflatingWebSocket(web.WebSocketResponse):
    """A WebSocket that agrees to deflate where the client offers it, and deflates nothing by itself."""

    takes_deflated = False
    """After `prepare`: long messages may be sent as `deflated_frame`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(compress=False, **options)

    def _handshake(self, request: web.BaseRequest) -> tuple[Any, str | None, int, bool]:
        headers, protocol, _compress, _notakeover = super()._handshake(request)
        self.takes_deflated = is_offered(request.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, ""))
        if self.takes_deflated:
            headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = AGREEMENT
        # 15 makes aiohttp's reader inflate what comes.
        return headers, protocol, zlib.MAX_WBITS if self.takes_deflated else 0, True

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        super()._post_start(request, protocol, writer)
        writer.compress = 0  # and its writer leaves what we send as it is
