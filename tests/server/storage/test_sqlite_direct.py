"""Appends written in the event loop: only where that is quick and safe, and as the thread would have written them."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rooms.ports import DocumentKey
from server.storage import sqlite_direct
from server.storage.sqlite import DIRECT_APPENDS_A_CHECKPOINT, SqliteStore
from server.storage.sqlite_direct import MAX_BYTES, MAX_DOCUMENTS, DirectAppender
from tests.support.deadlines import SECOND
from tests.support.stored_rooms import make_append

TEXT = DocumentKey("r1", "texte")


class Watch:
    """Which of the two wrote: the thread's transactions are counted."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.by_thread = 0

    async def start(self) -> "Watch":
        def trace(statement: str) -> None:
            self.by_thread += statement.startswith("BEGIN IMMEDIATE")

        await self._store._writer.call_outside_transaction(lambda connection: connection.set_trace_callback(trace))
        return self


@pytest.fixture(autouse=True)
def a_quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's is just now."""
    monkeypatch.setattr(sqlite_direct, "SLOW_S", 60.0)


@pytest.fixture
async def watch(sqlite_store: SqliteStore) -> Watch:
    return await Watch(sqlite_store).start()


def appender(path: Path, clock: Callable[[], float] = lambda: 0.0) -> DirectAppender:
    return DirectAppender(
        path, lambda: sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False), clock
    )


async def test_a_small_append_needs_no_thread(sqlite_store: SqliteStore, watch: Watch) -> None:
    assert [list(await sqlite_store.append_updates([make_append(bytes([n]), (n, "p1"))])) for n in range(3)] == [
        [1],
        [2],
        [3],
    ]
    assert watch.by_thread == 0
    stored = await sqlite_store.load_document(TEXT)
    assert list(stored.updates) == [b"\x00", b"\x01", b"\x02"]
    assert stored.bindings == {0: "p1", 1: "p1", 2: "p1"}


async def test_what_is_appended_at_once_is_there_before_anything_is_awaited(sqlite_store: SqliteStore) -> None:
    assert sqlite_store.append_at_once([make_append(b"a", (7, "p1")), make_append(b"b")]) == (1, 2)
    assert sqlite_store.append_at_once([make_append(bytes(MAX_BYTES + 1))]) is None
    stored = await sqlite_store.load_document(TEXT)
    assert list(stored.updates) == [b"a", b"b"]
    assert stored.bindings == {7: "p1"}


@pytest.mark.parametrize("appends", [[make_append(bytes(MAX_BYTES + 1))], [make_append(b"a")] * (MAX_DOCUMENTS + 1)])
async def test_a_long_append_is_the_threads(sqlite_store: SqliteStore, watch: Watch, appends: list) -> None:  # type: ignore[type-arg]
    assert len(await sqlite_store.append_updates(appends)) == len(appends)
    assert watch.by_thread == 1


async def test_nothing_overtakes_what_waits_for_the_thread(sqlite_store: SqliteStore) -> None:
    first = asyncio.ensure_future(sqlite_store.append_updates([make_append(bytes(MAX_BYTES + 1))]))
    await asyncio.sleep(0)
    assert list(await sqlite_store.append_updates([make_append(b"b")])) == [2]
    assert list(await first) == [1]


async def test_a_power_cut_needs_an_fsync_and_so_the_thread(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, "power")
    await store.open()
    watch = await Watch(store).start()
    await store.append_updates([make_append(b"a")])
    assert watch.by_thread == 1
    await store.close()


async def test_while_another_program_writes_the_thread_waits_and_the_loop_does_not(sqlite_store: SqliteStore) -> None:
    with closing(sqlite3.connect(sqlite_store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(sqlite_store.append_updates([make_append(b"a")]))
        assert (await sqlite_store.load_document(TEXT)).last_seq == 0
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert list(await waiting) == [1]
    watch = await Watch(sqlite_store).start()
    assert list(await sqlite_store.append_updates([make_append(b"b")])) == [2]
    assert watch.by_thread == 0


async def test_a_slow_disk_is_the_threads_for_a_while(sqlite_store: SqliteStore) -> None:
    times = iter([0.0, 61.0, 61.0, 61.5, 63.5, 63.5])
    direct = appender(sqlite_store.path, lambda: next(times))
    await direct.open()
    assert direct.append([make_append(b"a")], 0.0) == (1,)  # took a minute
    assert direct.append([make_append(b"b")], 0.0) is None
    assert direct.append([make_append(b"b")], 0.0) == (2,)
    await direct.close()


async def test_what_fails_half_way_leaves_nothing_and_the_thread_finds_out_why(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two appends breaks a rule of the table; nothing of the first may stay, in either hand."""
    monkeypatch.setattr(sqlite_direct, "REST_S", 0.0)
    direct = appender(sqlite_store.path)
    await direct.open()
    with closing(sqlite3.connect(sqlite_store.path, isolation_level=None)) as other:
        other.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON updates WHEN new.body = x'02' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    assert direct.append([make_append(b"\x01"), make_append(b"\x02")], 0.0) is None
    assert (await sqlite_store.load_document(TEXT)).last_seq == 0
    assert direct.append([make_append(b"\x01")], 0.0) is None  # the connection is opened anew, apart
    async with asyncio.timeout(5 * SECOND):
        while direct.append([make_append(b"\x01")], 0.0) is None:
            await asyncio.sleep(0)
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"\x01"]
    await direct.close()


async def test_a_file_put_in_the_place_of_ours_is_not_written_to(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    direct = appender(sqlite_store.path)
    await direct.open()
    other = tmp_path / "other"
    other.touch()
    os.replace(other, sqlite_store.path)
    assert direct.append([make_append(b"a")], 0.0) is None
    assert sqlite_store.path.stat().st_size == 0
    await direct.close()


async def test_the_log_stays_short(sqlite_store: SqliteStore, watch: Watch) -> None:
    """Checkpoints are the thread's, and come without any other writing."""
    log = Path(f"{sqlite_store.path}-wal")
    for number in range(6 * DIRECT_APPENDS_A_CHECKPOINT):
        await sqlite_store.append_updates([make_append(b"%d" % number)])
        await asyncio.sleep(0)
    await sqlite_store.check()
    assert log.stat().st_size < 4 * DIRECT_APPENDS_A_CHECKPOINT * 5 * 4_096
    assert watch.by_thread < 6 * DIRECT_APPENDS_A_CHECKPOINT
    assert (await sqlite_store.load_document(TEXT)).last_seq == 6 * DIRECT_APPENDS_A_CHECKPOINT
