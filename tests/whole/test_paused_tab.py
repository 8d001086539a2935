"""A tab that has stopped reading while two hundred write (issue 3, slow readers), on a real server process: the others
notice nothing, what is kept for it is bounded, it has everything at once when it reads on, and one that never does is
closed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pycrdt
import pytest

from passerelle_client import PasserelleApi
from rooms.documents.encoding import BoundedReader
from rooms.documents.limits import HubLimits
from rooms.documents.sync import (
    SAVED,
    STEP_1,
    SYNC,
    encode_state_vector,
    read_state_vector,
    sync_step_1,
    sync_step_2,
    sync_update,
)
from tests.support.deadlines import SECOND
from tests.support.process_use import memory_bytes
from tests.support.raw_reader import RECEIVE_BUFFER_BYTES, RawReader, raw_reader
from tests.support.room_client import connected
from tests.support.server_process import ServerProcess, running_server
from tests.whole.test_documents_come_and_go import metric

LETTERS = 1_000
"""What each writes in a round, where the test does not say."""
ROUNDS = 16
SMALL_BUFFER_BYTES = 64 * 1024
OBSERVERS = 4
"""So many of the writers look at all that they are shown."""
DEADLINE_S = 60 * SECOND


class Writer:
    """Writes when told to; is shown what the others write."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, client: int, *, observes: bool) -> None:
        self._socket = socket
        self._client = client
        self._doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client)
        self._text = self._doc.get("text", type=pycrdt.Text)
        self._updates: list[bytes] = []
        self._subscription = self._doc.observe(lambda event: self._updates.append(event.update))
        self._copy: pycrdt.Doc[pycrdt.Text] | None = pycrdt.Doc() if observes else None
        self.sent = 1
        self.saved = 0
        self.news = asyncio.Event()

    async def begin(self) -> None:
        await self._socket.send_bytes(sync_step_1(encode_state_vector({})))
        await self._socket.send_bytes(sync_step_2(b"\x00\x00"))

    async def write(self, text: str) -> None:
        self._text += text
        self.sent += 1
        await self._socket.send_bytes(sync_update(self._updates.pop()))

    async def read(self) -> None:
        async for message in self._socket:
            reader = BoundedReader(message.data)
            kind = reader.var_uint()
            if kind == SAVED:
                self.saved = reader.var_uint()
            elif kind == SYNC and self._copy is not None and reader.var_uint() != STEP_1:
                self._copy.apply_update(reader.var_bytes())
            self.news.set()

    def shown(self) -> dict[int, int]:
        assert self._copy is not None
        return read_state_vector(self._copy.get_state())

    async def until_saved(self) -> None:
        while self.saved < self.sent:
            self.news.clear()
            await self.news.wait()

    async def until_shown(self, length: int, everyone: Sequence[int]) -> None:
        """Of the others: what it wrote itself it is not shown."""
        others = [client for client in everyone if client != self._client]
        while any(self.shown().get(client, 0) < length for client in others):
            self.news.clear()
            await self.news.wait()


class Class:
    def __init__(self, server: ServerProcess, room_id: str, token: str) -> None:
        self.server, self.room_id, self.token = server, room_id, token
        self.writers: list[Writer] = []

    @property
    def clients(self) -> list[int]:
        return list(range(1, len(self.writers) + 1))

    async def write_round(self, number: int, letters: int = LETTERS) -> None:
        """All of it is saved, and shown to those who look, before the deadline."""
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(writer.write("a" * letters) for writer in self.writers))
            await asyncio.gather(*(writer.until_saved() for writer in self.writers))
            for observer in self.writers[:OBSERVERS]:
                await observer.until_shown(number * letters, self.clients)

    async def sockets(self, http: aiohttp.ClientSession) -> float:
        return await metric(http, self.server, 'passerelle_sockets{transport="yjs"}')


@contextlib.asynccontextmanager
async def a_class(tmp_path: Path, http: aiohttp.ClientSession, writers: int, **limits: float) -> AsyncIterator[Class]:
    environment = {"TEST_DOCUMENT_LIMITS": json.dumps(limits)}
    async with running_server(tmp_path, environment, "tests.support.server_with_limits") as server:
        async with PasserelleApi(server.url) as api:
            created = await api.create_room("Dictée", host_name="Mme Roy")
            invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
            joined = [await api.join(f"Élève {number}", code=invitation.code) for number in range(writers)]
        room = Class(server, created.room.id, created.token)
        address = f"{server.url.replace('http', 'ws', 1)}/yjs/{created.room.id}/texte?ack=1&token="
        reading = []
        for client, pupil in enumerate(joined, 1):
            socket = await http.ws_connect(address + pupil.token, max_msg_size=0)
            writer = Writer(socket, client, observes=client <= OBSERVERS)
            room.writers.append(writer)
            reading.append(asyncio.create_task(writer.read()))
            await writer.begin()
        try:
            yield room
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


