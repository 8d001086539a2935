"""What only a database elsewhere, shared by several instances, can get wrong."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from rooms.ports import ClientBinding, DocumentAppend, DocumentKey, RelayedRange, StoreUnavailable
from server.config import Durability
from server.storage import postgres_connections, postgres_schema
from server.storage.errors import DatabaseInUse, ForeignDatabase, WrongSchema
from server.storage.postgres import APPEND_S, CALL_S, LEAST_CONNECTIONS, PostgresStore
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PASSWORD, PostgresServer, running_postgres
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_line, make_participant, make_state

ROOT = Path(__file__).resolve().parents[3]
TEXT = DocumentKey("r1", "texte")


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgresServer]:
    """Of this module: it is stopped, crashed and filled."""
    with running_postgres() as server:
        yield server


@asynccontextmanager
async def opened(url: str, durability: Durability = "process", connections: int = 8) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, durability, connections, clock=lambda: NOW)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def url(fragile: PostgresServer) -> str:
    return await fragile.fresh_tables()


async def works_again(store: PostgresStore, update: bytes = b"again") -> int:
    """Tries as the hub does, until it is stored; the update's number."""
    async with asyncio.timeout(20 * SECOND):
        while True:
            try:
                return next(iter(await store.append_updates([make_append(update)])))
            except StoreUnavailable:
                await asyncio.sleep(0.05)  # as the hub rests between two attempts


# --- what is acknowledged is there ---------------------------------------------------------------

_WRITER = """
import asyncio, sys
from server.storage.errors import DatabaseInUse, ForeignDatabase, WrongSchema
from server.storage.postgres import PostgresStore
from tests.support.stored_rooms import make_append

async def main():
    store = PostgresStore(sys.argv[1], sys.argv[2])
    await store.open()
    async with store.compaction_turn(make_append(b"").key) as is_ours:
        assert is_ours
        for number in range(1_000_000):
            seqs = await store.append_updates([make_append(b"u%d" % number, (number, "p1"))])
            print(seqs[0], flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def writing_process(url: str, durability: str = "process") -> AsyncIterator[asyncio.subprocess.Process]:
    """An instance that appends to one document for ever, and has its turn at compacting it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, url, durability, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def until_written(child: asyncio.subprocess.Process, number: int) -> int:
    assert child.stdout is not None
    written = 0
    async with asyncio.timeout(20 * SECOND):
        while written < number:
            written = int(await child.stdout.readline())
    return written


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_a_killed_process_loses_nothing_it_had_acknowledged(url: str, durability: Durability) -> None:
    async with writing_process(url, durability) as child:
        acknowledged = await until_written(child, 150)
        child.kill()
        rest, _ = await child.communicate()
    acknowledged = int(rest.split()[-1]) if rest else acknowledged
    async with opened(url) as store:
        found = await store.load_document(TEXT)
    assert found.last_seq >= acknowledged
    assert list(found.updates) == [b"u%d" % number for number in range(found.last_seq)]
    assert len(found.bindings) == found.last_seq


async def test_a_crash_of_postgresql_loses_nothing_that_was_acknowledged(fragile: PostgresServer, url: str) -> None:
    async with opened(url) as store:
        acknowledged = 0
        for number in range(200):
            acknowledged = next(iter(await store.append_updates([make_append(b"u%d" % number)])))
        fragile.stop("immediate")
        fragile.start()
        assert list((await load_when_back(store)).updates) == [b"u%d" % number for number in range(acknowledged)]


async def load_when_back(store: PostgresStore):  # type: ignore[no-untyped-def]
    async with asyncio.timeout(20 * SECOND):
        while True:
            try:
                return await store.load_document(TEXT)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_everything_is_there_after_closing_and_opening(url: str) -> None:
    async with opened(url) as store:
        await store.create_room(make_state("r1", make_participant()))
        await store.append_updates([make_append(b"a", (1, "p1")), make_append(b"b")])
        await store.store_snapshot(TEXT, b"A", 1)
        await store.save_invitation(make_invitation())
        await store.append_chat("r1", make_line())
    async with opened(url) as store:
        document = await store.load_document(TEXT)
        assert await store.load_room("r1") == make_state("r1", make_participant())
        assert (document.snapshot, list(document.updates), dict(document.bindings)) == (b"A", [b"b"], {1: "p1"})
        assert await store.find_invitation_by_code("lune-renard-42") == make_invitation()
        assert list(await store.load_chat("r1", 9)) == [make_line()]


@pytest.mark.parametrize(("durability", "commit"), [("process", "local"), ("power", "on")])
async def test_durability_is_the_one_chosen(url: str, durability: Durability, commit: str) -> None:
    async with opened(url, durability) as store:
        for connections in (store._appends, store._calls):
            async with connections.lease(CALL_S * SECOND) as connection:
                assert await connection.fetchval("SHOW synchronous_commit") == commit


