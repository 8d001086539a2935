"""What only a store on a disk can get wrong."""

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from rooms.ports import DocumentKey, StoreUnavailable
from server.config import Durability
from server.storage import sqlite_schema, sqlite_thread
from server.storage.folder import FolderInUse
from server.storage.retention import ROOM_RETENTION_S
from server.storage.sqlite import BUSY_TIMEOUT_S, SqliteStore
from server.storage.sqlite_schema import ForeignFile
from tests.support.deadlines import SECOND
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_line, make_participant, make_state

ROOT = Path(__file__).resolve().parents[3]
TEXT = DocumentKey("r1", "texte")

# --- what is acknowledged is there ---------------------------------------------------------------

_WRITER = """
import asyncio, sys
from pathlib import Path
from server.storage.sqlite import SqliteStore
from tests.support.stored_rooms import make_append

async def main():
    store = SqliteStore(Path(sys.argv[1]), sys.argv[2])
    await store.open()
    for number in range(1_000_000):
        seqs = await store.append_updates([make_append(b"u%d" % number, (number, "p1"))])
        print(seqs[0], flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_a_killed_process_loses_nothing_it_had_acknowledged(tmp_path: Path, durability: Durability) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(tmp_path / "data"), durability, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    acknowledged = 0
    async with asyncio.timeout(20 * SECOND):
        while acknowledged < 150:
            acknowledged = int(await child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = (await child.stdout.read()).split()
        await child.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    store = SqliteStore(tmp_path / "data")
    await store.open()
    found = await store.load_document(TEXT)
    await store.close()
    assert found.last_seq >= acknowledged
    assert list(found.updates) == [b"u%d" % number for number in range(found.last_seq)]
    assert len(found.bindings) == found.last_seq


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
async def test_durability_is_the_one_chosen(tmp_path: Path, durability: Durability, synchronous: int) -> None:
    store = SqliteStore(tmp_path / "data", durability)
    await store.open()
    mode = await store._writer.call(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0])
    journal = await store._writer.call(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()[0])
    await store.close()
    assert (mode, journal) == (synchronous, "wal")


async def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data", clock=lambda: NOW)
    await store.open()
    await store.create_room(make_state("r1", make_participant()))
    await store.append_updates([make_append(b"a", (1, "p1")), make_append(b"b")])
    await store.store_snapshot(TEXT, b"A", 1)
    await store.save_invitation(make_invitation())
    await store.append_chat("r1", make_line())
    await store.close()
    await store.open()
    document = await store.load_document(TEXT)
    assert await store.load_room("r1") == make_state("r1", make_participant())
    assert (document.snapshot, list(document.updates), dict(document.bindings)) == (b"A", [b"b"], {1: "p1"})
    assert await store.find_invitation_by_code("lune-renard-42") == make_invitation()
    assert list(await store.load_chat("r1", 9)) == [make_line()]
    await store.close()


async def test_closing_stores_what_was_called_before(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data")
    await store.open()
    calls = [asyncio.ensure_future(store.append_updates([make_append(bytes([n]))])) for n in range(50)]
    await asyncio.sleep(0)  # lets the calls reach the thread's queue
    async with asyncio.timeout(2 * SECOND):
        await store.close()
    await asyncio.gather(*calls)
    with pytest.raises(StoreUnavailable):
        await store.append_updates([make_append(b"late")])
    await store.open()
    assert (await store.load_document(TEXT)).last_seq == 50
    await store.close()


async def test_closing_twice_or_unopened_is_fine(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data")
    await store.close()
    await store.open()
    await store.close()
    await store.close()


# --- group commit ----------------------------------------------------------------------------------


async def test_calls_that_wait_are_committed_together(sqlite_store: SqliteStore) -> None:
    commits = 0

    def count(connection: sqlite3.Connection) -> None:
        def trace(statement: str) -> None:
            nonlocal commits
            commits += statement == "COMMIT"

        connection.set_trace_callback(trace)

    await sqlite_store._writer.call_outside_transaction(count)
    with _held_lock(sqlite_store.path) as release:
        calls = [asyncio.ensure_future(sqlite_store.append_updates([make_append(bytes([n]))])) for n in range(100)]
        await asyncio.sleep(0)  # lets all of them reach the queue
        release()
        await asyncio.gather(*calls)
    # Those that the thread had taken when the lock stopped it, and all others.
    assert commits <= 2
    assert (await sqlite_store.load_document(TEXT)).last_seq == 100


async def test_a_refused_call_takes_nothing_of_its_neighbours_with_it(sqlite_store: SqliteStore) -> None:
    await sqlite_store.save_invitation(make_invitation("i1"))
    results = await asyncio.gather(
        sqlite_store.append_updates([make_append(b"a")]),
        sqlite_store.save_invitation(make_invitation("i2")),
        sqlite_store.append_updates([make_append(b"b")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], ValueError)
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"a", b"b"]


async def test_a_cancelled_caller_disturbs_no_one(sqlite_store: SqliteStore) -> None:
    given_up = asyncio.ensure_future(sqlite_store.append_updates([make_append(b"a")]))
    await asyncio.sleep(0)
    given_up.cancel()
    assert list(await sqlite_store.append_updates([make_append(b"b")])) == [2]


async def test_the_loop_goes_on_while_the_disk_is_slow(sqlite_store: SqliteStore) -> None:
    """The lock is held elsewhere, so the writer's thread stands still; readers and the loop do not."""
    with _held_lock(sqlite_store.path) as release:
        waiting = asyncio.ensure_future(sqlite_store.append_updates([make_append(b"a")]))
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await sqlite_store.load_document(TEXT)).last_seq == 0
        assert loop.time() - began < BUSY_TIMEOUT_S / 2
        assert not waiting.done()
        release()
        assert list(await waiting) == [1]


