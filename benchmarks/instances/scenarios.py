"""What is measured on two instances: `benchmarks.documents.scenarios.Scenario`, each server being a group of them."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.documents.reading import read_text
from benchmarks.documents.scenarios import Column, typing_figures
from benchmarks.documents.servers import Server
from benchmarks.instances.groups import GROUPS, RunningGroup
from benchmarks.instances.spread_class import SpreadClass

EDITS_PER_S = 4.0
PROBES = 10
OUTAGE_S = 2.0
DOCUMENT = "texte"
SERVERS = tuple(group.server for group in GROUPS)
_GROUP_OF = {group.server.key: group for group in GROUPS}


async def characters_missing(group: RunningGroup, people: SpreadClass) -> int:
    """How many that were typed a new reader at any of the instances does not get."""
    expected = people.characters(DOCUMENT)
    texts = [await read_text(instance, DOCUMENT, expected) for instance in group.instances]
    return sum(abs(expected - len(text)) for text in texts)


class TypingApart:
    """One document, half of the people at each instance."""

    columns = (
        Column("p50", "p50 ms"),
        Column("p99", "p99 ms"),
        Column("cpu", "CPU, % of a core"),
        Column("us", "µs a delivered edit", 2),
        Column("redis", "CPU of Redis, %"),
        Column("missing", "not seen within 15 s", 0),
        Column("short", "missing for a new reader", 0),
        Column("load_cpu", "CPU of the load", 0),
    )
    servers: Sequence[Server] = SERVERS

    def __init__(self, people: int, *, seconds: float, runs: int) -> None:
        self.key = f"apart-{people}"
        self.title = f"{people} people typing, half of them at each instance"
        self.explanation = (
            f"{people} people in one document, {EDITS_PER_S:g} characters a second each, every one with a cursor "
            f"message; {min(people, PROBES)} readers are timed; {seconds:g} s a run."
        )
        self.runs = runs
        self._people = people
        self._seconds = seconds

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        async with _GROUP_OF[server.key].running(folder / str(run)) as group:
            await group.admit(DOCUMENT, self._people + 2)
            people = SpreadClass(group, DOCUMENT, self._people, min(self._people, PROBES))
            try:
                await people.open()
                redis_before, began = group.redis_cpu_seconds(), time.perf_counter()
                result = await people.type_for(self._seconds, EDITS_PER_S, with_cursors=True)
                redis = (group.redis_cpu_seconds() - redis_before) / (time.perf_counter() - began)
                delivered = max(1, result.typed * (self._people - 1))
                return {
                    **typing_figures(result, await characters_missing(group, people)),
                    "us": 1e6 * result.server_cpu * result.seconds / delivered,
                    "redis": 100 * redis,
                }
            finally:
                await people.close()


class RedisRestarted:
    """The same, and Redis is killed in the middle."""

    key = "redis-restarted"
    title = "Redis killed under 30 people, and started empty 2 s later"
    explanation = (
        "They type on through it. Until every reader that is timed has all that was typed at the other instance before "
        "Redis was back."
    )
    columns = (
        Column("converged", "one text again, s after Redis", 2),
        Column("missing", "not seen within 15 s", 0),
        Column("short", "missing for a new reader", 0),
    )
    servers: Sequence[Server] = SERVERS
    PEOPLE = 30

    def __init__(self, *, runs: int) -> None:
        self.runs = runs

    async def measure(self, server: Server, folder: Path, run: int) -> dict[str, float]:
        async with _GROUP_OF[server.key].running(folder / str(run)) as group:
            await group.admit(DOCUMENT, self.PEOPLE + 2)
            people = SpreadClass(group, DOCUMENT, self.PEOPLE, PROBES)
            try:
                await people.open()
                typing = asyncio.create_task(people.type_for(8.0, EDITS_PER_S, with_cursors=True))
                await asyncio.sleep(4.0)
                await group.redis.stop()
                await asyncio.sleep(OUTAGE_S)
                await group.redis.start()
                converged = await people.seconds_to_see(time.perf_counter())
                result = await typing
                short = await characters_missing(group, people)
                figures = {"missing": float(result.missing), "short": float(short)}
                return figures if converged is None else {"converged": converged, **figures}
            finally:
                await people.close()