async def test_what_was_called_before_closing_is_stored(url: str) -> None:
    async with opened(url) as store:
        calls = [asyncio.ensure_future(store.append_updates([make_append(bytes([n]))])) for n in range(50)]
        await asyncio.sleep(0)  # lets the calls begin to wait for the connection
        await store.close()
        await asyncio.gather(*calls)
        with pytest.raises(StoreUnavailable):
            await store.append_updates([make_append(b"late")])
        await store.open()
        assert (await store.load_document(TEXT)).last_seq == 50


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


# --- every way to fail -------------------------------------------------------------------------------


async def test_a_server_that_is_stopped_and_started_again_is_found_again(fragile: PostgresServer, url: str) -> None:
    async with opened(url) as store:
        await store.append_updates([make_append(b"before")])
        fragile.stop()
        began = time.monotonic()
        for call in (store.append_updates([make_append(b"no")]), store.load_document(TEXT), store.check()):
            with pytest.raises(StoreUnavailable):
                await call
        assert time.monotonic() - began < APPEND_S * SECOND  # a port where nobody listens says so at once
        fragile.start()
        assert await works_again(store) == 2
        await store.check()
        assert list((await store.load_document(TEXT)).updates) == [b"before", b"again"]


async def test_killed_connections_are_made_again(fragile: PostgresServer, url: str) -> None:
    async with opened(url) as store:
        await store.append_updates([make_append(b"before")])
        await store.load_document(TEXT)
        await asyncio.to_thread(fragile.kill_backends, "passerelle")
        assert await works_again(store) == 2
        assert (await load_when_back(store)).last_seq == 2


async def test_a_server_that_stands_still_costs_one_deadline_then_nothing(fragile: PostgresServer, url: str) -> None:
    async with opened(url) as store:
        await store.append_updates([make_append(b"before")])
        await store.load_document(TEXT)
        with fragile.standing_still():
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer"):
                await store.append_updates([make_append(b"given up")])
            assert time.monotonic() - began < APPEND_S + SECOND
            # One asks whether it is back; nobody else waits for that.
            probe = asyncio.ensure_future(store.append_updates([make_append(b"probe")]))
            await asyncio.sleep(0)
            began = time.monotonic()
            for _ in range(100):
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await store.append_updates([make_append(b"refused")])
            assert time.monotonic() - began < SECOND
            with pytest.raises(StoreUnavailable):
                await probe
        await works_again(store)
        found = list((await load_when_back(store)).updates)
        assert (found[0], found[-1]) == (b"before", b"again")
        assert b"refused" not in found


