"""Several real redis-servers that belong together: a master with a replica and sentinels, or a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import ResponseError

from tests.support.deadlines import SECOND
from tests.support.redis_server import RedisServer

SERVICE = "passerelle"
READY_DEADLINE_S = 20 * SECOND


@dataclass
class WatchedRedis:
    master: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    async def master_port(self) -> int:
        """As the sentinel says."""
        _host, port = await self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)

    async def fail_over(self) -> None:
        """Replace the master, which lives on as a replica."""
        async with asyncio.timeout(READY_DEADLINE_S):
            while True:
                try:
                    await self.sentinel.ask("SENTINEL", "FAILOVER", SERVICE)
                    return
                except ResponseError:  # it has not seen yet that the replica is up
                    await asyncio.sleep(0.1)


@asynccontextmanager
async def watched_redis(folder: Path) -> AsyncIterator[WatchedRedis]:
    """A master that is replaced when it has gone. One sentinel: two may need ten seconds to agree."""
    async with AsyncExitStack() as stack:
        at_once = ["--repl-diskless-sync-delay", "0"]
        master = await _started(stack, RedisServer(folder / "master", at_once))
        replica = await _started(stack, RedisServer(folder / "replica", ["--replicaof", "127.0.0.1", str(master.port)]))
        async with asyncio.timeout(READY_DEADLINE_S):
            # Before a sentinel looks: it looks at replicas each 10 s.
            while (await replica.ask("ROLE"))[3] != b"connected":
                await asyncio.sleep(0.05)
        sentinel = await _sentinel(stack, folder / "sentinel", master)
        async with asyncio.timeout(READY_DEADLINE_S):
            while len(await sentinel.ask("SENTINEL", "REPLICAS", SERVICE)) != 1:
                await asyncio.sleep(0.05)
        yield WatchedRedis(master, replica, sentinel)


async def _started(stack: AsyncExitStack, server: RedisServer) -> RedisServer:
    await server.start()
    stack.push_async_callback(server.stop)
    return server


async def _sentinel(stack: AsyncExitStack, folder: Path, master: RedisServer) -> RedisServer:
    folder.mkdir(parents=True)
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 300\n"
        f"sentinel failover-timeout {SERVICE} 5000\n"
    )
    return await _started(stack, RedisServer(folder, settings=settings, is_sentinel=True))


@asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[list[RedisServer]]:
    """Three nodes without replicas, all slots served."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-allow-replica-migration", "no"]
    async with AsyncExitStack() as stack:
        nodes = [await _started(stack, RedisServer(folder / f"node-{number}", options)) for number in range(3)]
        slots = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)]
        for node, (first, last) in zip(nodes, slots, strict=True):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            await node.ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(nodes[0].cluster_port))
        async with asyncio.timeout(READY_DEADLINE_S):
            for node in nodes:
                while b"cluster_state:ok" not in await node.ask_raw("CLUSTER", "INFO"):
                    await asyncio.sleep(0.05)
        yield nodes


def cluster_url(nodes: list[RedisServer]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
