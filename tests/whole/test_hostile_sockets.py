"""SEC-3 on a real server process: bombs, endless fragments, floods of tiny frames and callers who never come to the
point. Each is closed with a clear code; memory stays, and two people who write meanwhile notice nothing."""

import asyncio
import contextlib
import functools
import itertools
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from passerelle_client import PasserelleApi
from server.silent_callers import MAX_SILENT
from server.unfinished_messages import LOOK_EACH_S, MESSAGE_S
from tests.support.deadlines import SECOND
from tests.support.process_use import memory_bytes
from tests.support.room_client import RemoteEditor, yjs_connected
from tests.support.server_process import ServerProcess, running_server

MIB = 1024 * 1024
MOST_GROWTH_BYTES = 50 * MIB
DEADLINE_S = 60 * SECOND
QUIET_WORDS = 30
LATE_S = 0.25 * SECOND**2
"""A word is late by then. On a busy machine it waits for the processor at each of its steps, and there are few words in
the time that an attack takes: their 95th percentile is the latest of them."""
FINAL, TEXT, BINARY, PING, CLOSE, DEFLATED = 0x80, 0x01, 0x02, 0x09, 0x08, 0x40


def frame(first: int, payload: bytes = b"") -> bytes:
    """As a browser sends it, masked with zeroes (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 65_536:
        head = bytes((first, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + bytes(4) + payload


@functools.cache
def bomb() -> bytes:
    """64 MiB of zeroes in 64 kB."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflater.compress(bytes(64 * MIB)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return frame(FINAL | DEFLATED | BINARY, packed.removesuffix(b"\x00\x00\xff\xff"))


def endless_fragments() -> Iterator[bytes]:
    yield frame(BINARY, b"x" * 1_000)
    while True:
        yield frame(0, b"x" * 1_000) * 50


@dataclass(frozen=True, slots=True)
class Attack:
    pieces: Callable[[], Iterator[bytes]]
    code: int
    """With which the server must close it."""
    is_flood: bool = False
    """It goes on after that: its own kernel may throw the code away (1006)."""


ATTACKS = {
    "bomb": Attack(lambda: iter([bomb()]), 1009),
    "a message too long in fragments": Attack(lambda: itertools.islice(endless_fragments(), 23), 1009, is_flood=True),
    "endless fragments": Attack(endless_fragments, 1009, is_flood=True),
    "64,000 pings": Attack(lambda: iter([frame(FINAL | PING) * 64_000]), 1008, is_flood=True),
    "64,000 empty messages": Attack(lambda: iter([frame(FINAL | BINARY) * 64_000]), 4400, is_flood=True),
    "64,000 texts": Attack(lambda: iter([frame(FINAL | TEXT, b"2") * 64_000]), 4400, is_flood=True),
    "a fragment within a fragment": Attack(lambda: iter([frame(BINARY, b"x") * 2]), 1002),
    "reserved bits": Attack(lambda: iter([frame(FINAL | 0x30 | BINARY, b"x")]), 1002),
}


