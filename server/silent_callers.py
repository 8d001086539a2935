"""Whoever connects, and then does not say what they want, or says it a letter at a time, is closed.

aiohttp waits an hour for the head of a request, and keeps all of what has come of it. Bodies have deadlines of their
own (`http_api`, `engineio_fixes`, `network_check`), and so have messages (`unfinished_messages`). Nothing here counts
by address: a school is one.

What is read of aiohttp's connections (`_waiter`, `_request_count`) is not public: the version is pinned, and
tests/server/test_silent_callers.py fails if it changes.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

KEEP_ALIVE_S: Final = 75.0
"""A connection may be idle between two requests: longer than proxies keep theirs to us (nginx: 60 s)."""
HEAD_S: Final = 20.0
"""For the head of the first request, which is one packet: a page on a line that loses every second one has it by then.
Browsers open spare connections and say nothing; one that is closed they open again."""
MAX_SILENT: Final = 1_000
"""Connections that have asked for nothing yet: twice what a school opens at the ring of the bell. Past it those that
have been silent longest are closed, whoever they are."""
LOOK_EACH_S: Final = 1.0


class SilentCallers:
    """Who is silent, and since when. Pure: `now` is the caller's."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}
        """The longest first."""

    def to_close(self, connections: Iterable[Any], now: float) -> list[Any]:
        """`connections`: all that are open (aiohttp's RequestHandler)."""
        silent = dict.fromkeys(connection for connection in connections if is_silent(connection))
        known = {connection: since for connection, since in self._since.items() if connection in silent}
        self._since = {**known, **{connection: now for connection in silent if connection not in known}}
        too_many = max(0, len(self._since) - MAX_SILENT)
        return [
            connection
            for place, (connection, since) in enumerate(self._since.items())
            if place < too_many or now - since >= HEAD_S
        ]


def is_silent(connection: Any) -> bool:
    """It waits for the head of its first request."""
    waiter = connection._waiter
    return waiter is not None and not waiter.done() and connection._request_count == 0


async def close_silent_callers(server: web.Server) -> None:
    """Until it is cancelled."""
    callers, loop = SilentCallers(), asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_EACH_S)
        for connection in callers.to_close(server.connections, loop.time()):
            connection.force_close()
