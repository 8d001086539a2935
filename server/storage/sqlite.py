"""The store of one process: an SQLite file (WAL) in the data folder.

Two threads: one writes, with group commit, one reads, so that loading a long document never keeps
"saved" waiting. Small appends to documents, which need no fsync, are written without either while the
first is idle (`sqlite_direct`). A committed write survives the process however it dies (`process`:
synchronous=NORMAL) or a power cut too (`power`: FULL, an fsync a commit). When the disk fails,
calls raise StoreUnavailable, and work again as soon as the disk does.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rooms.models import ChatLine, Invitation, RoomState
from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StoredDocument, StoreUnavailable
from server.config import Durability
from server.storage import sqlite_documents, sqlite_retention, sqlite_rooms
from server.storage.folder import FolderLock, make_private_file, make_private_folder
from server.storage.sqlite_direct import DirectAppender
from server.storage.sqlite_schema import migrate
from server.storage.sqlite_thread import DatabaseThread

logger = logging.getLogger(__name__)

FILE_NAME = "passerelle.sqlite3"
BUSY_TIMEOUT_S = 2.0
"""How long a call waits for a lock that another program (a backup) holds, before it fails."""
WAL_LIMIT_BYTES = 16 * 1024 * 1024
"""The -wal file is cut back to this after a checkpoint: a moment's peak does not stay on the disk."""
DIRECT_APPENDS_A_CHECKPOINT = 256
"""Documents appended to without the writing thread, before it is told to bring them from the log to the file: about
the thousand pages at which SQLite does so itself."""
MAX_PAGES_RETURNED = 2_000
"""Free pages (of 4 KiB) given back to the disk after forgetting: some tens of milliseconds for who writes."""

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}


