"""Several real instances on one Redis and one PostgreSQL, each with lines of its own to both, and people who are led to
an instance that answers, as a proxy in front does."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.network_cut import CuttableProxy, cuttable_proxy
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.redis_server import RedisServer, running_redis
from tests.support.server_process import EndedAtStart, ServerProcess

MOST_STARTS = 4
"""Each waits 3 s for a database that does not answer."""


@dataclass(eq=False)
class Instance:
    """One server process. `to_redis` and `to_postgres` are its only ways there."""

    name: str
    server: ServerProcess
    to_redis: CuttableProxy
    to_postgres: CuttableProxy
    takes_people: bool = True
    """What a proxy in front thinks of it."""
    visitors: list[CuttableProxy] = field(default_factory=list)
    """Lines of people that lead here."""

    @property
    def url(self) -> str:
        return self.server.url

    def lines(self) -> tuple[CuttableProxy, CuttableProxy]:
        return self.to_redis, self.to_postgres


class Fleet:
    def __init__(self, instances: list[Instance], redis: RedisServer, postgres: PostgresServer, url: str) -> None:
        self.instances = instances
        self.redis = redis
        self.postgres = postgres
        self.database_url = url
        """Past every line."""

    def lead(self, line: CuttableProxy, instance: Instance) -> None:
        """Its next connection goes there."""
        for each in self.instances:
            if line in each.visitors:
                each.visitors.remove(line)
        instance.visitors.append(line)
        line.target_port = instance.server.port

    async def send_away(self, instance: Instance, *, all_but: int = 0) -> None:
        """The proxy in front has noticed that the instance does not answer: its people's connections break, and the
        next ones go to others. `all_but`: so many keep theirs, as behind a proxy that has not noticed."""
        instance.takes_people = False
        others = [each for each in self.instances if each.takes_people]
        for number, line in enumerate(tuple(instance.visitors)[all_but:]):
            self.lead(line, others[number % len(others)])
            await line.cut()
            line.mend()

    async def kill(self, instance: Instance) -> None:
        await instance.server.kill()
        await self.send_away(instance)

    async def terminate(self, instance: Instance) -> int:
        """As a rolling restart does; its people are sent away by the instance itself."""
        instance.takes_people = False
        others = [each for each in self.instances if each.takes_people]
        for number, line in enumerate(tuple(instance.visitors)):
            self.lead(line, others[number % len(others)])
        return await instance.server.terminate()

    async def start(self, instance: Instance) -> None:
        """As its supervisor does (`Restart=on-failure`): one that found no database that answered has ended, and is
        started again."""
        for again in reversed(range(MOST_STARTS)):
            try:
                await instance.server.start()
                break
            except EndedAtStart:
                if not again:
                    raise
        instance.takes_people = True

    async def heal(self) -> None:
        """Nothing is cut, stopped or slow any more."""
        for instance in self.instances:
            for line in instance.lines():
                line.release()
                line.delay_s = 0.0
            instance.takes_people = True


@asynccontextmanager
async def running_fleet(
    folder: Path, count: int = 3, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Fleet]:
    """Ready; everything ends with it."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        redis = await stack.enter_async_context(running_redis(folder / "redis"))
        url = await postgres.fresh_tables()
        instances: list[Instance] = []
        fleet = Fleet(instances, redis, postgres, url)
        for number in range(count):
            to_redis = await stack.enter_async_context(cuttable_proxy(redis.port))
            to_postgres = await stack.enter_async_context(cuttable_proxy(postgres.port))
            settings = {
                **(environment or {}),
                "REDIS_URL": f"redis://127.0.0.1:{to_redis.port}",
                "DATABASE_URL": url.replace(f":{postgres.port}/", f":{to_postgres.port}/"),
            }
            data = folder / "abcdefgh"[number] / "data"
            data.parent.mkdir()
            instance = Instance("abcdefgh"[number], ServerProcess(data, settings), to_redis, to_postgres)
            stack.push_async_callback(_end, instance)
            instances.append(instance)
        await asyncio.gather(*(instance.server.start() for instance in instances))
        yield fleet


async def _end(instance: Instance) -> None:
    with contextlib.suppress(AssertionError, ProcessLookupError):
        instance.server.send_signal(signal.SIGCONT)
    await instance.server.kill()
