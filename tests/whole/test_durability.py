"""What "saved" stands on: with durability `power` no writer is told so before the disk has been asked to keep it, with
`process` nobody waits for the disk. Seen in the system calls of a real server process."""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

import aiohttp

from passerelle_client import PasserelleApi
from rooms.documents.sync import saved
from server.deflate import plain_frame
from server.storage.sqlite import FILE_NAME
from tests.support.room_client import yjs_connected
from tests.support.server_process import ROOT, running_server
from tests.support.system_calls import SystemCall, as_written, read_calls, tracing

SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "sendto", "sendmsg")
LETTERS = 30
OF_LETTERS = (2, LETTERS + 1)
"""First and last number of a letter. The first of all is the answer to the server's own question, which has no word of
its own when the first letter is saved with it."""


async def type_each_when_the_last_is_saved(tmp_path: Path, durability: str) -> list[SystemCall]:
    log = tmp_path / "calls"
    under = tracing(log, [*SYNCS, *WRITES])
    async with running_server(tmp_path, {"PASSERELLE_DURABILITY": durability}, under=under) as server:
        async with PasserelleApi(server.url) as api:
            created = await api.create_room("Dictée", host_name="Mme Roy")
        async with (
            aiohttp.ClientSession() as http,
            yjs_connected(http, server.url, created.room.id, "texte", created.token) as socket,
        ):
            editor = await socket.edit("a")
            for _ in range(LETTERS):
                editor.type("é")
                await editor.until(lambda: editor.all_saved)
    return read_calls(log)


def acknowledgements(calls: list[SystemCall], first: int, last: int) -> list[int]:
    """Where each of these numbers was told to be saved."""
    places = []
    for number in range(first, last + 1):
        frame = as_written(plain_frame(saved(number)))
        # It begins before the message can be with its reader.
        places.append(next(n for n, call in enumerate(calls) if call.name in WRITES and frame in call.arguments))
    return places


def synced(calls: list[SystemCall], file: str) -> list[int]:
    """Where the kernel had done it for a file whose path ends so."""
    name = as_written(file.encode()) + ">"
    return [n for n, call in enumerate(calls) if call.name in SYNCS and call.is_end and name in call.arguments]


async def test_nothing_is_called_saved_before_the_disk_was_asked_to_keep_it(tmp_path: Path) -> None:
    calls = await type_each_when_the_last_is_saved(tmp_path, "power")
    told = acknowledgements(calls, *OF_LETTERS)
    log_synced = synced(calls, f"{FILE_NAME}-wal")
    assert told == sorted(told)
    for before, after in pairwise(told):
        assert any(before < place < after for place in log_synced)


async def test_what_needs_to_survive_the_process_alone_waits_for_no_disk(tmp_path: Path) -> None:
    calls = await type_each_when_the_last_is_saved(tmp_path, "process")
    told = acknowledgements(calls, *OF_LETTERS)
    assert [call for call in calls[told[0] : told[-1]] if call.name in SYNCS] == []


OPEN = """
import asyncio, sys
from pathlib import Path
from server.storage.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]), "power")
    await store.open()
    await store.close()

asyncio.run(main())
"""


async def test_a_new_store_is_in_its_folder_and_the_folder_in_its_own_after_a_power_cut(tmp_path: Path) -> None:
    """A file that is synced may still have no name (fsync(2)): that is the folder's."""
    folder, log = tmp_path / "école" / "data", tmp_path / "calls"
    process = await asyncio.create_subprocess_exec(
        *tracing(log, SYNCS), sys.executable, "-c", OPEN, str(folder), cwd=ROOT
    )
    assert await process.wait() == 0
    calls = read_calls(log)
    for kept in (tmp_path, tmp_path / "école", folder):
        assert synced(calls, str(kept)), kept
