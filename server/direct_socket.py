"""A WebSocket that hands its messages over where they are read, instead of waking a task for each.

aiohttp puts each message in a queue and wakes the handler: a turn of the event loop for every key that
somebody presses, which costs more than all that is then done with it. Here a message goes straight to a function,
as long as nothing waits in the queue; what the function does not take goes the usual way, and so do the end, errors
and everything that is not binary.

It also plans the next ping anew with all that comes, by a callback and two looks at the clock; here it is noted when
something came, and looked at when the ping is due.

What is used of aiohttp is not all public (`_post_start`, `_reader`, `_parser`, that its queue's `feed_data` may be
overridden, how it plans its pings, what it asks its request and writer for): the version is pinned, and
`tests/server/test_direct_socket.py` fails if any of it changes.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from server.control_frames import QUEUE_BYTES, GuardedQueue, GuardedWebSocket
from server.upgraded import UpgradedConnection

_NO_HEADERS = CIMultiDict[str]()

Taker = Callable[[bytes], bool]
"""Takes a binary message at once, or answers False; it must not raise."""


class _DirectQueue(GuardedQueue):
    taker: Taker | None = None

    def feed_data(self, data: Any, size: int) -> None:
        taker = self.taker
        if taker is None or self._buffer or data.type is not WSMsgType.BINARY or not taker(data.data):
            super().feed_data(data, size)


class DirectSocket(GuardedWebSocket):
    """Give `take_with` a function once the handler is ready for what comes."""

    _direct: _DirectQueue | None = None
    _heard_at = 0.0
    """When something came last (time of the event loop)."""

    @property
    def silent_for_s(self) -> float:
        """How long nothing has come."""
        return asyncio.get_running_loop().time() - self._heard_at if self._heard_at else 0.0

    def _make_queue(self, request: web.BaseRequest) -> GuardedQueue:
        self._direct = _DirectQueue(request.protocol, QUEUE_BYTES, loop=asyncio.get_running_loop())
        return self._direct

    def take_with(self, taker: Taker | None) -> None:
        """From now on; None: everything through the queue again."""
        if self._direct is not None:
            self._direct.taker = taker

    def stand_on(self, connection: UpgradedConnection) -> None:
        """From now on, instead of the request (`server.upgraded.detach`)."""
        assert self._reader is not None
        assert self._writer is not None
        self._reader._protocol = connection
        self._writer.protocol = connection
        self._req = self._payload_writer = connection  # type: ignore[assignment]
        self._headers = _NO_HEADERS  # they were sent
        self._eof_sent = True  # for whoever answers the request with it: it is not over with that

    def _on_data_received(self) -> None:
        if self._heartbeat_cb is not None and self._loop is not None:
            self._heard_at = self._loop.time()
        elif not self._closed:
            self._reset_heartbeat()  # a ping is under way, and this is as good as its answer

    def _send_heartbeat(self) -> None:
        # aiohttp plans it again if it is not due yet.
        self._heartbeat_when = max(self._heartbeat_when, self._heard_at + (self._heartbeat or 0.0))
        super()._send_heartbeat()
