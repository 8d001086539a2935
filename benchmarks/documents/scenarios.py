"""What is measured: each scenario is one load on one server, and gives one sample of each of its figures.

A scenario starts its servers itself, and ends by reading the documents anew: who has dropped
something to be quick is found out (`missing`, `short`).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.documents.client import Probe
from benchmarks.documents.measurement import Combine
from benchmarks.documents.reading import read_text
from benchmarks.documents.servers import (
    HOCUSPOCUS,
    HOCUSPOCUS_TUNED,
    PASSERELLE,
    PASSERELLE_UNLIMITED,
    PYCRDT_WEBSOCKET,
    Y_WEBSOCKET_SERVER,
    RunningServer,
    Server,
)
from benchmarks.documents.typing_load import Class, TypingResult

SERVER_CORE = 1
EDITS_PER_S = 4.0
ALL = (PASSERELLE, HOCUSPOCUS, HOCUSPOCUS_TUNED, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)


@dataclass(frozen=True, slots=True)
class Column:
    """One figure in the report."""

    figure: str
    heading: str
    decimals: int = 1
    combine: Combine = "median"


class Scenario(Protocol):
    """One load."""

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def explanation(self) -> str: ...
    @property
    def columns(self) -> Sequence[Column]: ...
    @property
    def servers(self) -> Sequence[Server]: ...
    @property
    def runs(self) -> int: ...

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        """One run; `folder` is this server's in this scenario, over its runs. Raises: what went wrong."""
        ...


@asynccontextmanager
async def running(server: Server, folder: Path) -> AsyncIterator[RunningServer]:
    """Killed at the end, whatever happens. Raises: ServerFailed."""
    started = await server.start(folder, SERVER_CORE)
    try:
        yield started
    finally:
        await started.kill()


async def characters_missing(server: RunningServer, people: Class, documents: Sequence[str]) -> int:
    """How many characters that were typed a new reader of these documents does not get."""
    missing = 0
    for document in documents:
        expected = people.characters(document)
        missing += abs(expected - len(await read_text(server, document, expected)))
    return missing


def typing_figures(result: TypingResult, short: int) -> dict[str, float]:
    """Without a sighting, there is no latency to tell."""
    figures = {
        "cpu": 100 * result.server_cpu,
        "missing": float(result.missing),
        "short": float(short),
        "load_cpu": 100 * result.load_cpu,
    }
    if result.latencies_ms:
        figures |= {"p50": result.percentile(0.5), "p99": result.percentile(0.99)}
    return figures


TYPING_COLUMNS = (
    Column("p50", "p50 ms"),
    Column("p99", "p99 ms"),
    Column("cpu", "CPU, % of a core"),
    Column("missing", "not seen within 15 s", 0),
    Column("short", "missing for a new reader", 0),
    Column("load_cpu", "CPU of the load", 0),
)


class Typing:
    """One document, everyone types 4 characters a second and shows a cursor."""

    columns = TYPING_COLUMNS
    servers = ALL

    def __init__(self, people: int, *, seconds: float, runs: int) -> None:
        self.key = f"typing-{people}"
        self.title = f"{people} people typing in one document"
        self.explanation = (
            f"{people} people, {EDITS_PER_S:g} characters a second each, every one with a cursor message. "
            f"Latency: from the writer's socket to that of a reader, at {min(people, 10)} readers; {seconds:g} s a run."
        )
        self.runs = runs
        self._people = people
        self._seconds = seconds

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        async with running(server, folder / str(run)) as started:
            await started.admit(["texte"], self._people + 1)
            people = Class(started, ["texte"], self._people, probes=min(self._people, 10))
            try:
                await people.open()
                result = await people.type_for(self._seconds, EDITS_PER_S, with_cursors=True)
                return typing_figures(result, await characters_missing(started, people, ["texte"]))
            finally:
                await people.close()


