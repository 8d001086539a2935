"""Freed memory goes back to the system when documents have left, and not else."""

import asyncio

import pytest

from server import memory_return
from server.memory_return import find_trim, give_memory_back
from tests.support.deadlines import SECOND
from tests.support.documents import until


async def test_memory_is_given_back_when_documents_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_return, "LOOK_S", 0.001)
    documents, looks, trims = 3, 0, 0

    def count() -> int:
        nonlocal looks
        looks += 1
        return documents

    def trim() -> None:
        nonlocal trims
        trims += 1

    task = asyncio.create_task(give_memory_back(count, trim))
    await until(lambda: looks >= 3)
    documents = 5
    seen = looks
    await until(lambda: looks >= seen + 2)
    assert trims == 0
    documents = 1
    await until(lambda: trims == 1)
    seen = looks
    await until(lambda: looks >= seen + 2)
    assert trims == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_this_machine_can() -> None:
    trim = find_trim()
    if trim is not None:  # musl has none
        async with asyncio.timeout(5 * SECOND):
            assert await asyncio.to_thread(trim) in (0, 1)
