"""The bus of several instances: Redis pub/sub, with one connection to publish, one to listen, and a watch on both.

Pub/sub loses what is said while a listener is away, and tells nobody. So every subscription is told of a gap when
the listener comes back, when publishing failed and works again, and when its own queue was full. The watch sends a
message to itself each second and cuts a connection that has gone silent: it is noticed within 5 s.

Plain pub/sub in a cluster too, not sharded: all nodes pass each message on, so one connection to any node hears
everything, and no slot that moves or fails over takes subscriptions with it. What it costs, each message once to
each node, is nothing beside what browsers are sent.

No name of a room or document leaves the process: channels are hashes of topics.
"""

import asyncio
import contextlib
import hashlib
import itertools
import secrets
from typing import Final

from rooms.ports import BusHandler, BusHealth, GapHandler
from server.bus.redis_address import RedisAddress
from server.bus.redis_link import Connector
from server.bus.redis_listener import RedisListener
from server.bus.redis_publisher import RedisPublisher
from server.bus.redis_watch import BusWatch
from server.bus.subscription import MAX_MESSAGE_BYTES, BusSubscription, Subscriptions, check_length

OPEN_TIMEOUT_S: Final = 2.0
"""How long the start waits for Redis; then it goes on without."""
SUBSCRIBE_TIMEOUT_S: Final = 0.5
"""How long `subscribe` waits to be confirmed; then it begins with a gap. Shorter than documents wait for it."""
TOLD_PER_TURN: Final = 64
TURN_S: Final = 0.02
"""So many subscriptions are told of a gap at once, then a pause: each asks the others how they stand, and 10,000
documents that did so in the same instant would hold the loop, and overrun every queue on the way."""


class RedisBus:
    """`rooms.ports.Bus` over Redis 7 or later (RESP3)."""

    def __init__(self, address: RedisAddress, prefix: str = "passerelle", what: str = "bus") -> None:
        """`prefix` keeps installations apart that share a Redis; so does the database number. `what` it carries, for
        whoever looks at the connections in Redis."""
        self._prefix = f"{prefix}:{address.database}:"
        self._subscriptions = Subscriptions()
        self._waited_for: dict[str, asyncio.Event] = {}
        """By channel that a `subscribe` waits for: set when Redis has confirmed it."""
        self._begun: set[str] = set()
        """Channels that somebody relies on: confirmed once more, they have a gap behind them."""
        self._untold: dict[str, None] = {}
        """Channels with a gap of which nobody has been told yet."""
        self._has_untold = asyncio.Event()
        self._connector = Connector(address, client_name=f"passerelle-{what}")
        self._publisher = RedisPublisher(self._connector, self._note_loss, self._note_change)
        self._listener = RedisListener(self._connector, self._take, self._note_subscribed, self._note_change)
        self._echo_channel = self._channel(f"echo:{secrets.token_hex(16)}")
        self._watch = BusWatch(self._connector, self._publisher, self._listener, self._echo_channel)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._gaps = 0

    # --- the contract ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to join. Returns when that is done, or after OPEN_TIMEOUT_S without."""
        self._listener.want(self._echo_channel)
        work = (self._publisher.run(), self._listener.run(), self._watch.run(), self._tell())
        self._tasks = [asyncio.create_task(part, name="bus") for part in work]
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._watch.joined_once.wait()
        except TimeoutError:
            self._watch.say_that_it_waits()

    async def publish(self, topic: str, message: bytes) -> None:
        """After `close` it goes nowhere. Raises: ValueError above MAX_MESSAGE_BYTES; BusUnavailable."""
        check_length(message)
        if not self._closed:
            await self._publisher.ask("PUBLISH", self._channel(topic), message)

    async def subscribe(self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None) -> BusSubscription:
        """Everything published once this returned reaches `handler` while the connection holds. Where Redis does
        not confirm in time, it begins later, with `on_gap`."""
        if self._closed:
            raise RuntimeError("the bus is closed")
        channel = self._channel(topic)
        subscription = BusSubscription(channel, handler, on_gap, self._forget)
        if self._subscriptions.add(subscription):
            self._listener.want(channel)
        try:
            await self._until_confirmed(channel)
        except asyncio.CancelledError:
            await subscription.cancel()
            raise
        self._begun.add(channel)
        return subscription

    def health(self) -> BusHealth:
        return BusHealth(
            is_joined=self._watch.is_joined,
            was_joined=self._watch.joined_once.is_set(),
            lag_s=self._watch.lag_s,
            reconnects=self._publisher.reconnects + self._listener.reconnects,
            gaps=self._gaps,
        )

    async def close(self) -> None:
        """Cancel every subscription and leave. May be called twice."""
        self._closed = True
        await self._subscriptions.cancel_all()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- topics ------------------------------------------------------------------------------------

    def _channel(self, topic: str) -> str:
        return self._prefix + hashlib.sha256(topic.encode()).hexdigest()[:32]

    async def _until_confirmed(self, channel: str) -> None:
        if self._listener.is_subscribed(channel) or self._listener.link is None:
            return
        waiting = self._waited_for.setdefault(channel, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                await waiting.wait()

    def _forget(self, subscription: BusSubscription) -> None:
        channel = subscription.topic
        if self._subscriptions.remove(subscription):
            self._listener.unwant(channel)
            self._begun.discard(channel)
            self._untold.pop(channel, None)
            self._waited_for.pop(channel, None)

    # --- what is heard -----------------------------------------------------------------------------

    def _take(self, channel: str, message: bytes) -> None:
        if channel == self._echo_channel:
            self._watch.hear(message)
            return
        if channel in self._untold:
            self._mark(channel)  # all that still comes is newer than the gap
        for subscription in self._subscriptions.of(channel):
            if len(message) > MAX_MESSAGE_BYTES:  # of no instance of ours
                subscription.mark_gap()
                self._gaps += 1
            elif not subscription.deliver(message):
                self._gaps += 1

    def _note_subscribed(self, channel: str) -> None:
        if channel == self._echo_channel:
            self._note_change()
            return
        waiting = self._waited_for.pop(channel, None)
        if waiting is not None:
            waiting.set()
        if channel in self._begun:
            self._untold[channel] = None
            self._has_untold.set()

    def _note_change(self) -> None:
        if not self._closed:
            self._watch.note_change()

    # --- gaps --------------------------------------------------------------------------------------

    def _note_loss(self) -> None:
        """Something that was to be published is lost, and publishing works again: the others have to be asked."""
        self._untold.update(dict.fromkeys(self._begun))
        self._has_untold.set()

    def _mark(self, channel: str) -> None:
        self._untold.pop(channel, None)
        for subscription in self._subscriptions.of(channel):
            subscription.mark_gap()
            self._gaps += 1

    async def _tell(self) -> None:
        """Tell of gaps: when what is asked then can be published, and not all at once."""
        while True:
            await self._has_untold.wait()
            await self._publisher.joined.wait()
            for channel in list(itertools.islice(self._untold, TOLD_PER_TURN)):
                if self._listener.is_subscribed(channel):
                    self._mark(channel)
                else:  # told when it is confirmed
                    del self._untold[channel]
            if not self._untold:
                self._has_untold.clear()
            await asyncio.sleep(TURN_S)
