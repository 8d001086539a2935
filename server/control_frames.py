"""Whoever floods a WebSocket with frames holds nobody else up: too many pings close it, and then nothing more is heard.

aiohttp answers each ping in the handler's own turn, and lets nobody else run while more of them have been read: 40,000
fit into one piece from the network, and would hold the loop for a second. No limit on messages counts them. Likewise it
reads all that a peer has sent until the answer to a close frame comes: two seconds for 64,000 empty messages.

As `direct_socket`, this uses what of aiohttp is not public; the version is pinned and the tests fail if it changes.
"""

import asyncio
import time
from typing import Any, Final

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp._websocket.writer import WebSocketWriter

from server.deflate import DeflatingWebSocket

QUEUE_BYTES: Final = 64 * 1024
"""What may wait before the socket is not read any more: aiohttp's own figure."""
MAX_CONTROL_FRAMES: Final = 40
"""Pings and pongs of one connection in CONTROL_FRAMES_S: a peer sends one in twenty seconds, a proxy one in five."""
CONTROL_FRAMES_S: Final = 10.0
MAX_UNHEARD: Final = 1_000
"""Messages that come after we have said the end: an honest peer has a few on their way. Past it the answer to our close
frame is not waited for."""

_ENDING: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING})
_CONTROL: Final = frozenset({WSMsgType.PING, WSMsgType.PONG})


class GuardedQueue(WebSocketDataQueue):
    _control_frames = 0
    _counted_from = 0.0
    _unheard = 0
    is_deaf = False
    """The WebSocket is being closed: aiohttp would read all that still comes, in one go, for the answer to that."""

    def feed_data(self, data: Any, size: int) -> None:
        """Raises: WebSocketError, which the parser above hands to the reader of this queue: 1008."""
        if self.is_deaf and data.type not in _ENDING:
            self._unheard += 1
            if self._unheard > MAX_UNHEARD:
                raise WebSocketError(WSCloseCode.POLICY_VIOLATION, "It goes on after the end")
            return
        if data.type in _CONTROL:
            self._count()
        super().feed_data(data, size)

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted_from > CONTROL_FRAMES_S:
            self._control_frames, self._counted_from = 0, now
        self._control_frames += 1
        if self._control_frames > MAX_CONTROL_FRAMES:
            raise WebSocketError(WSCloseCode.POLICY_VIOLATION, "Too many pings")


class GuardedWebSocket(DeflatingWebSocket):
    """A WebSocket whose messages come through a GuardedQueue."""

    def _make_queue(self, request: web.BaseRequest) -> GuardedQueue:
        return GuardedQueue(request.protocol, QUEUE_BYTES, loop=asyncio.get_running_loop())

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        super()._post_start(request, protocol, writer)
        unguarded = self._reader
        assert unguarded is not None
        queue = self._make_queue(request)
        for message, size in unguarded._buffer:  # what came with the request itself
            queue.feed_data(message, size)
        self._reader = queue
        self._parser = WebSocketReader(
            queue, self._max_msg_size, compress=bool(self._compress), decode_text=self._decode_text
        )
        request.protocol._payload_parser = None
        request.protocol.set_parser(self._parser, data_received_cb=self._on_data_received)

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        if isinstance(self._reader, GuardedQueue):
            self._reader.is_deaf = True
        return await super().close(code=code, message=message, drain=drain)