class ManyDocuments:
    """300 documents, five people in each, two characters a second."""

    key = "documents-300"
    title = "300 documents, 5 people in each"
    explanation = (
        "1,500 people, 2 characters a second each, no cursors. Latency: at one reader in each of 20 documents."
    )
    columns = TYPING_COLUMNS
    servers = ALL

    def __init__(self, *, documents: int, seconds: float, runs: int) -> None:
        self.runs = runs
        self._documents = [f"groupe-{number}" for number in range(documents)]
        self._seconds = seconds

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        async with running(server, folder / str(run)) as started:
            await started.admit(self._documents, 6)
            people = Class(started, self._documents, 5, probes=20)
            try:
                await people.open()
                result = await people.type_for(self._seconds, 2.0, with_cursors=False)
                sample = [*self._documents[:5], *self._documents[-5:]]
                return typing_figures(result, await characters_missing(started, people, sample))
            finally:
                await people.close()


class Saturation:
    """20 writers send as fast as the first reader sees."""

    key = "saturation"
    title = "20 writers flat out in one document"
    explanation = (
        "Updates a second that a reader saw, of one character each, in frames of their own; at most 400 of a writer "
        "are under way. First 4 s, then 4 s more after 6 s of the same (V8 has compiled by then). Passerelle lets a "
        "participant send 4,000 messages a second (8,000 at once): the line without that limit shows what is behind it."
    )
    columns = (
        Column("fresh", "updates/s, fresh", 0),
        Column("hot", "updates/s, hot", 0),
        Column("cpu", "CPU, % of a core"),
        Column("missing", "not seen within 15 s", 0),
        Column("short", "missing for a new reader", 0),
        Column("load_cpu", "CPU of the load", 0),
    )
    servers = (PASSERELLE, PASSERELLE_UNLIMITED, HOCUSPOCUS, HOCUSPOCUS_TUNED, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)

    def __init__(self, *, seconds: float, runs: int) -> None:
        self.runs = runs
        self._seconds = seconds

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        async with running(server, folder / str(run)) as started:
            await started.admit(["texte"], 22)
            people = Class(started, ["texte"], 21, probes=1)
            try:
                await people.open()
                fresh = await people.flat_out_for(self._seconds, window=400, batch=20, warm_up_s=0.5)
                hot = await people.flat_out_for(self._seconds, window=400, batch=20, warm_up_s=1.5 * self._seconds)
                return {
                    "fresh": fresh.seen / fresh.seconds,
                    "hot": hot.seen / hot.seconds,
                    "cpu": 100 * hot.server_cpu,
                    "missing": float(hot.missing),
                    "short": float(await characters_missing(started, people, ["texte"])),
                    "load_cpu": 100 * hot.load_cpu,
                }
            finally:
                await people.close()


class Idle:
    """Memory of people who only look."""

    key = "idle"
    title = "2,000 people who only look"
    explanation = "10 documents. Resident memory of the server and all its processes, before and after they came."
    columns = (
        Column("kb", "kB a person"),
        Column("base_mb", "MB before"),
        Column("open", "connections at the end", 0),
    )
    servers = (PASSERELLE, HOCUSPOCUS, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)
    SETTLE_S = 5.0

    def __init__(self, *, people: int, runs: int) -> None:
        self.runs = runs
        self._people = people

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        documents = [f"texte-{number}" for number in range(10)]
        async with running(server, folder / str(run)) as started:
            await started.admit(documents, self._people // 10 + 1)
            probes: list[Probe] = []

            async def come(count: int) -> None:
                for number in range(count):
                    document = documents[number % 10]
                    probes.append(await Probe.open(started.url, started.dialect, document, lambda _message, _at: None))
                await asyncio.sleep(self.SETTLE_S)

            try:
                await come(10)  # rooms and documents are in memory; code that runs once has run
                before = started.rss_bytes()
                await come(self._people)
                each = (started.rss_bytes() - before) / self._people
                still_open = sum(not probe.closed.is_set() for probe in probes)
                return {"kb": each / 1_000, "base_mb": before / 1e6, "open": float(still_open)}
            finally:
                for probe in probes:
                    probe.close()
