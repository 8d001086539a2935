"""Connections to PostgreSQL: so many and no more, every call with its deadline, given up rather than waited for.

Two things are not left to the library. A server that stands still (stopped, cut off, its disk hanging) answers
neither a query nor the request to cancel it: a connection without an answer in time is torn down at once, never
closed politely. And what was asked on it may still be done when the server goes on, after what is asked next on
another connection. So a new connection first ends, on the server, whatever was given up here; from then on those
calls either have been done, or never will be.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from rooms.ports import StoreUnavailable
from server.storage.encoding import CorruptBody

Result = TypeVar("Result")
Work = Callable[["asyncpg.Connection"], Awaitable[Result]]

CONNECT_S = 2.0
"""A server that is there lets us in within milliseconds; TLS and a slow resolver take some hundred."""
GOODBYE_S = 0.5
"""To a server that stands still nobody says goodbye for long: the process has some seconds to end."""
MAX_WAITING_CALLS = 2_048
"""Calls that wait for a connection; beyond, the store is unavailable rather than ever further behind."""
LOCK_MS = 2_000
"""How long a statement waits for a row that another instance changes: each holds it for one statement."""
FORGOTTEN_CLIENT_S = 15
"""The server lets go of a connection (and of its locks) whose machine is silent for about twice as long."""
LEAST_VERSION = 14
"""`pg_terminate_backend` that waits came with it; older ones get no more mending since November 2025."""

_END_OF_BACKEND_MS = 1_000
_LEAVES_CONNECTION_SOUND = ("22", "23", "40", "53100", "55P03", "57014")
"""SQLSTATE classes and codes after which the connection is as good as before: wrong data, a broken rule, a deadlock,
a full disk, a lock or a statement that took too long. After any other (shutting down, read-only because
another server took over, …) a new one is made, which may lead to another server."""


class PostgresUnavailable(StoreUnavailable):
    """PostgreSQL refuses or does not answer. Its own sentences may quote what is stored: only its code is told."""


class Connections:
    """Up to `size` connections of one purpose, made when needed. Of one event loop."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        size: int,
        settings: Mapping[str, str] | None = None,
        prepare: Work[None] | None = None,
    ) -> None:
        """`name`: what an administrator sees of it in `pg_stat_activity`; `settings`: of the session; `prepare` is
        done on each new connection, and keeps it from being used when it raises."""
        self._url = url
        self._prepare = prepare
        self._size = size
        # The mark tells this process's connections from those of another with the same name.
        self._name = f"passerelle {name} {secrets.token_hex(4)}"
        self._settings = {**_SESSION, **(settings or {}), "application_name": self._name}
        self._turns = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []
        self._given_up: set[int] = set()
        """Backends that may still be at work for a connection that was torn down here."""
        self._waiting = 0
        self._is_open = False
        self._is_silent = False
        """The last call had no answer in time: until one has, they try one at a time, the others fail at once."""
        self._is_probing = False

    async def open(self) -> None:
        """Raises: StoreUnavailable when the server is not there, is too old, or lets nobody in."""
        self._is_open = True
        try:
            await self.run(_check_version, CONNECT_S + 1.0)
        except BaseException:
            self._is_open = False
            raise

    async def close(self) -> None:
        """Calls under way end first (each has its deadline); later ones are refused."""
        self._is_open = False
        for _ in range(self._size):
            await self._turns.acquire()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_say_goodbye(connection) for connection in idle))
        for _ in range(self._size):
            self._turns.release()

    async def run(self, work: Work[Result], deadline_s: float) -> Result:
        """`work(connection)`, done and committed within the deadline, or given up.

        Raises: StoreUnavailable: then it may have been done all the same, if the answer was lost; whatever else
        `work` raises."""
        async with self.lease(deadline_s) as connection:
            return await work(connection)

    @asynccontextmanager
    async def lease(self, deadline_s: float) -> AsyncIterator["asyncpg.Connection"]:
        """A connection for the block, which must end within the deadline. Raises: as `run`."""
        self._require_hope()
        is_probe, had_turn = self._is_silent, False
        self._is_probing |= is_probe
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline_s):
                async with self._turns:
                    had_turn = True
                    async with self._connection() as connection:
                        yield connection
            self._is_silent = False
        except TimeoutError:
            if not had_turn:
                raise PostgresUnavailable(f"PostgreSQL: all {self._size} connections are at work") from None
            self._is_silent = True
            raise PostgresUnavailable(f"PostgreSQL: no answer in {deadline_s:g} s") from None
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError):
                self._is_silent = False  # no is an answer
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            self._waiting -= 1
            self._is_probing &= not is_probe

    def _require_hope(self) -> None:
        if not self._is_open:
            raise PostgresUnavailable("the store is closed")
        if self._waiting >= MAX_WAITING_CALLS:
            raise PostgresUnavailable(f"{MAX_WAITING_CALLS} calls wait for PostgreSQL already")
        if self._is_silent and self._is_probing:
            raise PostgresUnavailable("PostgreSQL does not answer")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.Connection"]:
        connection = self._take_idle() or await self._connect()
        try:
            yield connection
        except BaseException as error:
            if isinstance(error, Exception) and _leaves_sound(error) and not connection.is_in_transaction():
                self._idle.append(connection)
            else:
                self._give_up(connection)
            raise
        self._idle.append(connection)

    def _take_idle(self) -> "asyncpg.Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_up(self, connection: "asyncpg.Connection") -> None:
        if not connection.is_closed():
            self._given_up.add(connection.get_server_pid())
        connection.terminate()

    async def _connect(self) -> "asyncpg.Connection":
        connection = await asyncpg.connect(
            self._url, timeout=CONNECT_S, command_timeout=None, server_settings=self._settings
        )
        try:
            await self._end_what_was_given_up(connection)
            if self._prepare is not None:
                await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _end_what_was_given_up(self, connection: "asyncpg.Connection") -> None:
        pids = list(self._given_up)
        if not pids:
            return
        # A number may have been given to somebody else's backend since: the name says whose it is.
        ended = await connection.fetchval(
            "SELECT coalesce(bool_and(pg_terminate_backend(pid, $3)), true) FROM pg_stat_activity"
            " WHERE pid = ANY($1) AND application_name = $2 AND pid <> pg_backend_pid()",
            pids,
            self._name,
            _END_OF_BACKEND_MS,
        )
        if not ended:
            raise PostgresUnavailable("PostgreSQL: a call that was given up goes on")
        self._given_up.difference_update(pids)