async def read_until(raw: RawReader, length: int, clients: Sequence[int]) -> list[int]:
    """Sizes of the messages with text in which it came."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    sizes = []
    async with asyncio.timeout(DEADLINE_S):
        while any(read_state_vector(doc.get_state()).get(client, 0) < length for client in clients):
            payload = await raw.message()
            reader = BoundedReader(payload)
            if reader.var_uint() == SYNC and reader.var_uint() != STEP_1:
                doc.apply_update(reader.var_bytes())
                sizes.append(len(payload))
    return sizes


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("writers", "letters", "buffer_bytes"),
    [
        # The kernel keeps 4 MB for it: to write more to two hundred takes 25 s of a quiet machine, and after 30 s the
        # system cuts off who takes nothing.
        (60, 8_000, SMALL_BUFFER_BYTES),
        pytest.param(200, 4_000, HubLimits().reader_buffer_bytes, marks=pytest.mark.long),
    ],
)
async def test_a_paused_tab_among_many_writers_costs_a_bounded_amount_and_catches_up_at_once(
    tmp_path: Path, http: aiohttp.ClientSession, writers: int, letters: int, buffer_bytes: int
) -> None:
    async with (
        a_class(tmp_path, http, writers, reader_drain_s=DEADLINE_S, reader_buffer_bytes=buffer_bytes) as room,
        raw_reader(room.server.url, room.room_id, "texte", room.token) as paused,
    ):
        before = memory_bytes(room.server.pid)
        for number in range(1, ROUNDS + 1):
            await room.write_round(number, letters)
        grown = memory_bytes(room.server.pid) - before
        sizes = await read_until(paused, ROUNDS * letters, room.clients)
        at_once = sizes.index(max(sizes))
        written, under_way, rest = ROUNDS * writers * letters, sum(sizes[:at_once]), sizes[at_once:]
        print(f"{written} B written, {under_way} B were under way, then {rest} B at once; grown {grown >> 10} KiB")
        assert under_way < buffer_bytes + kernel_bytes() + 2 * writers * letters
        # All the rest came in one message; or, where a state had been stored meanwhile, as that and what was stored after
        # it, of which the last may come once more: never the whole text twice.
        assert written / 4 < written - under_way <= sum(rest) < 2 * written
        await room.write_round(ROUNDS + 1, letters)
        await read_until_more(paused)


def kernel_bytes() -> int:
    """What the two ends of a TCP connection hold at most (tcp(7), tcp_wmem; SO_RCVBUF is doubled)."""
    return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text("ascii").split()[2]) + 2 * RECEIVE_BUFFER_BYTES


async def read_until_more(raw: RawReader) -> None:
    """It is shown what comes now like everyone else."""
    async with asyncio.timeout(DEADLINE_S):
        while (await raw.message())[:2] != b"\x00\x02":
            pass


async def test_a_tab_that_never_reads_on_is_closed_and_the_others_write_on(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    assert HubLimits().reader_drain_s == 30.0
    async with a_class(tmp_path, http, 20, reader_drain_s=1.0, reader_buffer_bytes=SMALL_BUFFER_BYTES) as room:
        async with raw_reader(room.server.url, room.room_id, "texte", room.token) as paused:
            async with asyncio.timeout(DEADLINE_S):
                while await room.sockets(http) < 21:
                    await asyncio.sleep(0.02)  # it is counted a moment after it was let in
            number = 0
            while await room.sockets(http) == 21:
                number += 1
                for writer in room.writers:
                    await writer.write("a" * 10_000)
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(writer.until_saved() for writer in room.writers))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await read_to_the_end(paused)
        for writer in room.writers[:OBSERVERS]:
            async with asyncio.timeout(DEADLINE_S):
                await writer.until_shown(number * 10_000, room.clients)


async def read_to_the_end(raw: RawReader) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await raw.message()


async def test_a_paused_tab_over_long_polling_catches_up_at_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """It does not fetch what waits for it; then it does."""
    async with (
        a_class(tmp_path, http, 20, reader_buffer_bytes=SMALL_BUFFER_BYTES) as room,
        connected(room.server.url, room.token, "polling") as client,
    ):
        editor = await client.edit("texte", "s")
        await room.write_round(1)
        await editor.until(lambda: len(editor.text) == 20 * LETTERS)
        fetch = client.sio.eio._send_request
        may_fetch = asyncio.Event()

        async def held(method: str, *arguments: object, **options: object) -> object:
            if method == "GET":
                await may_fetch.wait()
            return await fetch(method, *arguments, **options)

        client.sio.eio._send_request = held
        before = len(editor.received(b"\x00\x02"))
        for number in range(2, ROUNDS + 1):
            await room.write_round(number)
        may_fetch.set()
        await editor.until(lambda: len(editor.text) == ROUNDS * 20 * LETTERS)
        sizes = [len(message) for message in editor.received(b"\x00\x02")[before:]]
        assert max(sizes) > ROUNDS / 2 * 20 * LETTERS
