"""Instances of the PostgreSQL store: opened for a while, and one in a process of its own that writes for ever."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.config import Durability
from server.storage.postgres import PostgresStore
from tests.support.deadlines import SECOND
from tests.support.stored_rooms import NOW

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def opened(url: str, durability: Durability = "process", connections: int = 8) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, durability, connections, clock=lambda: NOW)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


_WRITER = """
import asyncio, sys
from server.storage.postgres import PostgresStore
from tests.support.stored_rooms import make_append

async def main():
    store = PostgresStore(sys.argv[1], sys.argv[2])
    await store.open()
    async with store.compaction_turn(make_append(b"").key) as is_ours:
        assert is_ours
        for number in range(1_000_000):
            seqs = await store.append_updates([make_append(b"u%d" % number, (number, "p1"))])
            print(seqs[0], flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def writing_process(url: str, durability: str = "process") -> AsyncIterator[asyncio.subprocess.Process]:
    """An instance that appends to one document for ever, and has its turn at compacting it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, url, durability, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def until_written(child: asyncio.subprocess.Process, number: int) -> int:
    assert child.stdout is not None
    written = 0
    async with asyncio.timeout(20 * SECOND):
        while written < number:
            written = int(await child.stdout.readline())
    return written
