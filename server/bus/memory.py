"""The bus of one process: every subscriber of a topic gets what is published there, in order."""

from rooms.ports import BusHandler, BusHealth, GapHandler
from server.bus.subscription import BusSubscription, Subscriptions, check_length


class MemoryBus:
    """`rooms.ports.Bus` within one event loop."""

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()
        self._closed = False
        self._gaps = 0

    async def open(self) -> None:
        """Nothing to wait for."""

    async def publish(self, topic: str, message: bytes) -> None:
        """To every subscriber of the topic, this instance's own included. Never waits for a
        handler. After `close` it goes nowhere. Raises: ValueError above MAX_MESSAGE_BYTES."""
        check_length(message)
        for subscription in self._subscriptions.of(topic):
            if not subscription.deliver(message):
                self._gaps += 1

    async def subscribe(self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None) -> BusSubscription:
        """Everything published once this returned reaches `handler`, one message at a time, but for what
        a full queue drops: `on_gap` comes in their place."""
        if self._closed:
            raise RuntimeError("the bus is closed")
        subscription = BusSubscription(topic, handler, on_gap, self._subscriptions.remove)
        self._subscriptions.add(subscription)
        return subscription

    def health(self) -> BusHealth:
        return BusHealth(is_joined=True, was_joined=True, gaps=self._gaps)

    async def close(self) -> None:
        """Cancel every subscription."""
        self._closed = True
        await self._subscriptions.cancel_all()
