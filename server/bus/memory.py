"""The bus of one process: every subscriber of a topic gets what is published there, in order.

Each subscription has its own bounded queue and handles its messages one after the other; neither a
slow handler nor one that fails costs the publisher or another subscriber anything. A full queue
loses its newest message, as any bus may: whoever subscribes is told, and must be able to repair a gap.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable

import structlog

from rooms.ports import BusHandler, GapHandler

MAX_QUEUED_MESSAGES = 1_024
"""Messages that wait for one subscription's handler; beyond, the newest is dropped. A handler that
is so far behind repairs the gap anyway."""
MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Likewise, by size: two of the longest."""
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Longest message: a whole document (20 MB) in one, and below the buffer at which Redis cuts a
subscriber off."""

_log = structlog.get_logger(__name__)


class MemorySubscription:
    """One handler of one topic; made by `MemoryBus.subscribe`."""

    def __init__(self, bus: "MemoryBus", topic: str, handler: BusHandler, on_gap: GapHandler | None) -> None:
        self._bus = bus
        self._topic = topic
        self._handler = handler
        self._on_gap = on_gap
        self._queue: deque[bytes | None] = deque()
        """None stands where messages were lost."""
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self.dropped = 0
        """Messages lost because the queue was full."""

    def deliver(self, message: bytes) -> None:
        """Queue a message; the handler runs later, never inside this call."""
        if self._cancelled:
            return
        if len(self._queue) >= MAX_QUEUED_MESSAGES or self._queued_bytes + len(message) > MAX_QUEUED_BYTES:
            self.dropped += 1
            if not self._queue or self._queue[-1] is not None:
                self._queue.append(None)
            return
        self._queue.append(message)
        self._queued_bytes += len(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="bus subscription")

    async def _drain(self) -> None:
        # A task only while there is something to do: idle topics cost nothing.
        try:
            while self._queue:
                message = self._queue.popleft()
                if message is not None:
                    self._queued_bytes -= len(message)
                    await self._handle(self._handler(message))
                elif self._on_gap is not None:
                    await self._handle(self._on_gap())
        finally:
            self._task = None

    async def _handle(self, handling: Awaitable[None]) -> None:
        try:
            await handling
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Whatever it is, it is this subscriber's own: the next message may do better.
            _log.error("bus_handler_failed", error=type(error).__name__, exc_info=True)

    async def cancel(self) -> None:
        """The handler is not called any more once this returns; one that runs is cancelled and
        awaited (except when it is the handler itself that cancels). May be called twice."""
        self._cancelled = True
        self._queue.clear()
        self._queued_bytes = 0
        self._bus.forget(self._topic, self)
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        task.cancel()
        await asyncio.wait([task])


class MemoryBus:
    """`rooms.ports.Bus` within one event loop."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, list[MemorySubscription]] = {}
        self._closed = False

    async def publish(self, topic: str, message: bytes) -> None:
        """To every subscriber of the topic, this instance's own included. Never waits for a
        handler. After `close` it goes nowhere. Raises: ValueError above MAX_MESSAGE_BYTES."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(message)} bytes; at most {MAX_MESSAGE_BYTES}")
        for subscription in tuple(self._subscriptions.get(topic, ())):
            subscription.deliver(message)

    async def subscribe(self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None) -> MemorySubscription:
        """Everything published once this returned reaches `handler`, one message at a time, but for what
        a full queue drops: `on_gap` comes in their place."""
        if self._closed:
            raise RuntimeError("the bus is closed")
        subscription = MemorySubscription(self, topic, handler, on_gap)
        self._subscriptions.setdefault(topic, []).append(subscription)
        return subscription

    async def close(self) -> None:
        """Cancel every subscription."""
        self._closed = True
        for subscriptions in list(self._subscriptions.values()):
            for subscription in list(subscriptions):
                await subscription.cancel()

    def forget(self, topic: str, subscription: MemorySubscription) -> None:
        """Called by a subscription that is cancelled."""
        subscriptions = self._subscriptions.get(topic, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
        if not subscriptions:
            self._subscriptions.pop(topic, None)
