"""A WebSocket that hands its messages over where they are read, instead of waking a task for each.

aiohttp puts each message in a queue and wakes the handler: a turn of the event loop for every key that
somebody presses, which costs more than all that is then done with it. Here a message goes straight to a function,
as long as nothing waits in the queue; what the function does not take goes the usual way, and so do the end, errors
and everything that is not binary.

It also plans the next ping anew with all that comes, by a callback and two looks at the clock; here it is noted when
something came, and looked at when the ping is due.

What is used of aiohttp is not all public (`_post_start`, `_reader`, `_parser`, that its queue's `feed_data` may be
overridden, how it plans its pings, and where a request keeps its headers): the version is pinned, and
`tests/server/test_direct_socket.py` fails if any of it changes.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from multidict import CIMultiDict, CIMultiDictProxy

from server.deflate import DeflatingWebSocket

QUEUE_BYTES = 64 * 1024
"""What may wait before the socket is not read any more: aiohttp's own figure."""

_NO_HEADERS = CIMultiDictProxy[str](CIMultiDict())

Taker = Callable[[bytes], bool]
"""Takes a binary message at once, or answers False; it must not raise."""


class _DirectQueue(WebSocketDataQueue):
    taker: Taker | None = None

    def feed_data(self, data: Any, size: int) -> None:
        taker = self.taker
        if taker is None or self._buffer or data.type is not WSMsgType.BINARY or not taker(data.data):
            super().feed_data(data, size)


class DirectSocket(DeflatingWebSocket):
    """Give `take_with` a function once the handler is ready for what comes."""

    _direct: _DirectQueue | None = None
    _heard_at = 0.0
    """When something came last (time of the event loop)."""

    def _post_start(self, request: Any, protocol: Any, writer: Any) -> None:
        super()._post_start(request, protocol, writer)
        assert self._reader is not None
        self._direct = _DirectQueue(request.protocol, QUEUE_BYTES, loop=asyncio.get_running_loop())
        for message, size in self._reader._buffer:  # what came with the request itself
            self._direct.feed_data(message, size)
        self._reader = self._direct
        self._parser = WebSocketReader(
            self._direct, self._max_msg_size, compress=bool(self._compress), decode_text=self._decode_text
        )
        request.protocol._payload_parser = None
        request.protocol.set_parser(self._parser, data_received_cb=self._on_data_received)

    def take_with(self, taker: Taker | None) -> None:
        """From now on; None: everything through the queue again."""
        if self._direct is not None:
            self._direct.taker = taker

    def _on_data_received(self) -> None:
        if self._heartbeat_cb is not None and self._loop is not None:
            self._heard_at = self._loop.time()
        elif not self._closed:
            self._reset_heartbeat()  # a ping is under way, and this is as good as its answer

    def _send_heartbeat(self) -> None:
        # aiohttp plans it again if it is not due yet.
        self._heartbeat_when = max(self._heartbeat_when, self._heard_at + (self._heartbeat or 0.0))
        super()._send_heartbeat()


def forget_headers(request: web.Request) -> None:
    """A WebSocket's request lives as long as it does: once it is answered nobody asks for its headers any more,
    which are a sixth of all that an idle connection holds, and say more of people than we want to know."""
    request._headers = _NO_HEADERS
    request._cache.clear()  # what was read of them; the path and its like are made again when asked for
    request._message = request._message._replace(headers=_NO_HEADERS, raw_headers=())