async def test_too_many_waiting_calls_are_refused(sqlite_store: SqliteStore) -> None:
    with _held_lock(sqlite_store.path) as release:
        calls = [
            asyncio.ensure_future(sqlite_store.append_updates([make_append(b"a")]))
            for _ in range(sqlite_thread.MAX_WAITING_CALLS + sqlite_thread.MAX_CALLS_A_COMMIT + 1)
        ]
        await asyncio.sleep(0)
        refused = [call for call in calls if call.done()]
        assert refused
        assert all(isinstance(call.exception(), StoreUnavailable) for call in refused)
        release()
        stored = await asyncio.gather(*(call for call in calls if call not in refused))
    assert (await sqlite_store.load_document(TEXT)).last_seq == len(stored) == len(calls) - len(refused)


# --- failures, and what comes after ----------------------------------------------------------------


@contextmanager
def _held_lock(path: Path) -> Iterator[Callable[[], None]]:
    """Another program (a backup tool, an administrator's shell) holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def release() -> None:
            if other.in_transaction:
                other.execute("ROLLBACK")

        yield release
        release()


async def test_a_locked_file_is_unavailable_then_works_again(sqlite_store: SqliteStore) -> None:
    with _held_lock(sqlite_store.path):
        with pytest.raises(StoreUnavailable):
            await sqlite_store.append_updates([make_append(b"a")])
    await sqlite_store.check()
    assert list(await sqlite_store.append_updates([make_append(b"b")])) == [1]


async def test_a_full_store_refuses_the_whole_batch_and_keeps_what_it_has(sqlite_store: SqliteStore) -> None:
    await sqlite_store.append_updates([make_append(b"kept")])

    def fill(connection: sqlite3.Connection) -> int:
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        return int(connection.execute(f"PRAGMA max_page_count = {pages + 8}").fetchone()[0])

    await sqlite_store._writer.call_outside_transaction(fill)
    with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
        await sqlite_store.append_updates([make_append(b"small"), make_append(bytes(200_000))])
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"kept"]
    await sqlite_store._writer.call_outside_transaction(lambda c: c.execute("PRAGMA max_page_count = 1000000").close())
    assert list(await sqlite_store.append_updates([make_append(b"again")])) == [2]


async def test_on_a_nearly_full_disk_short_updates_still_go_in(sqlite_store: SqliteStore) -> None:
    """One that is too long does not fail those it is committed together with."""

    def fill(connection: sqlite3.Connection) -> None:
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        connection.execute(f"PRAGMA max_page_count = {pages + 8}").close()

    await sqlite_store._writer.call_outside_transaction(fill)
    results = await asyncio.gather(
        sqlite_store.append_updates([make_append(b"a")]),
        sqlite_store.append_updates([make_append(bytes(200_000))]),
        sqlite_store.append_updates([make_append(b"b")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreUnavailable)
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"a", b"b"]


async def test_a_disk_that_fails_and_comes_back(sqlite_store: SqliteStore) -> None:
    """A real write error (EFBIG, by RLIMIT_FSIZE), and the store as before once it is over."""
    await sqlite_store.append_updates([make_append(b"before")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="SQLITE_"):
                await sqlite_store.append_updates([make_append(bytes(100_000))])
        with pytest.raises(StoreUnavailable):
            await sqlite_store.check()
        assert list((await sqlite_store.load_document(TEXT)).updates) == [b"before"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await sqlite_store.check()
    assert list(await sqlite_store.append_updates([make_append(b"after")])) == [2]
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"before", b"after"]


async def test_a_vanished_file_is_never_replaced_by_an_empty_one(sqlite_store: SqliteStore) -> None:
    await sqlite_store.append_updates([make_append(b"a")])
    away = sqlite_store.path.parent.with_name("away")
    sqlite_store.path.parent.rename(away)
    for call in (sqlite_store.load_document(TEXT), sqlite_store.check(), sqlite_store.load_room("r1")):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        await sqlite_store.append_updates([make_append(b"b")])
    assert not sqlite_store.path.exists()
    away.rename(sqlite_store.path.parent)
    assert list(await sqlite_store.append_updates([make_append(b"c")])) == [2]
    assert list((await sqlite_store.load_document(TEXT)).updates) == [b"a", b"c"]


async def test_a_damaged_room_is_unavailable_not_empty(sqlite_store: SqliteStore) -> None:
    await sqlite_store.create_room(make_state("r1"))
    with closing(sqlite3.connect(sqlite_store.path)) as other, other:
        other.execute("UPDATE rooms SET body = x'7b7d'")
    with pytest.raises(StoreUnavailable):
        await sqlite_store.load_room("r1")


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.path.write_bytes(b"a letter to the parents\n" * 100)
    with pytest.raises(StoreUnavailable):
        await store.open()
    assert store.path.read_bytes() == b"a letter to the parents\n" * 100


@contextmanager
def _without_privileges(folder: Path) -> Iterator[None]:
    """root may write anywhere: as nobody, for the time of the test."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65_534, 65_534)
    for path in folder.rglob("*"):
        os.chown(path, 65_534, 65_534)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_read_only_folder_is_unavailable_until_it_can_be_written() -> None:
    folder = Path(tempfile.mkdtemp(prefix="passerelle-test-"))
    try:
        with _without_privileges(folder):
            folder.chmod(0o500)
            store = SqliteStore(folder)
            with pytest.raises(StoreUnavailable):
                await store.open()
            folder.chmod(0o700)
            await store.open()
            assert list(await store.append_updates([make_append(b"a")])) == [1]
            await store.close()
    finally:
        shutil.rmtree(folder)


