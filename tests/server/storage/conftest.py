"""Stores for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rooms.ports import Store
from server.storage.memory import MemoryStore
from server.storage.postgres import PostgresStore
from server.storage.sqlite import SqliteStore
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore(clock)
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "data", clock=clock)
    else:
        made = PostgresStore(await request.getfixturevalue("postgres").fresh_tables(), clock=clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def sqlite_store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "data", clock=clock)
    await made.open()
    yield made
    await made.close()
