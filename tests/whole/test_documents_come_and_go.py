"""DOC-10: a thousand documents (fewer in `make test`) opened, written in and closed again, three times (twice in `make test`), on a real server process. They leave
its memory when nobody has read them for a while, and what they held is there for the next."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from passerelle_client import PasserelleApi
from server.storage.sqlite import FILE_NAME
from tests.support.deadlines import SECOND
from tests.support.process_use import memory_bytes
from tests.support.room_client import RemoteEditor, RoomClient, connected
from tests.support.server_process import ServerProcess, running_server

CONNECTIONS = 40
LETTERS = 8_000
"""What each document holds from the first round on."""
SHORT_IDLE_S = 1.0
DEADLINE_S = 60 * SECOND


async def metric(http: aiohttp.ClientSession, server: ServerProcess, name: str) -> float:
    async with http.get(f"{server.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


async def until_documents(http: aiohttp.ClientSession, server: ServerProcess, count: int, deadline_s: float) -> None:
    async with asyncio.timeout(deadline_s):
        while await metric(http, server, "passerelle_documents_open") != count:
            await asyncio.sleep(0.1)  # a gauge is asked, it does not tell


async def until_compacted(server: ServerProcess) -> None:
    """Until the log of each document that has left memory is in its snapshot."""
    query = "SELECT count(*) FROM (SELECT 1 FROM updates GROUP BY document_id HAVING count(*) > 1)"
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.closing(sqlite3.connect(server.data / FILE_NAME)) as database:
            while database.execute(query).fetchone()[0]:
                await asyncio.sleep(0.1)  # another process's file: it is asked, it does not tell


async def settled_memory_bytes(pid: int) -> int:
    """What is left when the process has given back what it freed: it does so a second after documents left."""
    least, looks = memory_bytes(pid), 0
    while looks < 6:
        await asyncio.sleep(0.5)  # the system's figure is asked, it does not tell
        now, looks = memory_bytes(pid), looks + 1
        if now < 0.99 * least:
            least, looks = now, 0
    return least


@contextlib.asynccontextmanager
async def a_school(tmp_path: Path, idle_s: float | None) -> AsyncIterator[tuple[ServerProcess, list[str]]]:
    """`idle_s`: None for the server as it is."""
    changed = {"TEST_DOCUMENT_LIMITS": json.dumps({"idle_document_s": idle_s})}
    module = "server" if idle_s is None else "tests.support.server_with_limits"
    async with running_server(tmp_path, {} if idle_s is None else changed, module) as server:
        async with PasserelleApi(server.url) as api:
            created = await api.create_room("Cahiers", host_name="Mme Roy")
            invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
            joined = [await api.join(f"Élève {number}", code=invitation.code) for number in range(CONNECTIONS)]
        yield server, [pupil.token for pupil in joined]


async def write_all(client: RoomClient, seat: int, documents: int, round_number: int) -> None:
    """Open this seat's documents, look whether what earlier rounds left is there, and change each."""
    editors: list[RemoteEditor] = []
    for number in range(documents):
        editor = await client.edit(f"cahier-{seat}-{number}", "s")
        assert len(editor.text) == (LETTERS if round_number else 0)
        for start in range(0, LETTERS, LETTERS // 4):
            del editor.content[: LETTERS // 4 if round_number else 0]
            editor.type(f"{round_number} {start:<{LETTERS // 4 - 2}}")
        editors.append(editor)
    for editor in editors:
        await editor.until(lambda editor=editor: editor.all_saved)  # type: ignore[misc]


async def one_round(
    http: aiohttp.ClientSession, server: ServerProcess, tokens: list[str], each: int, number: int
) -> int:
    """Memory while all of them are open, `each` by one connection."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.url, token)) for token in tokens]
        await asyncio.gather(*(write_all(client, seat, each, number) for seat, client in enumerate(clients)))
        await until_documents(http, server, len(tokens) * each, DEADLINE_S)
        return memory_bytes(server.pid)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("rounds", "each", "idle_s"),
    [(2, 8, SHORT_IDLE_S), *(pytest.param(3, 25, idle_s, marks=pytest.mark.long) for idle_s in (SHORT_IDLE_S, None))],
)
async def test_documents_leave_memory_as_they_found_it(
    tmp_path: Path, rounds: int, each: int, idle_s: float | None
) -> None:
    async with a_school(tmp_path, idle_s) as (server, tokens), aiohttp.ClientSession() as http:
        before = memory_bytes(server.pid)
        plateaus, peaks = [], []
        for number in range(rounds):
            peaks.append(await one_round(http, server, tokens, each, number))
            await until_documents(http, server, 0, (60 if idle_s is None else idle_s) + 5 * SECOND)
            await until_compacted(server)
            plateaus.append(await settled_memory_bytes(server.pid))
        print(
            f"MiB: {before >> 20} at first, open {[peak >> 20 for peak in peaks]}, left {[one >> 20 for one in plateaus]}"
        )
        assert max(plateaus) < 1.1 * plateaus[0]
