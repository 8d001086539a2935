"""DOC-9 on a real server process: what is beyond a limit is refused with a clear code, and costs neither memory nor,
beyond the reading of its bytes, the processor."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pycrdt
import pytest

from passerelle_client import PasserelleApi
from rooms.documents import sync
from rooms.documents.encoding import var_bytes, var_string, var_uint
from tests.support.process_use import cpu_s, memory_bytes
from tests.support.room_client import yjs_connected
from tests.support.server_process import ServerProcess, running_server

MIB = 1024 * 1024
CLAIMED = 200_000_000
"""Entries said to follow, in four bytes; none does."""
AWARENESS_ENTRIES = 10_000
FULL_BYTES = MIB
"""Of the document that is full in this test; 20 MB in earnest (tests/server/test_refused_documents.py)."""
MOST_GROWTH_BYTES = 24 * MIB
"""Of all rounds: the longest message is 1 MiB, and a few are on their way at once."""
MOST_CPU_S = 0.1
"""For one connection with its handshake and its messages; measured at some 5 ms."""
WARM_UP = 4
CONNECTIONS_EACH = 20
"""Below what one participant may open (`server.limits.CONNECTION`)."""


def awareness(entries: bytes, count: int) -> bytes:
    return b"\x01" + var_bytes(var_uint(count) + entries)


def text_update(characters: int) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["text"] = pycrdt.Text("x" * characters)
    return doc.get_update()


def many_cursors() -> bytes:
    entries = b"".join(var_uint(client) + b"\x01" + var_string("{}") for client in range(AWARENESS_ENTRIES))
    return awareness(entries, AWARENESS_ENTRIES)


BEYOND: dict[str, tuple[Callable[[], list[bytes]], int]] = {
    "an update over a megabyte": (lambda: [sync.sync_update(text_update(MIB))], 1009),
    "10,000 cursors": (lambda: [many_cursors()] * 3, 4400),
    "200 million cursors in four bytes": (lambda: [awareness(b"", CLAIMED)] * 3, 4400),
    "200 million clients in four bytes": (lambda: [sync.sync_update(var_uint(CLAIMED))] * 3, 4400),
    "200 million letters in four bytes": (
        lambda: [sync.sync_update(b"\x01" + var_uint(CLAIMED) + b"\x01\x00")] * 3,
        4400,
    ),
    "200 million deletions in four bytes": (lambda: [sync.sync_update(b"\x00\x01\x01" + var_uint(CLAIMED))] * 3, 4400),
    "a state vector of 200 million in four bytes": (lambda: [sync.sync_step_1(var_uint(CLAIMED))] * 3, 4400),
}


@dataclass
class Place:
    server: ServerProcess
    http: aiohttp.ClientSession
    room_id: str
    tokens: Iterator[str]

    def where(self, document: str = "texte") -> tuple[aiohttp.ClientSession, str, str, str, str]:
        return self.http, self.server.url, self.room_id, document, next(self.tokens)


@contextlib.asynccontextmanager
async def a_place(tmp_path: Path, connections: int) -> AsyncIterator[Place]:
    limits = {"TEST_DOCUMENT_LIMITS": json.dumps({"document_bytes": FULL_BYTES})}
    async with (
        running_server(tmp_path, limits, module="tests.support.server_with_limits") as server,
        aiohttp.ClientSession() as http,
        PasserelleApi(server.url) as api,
    ):
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        tokens = [
            (await api.join(f"Élève {n}", code=invitation.code)).token
            for n in range(1 + connections // CONNECTIONS_EACH)
        ]
        yield Place(server, http, created.room.id, itertools.cycle(tokens))


async def costs_nothing(place: Place, once: Callable[[], Awaitable[None]], rounds: int) -> None:
    pid = place.server.pid
    for _ in range(WARM_UP):
        await once()
    memory, processor = memory_bytes(pid), cpu_s(pid)
    most = memory
    for _ in range(rounds):
        await once()
        most = max(most, memory_bytes(pid))
    used = (cpu_s(pid) - processor) / rounds
    print(f"{used * 1e3:.1f} ms each, +{(most - memory) >> 10} KiB in {rounds}")
    assert most - memory < MOST_GROWTH_BYTES
    assert used < MOST_CPU_S


@pytest.mark.parametrize("rounds", [6, pytest.param(300, marks=pytest.mark.long)])
async def test_what_is_beyond_a_limit_is_refused_at_no_cost(tmp_path: Path, rounds: int) -> None:
    async with a_place(tmp_path, len(BEYOND) * (rounds + WARM_UP)) as place:
        for name, (messages, code) in BEYOND.items():
            said = messages()

            async def once(said: list[bytes] = said, code: int = code) -> None:
                async with yjs_connected(*place.where()) as socket:
                    for message in said:
                        with contextlib.suppress(ConnectionError):
                            await socket.socket.send_bytes(message)
                    assert (await socket.wait_closed())[0] == code

            print(name, end=": ")
            await costs_nothing(place, once, rounds)


@pytest.mark.parametrize("rounds", [6, pytest.param(200, marks=pytest.mark.long)])
async def test_what_a_full_document_does_not_take_leaves_nothing_behind(tmp_path: Path, rounds: int) -> None:
    async with a_place(tmp_path, 2 + WARM_UP + rounds) as place:
        piece = "x" * (FULL_BYTES // 2 - 1_000)
        async with yjs_connected(*place.where("plein")) as socket:
            editor = await socket.edit("ada")
            for _ in range(2):
                editor.type(piece)
                await editor.until(lambda: editor.all_saved)
            text = editor.text

            async def once() -> None:
                async with yjs_connected(*place.where("plein")) as late:
                    update = sync.sync_update(text_update(len(piece)))
                    await late.socket.send_bytes(update)
                    async with asyncio.timeout(60):
                        while not any(frame.startswith(b"\x02\x00") and b"too-large" in frame for frame in late.frames):
                            await asyncio.sleep(0.002)

            await costs_nothing(place, once, rounds)
        async with yjs_connected(*place.where("plein")) as again:
            assert (await again.edit("zoe")).text == text
