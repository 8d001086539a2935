"""The store of several instances: a PostgreSQL database that all of them share.

Two groups of connections, as SQLite has two threads: one connection appends to documents, so that appends keep
their order and never queue behind the loading of a long text; the others do the rest. A commit waits until the
database's own log is on its disk, at either durability: without that a crash of PostgreSQL, or of its machine, would
take back the last half second of what was called saved, and the numbers given to it would be given once more.

When PostgreSQL fails, calls raise StoreUnavailable, and work again as soon as it does. A call whose answer was lost
may have been done: appended twice is as appended once, to whoever reads updates.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from rooms.models import ChatLine, Invitation, RoomState
from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StoredDocument
from server.config import Durability
from server.storage import (
    postgres_archive,
    postgres_documents,
    postgres_retention,
    postgres_rooms,
    postgres_schema,
    postgres_token_keys,
)
from server.storage.archive import Record
from server.storage.errors import DatabaseInUse
from server.storage.postgres_connections import Connections, Result, Work

APPEND_S = 3.0
"""A flush shows nothing to anyone until it is stored: so long a class waits before it goes on unsaved."""
CALL_S = 4.5
"""Any other call of somebody who waits: less than the 5 s that a document's load is given."""
SNAPSHOT_S = 20.0
"""A snapshot of 20 MB, written while nobody waits for it."""
COMPACTION_S = 120.0
"""Longest turn at compacting one document; after that another instance may have it."""
GONE_S = 3.0
"""How long a start waits for the connections of a process that has just ended."""
FORGET_S = 30.0
"""One step of forgetting."""
DEFAULT_CONNECTIONS = 8
"""Of one instance: one appends, the others load and save. PostgreSQL allows 100 in all by default."""
ARCHIVE_S = 86_400.0
"""Everything, out or in."""
MIGRATE_S = 3_600.0
"""A step may write every row anew."""
LEAST_CONNECTIONS = 3
"""One appends, one has its turn at compacting, one is left for everybody else."""

_SYNCHRONOUS = {"process": "local", "power": "on"}
"""`local`: on the disk of the database's machine; `on`: on those of its synchronous standbys as well, if it has any."""