class SqliteStore:
    """`rooms.ports.Store` in `folder/passerelle.sqlite3`. `clock` gives seconds since the epoch."""

    def __init__(
        self, folder: Path, durability: Durability = "process", clock: Callable[[], float] = time.time
    ) -> None:
        self.path = folder / FILE_NAME
        self._folder = folder
        self._durability = durability
        self._clock = clock
        self._lock = FolderLock(folder)
        self._writer = DatabaseThread("store writer", self.path, self._connect_writer, writes=True)
        self._reader = DatabaseThread("store reader", self.path, self._connect_reader, writes=False)
        self._direct = DirectAppender(self.path, self._connect_direct) if durability == "process" else None
        self._direct_appends = 0
        self._checkpoint: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the folder and the file, take the folder's lock, bring the schema up to date.

        Raises: StoreUnavailable (`FolderInUse`, `ForeignFile`, or the disk's failure).
        """
        await asyncio.get_running_loop().run_in_executor(None, self._prepare)
        try:
            await self._writer.open()
            await self._reader.open()
            if self._direct is not None:
                await self._direct.open()
        except BaseException:
            await self.close()
            raise

    def _prepare(self) -> None:
        try:
            make_private_folder(self._folder)
            self._lock.take()
            make_private_file(self.path)
        except OSError as error:
            self._lock.release()
            raise StoreUnavailable(f"{self._folder}: {error.strerror}") from error

    async def close(self) -> None:
        """What was called before is stored first. Returns when both threads have ended."""
        if self._direct is not None:
            await self._direct.close()
        await self._reader.close()
        await self._writer.close()
        self._lock.release()

    async def check(self) -> None:
        await self._writer.call(_write_nothing)

    def _connect_writer(self) -> sqlite3.Connection:
        connection = connect(self.path)
        try:
            # auto_vacuum is only heeded before the first table is made.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
            # What is deleted is overwritten: a name that was forgotten is not left in a free page.
            connection.execute("PRAGMA secure_delete = ON")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        # A first read joins the log now: while the disk is full that could not be done.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return connection

    def _connect_direct(self) -> sqlite3.Connection:
        connection = connect(self.path, timeout_s=0.0, check_same_thread=False)
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        # Checkpoints fsync: they are the writing thread's.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    # --- documents -----------------------------------------------------------------------------

    async def load_document(self, key: DocumentKey) -> StoredDocument:
        return await self._reader.call(partial(sqlite_documents.load, key=key))

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        numbers = self.append_at_once(appends)
        if numbers is not None:
            return numbers
        return await self._writer.call(partial(sqlite_documents.append, appends=tuple(appends), now=self._clock()))

    async def append_first(self, append: DocumentAppend) -> bool:
        return await self._writer.call(partial(sqlite_documents.append_first, append=append, now=self._clock()))

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> Sequence[int] | None:
        if self._direct is None or not self._writer.is_idle:
            return None  # nothing may overtake what waits for the thread
        numbers = self._direct.append(appends, self._clock())
        if numbers is not None:
            self._direct_appends += len(appends)
            if self._direct_appends >= DIRECT_APPENDS_A_CHECKPOINT:
                self._direct_appends = 0
                self._checkpoint = asyncio.get_running_loop().create_task(self._bring_to_the_file())
        return numbers

    async def _bring_to_the_file(self) -> None:
        try:
            await self._writer.call_outside_transaction(_checkpoint)
        except StoreUnavailable as error:
            logger.warning("checkpoint failed", extra={"reason": str(error)})

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        work = partial(sqlite_documents.store_snapshot, key=key, snapshot=snapshot, up_to_seq=up_to_seq)
        await self._writer.call(work)

    @asynccontextmanager
    async def compaction_turn(self, key: DocumentKey) -> AsyncIterator[bool]:
        """There is no other instance."""
        yield True

    async def list_documents(self, room_id: str) -> Sequence[str]:
        return await self._reader.call(partial(sqlite_documents.list_names, room_id=room_id))

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        return await self._reader.call(partial(sqlite_documents.load_relays, key=key))

    # --- rooms ---------------------------------------------------------------------------------

    async def create_room(self, state: RoomState) -> None:
        await self._writer.call(partial(sqlite_rooms.create, state=state))

    async def load_room(self, room_id: str) -> RoomState | None:
        return await self._reader.call(partial(sqlite_rooms.load, room_id=room_id))

    async def claim_room(self, room_id: str, fence: int) -> RoomState | None:
        return await self._writer.call(partial(sqlite_rooms.claim, room_id=room_id, fence=fence))

    async def save_room(self, state: RoomState, fence: int | None = None) -> None:
        await self._writer.call(partial(sqlite_rooms.save, state=state, fence=fence))

    # --- invitations ---------------------------------------------------------------------------

    async def save_invitation(self, invitation: Invitation, fence: int | None = None) -> None:
        work = partial(sqlite_rooms.save_invitation, invitation=invitation, fence=fence, now=self._clock())
        await self._writer.call(work)

    async def load_invitation(self, invitation_id: str) -> Invitation | None:
        return await self._reader.call(partial(sqlite_rooms.load_invitation, invitation_id=invitation_id))

    async def find_invitation_by_code(self, code: str) -> Invitation | None:
        return await self._reader.call(partial(sqlite_rooms.find_invitation_by_code, code=code, now=self._clock()))

    async def take_invitation_use(self, invitation_id: str, now: float) -> Invitation | None:
        return await self._writer.call(partial(sqlite_rooms.take_invitation_use, invitation_id=invitation_id, now=now))

    async def list_invitations(self, room_id: str) -> Sequence[Invitation]:
        return await self._reader.call(partial(sqlite_rooms.list_invitations, room_id=room_id))

    # --- chat ----------------------------------------------------------------------------------

    async def append_chat(self, room_id: str, line: ChatLine, fence: int | None = None) -> None:
        await self._writer.call(partial(sqlite_rooms.append_chat, room_id=room_id, line=line, fence=fence))

    async def load_chat(self, room_id: str, limit: int) -> Sequence[ChatLine]:
        return await self._reader.call(partial(sqlite_rooms.load_chat, room_id=room_id, limit=limit))

    # --- retention -----------------------------------------------------------------------------

    async def forget_before(self, now: float) -> int:
        """In steps of a few rooms, so that writing goes on in between; then the freed pages go back
        to the disk, and the log that still holds what was deleted is emptied."""
        forgotten = 0
        after: str | None = ""
        while after is not None:
            count, after = await self._writer.call(partial(sqlite_retention.forget_rooms, after=after, now=now))
            forgotten += count
        forgotten += await self._writer.call(partial(sqlite_retention.forget_invitations_and_stray_chat, now=now))
        if forgotten:
            await self._writer.call_outside_transaction(_return_free_pages)
        return forgotten

    async def erase_room(self, room_id: str) -> int:
        """The room with all that is kept of it, for an administrator, while nobody is in it. Returns how many records
        that was, 0 when there is no such room. What is deleted is overwritten. Raises: StoreUnavailable."""
        erased = await self._writer.call(partial(sqlite_retention.delete_room, room_id=room_id))
        await self._writer.call_outside_transaction(_return_free_pages)
        return erased


def connect(path: Path, *, timeout_s: float = BUSY_TIMEOUT_S, check_same_thread: bool = True) -> sqlite3.Connection:
    """Autocommit mode: every transaction is begun and ended by its caller. Never makes the file."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=check_same_thread,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _write_nothing(connection: sqlite3.Connection) -> None:
    """A write that changes nothing, but needs the lock, the log and room on the disk."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version}")


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _return_free_pages(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA incremental_vacuum({MAX_PAGES_RETURNED})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
