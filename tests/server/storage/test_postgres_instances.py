"""Several instances on one PostgreSQL, and what a database must be for an instance to be let in."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack

import asyncpg
import pytest

from rooms.ports import ClientBinding, DocumentAppend, DocumentKey, RelayedRange, StoreUnavailable
from server.storage import postgres_schema
from server.storage.errors import DatabaseInUse, ForeignDatabase, WrongSchema
from server.storage.postgres import APPEND_S, PostgresStore
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.postgres_stores import opened, until_written, writing_process
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_state

TEXT = DocumentKey("r1", "texte")


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    return await postgres.fresh_tables()


# --- several instances -----------------------------------------------------------------------------


async def test_many_instances_append_and_compact_at_once_and_nothing_is_lost(url: str) -> None:
    """Four of them write flushes of several documents; two fold, all the time, what they see."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    documents = [f"d{n}" for n in range(5)]
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(url)) for _ in range(4)]
        numbers: dict[str, list[int]] = {document: [] for document in documents}

        async def write(instance: int) -> None:
            dice = random.Random(seed + instance)
            for turn in range(60):
                chosen = dice.sample(documents, dice.randint(1, len(documents)))
                body = b"%d:%d;" % (instance, turn)
                bindings = [ClientBinding(turn % 7, f"p{instance}")] * dice.randint(0, 1)
                relays = [RelayedRange(turn % 3, 0, turn + 1, "p")] * dice.randint(0, 1)
                appends = [DocumentAppend(DocumentKey("r1", name), body, bindings, relays) for name in chosen]
                for name, seq in zip(chosen, await stores[instance].append_updates(appends), strict=True):
                    numbers[name].append(seq)

        async def fold(store: PostgresStore, until: asyncio.Event) -> None:
            while not until.is_set():
                for name in documents:
                    key = DocumentKey("r1", name)
                    seen = await store.load_document(key)
                    if seen.updates:
                        await store.store_snapshot(key, b"".join([seen.snapshot or b"", *seen.updates]), seen.last_seq)

        written = asyncio.Event()
        folding = [asyncio.create_task(fold(store, written)) for store in stores[:2]]
        await asyncio.gather(*(write(instance) for instance in range(4)))
        written.set()
        await asyncio.gather(*folding)
        for name in documents:
            found = await stores[3].load_document(DocumentKey("r1", name))
            assert sorted(numbers[name]) == list(range(1, found.last_seq + 1))
            text = b"".join([found.snapshot or b"", *found.updates]).decode()
            entries = [tuple(map(int, entry.split(":"))) for entry in text.split(";")[:-1]]
            assert len(entries) == found.last_seq
            for instance in range(4):
                turns = [turn for who, turn in entries if who == instance]
                assert turns == sorted(turns), f"the order of instance {instance}"


async def test_an_instance_that_stands_still_in_the_middle_holds_up_no_other(url: str) -> None:
    async with opened(url) as store, writing_process(url) as child:
        dice = random.Random(7)
        for _ in range(10):
            await until_written(child, 1)
            await asyncio.sleep(dice.uniform(0, 0.005))  # any moment, that of an append too
            child.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(APPEND_S * SECOND):
                await store.append_updates([make_append(b"ours")])
                await store.load_document(TEXT)
            child.send_signal(signal.SIGCONT)
        found = await store.load_document(TEXT)
        assert list(found.updates).count(b"ours") == 10