class Line:
    """A bare connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def upgrade(self, path: str) -> None:
        self.writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        assert b"permessage-deflate" in head, head

    async def close_code(self) -> int:
        """Of the server's close frame, behind whatever else it says."""
        while True:
            first, length = await self.reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            payload = await self.reader.readexactly(length)
            if first & 0x0F == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def is_ended(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


@contextlib.asynccontextmanager
async def a_line(server: ServerProcess) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def attack(server: ServerProcess, path: str, what: Attack) -> int:
    """The code that it was closed with, as far as it is known."""
    async with asyncio.timeout(DEADLINE_S), a_line(server) as line:
        await line.upgrade(path)
        closed = asyncio.create_task(line.close_code())
        with contextlib.suppress(ConnectionError):
            for piece in what.pieces():
                line.writer.write(piece)
                await line.writer.drain()
                if closed.done():
                    break
        try:
            return await closed
        except (ConnectionError, asyncio.IncompleteReadError):
            if not what.is_flood:
                raise
            return what.code


@dataclass
class WritingClass:
    server: ServerProcess
    room_id: str
    tokens: list[str]
    ada: RemoteEditor
    ben: RemoteEditor

    async def word_s(self) -> float:
        """How long a word of one takes to be with the other."""
        words = len(self.ada.text) + 2
        began = time.perf_counter()
        self.ada.type("a ")
        await self.ben.until(lambda: len(self.ben.text) == words)
        return time.perf_counter() - began

    def path(self, attacker: int) -> str:
        return f"/yjs/{self.room_id}/texte?token={self.tokens[attacker % len(self.tokens)]}"


@contextlib.asynccontextmanager
async def a_class(tmp_path: Path, attackers: int) -> AsyncIterator[WritingClass]:
    async with running_server(tmp_path) as server, aiohttp.ClientSession() as http, PasserelleApi(server.url) as api:
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        tokens = [(await api.join(f"Élève {n}", code=invitation.code)).token for n in range(attackers + 2)]
        where = (http, server.url, created.room.id, "texte")
        async with yjs_connected(*where, tokens[0]) as one, yjs_connected(*where, tokens[1]) as other:
            yield WritingClass(server, created.room.id, tokens[2:], await one.edit("ada"), await other.edit("ben"))


def ninety_fifth(times: list[float]) -> float:
    return sorted(times)[int(0.95 * len(times))]


async def unnoticed(them: WritingClass, harm: Callable[[], Awaitable[None]]) -> None:
    """Do that while the two write."""
    before = ninety_fifth([await them.word_s() for _ in range(QUIET_WORDS)])
    memory = most = memory_bytes(them.server.pid)
    times: list[float] = []
    harming = asyncio.ensure_future(harm())
    while not harming.done():
        times.append(await them.word_s())
        most = max(most, memory_bytes(them.server.pid))
    await harming
    times += [await them.word_s() for _ in range(5)]
    print(
        f"p95 {before * 1e3:.1f} ms, meanwhile {ninety_fifth(times) * 1e3:.1f} ms of {len(times)}, +{(most - memory) >> 10} KiB"
    )
    assert most - memory < MOST_GROWTH_BYTES
    assert ninety_fifth(times) < max(10 * before, LATE_S)
    assert them.ada.denials() == them.ben.denials() == []


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_each_attack_on_a_websocket_costs_its_sender_the_connection_and_nobody_else_anything(
    tmp_path: Path, rounds: int
) -> None:
    bomb()  # made before anything is measured
    turns = itertools.count()  # few enough for each that no limit on connections is met
    async with a_class(tmp_path, 10 + rounds) as them:

        async def harm() -> None:
            for _ in range(rounds):
                for name, what in ATTACKS.items():
                    codes = await asyncio.gather(
                        *[attack(them.server, them.path(next(turns)), what) for _ in range(5 if rounds == 1 else 3)]
                    )
                    assert set(codes) == {what.code}, (name, codes)

        await unnoticed(them, harm)


@pytest.mark.parametrize("callers", [MAX_SILENT + 200, pytest.param(3_000, marks=pytest.mark.long)])
async def test_callers_who_never_say_what_they_want_are_closed_and_others_come_in(tmp_path: Path, callers: int) -> None:
    head = (
        b"GET /yjs/salle/texte HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nX-Long: " + b"x" * 4_000 + b"\r\n"
    )
    async with a_class(tmp_path, 1) as them, contextlib.AsyncExitStack() as stack:

        async def harm() -> None:
            lines = [await stack.enter_async_context(a_line(them.server)) for _ in range(callers)]
            for line in lines:
                line.writer.write(head)
            ended = [asyncio.create_task(line.is_ended()) for line in lines]
            async with asyncio.timeout(DEADLINE_S):
                # At once as many as are too many; the others when their time is over.
                while sum(task.done() for task in ended) < callers - MAX_SILENT:
                    await asyncio.wait([task for task in ended if not task.done()], return_when=asyncio.FIRST_COMPLETED)
                async with PasserelleApi(them.server.url) as api:
                    await api.create_room("Autre", host_name="M. Roux")
                if callers > 2 * MAX_SILENT:
                    await asyncio.gather(*ended)
            for task in ended:
                task.cancel()
            await asyncio.gather(*ended, return_exceptions=True)

        await unnoticed(them, harm)


async def test_who_has_no_token_may_say_nothing_that_is_kept(tmp_path: Path) -> None:
    async with a_class(tmp_path, 1) as them:
        path = f"/yjs/{them.room_id}/texte?token=none"
        fragments = Attack(lambda: itertools.islice(endless_fragments(), 4), 4401)

        async def harm() -> None:
            codes = await asyncio.gather(*[attack(them.server, path, fragments) for _ in range(20)])
            assert set(codes) == {4401}

        await unnoticed(them, harm)


@pytest.mark.long
async def test_a_body_that_comes_letter_by_letter_is_given_up(tmp_path: Path) -> None:
    async with a_class(tmp_path, 1) as them, a_line(them.server) as line:

        async def harm() -> None:
            line.writer.write(
                b"POST /api/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n"
            )
            answer = asyncio.create_task(line.reader.readuntil(b"\r\n"))
            async with asyncio.timeout(DEADLINE_S):
                while not answer.done():
                    line.writer.write(b" ")
                    await asyncio.wait([answer], timeout=0.5)
            assert b" 408 " in answer.result()

        await unnoticed(them, harm)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_message_that_comes_letter_by_letter_and_does_not_end_is_given_up(tmp_path: Path) -> None:
    """Whole frames with pings between them, and a frame that is never whole. Over Socket.IO who cannot answer
    engine.io's own pings, which are messages, is given up before that."""
    async with a_class(tmp_path, 4) as them, contextlib.AsyncExitStack() as stack:
        begins = [frame(BINARY, b"x"), frame(FINAL | BINARY, b"x" * 1_000)[:10]]

        async def trickled(path: str, begin: bytes) -> int | None:
            line = await stack.enter_async_context(a_line(them.server))
            await line.upgrade(path)
            line.writer.write(begin)
            return await trickle(line, is_fragmented=begin[0] & FINAL == 0)

        async def harm() -> None:
            over_yjs = [trickled(them.path(number), begin) for number, begin in enumerate(begins)]
            over_socket_io = [trickled("/socket.io/?EIO=4&transport=websocket", begin) for begin in begins]
            async with asyncio.timeout(MESSAGE_S + 2 * LOOK_EACH_S + 10 * SECOND):
                codes = await asyncio.gather(*over_yjs, *over_socket_io)
            assert codes[:2] == [1008, 1008]

        await unnoticed(them, harm)


async def trickle(line: Line, *, is_fragmented: bool) -> int | None:
    """Until it is closed; with which code, if any."""
    closed = asyncio.create_task(line.close_code())
    pings = itertools.count()
    while not closed.done():
        line.writer.write(frame(0, b"x") if is_fragmented else b"x")
        if is_fragmented and next(pings) % 10 == 0:
            line.writer.write(frame(FINAL | PING))
        await asyncio.wait([closed], timeout=0.5)
    return closed.result() if closed.exception() is None else None
