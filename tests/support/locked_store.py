"""A store that another process holds: an administrator's copy, or a tool, in the middle of a write."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.storage.sqlite import FILE_NAME

HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
database.rollback()
"""


@asynccontextmanager
async def held_store(data: Path) -> AsyncIterator[None]:
    """Reads go on, writes fail, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(data / FILE_NAME), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"held\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()