_SESSION = {
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": str(FORGOTTEN_CLIENT_S * 1_000),
    "tcp_keepalives_idle": str(FORGOTTEN_CLIENT_S),
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # To compile a statement takes longer than any of ours.
    "jit": "off",
    # One plan for each statement, for good: their tables are looked into by their keys alone.
    "plan_cache_mode": "force_generic_plan",
}


async def _say_goodbye(connection: "asyncpg.Connection") -> None:
    try:
        await connection.close(timeout=GOODBYE_S)
    except Exception:
        # Its work is done; whatever keeps it from an orderly end, it is gone now.
        connection.terminate()


async def _check_version(connection: "asyncpg.Connection") -> None:
    version = connection.get_server_version()
    if version.major < LEAST_VERSION:
        raise PostgresUnavailable(f"PostgreSQL {LEAST_VERSION} or later is needed, this is {version.major}")


def _leaves_sound(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "").startswith(_LEAVES_CONNECTION_SOUND)
    return not isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError)


def _translated(error: Exception) -> Exception:
    """As callers know it."""
    if isinstance(error, asyncpg.PostgresError):
        return PostgresUnavailable(f"PostgreSQL: {type(error).__name__} {error.sqlstate or ''}".rstrip())
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return PostgresUnavailable(f"PostgreSQL: {type(error).__name__}")
    if isinstance(error, CorruptBody):
        return StoreUnavailable(type(error).__name__)
    return error
