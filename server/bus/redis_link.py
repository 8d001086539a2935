"""One connection to Redis: to the right server, with a deadline on every step, and lost rather than mended.

`redis.asyncio` has clients that reconnect by themselves; whoever listens would then never know that messages were
lost. So its connection is used without them: a link that breaks stays broken, and `Connector` makes another.
"""

import asyncio
import contextlib
import math
import random
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from rooms.ports import BusUnavailable
from server.bus.redis_address import Credentials, RedisAddress, RedisKind, Server

CONNECT_TIMEOUT_S: Final = 2.0
"""To reach one server, TLS and password included: far away and busy, Redis answers in a tenth of it."""
ASK_SENTINEL_TIMEOUT_S: Final = 1.0
"""For one sentinel; then the next is asked."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
"""Between two attempts: Redis is found within a second of its return, by each instance at another moment."""
STEADY_S: Final = 5.0
"""A connection that held so long was a good one: the next attempt follows at once. One that is cut off again and
again is not made twenty times a second."""


class Push:
    """What Redis says by itself (RESP3), not in answer to anything."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items


class Backoff:
    """Pauses that double, spread so that instances do not come back in step."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S
        self._opened_at: float | None = None

    def note_open(self) -> None:
        self._opened_at = asyncio.get_running_loop().time()

    def pause_s(self) -> float:
        opened_at, self._opened_at = self._opened_at, None
        if opened_at is not None and asyncio.get_running_loop().time() - opened_at > STEADY_S:
            self._next_s = FIRST_PAUSE_S
        longest, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_PAUSE_S)
        return random.uniform(0.5, 1.0) * longest


class RedisLink:
    """An open connection. One task sends and one receives, or one does both in turn. Every error is a
    BusUnavailable, and the link is then cut."""

    def __init__(self, connection: Connection, server: Server) -> None:
        self.server = server
        self._connection = connection
        self._is_cut = False
        self._transport: asyncio.WriteTransport | None = None

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    async def send(self, commands: Sequence[Sequence[str | bytes]]) -> None:
        """Write them all. Raises: BusUnavailable."""
        if self._is_cut:
            raise BusUnavailable("the connection is lost")  # the library would make another, and not tell
        with _translated(self):
            await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    async def receive(self) -> Any:
        """The next answer, a `Push`, or the ResponseError that an answer is; waits for as long as it takes.
        Raises: BusUnavailable."""
        with _translated(self):
            try:
                return await self._connection.read_response(
                    timeout=math.inf, disconnect_on_error=False, push_request=True
                )
            except ResponseError as error:
                return error

    async def ask(self, *command: str | bytes) -> Any:
        """One command and its answer. Raises: BusUnavailable, also when Redis refuses it."""
        await self.send([command])
        answer = await self.receive()
        while isinstance(answer, Push):
            answer = await self.receive()
        if isinstance(answer, ResponseError):
            raise BusUnavailable(f"Redis refuses {command[0]!r}: {type(answer).__name__}")
        return answer

    def cut(self) -> None:
        """At once: who sends or receives gets BusUnavailable. May be called twice."""
        self._is_cut = True
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """To be called last, by whoever opened it."""
        self.cut()
        with contextlib.suppress(RedisError):
            await self._connection.disconnect(nowait=True)

    def adopt(self) -> None:
        """The connection has been made. The two seams of the library that are not its public face are here."""
        # It has no word for "close now": its `disconnect` waits for a peer that may be silent for ever, or leaves
        # a socket behind for as long as something is still to be written to it.
        writer = self._connection._writer
        self._transport = writer.transport if writer is not None else None
        # Its own handler of pushes writes each message out for its log, whatever the log's level: 30 ms for 8 MiB.
        parser: Any = self._connection._parser
        parser.set_pubsub_push_handler(_as_push)


@contextlib.contextmanager
def _translated(link: RedisLink) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, EOFError, ValueError) as error:  # ValueError: what answers is not Redis
        link.cut()
        raise BusUnavailable(f"Redis: {type(error).__name__}") from None


class Connector:
    """Opens links to the server that matters now: the only one, the sentinels' master, or a node of the cluster."""

    def __init__(self, address: RedisAddress, client_name: str) -> None:
        self._address = address
        self._client_name = client_name
        self._tls: ssl.SSLContext | None = None

    @property
    def check(self) -> tuple[str, ...]:
        """A command whose answer says whether a server is (still) the right one: `is_right`."""
        match self._address.kind:
            case RedisKind.SINGLE:
                return ("PING",)
            case RedisKind.SENTINEL:
                return ("ROLE",)
            case RedisKind.CLUSTER:
                return ("CLUSTER", "INFO")

    def is_right(self, answer: Any) -> bool:
        """A master that was replaced, or a node that has lost the others, takes messages and brings them to nobody."""
        match self._address.kind:
            case RedisKind.SINGLE:
                return bool(answer == b"PONG")
            case RedisKind.SENTINEL:
                return isinstance(answer, list) and bool(answer) and answer[0] == b"master"
            case RedisKind.CLUSTER:
                return isinstance(answer, bytes) and b"cluster_state:ok" in answer

    @property
    def has_choice(self) -> bool:
        """There are several servers, and the right one may change."""
        return self._address.kind is not RedisKind.SINGLE

    async def open(self) -> RedisLink:
        """Raises: BusUnavailable."""
        try:
            server = await self.find_master() or random.choice(self._address.servers)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._open_checked(server)
        except TimeoutError:
            raise BusUnavailable("Redis does not answer") from None

    async def find_master(self) -> Server | None:
        """Whom the sentinels name now; None: there are none to ask. Raises: BusUnavailable."""
        if self._address.kind is not RedisKind.SENTINEL:
            return None
        for sentinel in random.sample(self._address.servers, len(self._address.servers)):
            try:
                async with asyncio.timeout(ASK_SENTINEL_TIMEOUT_S):
                    return await self._ask_sentinel(sentinel)
            except (TimeoutError, BusUnavailable):
                continue
        raise BusUnavailable("no sentinel names a master")

    async def _ask_sentinel(self, sentinel: Server) -> Server:
        link = await self._open(sentinel, self._address.sentinel_credentials)
        try:
            answer = await link.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service)
            if not isinstance(answer, list) or len(answer) != 2:
                raise BusUnavailable("a sentinel does not know the service")
            return Server(answer[0].decode(), int(answer[1]))
        finally:
            await link.close()

    async def _open_checked(self, server: Server) -> RedisLink:
        link = await self._open(server, self._address.credentials, self._address.database)
        try:
            if not self.is_right(await link.ask(*self.check)):
                raise BusUnavailable("this server is not the right one now")
        except BaseException:
            await link.close()
            raise
        return link

    async def _open(self, server: Server, credentials: Credentials, database: int = 0) -> RedisLink:
        options: dict[str, Any] = {
            "host": server.host,
            "port": server.port,
            "username": credentials.user,
            "password": credentials.password,
            "db": database,
            "client_name": self._client_name,
            "protocol": 3,
            # Every step has a deadline of ours around it.
            "socket_timeout": None,
            "socket_connect_timeout": None,
        }
        connection = Connection(**options) if self._address.tls is None else SSLConnection(**options)
        link = RedisLink(connection, server)
        with _translated(link):
            if isinstance(connection, SSLConnection):
                connection.ssl_context.context = await self._context()
            await connection.connect()  # type: ignore[no-untyped-call]
        link.adopt()
        return link

    async def _context(self) -> ssl.SSLContext:
        """Made once: to read the system's authorities takes 20 ms. Raises: OSError."""
        if self._tls is None and self._address.tls is not None:
            self._tls = await asyncio.to_thread(self._address.tls.context)
        assert self._tls is not None
        return self._tls


async def _as_push(items: Sequence[Any]) -> Push:
    return Push(items)
