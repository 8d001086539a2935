"""Several instances on one bus that loses, repeats and delays messages, and can cut an instance off."""

import random
from collections.abc import Callable

from rooms.ports import BusHandler, BusHealth, GapHandler
from server.bus.memory import MemoryBus
from server.bus.subscription import BusSubscription


class FaultyNetwork:
    """What joins the ends. All is well until `faults` is set: the probability of each fault, per message and end."""

    def __init__(self, seed: int = 0) -> None:
        self.ends: list[FaultyBus] = []
        self.faults = 0.0
        self.lost = self.repeated = self.delayed = 0
        self.heard: list[bytes] = []
        """Every message that was published."""
        self.is_lost: Callable[[bytes], bool] = lambda _message: False
        """Lose these, too."""
        self._chance = random.Random(seed)
        self._held: list[tuple[FaultyBus, str, bytes]] = []

    def end(self) -> "FaultyBus":
        """The bus of one more instance."""
        end = FaultyBus(self)
        self.ends.append(end)
        return end

    async def carry(self, sender: "FaultyBus", topic: str, message: bytes) -> None:
        self.heard.append(message)
        for end in self.ends:
            if end is sender or not (end.is_cut or sender.is_cut):
                await self._carry_to(end, topic, message)
        if self._chance.random() < 0.5:
            await self.release()

    async def release(self) -> None:
        """Deliver what was delayed, in any order."""
        held, self._held = self._held, []
        self._chance.shuffle(held)
        for end, topic, message in held:
            if not end.is_cut:
                await end.inside.publish(topic, message)

    async def _carry_to(self, end: "FaultyBus", topic: str, message: bytes) -> None:
        if self._chance.random() < self.faults or self.is_lost(message):
            self.lost += 1
        elif self._chance.random() < self.faults:
            self.delayed += 1
            self._held.append((end, topic, message))
        else:
            await end.inside.publish(topic, message)
            if self._chance.random() < self.faults:
                self.repeated += 1
                await end.inside.publish(topic, message)


class FaultyBus:
    """`rooms.ports.Bus` of one instance."""

    def __init__(self, network: FaultyNetwork) -> None:
        self._network = network
        self.inside = MemoryBus()
        self.subscriptions: dict[str, int] = {}
        """How many there are now, by topic."""
        self.is_cut = False

    async def open(self) -> None:
        await self.inside.open()

    async def publish(self, topic: str, message: bytes) -> None:
        await self._network.carry(self, topic, message)

    async def subscribe(
        self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None
    ) -> "CountedSubscription":
        self.subscriptions[topic] = self.subscriptions.get(topic, 0) + 1
        return CountedSubscription(self, topic, await self.inside.subscribe(topic, handler, on_gap))

    def health(self) -> BusHealth:
        return self.inside.health()

    async def close(self) -> None:
        await self.inside.close()


class CountedSubscription:
    def __init__(self, bus: FaultyBus, topic: str, inside: BusSubscription) -> None:
        self._bus, self._topic, self._inside = bus, topic, inside

    async def cancel(self) -> None:
        self._bus.subscriptions[self._topic] -= 1
        await self._inside.cancel()
