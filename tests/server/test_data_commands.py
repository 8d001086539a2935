"""`export` and `import`: everything from one store to another and back, byte by byte, or nothing at all."""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import stat
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from rooms.models import Role, RoomKind
from rooms.ports import ClientBinding, DocumentAppend, DocumentKey, RelayedRange, Store
from server import cli, data_commands, exit_codes
from server.auth import KeyUnusable, load_token_keys
from server.config import Settings
from server.storage import archive, sqlite_archive
from server.storage.archive import ArchiveDamaged, UpdateRecord, read_archive
from server.storage.errors import DatabaseInUse, NotEmpty
from server.storage.postgres import PostgresStore
from server.storage.sqlite import SqliteStore
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PostgresServer
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_line, make_participant, make_state

ROOT = Path(__file__).resolve().parents[2]
silent = print


async def fill(store: Store) -> None:
    """Every kind of record, with what is hard to carry: accents, emoji, NUL, all bytes, the largest numbers."""
    dice = random.Random(5)
    await store.create_room(make_state("r1", make_participant("p1"), make_participant("p2", name="Zoë ✨ 𝄞")))
    await store.save_room(make_state("r1", make_participant("p1"), seq=41, name="L'été à Iqaluit 🐻‍❄️"))
    await store.claim_room("r1", 7)
    await store.create_room(make_state("r2", kind=RoomKind.CONSULTATION))
    await store.save_invitation(make_invitation("i1", uses_left=None, label="Musée de la Grève 🐋"))
    await store.save_invitation(make_invitation("i2", code="un-deux-33", revoked=True, role=Role.HOST, uses_left=0))
    for number, text in enumerate(["Une baleine à bosse !", "\0 \x1f \u2028", "𝄞🐋" * 500]):
        await store.append_chat("r1", make_line(f"c{number}", text=text, client_id=f"x{number}"))
    await store.append_chat("r2", make_line("c0", sent_at=NOW + 0.1 + 0.2))
    bindings = [ClientBinding(2**53 - 1, "p1"), ClientBinding(0, "p2")]
    relays = [RelayedRange(9, 5, 2**40, "p2"), RelayedRange(7, 0, 3, "p1")]
    await store.append_updates([DocumentAppend(DocumentKey("r1", "texte"), bytes(range(256)), bindings, relays)])
    for _ in range(700):
        await store.append_updates([make_append(dice.randbytes(dice.randint(1, 300)))])
    await store.store_snapshot(DocumentKey("r1", "texte"), dice.randbytes(3_000_000), 120)
    await store.append_updates([make_append(dice.randbytes(1_000_000), (3, "p3"), document="plan") for _ in range(6)])
    await store.append_updates([make_append(b"a", document="replie", room="r2")])
    await store.store_snapshot(DocumentKey("r2", "replie"), b"A", 1)


async def told(store: Store) -> list[object]:
    """Everything that was put in, as the store's readers get it."""
    keys = [DocumentKey("r1", "texte"), DocumentKey("r1", "plan"), DocumentKey("r2", "replie")]
    return [
        *[await store.load_room(room) for room in ("r1", "r2")],
        *[list(await store.list_invitations(room)) for room in ("r1", "r2")],
        *[list(await store.load_chat(room, 99)) for room in ("r1", "r2")],
        *[list(await store.list_documents(room)) for room in ("r1", "r2")],
        *[await store.load_document(key) for key in keys],
        *[list(await store.load_relays(key)) for key in keys],
    ]


def records_of(file: Path) -> list[bytes]:
    """Without the head, which has the time, and the end, which has its sum."""
    return file.read_bytes().splitlines()[1:-1]


async def test_everything_goes_to_postgresql_and_back_byte_by_byte(postgres: PostgresServer, tmp_path: Path) -> None:
    here, back = Settings(data=tmp_path / "here"), Settings(data=tmp_path / "back")
    there = Settings(data=tmp_path / "unused", database_url=await postgres.fresh_tables())
    load_token_keys(here.data)
    store = SqliteStore(here.data, clock=lambda: NOW + 0.125)
    await store.open()
    await fill(store)
    put_in = await told(store)
    assert await data_commands.export_data(here, tmp_path / "1", silent) == 0  # the server may run
    await store.close()
    assert await data_commands.import_data(there, tmp_path / "1", silent) == 0
    assert await data_commands.export_data(there, tmp_path / "2", silent) == 0
    assert await data_commands.import_data(back, tmp_path / "2", silent) == 0
    assert await data_commands.export_data(back, tmp_path / "3", silent) == 0

    assert records_of(tmp_path / "1") == records_of(tmp_path / "2") == records_of(tmp_path / "3")
    assert {json.loads(line)["kind"] for line in records_of(tmp_path / "1")} == {
        "token-key", "room", "invitation", "chat", "document", "binding", "relay", "update",
    }  # fmt: skip
    assert stat.S_IMODE((tmp_path / "1").stat().st_mode) == 0o600
    assert load_token_keys(back.data) == load_token_keys(here.data)
    assert not there.data.exists()
    with contextlib.closing(sqlite3.connect(back.data / "passerelle.sqlite3")) as file:
        assert file.execute("SELECT fence, seq FROM rooms WHERE room_id = 'r1'").fetchone() == (7, 41)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert there.database_url is not None
    for moved in (SqliteStore(back.data, clock=lambda: NOW), PostgresStore(there.database_url, clock=lambda: NOW)):
        await moved.open()
        assert await told(moved) == put_in
        assert await moved.append_updates([make_append(b"goes on")]) is not None
        await moved.append_chat("r1", make_line("c9", text="goes on"))
        assert [line.id for line in await moved.load_chat("r1", 2)] == ["c2", "c9"]
        await moved.close()


