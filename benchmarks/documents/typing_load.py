"""The load of the two typing scenarios: people who type at a human pace, and writers flat out.

Each typist adds one character at a time behind its own last one, and says where its cursor is, as two
messages, like an editor. Some of them are probes: what they see of the others is timed, from the call that
handed the character to the kernel to the bytes' arrival. Nothing is counted that a probe did not see.
"""

import asyncio
import itertools
import os
import random
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.documents.client import Probe, Writer
from benchmarks.documents.dialects import Dialect
from benchmarks.documents.yjs_bytes import UPDATE, client_frame, cursor, one_character, sync_message, update_in
from rooms.documents.scan import scan_update

SWEEP_S = 0.05
"""How often writers' sockets are emptied: some kilobytes each, far from a full buffer."""
SETTLE_S = 15.0
"""How long after the last character the probes may take to see it."""
PAUSE_S = 0.001
"""How long writers flat out look away when all have sent what they may: uvloop takes less for no time at
all, and the load would spin."""
LETTERS = b"abcdefghijklmnopqrstuvwxyz "


class Server(Protocol):
    """A server under load (`servers.RunningServer`)."""

    @property
    def url(self) -> str: ...
    @property
    def dialect(self) -> Dialect: ...
    def cpu_seconds(self) -> float: ...


@dataclass(slots=True)
class TypingResult:
    typed: int
    """Characters handed to the kernel while it was measured."""
    seen: int
    """Of those of others, how many times a probe saw one."""
    missing: int
    """How many times a probe had not seen one SETTLE_S after the end."""
    latencies_ms: list[float]
    seconds: float
    server_cpu: float
    """Share of one core."""
    load_cpu: float

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(slots=True)
class Typist:
    client: int
    document: str
    sent_at: list[float] = field(default_factory=list)
    """When each of its characters was sent; its clock is the index."""
    writer: Writer | None = None
    probe: Probe | None = None
    awareness_clock: int = 0

    def type(self, with_cursor: bool) -> None:
        clock = len(self.sent_at)
        update = one_character(self.client, clock, LETTERS[clock % 27 : clock % 27 + 1])
        self.sent_at.append(time.perf_counter())
        self._send(sync_message(UPDATE, update))
        if with_cursor:
            self.awareness_clock += 1
            self._send(cursor(self.client, self.awareness_clock, clock, f"Elève {self.client % 1000}"))

    def _send(self, message: bytes) -> None:
        if self.writer is not None:
            self.writer.send(self.writer.frame(message))
        elif self.probe is not None:
            self.probe.send(message)

    def close(self) -> None:
        for end in (self.writer, self.probe):
            if end is not None:
                end.close()


class Watch:
    """What one probe has seen of the others in its document, and how old it was."""

    def __init__(self, typists: dict[int, Typist], own: int) -> None:
        self._typists = typists
        self._own = own
        self.seen: dict[int, int] = {}
        self.latencies_ms: list[float] = []
        self.is_timing = False

    def receive(self, message: bytes, at: float) -> None:
        update = update_in(message)
        if update is None or update == b"\x00\x00":
            return
        for client, _start, end in scan_update(update).writes:
            typist = self._typists.get(client)
            if typist is None or client == self._own:
                continue
            before = self.seen.get(client, 0)
            if end <= before:
                continue
            self.seen[client] = end
            if self.is_timing:
                self.latencies_ms.extend((at - sent) * 1_000 for sent in typist.sent_at[before:end])

    def has_seen(self, typed: dict[int, int]) -> bool:
        """So many characters of each of those that it watches, by client id."""
        return all(self.seen.get(client, 0) >= typed[client] for client in self._typists)

    def missing(self) -> int:
        return sum(
            len(typist.sent_at) - self.seen.get(client, 0)
            for client, typist in self._typists.items()
            if client != self._own
        )


