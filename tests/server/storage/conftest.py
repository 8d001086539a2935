"""Stores for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rooms.ports import Store
from server.storage.memory import MemoryStore
from server.storage.sqlite import SqliteStore
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    made: Store = MemoryStore(clock) if request.param == "memory" else SqliteStore(tmp_path / "data", clock=clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def sqlite_store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "data", clock=clock)
    await made.open()
    yield made
    await made.close()
