"""One handler's place on a bus: a bounded queue, one message handled after the other, gaps between them.

Every bus delivers by way of it, so a slow handler, or one that fails, costs the publisher and the other subscribers
nothing. A full queue loses its newest message, as any bus may: whoever subscribes is told, and must be able to
repair a gap.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from rooms.ports import BusHandler, GapHandler

MAX_QUEUED_MESSAGES = 1_024
"""Messages that wait for one subscription's handler; beyond, the newest is dropped. A handler that
is so far behind repairs the gap anyway."""
MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Likewise, by size: eight of the longest."""
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""Longest message: the longest that documents say of each other (`rooms.documents.limits`). Redis 7 closes a pub/sub
connection with 32 MiB waiting for it at once, and one with 8 MiB waiting for 60 s
(`client-output-buffer-limit pubsub 32mb 8mb 60`): three of these may still wait together."""

_log = structlog.get_logger(__name__)


class BusSubscription:
    """One handler of one topic; made by a bus's `subscribe`."""

    def __init__(
        self, topic: str, handler: BusHandler, on_gap: GapHandler | None, forget: "Callable[[BusSubscription], object]"
    ) -> None:
        """`forget` is called by `cancel`, before it returns."""
        self.topic = topic
        self.dropped = 0
        """Messages lost because the queue was full."""
        self._handler = handler
        self._on_gap = on_gap
        self._forget = forget
        self._queue: deque[bytes | None] = deque()
        """None stands where messages were lost."""
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def deliver(self, message: bytes) -> bool:
        """Queue a message; the handler runs later, never inside this call. False: the queue is full, the message
        is lost and a gap is in its place."""
        if self._cancelled:
            return True
        if len(self._queue) >= MAX_QUEUED_MESSAGES or self._queued_bytes + len(message) > MAX_QUEUED_BYTES:
            self.dropped += 1
            self.mark_gap()
            return False
        self._queue.append(message)
        self._queued_bytes += len(message)
        self._start()
        return True

    def mark_gap(self) -> None:
        """Messages may have been lost behind what is queued now. Several in a row are one."""
        if self._cancelled or (self._queue and self._queue[-1] is None):
            return
        self._queue.append(None)
        self._start()

    def _start(self) -> None:
        # A task only while there is something to do: idle topics cost nothing.
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="bus subscription")

    async def _drain(self) -> None:
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
        if not self._cancelled:
            self._cancelled = True
            self._queue.clear()
            self._queued_bytes = 0
            self._forget(self)
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        task.cancel()
        await asyncio.wait([task])


class Subscriptions:
    """Who hears which topic."""

    def __init__(self) -> None:
        self._by_topic: dict[str, list[BusSubscription]] = {}

    def add(self, subscription: BusSubscription) -> bool:
        """True: it is the first of its topic."""
        there = self._by_topic.setdefault(subscription.topic, [])
        there.append(subscription)
        return len(there) == 1

    def remove(self, subscription: BusSubscription) -> bool:
        """True: it was the last of its topic."""
        there = self._by_topic.get(subscription.topic, [])
        if subscription not in there:
            return False
        there.remove(subscription)
        if there:
            return False
        del self._by_topic[subscription.topic]
        return True

    def of(self, topic: str) -> tuple[BusSubscription, ...]:
        return tuple(self._by_topic.get(topic, ()))

    def topics(self) -> tuple[str, ...]:
        return tuple(self._by_topic)

    async def cancel_all(self) -> None:
        for topic in self.topics():
            for subscription in self.of(topic):
                await subscription.cancel()


def check_length(message: bytes) -> None:
    """Raises: ValueError above MAX_MESSAGE_BYTES."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(message)} bytes; at most {MAX_MESSAGE_BYTES}")
