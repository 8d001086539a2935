"""The connection that publishes: in order, without waiting for one answer before the next is asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
from redis.exceptions import ResponseError

from rooms.ports import BusUnavailable
from server.bus.redis_link import Backoff, Connector, RedisLink

ANSWER_TIMEOUT_S: Final = 3.0
"""From asking to the answer: the longest message, behind one like it, at 50 Mbit/s. Past it the connection is given
up, and everything on its way with it."""
READ_S: Final = 0.2
"""And then as long as it takes to read what has come already."""
MAX_BATCH_COMMANDS: Final = 256
"""Written together: a millisecond of work."""
MAX_PENDING_COMMANDS: Final = 4_096
MAX_PENDING_BYTES: Final = 32 * 1024 * 1024
"""What may wait to be written or answered, as in the outbox of the documents; past it, asking fails at once."""

_log = structlog.get_logger(__name__)


class _Asked:
    __slots__ = ("answer", "command", "size")

    def __init__(self, command: tuple[str | bytes, ...], answer: asyncio.Future[Any]) -> None:
        self.command = command
        self.answer = answer
        self.size = sum(len(part) for part in command)


class RedisPublisher:
    """`run` it in a task; `ask` from anywhere."""

    def __init__(self, connector: Connector, on_loss: Callable[[], None], on_change: Callable[[], None]) -> None:
        """`on_loss` is called when there is a connection (again) and something was asked in vain before;
        `on_change` when a connection comes or goes."""
        self.joined = asyncio.Event()
        self.reconnects = 0
        self.last_error = ""
        self._connector = connector
        self._on_loss = on_loss
        self._on_change = on_change
        self._has_lost = False
        self._link: RedisLink | None = None
        self._to_write: deque[_Asked] = deque()
        self._unanswered: deque[_Asked] = deque()
        """Written, in that order; Redis answers in the same."""
        self._pending_bytes = 0
        self._wake = asyncio.Event()

    @property
    def link(self) -> RedisLink | None:
        """None: there is no connection now."""
        return self._link

    async def ask(self, *command: str | bytes) -> Any:
        """Its answer, within ANSWER_TIMEOUT_S. Raises: BusUnavailable, at once when there is no connection; it may
        have been done all the same, or be done later."""
        if self._link is None:
            self._has_lost = True
            raise BusUnavailable("no connection to Redis")
        asked = _Asked(command, asyncio.get_running_loop().create_future())
        is_full = len(self._to_write) + len(self._unanswered) >= MAX_PENDING_COMMANDS
        if is_full or self._pending_bytes + asked.size > MAX_PENDING_BYTES:
            self._has_lost = True
            raise BusUnavailable("too much waits for Redis")
        self._to_write.append(asked)
        self._pending_bytes += asked.size
        self._wake.set()
        loop = asyncio.get_running_loop()
        # In two steps: perhaps it is this process that was held up, and the answer is there to be read.
        late = loop.call_later(ANSWER_TIMEOUT_S, loop.call_later, READ_S, self._answer_is_late, asked)
        try:
            return await asked.answer
        finally:
            late.cancel()

    def _answer_is_late(self, asked: _Asked) -> None:
        if not asked.answer.done():
            self._has_lost = True
            self.cut()
            asked.answer.set_exception(BusUnavailable("Redis does not answer"))

    def cut(self) -> None:
        """Give the connection up; another is made."""
        if self._link is not None:
            self._link.cut()
            self._wake.set()

    async def run(self) -> None:
        backoff = Backoff()
        was_joined = False
        while True:
            try:
                self._link = await self._connector.open()
                backoff.note_open()
                self.joined.set()
                self._on_change()
                self.reconnects += was_joined
                was_joined = True
                if self._has_lost:
                    self._has_lost = False
                    self._on_loss()
                await self._serve(self._link)
            except BusUnavailable as error:
                self.last_error = str(error)  # the watch says so, once
            except Exception as error:
                # Whatever it is: a publisher that ended would leave this instance dumb.
                _log.error("bus_publisher_failed", error=type(error).__name__, exc_info=True)
            finally:
                await self._give_up()
            await asyncio.sleep(backoff.pause_s())

    async def _serve(self, link: RedisLink) -> None:
        reading = asyncio.create_task(self._read(link), name="bus publisher reads")
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._to_write and not link.is_cut:
                    await self._write(link)
                if link.is_cut:
                    raise BusUnavailable("the connection is lost")
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _write(self, link: RedisLink) -> None:
        batch = [self._to_write.popleft() for _ in range(min(len(self._to_write), MAX_BATCH_COMMANDS))]
        self._unanswered.extend(batch)
        await link.send([asked.command for asked in batch])

    async def _read(self, link: RedisLink) -> None:
        """Always: that an idle connection ended is known before something is entrusted to it."""
        try:
            while True:
                answer = await link.receive()
                if not self._unanswered:
                    break
                asked = self._unanswered.popleft()
                self._pending_bytes -= asked.size
                _settle(asked, answer)
        except BusUnavailable:
            pass
        finally:
            self.cut()

    async def _give_up(self) -> None:
        link, self._link = self._link, None
        self.joined.clear()
        lost = [*self._unanswered, *self._to_write]
        self._unanswered.clear()
        self._to_write.clear()
        self._pending_bytes = 0
        for asked in lost:
            if not asked.answer.done():
                self._has_lost = True
                asked.answer.set_exception(BusUnavailable("the connection to Redis is lost"))
        if link is not None:
            self._on_change()
            await link.close()


def _settle(asked: _Asked, answer: Any) -> None:
    if asked.answer.done():  # whoever asked has gone
        return
    if isinstance(answer, ResponseError):
        asked.answer.set_exception(BusUnavailable(f"Redis refuses: {type(answer).__name__}"))
    else:
        asked.answer.set_result(answer)
