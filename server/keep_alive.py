"""One timer for what every y-websocket connection needs now and then, instead of a task for each."""

import asyncio
from typing import Protocol

ROUND_S = 10.0
"""y-websocket's provider connects anew when it hears nothing for 30 s, and WebSocket pings do not count."""
SHARES = 40
"""A round is taken in so many turns: thousands of connections are not all looked at in the same one."""


class KeptAlive(Protocol):
    def keep_alive(self) -> None:
        """Called once a round."""


class KeepAlive:
    """Of one event loop; the timer runs while there is a connection."""

    def __init__(self) -> None:
        self._shares: list[dict[KeptAlive, None]] = [{} for _ in range(SHARES)]
        self._share_of: dict[KeptAlive, int] = {}
        self._newest = 0
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: KeptAlive) -> None:
        self._newest = (self._newest + 1) % SHARES
        self._share_of[connection] = self._newest
        self._shares[self._newest][connection] = None
        if self._timer is None:
            self._next_turn()

    def remove(self, connection: KeptAlive) -> None:
        share = self._share_of.pop(connection, None)
        if share is not None:
            self._shares[share].pop(connection, None)
        if not self._share_of and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next_turn(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ROUND_S / SHARES, self._take_turn)

    def _take_turn(self) -> None:
        self._next_turn()
        self._turn = (self._turn + 1) % SHARES
        for connection in list(self._shares[self._turn]):
            connection.keep_alive()
