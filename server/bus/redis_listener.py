"""The connection that listens: kept subscribed to what is wanted, made again when it is lost or silent."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from rooms.ports import BusUnavailable
from server.bus.redis_link import Backoff, Connector, Push, RedisLink

CHANNELS_PER_COMMAND: Final = 500
"""10,000 documents are subscribed to with twenty commands of 25 kB."""
MESSAGES_PER_TURN: Final = 64
"""So many messages that have already come are taken before the loop's other work gets its turn: 2 ms."""

_log = structlog.get_logger(__name__)


class RedisListener:
    """`run` it in a task. What is wanted changes by `want` and `unwant`; Redis follows."""

    def __init__(
        self,
        connector: Connector,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
        on_loss: Callable[[], None],
    ) -> None:
        """`on_subscribed` is called when Redis has confirmed a channel: from now on it is heard. `on_loss` when the
        connection is lost."""
        self.reconnects = 0
        self.last_error = ""
        self.heard_at = 0.0
        """Loop time of the last sign of life of this connection."""
        self._connector = connector
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._on_loss = on_loss
        self._link: RedisLink | None = None
        self._wanted: dict[str, None] = {}
        self._asked: set[str] = set()
        """What this connection was asked to hear, last."""
        self._unconfirmed: dict[str, int] = {}
        """By channel: how many confirmations are still to come."""
        self._changed: dict[str, None] = {}
        self._check_is_due = False
        self._wake = asyncio.Event()

    @property
    def link(self) -> RedisLink | None:
        """None: there is no connection now."""
        return self._link

    def want(self, channel: str) -> None:
        self._wanted[channel] = None
        self._note(channel)

    def unwant(self, channel: str) -> None:
        self._wanted.pop(channel, None)
        self._note(channel)

    def is_subscribed(self, channel: str) -> bool:
        """What is published there now is heard."""
        return channel in self._wanted and channel in self._asked and channel not in self._unconfirmed

    def check(self) -> None:
        """Make Redis give a sign of life."""
        self._check_is_due = True
        self._wake.set()

    def cut(self) -> None:
        """Give the connection up; another is made."""
        if self._link is not None:
            self._link.cut()

    async def run(self) -> None:
        backoff = Backoff()
        was_joined = False
        while True:
            try:
                link = await self._connector.open()
                backoff.note_open()
                self.reconnects += was_joined
                was_joined = True
                await self._serve(link)
            except BusUnavailable as error:
                self.last_error = str(error)  # the watch says so, once
            except Exception as error:
                # Whatever it is: a listener that ended would leave this instance deaf.
                _log.error("bus_listener_failed", error=type(error).__name__, exc_info=True)
            finally:
                await self._give_up()
            await asyncio.sleep(backoff.pause_s())

    async def _serve(self, link: RedisLink) -> None:
        self._link = link
        self._changed = dict(self._wanted)
        self._wake.set()
        self.heard_at = asyncio.get_running_loop().time()
        writing = asyncio.create_task(self._write(link), name="bus listener writes")
        try:
            await self._read(link)
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def _give_up(self) -> None:
        link, self._link = self._link, None
        self._asked.clear()
        self._unconfirmed.clear()
        if link is not None:
            self._on_loss()
            await link.close()

    def _note(self, channel: str) -> None:
        if self._link is not None:
            self._changed[channel] = None
            self._wake.set()

    # --- out ---------------------------------------------------------------------------------------

    async def _write(self, link: RedisLink) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                commands = self._commands()
                if commands:
                    await link.send(commands)
        except BusUnavailable:
            link.cut()  # who reads finds out

    def _commands(self) -> list[tuple[str, ...]]:
        changed, self._changed = self._changed, {}
        more = [channel for channel in changed if channel in self._wanted and channel not in self._asked]
        less = [channel for channel in changed if channel not in self._wanted and channel in self._asked]
        for channel in more:
            self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        self._asked.update(more)
        self._asked.difference_update(less)
        commands = [("UNSUBSCRIBE", *less[at : at + CHANNELS_PER_COMMAND]) for at in _chunks(less)]
        commands += [("SUBSCRIBE", *more[at : at + CHANNELS_PER_COMMAND]) for at in _chunks(more)]
        if self._check_is_due:
            self._check_is_due = False
            commands.append(self._connector.check)
        return commands

    # --- in ----------------------------------------------------------------------------------------

    async def _read(self, link: RedisLink) -> None:
        now = asyncio.get_running_loop().time
        taken = 0
        while True:
            answer = await link.receive()
            self.heard_at = now()
            if isinstance(answer, Push):
                self._take(answer.items)
            elif not self._connector.is_right(answer):
                raise BusUnavailable("this server is not the right one any more")
            taken += 1
            if taken % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)

    def _take(self, items: Any) -> None:
        kind, channel = items[0], items[1]
        if kind == b"message":
            self._on_message(channel.decode("ascii", "replace"), items[2])
        elif kind == b"subscribe":
            self._confirm(channel.decode("ascii", "replace"))

    def _confirm(self, channel: str) -> None:
        pending = self._unconfirmed.get(channel, 0)
        if pending > 1:
            self._unconfirmed[channel] = pending - 1
            return
        self._unconfirmed.pop(channel, None)
        if channel in self._asked:  # and not unwanted meanwhile
            self._on_subscribed(channel)


def _chunks(channels: list[str]) -> range:
    return range(0, len(channels), CHANNELS_PER_COMMAND)