async def test_one_instance_compacts_a_document_at_a_time(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        async with one.compaction_turn(TEXT) as is_ours:
            assert is_ours
            async with other.compaction_turn(TEXT) as also, other.compaction_turn(DocumentKey("r1", "autre")) as apart:
                assert (also, apart) == (False, True)
            async with other.compaction_turn(TEXT) as still_not:
                assert not still_not
        async with other.compaction_turn(TEXT) as then:
            assert then


async def test_the_turn_of_an_instance_that_dies_is_free_again(url: str) -> None:
    async with opened(url) as store:
        async with writing_process(url) as child:
            await until_written(child, 1)
            async with store.compaction_turn(TEXT) as is_ours:
                assert not is_ours
        async with asyncio.timeout(5 * SECOND):
            while True:
                async with store.compaction_turn(TEXT) as is_ours:
                    if is_ours:
                        break


async def test_what_fails_in_a_turn_is_told_as_it_is_and_the_turn_is_over(url: str) -> None:
    async with opened(url) as store:
        with pytest.raises(KeyError, match="mine"):
            async with store.compaction_turn(TEXT):
                raise KeyError("mine")
        async with opened(url) as other, other.compaction_turn(TEXT) as is_ours:
            assert is_ours


async def test_of_two_instances_that_save_one_code_at_once_one_has_it(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        for n in range(20):
            code = f"lune-renard-{n}"
            saved = await asyncio.gather(
                one.save_invitation(make_invitation(f"a{n}", code=code)),
                other.save_invitation(make_invitation(f"b{n}", code=code)),
                return_exceptions=True,
            )
            assert sorted(type(result).__name__ for result in saved) == ["NoneType", "ValueError"]


async def test_the_last_use_is_given_to_one_of_two_instances(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        await one.save_invitation(make_invitation("i1", uses_left=5))
        taken = await asyncio.gather(*(store.take_invitation_use("i1", NOW) for store in (one, other) * 10))
        assert sum(invitation is not None for invitation in taken) == 5


async def test_two_instances_that_forget_at_once_count_each_thing_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        for n in range(60):
            await one.create_room(make_state(f"r{n:03}"))
            await one.append_updates([make_append(b"a", room=f"r{n:03}")])
        later = NOW + 500 * 86_400
        counts = await asyncio.gather(one.forget_before(later), other.forget_before(later))
        rest = await one.forget_before(later)
        assert sum(counts) + rest == 120
        assert await other.load_room("r000") is None


# --- who may be let in, and to what ---------------------------------------------------------------------


async def test_a_wrong_password_or_database_is_said_without_the_secret(postgres: PostgresServer) -> None:
    for wrong in (
        postgres.url().replace(PASSWORD, "autre-secret"),
        postgres.url().replace("/postgres", "/nulle-part"),
        postgres.url().replace(f":{postgres.port}", ":1"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await PostgresStore(wrong).open()
        assert "secret" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


async def test_a_database_of_another_version_is_left_alone(postgres: PostgresServer) -> None:
    url = await postgres.fresh_schema()
    with pytest.raises(WrongSchema) as caught:
        await PostgresStore(url).open()
    assert (caught.value.found, caught.value.is_older) == (None, True)
    newest = len(postgres_schema.MIGRATIONS)
    connection = await asyncpg.connect(url)
    assert await postgres_schema.migrate(connection) == (0, newest)
    await connection.execute("UPDATE passerelle SET version = version + 1")
    for attempt in (PostgresStore(url).open(), postgres_schema.migrate(connection)):
        with pytest.raises(WrongSchema) as caught:
            await attempt
        assert (caught.value.found, caught.value.is_older) == (newest + 1, False)
    await connection.close()


async def test_an_instance_without_a_bus_must_be_the_only_one(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = PostgresStore(url, is_alone=True)
    await alone.open()
    for other in (PostgresStore(url, is_alone=True), PostgresStore(url)):
        await is_refused(other, monkeypatch)
    await alone.append_updates([make_append(b"still there")])
    await alone.close()
    async with opened(url), opened(url):  # joined by a bus, any number
        await is_refused(PostgresStore(url, is_alone=True), monkeypatch)


async def is_refused(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for whoever is there to go, but not here: who has gone may take longer than that to be gone."""
    with monkeypatch.context() as hasty, pytest.raises(DatabaseInUse):
        hasty.setattr("server.storage.postgres.GONE_S", 0.2)
        await store.open()


async def test_instances_share_one_key(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        first, second = await asyncio.gather(one.share_token_key(b"a" * 32), other.share_token_key(b"b" * 32))
        assert [key for key, _ in first] == [key for key, _ in second]
        await other.add_token_key(b"c" * 32)
        (newest, age_s), (before, _) = await one.share_token_key(b"d" * 32)
        assert (newest, before) == (b"c" * 32, first[0][0])
        assert 0 <= age_s < 60 * SECOND
        await one.add_token_key(b"e" * 32, forget_others=True)
        assert [key for key, _ in await other.share_token_key(b"d" * 32)] == [b"e" * 32]


async def test_two_who_migrate_at_once_take_each_step_once(postgres: PostgresServer) -> None:
    url = await postgres.fresh_schema()
    connections = [await asyncpg.connect(url) for _ in range(2)]
    newest = len(postgres_schema.MIGRATIONS)
    steps = await asyncio.gather(*(postgres_schema.migrate(connection) for connection in connections))
    assert sorted(steps) == [(0, newest), (newest, newest)]
    for connection in connections:
        await connection.close()
    async with opened(url) as store:
        await store.check()


async def test_a_step_that_fails_leaves_the_version_before(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await postgres.fresh_tables()
    steps = (*postgres_schema.MIGRATIONS, "CREATE TABLE half (n int); SELECT 1 / 0")
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", steps)
    connection = await asyncpg.connect(url)
    with pytest.raises(asyncpg.PostgresError):
        await postgres_schema.migrate(connection)
    assert await postgres_schema.read_version(connection) == len(steps) - 1
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_tables_of_another_program_are_left_alone(postgres: PostgresServer) -> None:
    url = await postgres.fresh_schema()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE documents (theirs text)")
    for attempt in (PostgresStore(url).open(), postgres_schema.migrate(connection)):
        with pytest.raises(ForeignDatabase):
            await attempt
    await connection.close()
