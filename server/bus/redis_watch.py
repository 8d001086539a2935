"""The watch on a bus's two connections: each second a message to oneself, and a look at what came of it.

A connection can go silent without an end: a cable, a firewall that forgot it, a Redis that is stopped, a master
that was replaced and does not know. python-socketio's listener once stayed deaf for a day like that.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from rooms.ports import BusUnavailable
from server.bus.redis_link import Connector
from server.bus.redis_listener import RedisListener
from server.bus.redis_publisher import RedisPublisher

BEAT_S: Final = 1.0
"""How often the watch looks."""
SILENT_S: Final = 3.0
"""A connection that gave no sign of life for so long is cut, at the next beat: within 5 s, with what it takes to
make another."""
LATE_S: Final = 1.0
"""A beat that comes so late says that this process was held up itself; what has come meanwhile is not read yet, so
nobody is judged by it."""
ASK_SENTINELS_S: Final = 5.0
"""How often the sentinels are asked whether the master is still the one we use: one that they cannot reach any more
may not know that it was replaced."""

_log = structlog.get_logger(__name__)


class BusWatch:
    """`run` it in a task."""

    def __init__(
        self, connector: Connector, publisher: RedisPublisher, listener: RedisListener, echo_channel: str
    ) -> None:
        self.joined_once = asyncio.Event()
        self._connector = connector
        self._publisher = publisher
        self._listener = listener
        self._channel = echo_channel
        self._number = 0
        self._said_at: float | None = None
        """When the message to oneself went out that has not come back yet."""
        self._last_lag_s = 0.0
        self._asked_sentinels_at = 0.0
        self._was_joined = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_joined(self) -> bool:
        return self._publisher.link is not None and self._listener.is_subscribed(self._channel)

    @property
    def lag_s(self) -> float:
        under_way_s = _now() - self._said_at if self._said_at is not None else 0.0
        return max(self._last_lag_s, under_way_s)

    def say_that_it_waits(self) -> None:
        """The start goes on without Redis."""
        _log.warning("bus_not_joined", error=self._last_error)

    @property
    def _last_error(self) -> str:
        return self._listener.last_error or self._publisher.last_error

    def note_change(self) -> None:
        """A connection has come or gone. Log when this instance is joined and when it is not, once each."""
        is_joined = self.is_joined
        if is_joined:
            self.joined_once.set()
        if is_joined != self._was_joined:
            self._was_joined = is_joined
            if is_joined:
                _log.info("bus_joined")
            else:
                _log.warning("bus_lost", error=self._last_error)

    def hear(self, message: bytes) -> None:
        if self._said_at is not None and message == b"%d" % self._number:
            self._last_lag_s, self._said_at = _now() - self._said_at, None

    async def run(self) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._publisher.joined.wait()
            due = _now()
            while True:
                late_s, due = _now() - due, _now() + BEAT_S
                try:
                    self._beat(was_held_up=late_s > LATE_S)
                except Exception as error:
                    # Whatever it is: without a watch this instance could be deaf and not know.
                    _log.error("bus_watch_failed", error=type(error).__name__, exc_info=True)
                await asyncio.sleep(BEAT_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _beat(self, *, was_held_up: bool) -> None:
        if was_held_up:
            self._listener.heard_at = _now()
            self._said_at = None
        elif self._listener.link is not None and _now() - self._listener.heard_at > SILENT_S:
            _log.warning("bus_listener_silent")
            self._listener.cut()
        self._listener.check()
        self._look_at_echo()
        if self._connector.has_choice:
            self._run(self._check_publisher())
            if _now() - self._asked_sentinels_at > ASK_SENTINELS_S:
                self._asked_sentinels_at = _now()
                self._run(self._check_server())

    def _look_at_echo(self) -> None:
        if not self.is_joined:
            self._said_at = None
        elif self._said_at is None:
            self._number += 1
            self._said_at = _now()
            self._run(self._say(b"%d" % self._number))
        elif _now() - self._said_at > SILENT_S:
            # Both answer, but what one says the other does not hear: they are not at the same Redis any more.
            _log.warning("bus_echo_lost")
            self._said_at = None
            self._publisher.cut()
            self._listener.cut()

    async def _say(self, message: bytes) -> None:
        try:
            await self._publisher.ask("PUBLISH", self._channel, message)
        except BusUnavailable:
            self._said_at = None

    async def _check_publisher(self) -> None:
        try:
            is_right = self._connector.is_right(await self._publisher.ask(*self._connector.check))
        except BusUnavailable:
            return
        if not is_right:
            self._publisher.cut()

    async def _check_server(self) -> None:
        try:
            server = await self._connector.find_master()
        except BusUnavailable:
            return
        for end in (self._publisher, self._listener):
            if server is not None and end.link is not None and end.link.server != server:
                end.cut()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="bus watch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _now() -> float:
    return asyncio.get_running_loop().time()
