"""Several document hubs over one store, joined by a bus that may fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from tests.support.clock import Clock
from tests.support.documents import RecordingStore
from tests.support.faulty_bus import FaultyBus, FaultyNetwork

LIMITS = HubLimits(store_retry_s=0.01, housekeeping_s=0.002)


class Instances:
    """Hubs over one store and one network. Their clock stands still: heartbeats come with `beat`."""

    def __init__(self, store: RecordingStore, limits: HubLimits) -> None:
        self.store = store
        self.network = FaultyNetwork()
        self.clock = Clock()
        self.hubs: list[DocumentHub] = []
        self.running: list[DocumentHub] = []
        self._limits = limits

    async def start(self, store: RecordingStore | None = None) -> DocumentHub:
        hub = DocumentHub(store or self.store, bus=self.network.end(), clock=self.clock, limits=self._limits)
        self.hubs.append(hub)
        self.running.append(hub)
        await hub.start()
        return hub

    def bus(self, hub: DocumentHub) -> FaultyBus:
        return self.network.ends[self.hubs.index(hub)]

    def beat(self, times: int = 1) -> None:
        self.clock.now += times * 1.25 * self._limits.heartbeat_s

    async def stop(self, hub: DocumentHub) -> None:
        """In good order."""
        self.running.remove(hub)
        await hub.stop()

    async def kill(self, hub: DocumentHub) -> None:
        """It says nothing any more."""
        self.bus(hub).is_cut = True


@asynccontextmanager
async def instances(limits: HubLimits = LIMITS) -> AsyncIterator[Instances]:
    made = Instances(RecordingStore(), limits)
    yield made
    made.store.is_failing = False
    made.store.gate.set()
    for hub in made.running:
        await hub.stop()