async def test_a_file_that_turned_read_only_works_again_once_it_can_be_written(sqlite_store: SqliteStore) -> None:
    """SQLITE_READONLY, as on a file system that was remounted; the connection is opened anew after it."""
    await sqlite_store._writer.call_outside_transaction(lambda c: c.execute("PRAGMA query_only = ON").close())
    with pytest.raises(StoreUnavailable, match="SQLITE_READONLY"):
        await sqlite_store.append_chat("r1", make_line())
    await sqlite_store.append_chat("r1", make_line())
    assert len(await sqlite_store.load_chat("r1", 10)) == 1


# --- the folder and the file -----------------------------------------------------------------------


async def test_folder_and_files_are_their_owners_alone(sqlite_store: SqliteStore) -> None:
    await sqlite_store.append_updates([make_append(b"a")])
    folder = sqlite_store.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert any(name.endswith("-wal") for name in modes)


async def test_a_second_process_is_kept_out(sqlite_store: SqliteStore) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom server.storage.sqlite import SqliteStore\n"
        "from server.storage.folder import FolderInUse\n"
        "try: asyncio.run(SqliteStore(Path(sys.argv[1])).open())\n"
        "except FolderInUse: sys.exit(42)\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(sqlite_store.path.parent), cwd=ROOT)
    async with asyncio.timeout(20 * SECOND):
        assert await child.wait() == 42
    assert issubclass(FolderInUse, StoreUnavailable)


