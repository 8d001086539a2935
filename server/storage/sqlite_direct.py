"""Appends that are written where they are called, in the event loop, as long as that is quicker than to ask a thread.

To hand an append of a hundred bytes to the writing thread and to be woken by its answer costs three times the CPU
of the append itself, some hundreds of times a second in a busy school. Where a commit needs no fsync (durability
`process`) it is a copy into the kernel's memory, and takes a tenth of a millisecond.

So this is for small appends, while nobody else writes, on a disk that has been quick. Whatever does not go at once
(a lock that is held, a disk that is full, a file that is gone) is left to the thread, which can wait, and which finds
out what is wrong.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rooms.ports import DocumentAppend
from server.storage import sqlite_documents

MAX_DOCUMENTS = 32
"""In one append: with some 50 µs each the loop is free again in under 2 ms."""
MAX_BYTES = 64 * 1024
"""Of text in one append, for the same reason."""
SLOW_S = 0.005
"""An append that took longer than this: the disk is not quick now."""
REST_S = 2.0
"""For this long the thread has it then, and after any failure."""


class DirectAppender:
    """Of one event loop. `connect` makes a connection that waits for no lock; it is called in another thread."""

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._path = path
        self._connect = connect
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._rests_until = 0.0
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """When the schema is up to date. A failure is the thread's to report: here it only means a rest."""
        try:
            self._connection = await asyncio.get_running_loop().run_in_executor(None, self._connect)
            self._inode = os.stat(self._path).st_ino
        except (sqlite3.Error, OSError):
            self._rest()

    async def close(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening
        self._disconnect()

    def append(self, appends: Sequence[DocumentAppend], now: float) -> tuple[int, ...] | None:
        """As `DocumentStore.append_updates`, at once; None: nothing is written, let the thread do it."""
        if len(appends) > MAX_DOCUMENTS or sum(len(one.update) for one in appends) > MAX_BYTES:
            return None
        started = self._clock()
        if started < self._rests_until:
            return None
        connection = self._connection
        if connection is None:
            self._open_again()
            return None
        try:
            if os.stat(self._path).st_ino != self._inode:
                raise sqlite3.OperationalError("another file")
            connection.execute("BEGIN IMMEDIATE")
            numbers = sqlite_documents.append(connection, appends, now)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._abandon(connection, error)
            return None
        if self._clock() - started > SLOW_S:
            self._rest()
        return numbers

    def _abandon(self, connection: sqlite3.Connection, error: Exception) -> None:
        primary_code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if primary_code == sqlite3.SQLITE_BUSY and not connection.in_transaction:
            return  # somebody writes: the thread waits for it
        self._rest()
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self._disconnect()

    def _rest(self) -> None:
        self._rests_until = self._clock() + REST_S

    def _open_again(self) -> None:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self.open())

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
