"""A WebSocket without the request that it began with.

aiohttp serves a WebSocket from within its request: for as long as somebody looks at a text, the request stays in
memory, its headers, the parser of requests, the middlewares' coroutines and the two tasks that they run in, half of
all that an idle connection holds. Here the transport is given another protocol once the WebSocket stands, and for
aiohttp the connection is over. The rest of the WebSocket (frames, pings, the closing) stays aiohttp's.

What is used of aiohttp is not all public: the version is pinned, and tests/server/test_upgraded.py fails if it changes.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

if TYPE_CHECKING:
    from server.direct_socket import DirectSocket


class UpgradedConnection(BaseProtocol):
    """What the transport of a WebSocket speaks to; to its `DirectSocket` it stands for the request, too."""

    __slots__ = ("_has_failed", "_on_data", "_payload_parser")

    _timeout_ceil_threshold = 5.0
    """aiohttp's own figure: timers of longer than this fire at whole seconds, many at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, parser: Any, on_data: Callable[[], None]) -> None:
        super().__init__(loop)
        self._upgraded = True
        self._payload_parser = parser
        self._on_data = on_data
        self._has_failed = False

    @property
    def _protocol(self) -> "UpgradedConnection":
        return self

    async def drain(self) -> None:
        """As a response's writer. Raises: ConnectionError."""
        await self._drain_helper()

    def data_received(self, data: bytes) -> None:
        if self._has_failed:
            return
        self._on_data()
        failed, _tail = self._payload_parser.feed_data(data)
        if failed:
            self._has_failed = True  # the reader of the queue is told, and closes

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        parser, self._payload_parser = self._payload_parser, None
        if parser is not None:
            parser.feed_eof()


def detach(request: web.Request, socket: "DirectSocket") -> UpgradedConnection:
    """To be called once `socket` is prepared and its transport is there: it lives on, whatever becomes of the request,
    whose handler returns `socket` as its answer and ends. Who calls closes the transport."""
    handler, transport = request.protocol, request.transport
    assert transport is not None
    upgraded = UpgradedConnection(asyncio.get_running_loop(), handler._payload_parser, socket._on_data_received)
    upgraded.transport = transport
    upgraded._paused = handler._paused
    upgraded._reading_paused = handler._reading_paused
    socket.stand_on(upgraded)
    transport.set_protocol(upgraded)
    handler._payload_parser = None
    handler.transport = None  # it would close it
    handler.connection_lost(None)
    return upgraded
