"""What was called saved, and what anyone else was shown, outlives the server, however it ends.

Fifty people type into three documents of a real server process. It is killed at a random moment, or asked to stop,
or its disk refuses; every client is gone then. A reader that comes after the restart is given all of it.
"""

import asyncio
import contextlib
import random
import resource
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deadlines import SECOND
from tests.support.lesson import PEOPLE, a_lesson, wait_until_closed
from tests.support.server_process import ServerProcess
from tests.support.small_disk import small_disk

FULL_AT_BYTES = 64 * 1024
"""Below what the write-ahead log has grown to by then; the log of the server is shorter."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("rounds", "durability"),
    [
        (2, "process"),
        pytest.param(1, "power", marks=pytest.mark.long),
        pytest.param(20, "process", marks=pytest.mark.long),
    ],
)
async def test_a_server_that_is_killed_has_all_that_was_saved_or_seen(
    tmp_path: Path, rounds: int, durability: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    async with a_lesson(tmp_path, PASSERELLE_DURABILITY=durability) as lesson:
        for _ in range(rounds):
            async with lesson.typing():
                await lesson.until_promised()
                await asyncio.sleep(moments.uniform(0.0, 0.3))  # any moment
                await lesson.server.kill()
            await lesson.server.start()
            assert await lesson.check() > PEOPLE


async def test_a_server_that_is_stopped_sends_everyone_away_and_has_it_all(tmp_path: Path) -> None:
    async with a_lesson(tmp_path) as lesson:
        async with lesson.typing():
            await lesson.until_promised()
            async with asyncio.timeout(10 * SECOND):
                assert await lesson.server.terminate() == 0
            await wait_until_closed(lesson.typists)
        assert {typist.close_code for typist in lesson.typists} == {1012}
        await lesson.server.start()
        await lesson.check()


Fault = Callable[[ServerProcess], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def locked_by_another(server: ServerProcess) -> Iterator[None]:
    """As a backup that holds the database does."""
    with contextlib.closing(sqlite3.connect(server.data / "passerelle.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def no_file_may_grow(server: ServerProcess) -> Iterator[None]:
    """As on a full disk, each write to the database fails in the middle of the load."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, before[1]))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fault", [locked_by_another, pytest.param(no_file_may_grow, marks=pytest.mark.long)])
async def test_while_the_store_fails_writing_goes_on_and_is_called_unsaved(tmp_path: Path, fault: Fault) -> None:
    async with a_lesson(tmp_path) as lesson:
        async with lesson.typing():
            await lesson.until_promised()
            with fault(lesson.server):
                await lesson.until_told_unsaved()
                await lesson.until_shown_more()
            await lesson.until_promised()
            await lesson.until_all_is_saved()
            await lesson.server.kill()
        await lesson.server.start()
        await lesson.check()


@contextlib.contextmanager
def a_data_folder_that_fills(folder: Path) -> Iterator[Fault]:
    """A disk without a byte left; where a test may not mount one, files that cannot grow (which is printed)."""
    with small_disk(folder) as disk:
        if disk is None:
            yield no_file_may_grow
            return

        @contextlib.contextmanager
        def full(_server: ServerProcess) -> Iterator[None]:
            disk.fill()
            yield
            assert disk.free_bytes == 0, "it was full all the time"
            disk.free()

        yield full


@pytest.mark.parametrize("durability", ["process", pytest.param("power", marks=pytest.mark.long)])
async def test_a_full_disk_stops_nobody_and_what_was_written_meanwhile_is_saved_when_there_is_room(
    tmp_path: Path, durability: str
) -> None:
    with a_data_folder_that_fills(tmp_path / "data") as full:
        async with a_lesson(tmp_path, PASSERELLE_DURABILITY=durability) as lesson:
            async with lesson.typing():
                await lesson.until_promised()
                with full(lesson.server):
                    await lesson.until_told_unsaved()
                    await lesson.until_shown_more()
                    unsaved = [typist.typed for typist in lesson.typists]
                    assert any(typist.saved < typist.typed for typist in lesson.typists)
                await lesson.until_all_is_saved()
                assert all(typist.saved >= typed for typist, typed in zip(lesson.typists, unsaved, strict=True))
                await lesson.server.kill()
            await lesson.server.start()
            assert await lesson.check() >= sum(unsaved)