async def test_it_can_be_closed_while_the_server_stands_still(fragile: PostgresServer, url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await asyncio.gather(*(store.load_document(TEXT) for _ in range(20)))
    with fragile.standing_still():
        began = time.monotonic()
        await store.close()
        assert time.monotonic() - began < 3 * SECOND


async def test_what_was_given_up_is_not_done_after_what_came_later(
    fragile: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock keeps the statement from being done; it is given up, its backend still waits for the lock."""
    monkeypatch.setitem(postgres_connections._SESSION, "lock_timeout", "0")
    async with opened(url) as store:
        await store.append_updates([make_append(b"before")])
        holder = await asyncpg.connect(url)
        holding = holder.transaction()
        await holding.start()
        await holder.execute("SELECT 1 FROM documents FOR UPDATE")
        with monkeypatch.context() as hasty, pytest.raises(StoreUnavailable):
            hasty.setattr("server.storage.postgres.APPEND_S", 1.0)
            await store.append_updates([make_append(b"given up")])
        # The new connection ends that backend before it does anything.
        await store.append_updates([make_append(b"elsewhere", document="autre")])
        await holding.rollback()
        await holder.close()
        await store.append_updates([make_append(b"after")])
        assert list((await store.load_document(TEXT)).updates) == [b"before", b"after"]


async def test_a_cancelled_caller_disturbs_no_one(url: str) -> None:
    async with opened(url) as store:
        for _ in range(20):
            given_up = asyncio.ensure_future(store.append_updates([make_append(b"given up")]))
            await asyncio.sleep(random.uniform(0, 0.002))  # before, in, or after its statement
            given_up.cancel()
            await asyncio.wait([given_up])
            await store.append_updates([make_append(b"kept", document="autre")])
        assert (await store.load_document(DocumentKey("r1", "autre"))).last_seq == 20


async def test_a_full_disk_refuses_whole_flushes_until_there_is_room(fragile: PostgresServer, url: str) -> None:
    """No table may grow beyond 4 MiB: an error of the file system, as with a disk that is full."""
    dice = random.Random(1)
    async with opened(url) as store:
        kept = 0
        with fragile.no_file_may_grow_beyond(4 << 20):
            with pytest.raises(StoreUnavailable) as caught:
                for number in range(100):
                    small = make_append(b"small", document="autre")
                    await store.append_updates([small, make_append(dice.randbytes(200_000))])
                    kept = number + 1
            assert 0 < kept < 100
            assert "PostgreSQL: " in str(caught.value)
            assert (await store.load_document(TEXT)).last_seq == kept
            assert (await store.load_document(DocumentKey("r1", "autre"))).last_seq == kept
        assert await works_again(store) == kept + 1


async def test_a_database_that_may_only_be_read_says_so_and_is_written_to_when_it_may(
    fragile: PostgresServer, url: str
) -> None:
    async with opened(url) as store:
        await store.append_updates([make_append(b"before")])
        fragile.query("ALTER DATABASE postgres SET default_transaction_read_only = on")
        fragile.kill_backends("passerelle")
        try:
            with pytest.raises(StoreUnavailable, match=r"ReadOnly|Connection|AdminShutdown"):
                await store.append_updates([make_append(b"no")])
            with pytest.raises(StoreUnavailable, match="ReadOnly"):
                await store.append_updates([make_append(b"no")])
            with pytest.raises(StoreUnavailable):
                await store.check()
            assert list((await load_when_back(store)).updates) == [b"before"]
        finally:
            fragile.query("ALTER DATABASE postgres RESET ALL")
        assert await works_again(store) == 2


async def test_when_all_connections_are_at_work_a_call_does_not_wait_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url, connections=LEAST_CONNECTIONS) as store:
        async with store.compaction_turn(TEXT), store.compaction_turn(DocumentKey("r1", "autre")):
            with monkeypatch.context() as hasty, pytest.raises(StoreUnavailable, match="at work"):
                hasty.setattr("server.storage.postgres.CALL_S", 0.3)
                await store.load_room("r1")
            await store.append_updates([make_append(b"a")])  # has its own
        assert await store.load_room("r1") is None


async def test_too_many_waiting_calls_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_connections, "MAX_WAITING_CALLS", 20)
    async with opened(url) as store:
        calls = [asyncio.ensure_future(store.append_updates([make_append(b"a")])) for _ in range(25)]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, StoreUnavailable) for result in done) == 5


async def test_it_takes_no_more_connections_than_it_was_given(fragile: PostgresServer, url: str) -> None:
    async with opened(url, connections=4) as store:
        loads = [store.load_document(TEXT) for _ in range(60)]
        appends = [store.append_updates([make_append(b"a")]) for _ in range(60)]
        await asyncio.gather(*loads, *appends)
        query = "SELECT application_name LIKE 'passerelle append %', count(*) FROM pg_stat_activity"
        counted = fragile.query(f"{query} WHERE application_name LIKE 'passerelle %' GROUP BY 1 ORDER BY 1")
        assert counted.split("\n") == ["f|3", "t|1"]


async def test_no_sentence_of_an_error_holds_what_was_to_be_stored(url: str) -> None:
    async with opened(url) as store:
        holder = await asyncpg.connect(url)
        await holder.execute("ALTER TABLE chat ADD CHECK (length(body) < 10)")
        await holder.close()
        with pytest.raises(StoreUnavailable) as caught:
            await store.append_chat("r1", make_line(text="secret de Zoé"))
        assert "CheckViolation" in str(caught.value)
        assert "secret" not in str(caught.value)


# --- who may be let in, and to what ---------------------------------------------------------------------


async def test_a_wrong_password_or_database_is_said_without_the_secret(fragile: PostgresServer) -> None:
    for wrong in (
        fragile.url().replace(PASSWORD, "autre-secret"),
        fragile.url().replace("/postgres", "/nulle-part"),
        fragile.url().replace(f":{fragile.port}", ":1"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await PostgresStore(wrong).open()
        assert "secret" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


async def test_a_database_of_another_version_is_left_alone(fragile: PostgresServer) -> None:
    url = await fragile.fresh_schema()
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


async def test_an_instance_that_lost_its_connections_is_still_the_only_one(fragile: PostgresServer, url: str) -> None:
    alone = PostgresStore(url, is_alone=True)
    await alone.open()
    await asyncio.to_thread(fragile.kill_backends, "passerelle")
    await works_again(alone)
    await alone.close()


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


async def test_two_who_migrate_at_once_take_each_step_once(fragile: PostgresServer) -> None:
    url = await fragile.fresh_schema()
    connections = [await asyncpg.connect(url) for _ in range(2)]
    newest = len(postgres_schema.MIGRATIONS)
    steps = await asyncio.gather(*(postgres_schema.migrate(connection) for connection in connections))
    assert sorted(steps) == [(0, newest), (newest, newest)]
    for connection in connections:
        await connection.close()
    async with opened(url) as store:
        await store.check()


async def test_a_step_that_fails_leaves_the_version_before(
    fragile: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await fragile.fresh_tables()
    steps = (*postgres_schema.MIGRATIONS, "CREATE TABLE half (n int); SELECT 1 / 0")
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", steps)
    connection = await asyncpg.connect(url)
    with pytest.raises(asyncpg.PostgresError):
        await postgres_schema.migrate(connection)
    assert await postgres_schema.read_version(connection) == len(steps) - 1
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_tables_of_another_program_are_left_alone(fragile: PostgresServer) -> None:
    url = await fragile.fresh_schema()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE documents (theirs text)")
    for attempt in (PostgresStore(url).open(), postgres_schema.migrate(connection)):
        with pytest.raises(ForeignDatabase):
            await attempt
    await connection.close()
