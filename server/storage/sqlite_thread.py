"""One SQLite connection and the one thread that uses it.

Calls come in from the event loop and never block it. The writing thread takes all calls that wait
and commits them together (group commit: with fsync at each commit that is what keeps sixty typing
documents from queueing for the disk); each call stands in a savepoint of its own, so that one that
fails takes nothing of the others with it. A future is answered only after its commit.
"""

import asyncio
import contextlib
import itertools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rooms.ports import StoreUnavailable
from server.storage.encoding import CorruptBody
from server.storage.sqlite_schema import ForeignFile

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

MAX_WAITING_CALLS = 2_048
"""Calls that wait for the thread; beyond, the store is unavailable rather than ever further behind."""
MAX_CALLS_A_COMMIT = 256
"""Calls in one transaction: bounds how long the first of them waits for the last."""

_LEAVES_CONNECTION_SOUND = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""Primary error codes after which the connection itself is as good as before; after any other
(I/O error, read-only, corrupt, file gone) it is opened anew for the next call."""


@dataclass(slots=True)
class _Call:
    work: Work[Any]
    alone: bool
    """Runs outside a transaction, as some PRAGMAs must."""
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    settled: Callable[[], None]
    """Called in the event loop when there is an answer, even if nobody waits for it any more."""

    def answer(self, result: Any) -> None:
        self._deliver(lambda: self.future.set_result(result))

    def fail(self, error: BaseException) -> None:
        self._deliver(lambda: self.future.set_exception(error))

    def _deliver(self, settle: Callable[[], None]) -> None:
        def settle_if_awaited() -> None:
            self.settled()
            if not self.future.done():
                settle()

        # The loop may have been closed under a caller that was cancelled: nobody waits then.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle_if_awaited)


class DatabaseThread:
    """Owns a connection from `open` to `close`. `connect` runs in the thread, at each (re)opening."""

    def __init__(self, name: str, path: Path, connect: Callable[[], sqlite3.Connection], *, writes: bool) -> None:
        self._name = name
        self._path = path
        self._connect = connect
        self._writes = writes
        self._calls: queue.Queue[_Call | None] = queue.Queue(MAX_WAITING_CALLS)
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._thread: threading.Thread | None = None
        self._unanswered = 0

    @property
    def is_idle(self) -> bool:
        """Nothing waits, and nothing is under way."""
        return self._unanswered == 0

    async def open(self) -> None:
        """Raises: StoreUnavailable, and then there is no thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        try:
            await self.call(lambda connection: None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """After the calls that wait already. Returns when the connection is closed."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        loop = asyncio.get_running_loop()
        # The queue may be full for a moment, and joining waits: neither on the loop.
        await loop.run_in_executor(None, self._calls.put, None)
        await loop.run_in_executor(None, thread.join)

    async def call(self, work: Work[Result]) -> Result:
        """Run `work(connection)` in the thread; for a writer, inside a transaction.

        Raises: StoreUnavailable; whatever else `work` raises, and then nothing it did is stored.
        """
        result: Result = await self._enqueue(work, alone=False)
        return result

    async def call_outside_transaction(self, work: Work[Result]) -> Result:
        """As `call`, without a transaction: for what SQLite does in none. Raises: StoreUnavailable."""
        result: Result = await self._enqueue(work, alone=True)
        return result

    def _enqueue(self, work: Work[Any], *, alone: bool) -> "asyncio.Future[Any]":
        if self._thread is None:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        call = _Call(work, alone, loop.create_future(), loop, self._note_answered)
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            raise StoreUnavailable(f"{MAX_WAITING_CALLS} calls wait for the store already") from None
        self._unanswered += 1
        return call.future

    def _note_answered(self) -> None:
        self._unanswered -= 1

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        ending = False
        while not ending:
            calls, ending = self._next_calls()
            for alone, group in itertools.groupby(calls, key=lambda call: call.alone):
                if alone:
                    for call in group:
                        self._serve_alone(call)
                else:
                    self._serve(list(group))
        self._disconnect()

    def _next_calls(self) -> tuple[list[_Call], bool]:
        calls: list[_Call] = []
        call = self._calls.get()
        while call is not None:
            calls.append(call)
            if len(calls) >= MAX_CALLS_A_COMMIT:
                return calls, False
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return calls, False
        return calls, True

    def _serve(self, calls: list[_Call]) -> None:
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE" if self._writes else "BEGIN")
            results = [self._attempt(connection, call) for call in calls]
            connection.execute("COMMIT")
        except Exception as error:
            # One of the failures that spoil the whole transaction (disk full, I/O): nothing of it
            # is stored.
            self._abandon(error)
            self._after_failure(calls, error)
            return
        for call, (result, failure) in zip(calls, results, strict=True):
            if failure is None:
                call.answer(result)
            else:
                call.fail(failure)

    def _serve_alone(self, call: _Call) -> None:
        try:
            result = call.work(self._connected())
        except Exception as error:
            self._abandon(error)
            call.fail(_translated(error))
        else:
            call.answer(result)

    def _after_failure(self, calls: list[_Call], error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and _primary_code(error) == sqlite3.SQLITE_FULL and len(calls) > 1:
            # On a nearly full disk one long update must not keep the short ones out.
            for call in calls:
                self._serve([call])
            return
        for call in calls:
            call.fail(_translated(error))

    def _attempt(self, connection: sqlite3.Connection, call: _Call) -> tuple[Any, Exception | None]:
        """Raises: sqlite3.Error when the transaction as a whole is lost."""
        connection.execute("SAVEPOINT call")
        try:
            result = call.work(connection)
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError) or not connection.in_transaction:
                raise
            failure: Exception = _translated(error)
        except Exception as error:
            failure = _translated(error)
        else:
            connection.execute("RELEASE call")
            return result, None
        connection.execute("ROLLBACK TO call")
        connection.execute("RELEASE call")
        return None, failure

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_same_file():
            # The file was taken away or replaced under us: what we would write, nobody would find.
            self._disconnect()
        if self._connection is None:
            if self._inode and not self._path.exists():
                # Never an empty file in the place of a full one.
                raise StoreUnavailable("the database file is gone")
            self._connection = self._connect()
            self._inode = os.stat(self._path).st_ino
        return self._connection

    def _is_same_file(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def _abandon(self, error: Exception) -> None:
        """Leave the transaction behind, and the connection where it may be spoilt."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if isinstance(error, sqlite3.Error) and _primary_code(error) not in _LEAVES_CONNECTION_SOUND:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # What could not be written is known to its callers already.
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code is the low byte of the extended one; -1 when there is none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def _translated(error: Exception) -> Exception:
    """As callers know it. SQLite's sentences name files and tables, never what is stored in them."""
    if isinstance(error, StoreUnavailable):
        return error if isinstance(error, ForeignFile) else StoreUnavailable(str(error))
    if isinstance(error, sqlite3.Error):
        return StoreUnavailable(f"SQLite: {getattr(error, 'sqlite_errorname', type(error).__name__)}")
    if isinstance(error, CorruptBody | OSError):
        return StoreUnavailable(f"{type(error).__name__}")
    return error