async def test_an_import_adds_nothing_to_what_is_there(postgres: PostgresServer, tmp_path: Path) -> None:
    source = Settings(data=tmp_path / "source")
    store = SqliteStore(source.data)
    await store.open()
    await store.create_room(make_state("r1"))
    await store.close()
    await data_commands.export_data(source, tmp_path / "all", silent)
    with pytest.raises(NotEmpty):
        await data_commands.import_data(source, tmp_path / "all", silent)
    there = Settings(data=tmp_path / "unused", database_url=await postgres.fresh_tables())
    assert await data_commands.import_data(there, tmp_path / "all", silent) == 0
    with pytest.raises(NotEmpty):
        await data_commands.import_data(there, tmp_path / "all", silent)
    assert await data_commands.export_data(source, tmp_path / "all", silent) == exit_codes.EXIT_CONFIGURATION


async def test_another_key_of_the_tokens_stops_an_import_before_anything_is_there(tmp_path: Path) -> None:
    source, target = Settings(data=tmp_path / "source"), Settings(data=tmp_path / "target")
    for settings in (source, target):
        load_token_keys(settings.data)
    store = SqliteStore(source.data)
    await store.open()
    await store.create_room(make_state("r1"))
    await store.close()
    await data_commands.export_data(source, tmp_path / "all", silent)
    with pytest.raises(KeyUnusable):
        await data_commands.import_data(target, tmp_path / "all", silent)
    assert list(sqlite_archive.read(target.data)) == []
    (target.data / "token.key").unlink()
    assert await data_commands.import_data(target, tmp_path / "all", silent) == 0
    assert load_token_keys(target.data) == load_token_keys(source.data)