async def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with closing(sqlite3.connect(store.path)) as other, other:
        other.execute("CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(ForeignFile):
        await store.open()


async def test_the_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.append_updates([make_append(b"a")])
    await store.close()
    with closing(sqlite3.connect(store.path)) as other, other:
        other.execute("PRAGMA user_version = 999")
    with pytest.raises(ForeignFile, match="999"):
        await store.open()


async def test_an_older_file_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.append_updates([make_append(b"a")])
    await store.close()
    later = (*sqlite_schema.MIGRATIONS, "CREATE TABLE added (x); ALTER TABLE chat ADD COLUMN y")
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", later)
    for _ in range(2):
        await store.open()
        version = await store._writer.call(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
        added = await store._writer.call(lambda c: c.execute("SELECT count(*) FROM added").fetchone()[0])
        assert (version, added) == (len(later), 0)
        assert list((await store.load_document(TEXT)).updates) == [b"a"]
        await store.close()


async def test_snapshots_of_the_first_version_are_found_where_they_are_kept_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path)
    with monkeypatch.context() as of_old, closing(sqlite3.connect(store.path, isolation_level=None)) as old:
        of_old.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:1])
        sqlite_schema.migrate(old)
        old.execute(
            "INSERT INTO documents (document_id, room_id, document, last_seq, snapshot, snapshot_seq, written_at)"
            " VALUES (7, 'r1', 'texte', 12, ?, 11, 0), (8, 'r1', 'autre', 1, NULL, 0, 0)",
            (b"state",),
        )
        old.execute("INSERT INTO updates VALUES (7, 12, ?), (8, 1, ?)", (b"after", b"only"))
    await store.open()
    found = await store.load_document(TEXT)
    assert (found.snapshot, found.snapshot_seq, list(found.updates), found.last_seq) == (b"state", 11, [b"after"], 12)
    other = await store.load_document(DocumentKey("r1", "autre"))
    assert (other.snapshot, list(other.updates)) == (None, [b"only"])
    assert await store.append_updates([make_append(b"next")]) == (13,)
    await store.close()


async def test_an_append_writes_what_is_appended_and_not_the_snapshot_again(sqlite_store: SqliteStore) -> None:
    [seq] = await sqlite_store.append_updates([make_append(b"a")])
    await sqlite_store.store_snapshot(TEXT, os.urandom(5_000_000), seq)
    log = Path(f"{sqlite_store.path}-wal")
    await sqlite_store._writer.call_outside_transaction(
        lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    )
    for _ in range(10):
        await sqlite_store.append_updates([make_append(b"b" * 50)])
    assert log.stat().st_size < 500_000
    assert len((await sqlite_store.load_document(TEXT)).snapshot or b"") == 5_000_000


async def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.append_updates([make_append(b"a")])
    await store.close()
    with monkeypatch.context() as broken:
        broken.setattr(
            sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, "CREATE TABLE added (x); CREATE TABLE chat (x)")
        )
        with pytest.raises(StoreUnavailable):
            await store.open()
    await store.open()
    tables = await store._writer.call(lambda c: c.execute("SELECT name FROM sqlite_schema").fetchall())
    assert ("added",) not in tables
    assert list((await store.load_document(TEXT)).updates) == [b"a"]
    await store.close()


async def test_what_is_forgotten_is_in_no_file(sqlite_store: SqliteStore) -> None:
    """Not in a free page, not in the log."""
    canary = "Clémentine-Désirée"
    people = [make_participant(f"p{n}", name=f"{canary} {n}") for n in range(100)]
    await sqlite_store.create_room(make_state("r1", *people))
    await sqlite_store.append_chat("r1", make_line(text=canary * 50))
    await sqlite_store.append_updates([make_append(canary.encode() * 500) for _ in range(20)])
    assert await sqlite_store.forget_before(NOW + 2 * ROOM_RETENTION_S) >= 3
    for path in sqlite_store.path.parent.iterdir():
        assert canary.encode() not in path.read_bytes(), path.name
