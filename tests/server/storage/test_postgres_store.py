"""What only a database elsewhere, shared by several instances, can get wrong."""

import asyncio
import random
import time
from collections.abc import Iterator

import asyncpg
import pytest

from rooms.ports import DocumentKey, StoreUnavailable
from server.config import Durability
from server.storage import postgres_connections
from server.storage.postgres import APPEND_S, CALL_S, LEAST_CONNECTIONS, PostgresStore
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.postgres_stores import opened, until_written, writing_process
from tests.support.stored_rooms import make_append, make_invitation, make_line, make_participant, make_state

TEXT = DocumentKey("r1", "texte")


@pytest.fixture(scope="module")
def fragile() -> Iterator[PostgresServer]:
    """Of this module: it is stopped, crashed and filled."""
    with running_postgres() as server:
        yield server


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


async def test_an_instance_that_lost_its_connections_is_still_the_only_one(fragile: PostgresServer, url: str) -> None:
    alone = PostgresStore(url, is_alone=True)
    await alone.open()
    await asyncio.to_thread(fragile.kill_backends, "passerelle")
    await works_again(alone)
    await alone.close()
