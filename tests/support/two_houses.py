"""Two whole servers in the test's loop that share rooms: one store, leases, and a bus that may fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from server.bus.memory_leases import MemoryLeases
from server.storage.memory import MemoryStore
from tests.support.faulty_bus import FaultyNetwork
from tests.support.running_house import Person, RunningHouse, running_house


@dataclass
class Cluster:
    first: RunningHouse
    second: RunningHouse
    network: FaultyNetwork
    host: Person


@asynccontextmanager
async def two_houses(tmp_path: Path, *, media: bool = False) -> AsyncIterator[Cluster]:
    network, leases, store = FaultyNetwork(), MemoryLeases(), MemoryStore()
    ends = [{"store": store, "bus": network.end(), "leases": leases} for _ in range(2)]
    async with (
        running_house(tmp_path, media=media, **ends[0]) as first,  # type: ignore[arg-type]
        running_house(tmp_path, media=media, **ends[1]) as second,  # type: ignore[arg-type]
    ):
        yield Cluster(first, second, network, await first.room())