class PostgresStore:
    """`rooms.ports.Store` in the database of `url`. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        url: str,
        durability: Durability = "process",
        connections: int = DEFAULT_CONNECTIONS,
        clock: Callable[[], float] = time.time,
        *,
        is_alone: bool = False,
    ) -> None:
        """`is_alone`: nothing joins this instance with others: it must be the only one on its database."""
        self._clock = clock
        self._is_alone = is_alone
        settings = {"synchronous_commit": _SYNCHRONOUS[durability]}
        # What takes longer ends on the server as well, a moment after it was given up here.
        appends = {**settings, "statement_timeout": f"{APPEND_S + 1:.0f}s"}
        calls = {**settings, "statement_timeout": f"{FORGET_S + 1:.0f}s"}
        self._appends = Connections(url, name="append", size=1, settings=appends, prepare=self._require_to_be_alone)
        self._calls = Connections(url, name="call", size=max(LEAST_CONNECTIONS, connections) - 1, settings=calls)

    async def open(self) -> None:
        """Raises: StoreUnavailable (`WrongSchema`: `passerelle migrate` has not been run, or by a later version)."""
        await self._calls.open()
        try:
            await self._calls.run(postgres_schema.check_version, CALL_S)
            await self._open_appends()
        except BaseException:
            await self.close()
            raise

    async def _open_appends(self) -> None:
        """The connection of a process that was killed, and its lock, are gone a moment later."""
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + GONE_S
        while True:
            try:
                return await self._appends.open()
            except DatabaseInUse:
                if loop.time() > patience_ends:
                    raise
                await asyncio.sleep(0.1)

    async def _require_to_be_alone(self, connection: "asyncpg.Connection") -> None:
        """Two instances that nothing joins would each show their people half of what is written. The lock is held by
        the connection that appends, for as long as it lives. Raises: DatabaseInUse."""
        lock = "pg_try_advisory_lock" if self._is_alone else "pg_try_advisory_lock_shared"
        if not await connection.fetchval(f"SELECT {lock}(hashtextextended('passerelle ' || current_schema(), 0))"):
            raise DatabaseInUse("another instance has the database, and no bus joins them")

    async def close(self) -> None:
        """What was called before is done first, or has failed."""
        await self._appends.close()
        await self._calls.close()

    async def check(self) -> None:
        await self._call(_write_nothing)

    async def _call(self, work: Work[Result]) -> Result:
        return await self._calls.run(work, CALL_S)

    # --- the keys of the tokens ----------------------------------------------------------------

    async def share_token_key(self, offered: bytes) -> Sequence[tuple[bytes, float]]:
        """The keys of all instances, the newest first, and how many seconds each has been there; where there are
        none yet, the offered one is the first. Raises: StoreUnavailable."""
        return await self._call(partial(postgres_token_keys.share, offered=offered))

    async def add_token_key(self, key: bytes, *, forget_others: bool = False) -> None:
        """Raises: StoreUnavailable."""
        await self._call(partial(postgres_token_keys.add, key=key, forget_others=forget_others))

    # --- everything, for an archive ------------------------------------------------------------

    async def read_all(self) -> AsyncGenerator[Record, None]:
        """Raises: StoreUnavailable."""
        async with self._calls.lease(ARCHIVE_S) as connection:
            async for record in postgres_archive.read(connection):
                yield record

    async def write_all(self, records: Iterable[Record]) -> None:
        """All of them into empty tables, or none. Raises: NotEmpty, StoreUnavailable, whatever `records` raises."""
        await self._calls.run(partial(postgres_archive.write, records=records), ARCHIVE_S)

    # --- documents -----------------------------------------------------------------------------

    async def load_document(self, key: DocumentKey) -> StoredDocument:
        return await self._call(partial(postgres_documents.load, key=key))

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        if not appends:
            return ()
        work = partial(postgres_documents.append, appends=tuple(appends), now=self._clock())
        return await self._appends.run(work, APPEND_S)

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> None:
        """Its answer has to come from elsewhere."""

    async def append_first(self, append: DocumentAppend) -> bool:
        work = partial(postgres_documents.append_first, one=append, now=self._clock())
        return await self._appends.run(work, APPEND_S)

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        work = partial(postgres_documents.store_snapshot, key=key, snapshot=snapshot, up_to_seq=up_to_seq)
        await self._calls.run(work, SNAPSHOT_S)

    @asynccontextmanager
    async def compaction_turn(self, key: DocumentKey) -> AsyncIterator[bool]:
        name = f"compact {key.room_id} {key.document}"
        async with self._calls.lease(COMPACTION_S) as connection:
            is_mine = await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name)
            try:
                yield is_mine
            finally:
                if is_mine:
                    await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)

    async def list_documents(self, room_id: str) -> Sequence[str]:
        return await self._call(partial(postgres_documents.list_names, room_id=room_id))

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        return await self._call(partial(postgres_documents.load_relays, key=key))

    # --- rooms ---------------------------------------------------------------------------------

    async def create_room(self, state: RoomState) -> None:
        await self._call(partial(postgres_rooms.create, state=state))

    async def load_room(self, room_id: str) -> RoomState | None:
        if not _is_ours(room_id):
            return None
        return await self._call(partial(postgres_rooms.load, room_id=room_id))

    async def claim_room(self, room_id: str, fence: int) -> RoomState | None:
        return await self._call(partial(postgres_rooms.claim, room_id=room_id, fence=fence))

    async def save_room(self, state: RoomState, fence: int | None = None) -> None:
        await self._call(partial(postgres_rooms.save, state=state, fence=fence))

    # --- invitations ---------------------------------------------------------------------------

    async def save_invitation(self, invitation: Invitation, fence: int | None = None) -> None:
        work = partial(postgres_rooms.save_invitation, invitation=invitation, fence=fence, now=self._clock())
        await self._call(work)

    async def load_invitation(self, invitation_id: str) -> Invitation | None:
        if not _is_ours(invitation_id):
            return None
        return await self._call(partial(postgres_rooms.load_invitation, invitation_id=invitation_id))

    async def find_invitation_by_code(self, code: str) -> Invitation | None:
        return await self._call(partial(postgres_rooms.find_invitation_by_code, code=code, now=self._clock()))

    async def take_invitation_use(self, invitation_id: str, now: float) -> Invitation | None:
        if not _is_ours(invitation_id):
            return None
        return await self._call(partial(postgres_rooms.take_invitation_use, invitation_id=invitation_id, now=now))

    async def list_invitations(self, room_id: str) -> Sequence[Invitation]:
        return await self._call(partial(postgres_rooms.list_invitations, room_id=room_id))

    # --- chat ----------------------------------------------------------------------------------

    async def append_chat(self, room_id: str, line: ChatLine, fence: int | None = None) -> None:
        await self._call(partial(postgres_rooms.append_chat, room_id=room_id, line=line, fence=fence))

    async def load_chat(self, room_id: str, limit: int) -> Sequence[ChatLine]:
        return await self._call(partial(postgres_rooms.load_chat, room_id=room_id, limit=limit))

    # --- retention -----------------------------------------------------------------------------

    async def forget_before(self, now: float) -> int:
        """In steps of a few rooms, so that writing goes on in between."""
        forgotten = 0
        after: str | None = ""
        while after is not None:
            step = partial(postgres_retention.forget_rooms, after=after, now=now)
            count, after = await self._calls.run(step, FORGET_S)
            forgotten += count
        last = partial(postgres_retention.forget_invitations_and_stray_chat, now=now)
        return forgotten + await self._calls.run(last, FORGET_S)

    async def erase_room(self, room_id: str) -> int:
        """The room with all that is kept of it, for an administrator, while nobody is in it. Returns how many records
        that was, 0 when there is no such room. Raises: StoreUnavailable."""
        return await self._calls.run(partial(postgres_retention.erase_room, room_id=room_id), FORGET_S)


async def migrate_database(url: str) -> tuple[int, int]:
    """Bring the tables to this program's version; the versions before and after.

    Raises: StoreUnavailable (`WrongSchema`: it is of a later version; `ForeignDatabase`)."""
    # Whoever changes a table under people who write waits briefly for them, and holds nobody up for long.
    connections = Connections(url, name="migrate", size=1, settings={"lock_timeout": "10s"})
    await connections.open()
    try:
        return await connections.run(postgres_schema.migrate, MIGRATE_S)
    finally:
        await connections.close()


def _is_ours(identifier: str) -> bool:
    """Whether it could be an id that we made: PostgreSQL takes an error for the answer where it is not even text."""
    return identifier.isascii() and identifier.isprintable()


async def _write_nothing(connection: "asyncpg.Connection") -> None:
    """A write that changes nothing of ours, but needs the log, room on the disk, and a server that takes writes."""
    await connection.execute("UPDATE passerelle SET checked_at = now()")