async def test_nothing_is_imported_under_a_running_server(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Settings(data=tmp_path / "source")
    there = Settings(data=tmp_path / "unused", database_url=await postgres.fresh_tables())
    store = SqliteStore(source.data)
    await store.open()
    await data_commands.export_data(source, tmp_path / "all", silent)
    # The lock is a process's: asked for from another one.
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "import", str(tmp_path / "all"), cwd=ROOT,
        env={**os.environ, "PASSERELLE_DATA": str(source.data)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30 * SECOND):
        _out, said = await other.communicate()
    assert (other.returncode, "in use by another" in said.decode()) == (exit_codes.EXIT_FAILED, True)
    await store.close()
    assert there.database_url is not None
    running = PostgresStore(there.database_url)
    await running.open()
    with monkeypatch.context() as hasty, pytest.raises(DatabaseInUse):
        hasty.setattr("server.storage.postgres.GONE_S", 0.1)
        await data_commands.import_data(there, tmp_path / "all", silent)
    await running.close()
    assert await data_commands.import_data(there, tmp_path / "all", silent) == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_one_room_is_erased_with_all_of_it_and_no_other(
    kind: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    settings = Settings(
        data=tmp_path / "data", database_url=await postgres.fresh_tables() if kind == "postgres" else None
    )
    async with stored_in(settings) as store:
        await fill(store)
        before = await told(store)
    assert await data_commands.erase(settings, "nowhere", silent) == exit_codes.EXIT_FAILED
    async with stored_in(settings) as store:
        assert await told(store) == before
    assert await data_commands.erase(settings, "https://passerelle.example.org/salle/r1", silent) == exit_codes.EXIT_OK
    async with stored_in(settings) as store:
        assert await store.load_room("r1") is None
        assert not await store.load_chat("r1", 99)
        assert not await store.list_invitations("r1")
        assert not await store.list_documents("r1")
        assert await store.load_room("r2") is not None
        assert len(await store.load_chat("r2", 99)) == 1
        assert len(await store.list_documents("r2")) == 1
    if kind == "sqlite":
        content = b"".join(path.read_bytes() for path in settings.data.iterdir())
        assert "L'été à Iqaluit".encode() not in content, "what is erased is overwritten"


@contextlib.asynccontextmanager
async def stored_in(settings: Settings) -> AsyncIterator[Store]:
    store = SqliteStore(settings.data) if settings.database_url is None else PostgresStore(settings.database_url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_no_room_is_erased_under_a_running_server(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write again what it has in memory."""
    monkeypatch.setattr("server.storage.postgres.GONE_S", 0.1)
    settings = Settings(data=tmp_path / "unused", database_url=await postgres.fresh_tables())
    async with stored_in(settings) as store:
        await store.create_room(make_state("r1", make_participant("p1")))
        with pytest.raises(DatabaseInUse):
            await data_commands.erase(settings, "r1", silent)
        assert await store.load_room("r1") is not None
    assert await data_commands.erase(settings, "r1", silent) == exit_codes.EXIT_OK


def _last_byte(content: bytes) -> bytes:
    return content[:-1]


def _without_end(content: bytes) -> bytes:
    return b"\n".join(content.splitlines()[:-1]) + b"\n"


def _one_letter(content: bytes) -> bytes:
    return content.replace("été".encode(), "etè".encode())


def _a_line_less(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:-2], lines[-1]])


def _more_after_it(content: bytes) -> bytes:
    return content + b"\n"


def _later(content: bytes) -> bytes:
    return content.replace(b'"version":1', b'"version":2', 1)


def _nothing(_content: bytes) -> bytes:
    return b""


def _another_file(_content: bytes) -> bytes:
    return b"\x1f\x8b\x08\x00 not ours\n" * 9


def _orphan(content: bytes) -> bytes:
    head, *_rest = content.splitlines(keepends=True)
    return head + b'{"kind":"update","seq":1,"body":"YQ=="}\n'


@pytest.mark.parametrize(
    "damage",
    [_last_byte, _without_end, _one_letter, _a_line_less, _more_after_it, _later, _nothing, _another_file, _orphan],
)
async def test_of_a_file_that_is_not_whole_nothing_is_taken(
    damage: Callable[[bytes], bytes], postgres: PostgresServer, tmp_path: Path
) -> None:
    source = Settings(data=tmp_path / "source")
    store = SqliteStore(source.data)
    await store.open()
    await store.create_room(make_state("r1", name="L'été"))
    await store.append_updates([make_append(b"a"), make_append(b"b")])
    await store.close()
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    await data_commands.export_data(source, whole, silent)
    broken.write_bytes(damage(whole.read_bytes()))
    there = Settings(data=tmp_path / "unused", database_url=await postgres.fresh_tables())
    here = Settings(data=tmp_path / "here")
    for settings in (there, here):
        assert await data_commands.import_data(settings, broken, silent) == exit_codes.EXIT_FAILED
        assert await data_commands.import_data(settings, whole, silent) == 0


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_LINE_BYTES", 1_000)
    (tmp_path / "long").write_bytes(b"x" * 100_000)
    with (tmp_path / "long").open("rb") as file, pytest.raises(ArchiveDamaged, match="too long"):
        next(read_archive(file))
        assert file.tell() < 10_000


async def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    ended = await asyncio.to_thread(cli.main, ["export", str(tmp_path / "all")])  # its folder has no data
    assert ended == exit_codes.EXIT_FAILED
    assert not (tmp_path / "all").exists()


@pytest.fixture(autouse=True)
def _folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PASSERELLE_DATA", str(tmp_path / "nothing"))


async def test_moving_much_takes_little_memory(postgres: PostgresServer, tmp_path: Path) -> None:
    """What is in memory at a time is some rows, not the whole: 40 MB of updates go through under 25 MB."""
    url = await postgres.fresh_tables()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO documents (document_id, room_id, document, last_seq, written_at) VALUES (1, 'r', 'd', 400, 0)"
    )
    for first in range(0, 400, 50):
        await connection.executemany(
            "INSERT INTO updates VALUES (1, $1, $2)", [(first + n + 1, bytes(100_000)) for n in range(50)]
        )
    await connection.close()
    source, back = Settings(data=tmp_path, database_url=url), Settings(data=tmp_path / "back")
    again = Settings(data=tmp_path, database_url=await postgres.fresh_tables())
    tracemalloc.start()
    try:
        await data_commands.export_data(source, tmp_path / "all", silent)
        await data_commands.import_data(back, tmp_path / "all", silent)
        await data_commands.import_data(again, tmp_path / "all", silent)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25_000_000
    assert sum(isinstance(record, UpdateRecord) for record in sqlite_archive.read(back.data)) == 400