class Class:
    """Everyone in the documents. `open`, then `type_for` or `flat_out_for`, then `close`."""

    def __init__(self, server: Server, documents: Sequence[str], typists_each: int, probes: int) -> None:
        self._server = server
        self._documents = documents
        self._each = typists_each
        self._probes = probes
        self.typists: list[Typist] = []
        self.watches: list[Watch] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        clients = itertools.count(1_000_000 + random.randrange(1_000_000))
        url, dialect = self._server.url, self._server.dialect
        for number, document in enumerate(self._documents):
            typists = {client: Typist(client, document) for client in itertools.islice(clients, self._each)}
            probes = self._probes_of(number)
            for position, typist in enumerate(typists.values()):
                if position < probes:
                    watch = Watch(typists, typist.client)
                    self.watches.append(watch)
                    typist.probe = await Probe.open(url, dialect, document, watch.receive)
                else:
                    typist.writer = Writer(url, dialect, document)
                    await typist.writer.open()
                self.typists.append(typist)
        self._sweeper = asyncio.create_task(self._sweep())
        await asyncio.sleep(1.0)  # the first synchronisation of all of them is not what is measured

    def _probes_of(self, number: int) -> int:
        """Several in one document, or one in each of the first documents."""
        return self._probes if len(self._documents) == 1 else int(number < self._probes)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for count, typist in enumerate(self.typists):
                if typist.writer is not None:
                    typist.writer.drain()
                if count % 20 == 19:
                    await asyncio.sleep(0)  # a probe's bytes must not wait for the sweep

    async def type_for(
        self, seconds: float, rate: float, *, with_cursors: bool, warm_up_s: float = 2.0
    ) -> TypingResult:
        """Everyone types `rate` characters a second, evenly spread. Raises: ConnectionError."""
        stop_at = time.perf_counter() + warm_up_s + seconds
        typing = [asyncio.create_task(self._type(typist, rate, with_cursors, stop_at)) for typist in self.typists]
        try:
            await asyncio.sleep(warm_up_s)
            meter = Meter(self._server, self)
            await asyncio.gather(*typing)
        finally:  # nobody types on when one was cut off, or when we are interrupted
            for task in typing:
                task.cancel()
            await asyncio.gather(*typing, return_exceptions=True)
        return await meter.read()

    async def _type(self, typist: Typist, rate: float, with_cursors: bool, stop_at: float) -> None:
        due = time.perf_counter() + random.random() / rate
        while due < stop_at:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            typist.type(with_cursors)
            due += random.uniform(0.8, 1.2) / rate

    async def flat_out_for(self, seconds: float, *, window: int, batch: int, warm_up_s: float = 2.0) -> TypingResult:
        """Every writer sends as much as it may: at most `window` characters that the first probe has
        not seen. The probe only watches. Raises: ConnectionError."""
        stop_at = time.perf_counter() + warm_up_s + seconds
        writers = [typist for typist in self.typists if typist.writer is not None]
        flat_out = asyncio.create_task(self._write_all(writers, window, batch, stop_at))
        await asyncio.sleep(warm_up_s)
        meter = Meter(self._server, self)
        await flat_out
        return await meter.read()

    async def _write_all(self, writers: Sequence[Typist], window: int, batch: int, stop_at: float) -> None:
        seen = self.watches[0].seen
        while (now := time.perf_counter()) < stop_at:
            for typist in writers:
                writer = typist.writer
                assert writer is not None
                clock = len(typist.sent_at)
                if writer.is_blocked or clock - seen.get(typist.client, 0) > window - batch:
                    continue
                frames = bytearray()
                for number in range(clock, clock + batch):
                    update = one_character(typist.client, number, LETTERS[number % 27 : number % 27 + 1])
                    frames += client_frame(self._server.dialect.wrap(typist.document, sync_message(UPDATE, update)))
                typist.sent_at.extend([now] * batch)
                writer.send(bytes(frames))
            await asyncio.sleep(PAUSE_S)

    async def settle(self) -> int:
        """Wait for the last character; how many sightings are missing."""
        deadline = time.perf_counter() + SETTLE_S
        while (missing := sum(watch.missing() for watch in self.watches)) and time.perf_counter() < deadline:
            await asyncio.sleep(0.05)
        return missing

    def characters(self, document: str) -> int:
        return sum(len(typist.sent_at) for typist in self.typists if typist.document == document)

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for typist in self.typists:
            typist.close()


class Meter:
    """Reads what happens from now until `read`."""

    def __init__(self, server: Server, people: Class) -> None:
        self._server = server
        self._people = people
        for watch in people.watches:
            watch.latencies_ms.clear()
            watch.is_timing = True
        self._typed = self._count()
        self._at, self._cpu, self._own = time.perf_counter(), server.cpu_seconds(), _own_cpu_seconds()

    def _count(self) -> int:
        return sum(len(typist.sent_at) for typist in self._people.typists)

    async def read(self) -> TypingResult:
        seconds = time.perf_counter() - self._at
        server_cpu = (self._server.cpu_seconds() - self._cpu) / seconds
        load_cpu = (_own_cpu_seconds() - self._own) / seconds
        typed = self._count() - self._typed
        seen_in_time = sum(len(watch.latencies_ms) for watch in self._people.watches)
        missing = await self._people.settle()
        latencies = [latency for watch in self._people.watches for latency in watch.latencies_ms]
        return TypingResult(typed, seen_in_time, missing, latencies, seconds, server_cpu, load_cpu)


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def pin(core: int) -> None:
    """This process to one core."""
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
