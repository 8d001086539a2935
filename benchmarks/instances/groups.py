"""Two instances of a server, joined by a Redis of their own: real processes, all on one core."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.documents import process_tree
from benchmarks.documents.dialects import Dialect
from benchmarks.documents.servers import HOCUSPOCUS, HOCUSPOCUS_TUNED, PASSERELLE, RunningServer, Server
from tests.support.postgres_server import running_postgres
from tests.support.redis_server import RedisServer, running_redis

INSTANCES = 2
SERVER_CORE = 1


class RunningGroup:
    """The instances, and what they share. Their CPU is that of the instances alone."""

    def __init__(self, instances: list[RunningServer], redis: RedisServer) -> None:
        self.instances = instances
        self.redis = redis

    @property
    def url(self) -> str:
        return self.instances[0].url

    @property
    def dialect(self) -> Dialect:
        return self.instances[0].dialect

    async def admit(self, document: str, people: int) -> None:
        """By the first instance; the others must know of it by themselves."""
        first, *others = self.instances
        await first.admit([document], people)
        for other in others:
            other.dialect = first.dialect

    def cpu_seconds(self) -> float:
        return sum(instance.cpu_seconds() for instance in self.instances)

    def redis_cpu_seconds(self) -> float:
        return process_tree.cpu_seconds([self.redis.pid])


@dataclass(frozen=True, slots=True)
class Group:
    """What can be measured."""

    server: Server
    store: str
    """What the report says of it."""
    environment: Callable[[Path, int, str], dict[str, str]]
    """From the folder that the instances share, the port of Redis and the address of PostgreSQL ("": there is none)."""
    needs_postgres: bool = False

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[RunningGroup]:
        """Killed at the end, whatever happens. Raises: ServerFailed."""
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(running_redis(folder / "redis"))
            os.sched_setaffinity(redis.pid, {SERVER_CORE})
            postgres_url = ""
            if self.needs_postgres:
                postgres = stack.enter_context(running_postgres("-c fsync=on -c autovacuum=on"))
                for process in postgres.processes():
                    os.sched_setaffinity(process, {SERVER_CORE})
                postgres_url = await postgres.fresh_tables()
            instances: list[RunningServer] = []
            for number in range(INSTANCES):
                instance = await self._instance(folder, redis.port, postgres_url).start(
                    folder / f"instance-{number}", SERVER_CORE
                )
                stack.push_async_callback(instance.kill)
                instances.append(instance)
            yield RunningGroup(instances, redis)

    def _instance(self, folder: Path, redis_port: int, postgres_url: str) -> Server:
        server = self.server
        shared = self.environment(folder, redis_port, postgres_url)
        return replace(server, environment=lambda own, port: {**server.environment(own, port), **shared})


def _hocuspocus(server: Server) -> Group:
    # One file for both: whichever stores a document, the other finds it there.
    shared = replace(server, command=lambda folder, port: server.command(folder.parent, port))
    return Group(shared, "SQLite, one file", lambda _folder, redis_port, _postgres: {"REDIS_PORT": str(redis_port)})


GROUPS = (
    Group(
        PASSERELLE,
        "PostgreSQL",
        lambda _folder, redis_port, postgres_url: {
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
            "DATABASE_URL": postgres_url,
        },
        needs_postgres=True,
    ),
    _hocuspocus(HOCUSPOCUS),
    _hocuspocus(HOCUSPOCUS_TUNED),
)
