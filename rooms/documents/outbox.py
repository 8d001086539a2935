"""What waits for the bus: in order, bounded, and never waited for by those who have something to say."""

import asyncio
import logging
from collections import deque

from rooms.documents.limits import HubLimits
from rooms.ports import Bus

logger = logging.getLogger(__name__)


class BusOutbox:
    """A full one drops the newest: whoever listens repairs the gap."""

    def __init__(self, bus: Bus, limits: HubLimits) -> None:
        self._bus = bus
        self._limits = limits
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._publishing: asyncio.Task[None] | None = None
        self.is_failing = False
        """The bus did not take the last message."""
        self.published = 0
        self.lost = 0
        """Messages that were dropped, or that the bus did not take."""

    def put(self, topic: str, message: bytes) -> None:
        is_full = len(self._queue) >= self._limits.bus_outbox_messages
        if is_full or self._queued_bytes + len(message) > self._limits.bus_outbox_bytes:
            self.lost += 1
            return
        self._queue.append((topic, message))
        self._queued_bytes += len(message)
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish_all(), name="bus outbox")

    async def stop(self) -> None:
        """Publish what waits, if the bus takes it in time."""
        publishing = self._publishing
        if publishing is not None:
            await asyncio.wait([publishing], timeout=self._limits.bus_timeout_s)
            self._queue.clear()
            publishing.cancel()
            await asyncio.wait([publishing])

    async def _publish_all(self) -> None:
        # A task only while there is something to say.
        try:
            while self._queue:
                first, *others = [self._next() for _ in range(min(len(self._queue), self._limits.bus_at_once))]
                if others:
                    await asyncio.gather(*(self._publish(*each) for each in (first, *others)))
                else:
                    await self._publish(*first)
        finally:
            self._publishing = None

    def _next(self) -> tuple[str, bytes]:
        topic, message = self._queue.popleft()
        self._queued_bytes -= len(message)
        return topic, message

    async def _publish(self, topic: str, message: bytes) -> None:
        try:
            await self._bus.publish(topic, message)
        except Exception as error:
            # Whatever a bus raises, the documents of this instance go on; the gap is repaired later.
            self.lost += 1
            self._note(is_failing=True, kind=type(error).__name__)
        else:
            self.published += 1
            self._note(is_failing=False)

    def _note(self, *, is_failing: bool, kind: str = "") -> None:
        """Log when it begins and when it ends, not each message."""
        if is_failing and not self.is_failing:
            logger.warning("bus does not take messages", extra={"kind": kind})
        elif self.is_failing and not is_failing:
            logger.info("bus takes messages again")
        self.is_failing = is_failing
