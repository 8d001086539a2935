"""People who write one document on two instances. What is timed is only what comes from the other instance."""

import asyncio
import itertools
import random
import time

from benchmarks.documents.client import Probe, Writer
from benchmarks.documents.typing_load import Class, Typist, Watch
from benchmarks.instances.groups import RunningGroup

CONVERGING_S = 60.0
"""How long after the return of Redis a text may take to be one."""


class SpreadClass(Class):
    """Everyone in one document, each next person on the next instance; the first `probes` are timed."""

    def __init__(self, group: RunningGroup, document: str, people: int, probes: int) -> None:
        super().__init__(group, [document], people, probes)
        self._group = group
        self._document = document

    async def open(self) -> None:
        clients = itertools.count(1_000_000 + random.randrange(1_000_000))
        everyone = [Typist(client, self._document) for client in itertools.islice(clients, self._each)]
        count = len(self._group.instances)
        for position, typist in enumerate(everyone):
            instance = self._group.instances[position % count]
            if position < self._probes:
                others = {other.client: other for at, other in enumerate(everyone) if at % count != position % count}
                watch = Watch(others, typist.client)
                self.watches.append(watch)
                typist.probe = await Probe.open(instance.url, instance.dialect, self._document, watch.receive)
            else:
                typist.writer = Writer(instance.url, instance.dialect, self._document)
                await typist.writer.open()
            self.typists.append(typist)
        self._sweeper = asyncio.create_task(self._sweep())
        await asyncio.sleep(1.0)  # the first synchronisation of all of them is not what is measured

    async def seconds_to_see(self, since: float) -> float | None:
        """From `since` (`time.perf_counter`) until the probes have seen all that was typed elsewhere up to now; None:
        they have not within CONVERGING_S."""
        typed = {typist.client: len(typist.sent_at) for typist in self.typists}
        while time.perf_counter() - since < CONVERGING_S:
            if all(watch.has_seen(typed) for watch in self.watches):
                return time.perf_counter() - since
            await asyncio.sleep(0.005)
        return None
