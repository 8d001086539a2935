"""As test_nothing_lost, with PostgreSQL for the store: the server is killed, and PostgreSQL fails in every way it can."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.deadlines import SECOND
from tests.support.lesson import PEOPLE, Lesson, a_lesson
from tests.support.postgres_server import PostgresServer, running_postgres


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@contextlib.asynccontextmanager
async def lesson_on(server: PostgresServer, tmp_path: Path, **environment: str) -> AsyncIterator[Lesson]:
    async with a_lesson(tmp_path, DATABASE_URL=await server.fresh_tables(), **environment) as lesson:
        yield lesson


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("rounds", "durability"),
    [(2, "process"), pytest.param(20, "power", marks=pytest.mark.long)],
)
async def test_a_server_that_is_killed_has_all_that_was_saved_or_seen(
    fragile: PostgresServer, tmp_path: Path, rounds: int, durability: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    async with lesson_on(fragile, tmp_path, PASSERELLE_DURABILITY=durability) as lesson:
        for _ in range(rounds):
            async with lesson.typing():
                await lesson.until_promised()
                await asyncio.sleep(moments.uniform(0.0, 0.3))  # any moment
                await lesson.server.kill()
            await lesson.server.start()
            assert await lesson.check() > PEOPLE


async def test_a_crash_of_both_at_once_loses_nothing_that_was_saved_or_seen(
    fragile: PostgresServer, tmp_path: Path
) -> None:
    async with lesson_on(fragile, tmp_path) as lesson:
        async with lesson.typing():
            await lesson.until_promised()
            await asyncio.gather(lesson.server.kill(), asyncio.to_thread(fragile.stop, "immediate"))
        await asyncio.to_thread(fragile.start)
        await lesson.server.start()
        assert await lesson.check() > PEOPLE


# --- PostgreSQL fails under those who write ------------------------------------------------------------


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@contextlib.contextmanager
def standing_still(server: PostgresServer) -> Iterator[None]:
    with server.standing_still():
        yield


@contextlib.contextmanager
def full(server: PostgresServer) -> Iterator[None]:
    with server.full():
        yield


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "fault", [stopped, *(pytest.param(each, marks=pytest.mark.long) for each in (standing_still, full))]
)
async def test_while_postgresql_fails_writing_goes_on_and_is_called_unsaved(fault, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with running_postgres() as server:  # its own: what a fault spoils must not cost the others
        async with lesson_on(server, tmp_path) as lesson, aiohttp.ClientSession() as http:
            async with lesson.typing():
                await lesson.until_promised()
                with fault(server):
                    await lesson.until_told_unsaved()
                    await lesson.until_shown_more()
                    if fault is not full:
                        assert await missing(http, lesson) == ["store"]
                await lesson.until_promised()
                await lesson.until_all_is_saved()
                assert await missing(http, lesson) == []
                await lesson.server.kill()
            await lesson.server.start()
            await lesson.check()


async def missing(http: aiohttp.ClientSession, lesson: Lesson) -> list[str]:
    async with asyncio.timeout(20 * SECOND), http.get(f"{lesson.server.url}/readyz") as answer:
        body: dict[str, list[str]] = await answer.json()
        return body["missing"]
