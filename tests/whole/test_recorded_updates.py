"""Recorded histories, sent as they were by their authors, with every kind of client in the room.

The authors write over the transport under test. Beside them each document is followed by the Python SDK
and the browser SDK over the same transport (Socket.IO over WebSocket where that is y-websocket), by
y-websocket's own provider in Node, and by y-py. At the end all of them have the content, to the byte; so
has each kind of client that comes new after `kill -9` and a restart.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from passerelle_client import PasserelleApi, Room, SharedDocument
from tests.support.deadlines import SECOND
from tests.support.document_readers import DocumentReaders, yjs_readers, ypy_readers
from tests.support.recorded_author import author_line
from tests.support.recorded_updates import Recording, content_of, load_recording, reads
from tests.support.server_process import ServerProcess, running_server

TRANSPORTS = ("y-websocket", "websocket", "polling")
MIXED = tuple(f"mixed-{number:02}" for number in range(1, 7))


class Followers:
    """One client of each kind in each document, all of them one participant's."""

    def __init__(self, server: ServerProcess, room_id: str, token: str, transport: str) -> None:
        self._where = {"url": server.url, "room": room_id, "token": token, "transport": transport}
        self._stack = AsyncExitStack()
        self._shared: dict[str, SharedDocument] = {}
        self._others: list[DocumentReaders] = []

    async def open(self, names: Sequence[str]) -> None:
        where = self._where
        node = await self._stack.enter_async_context(yjs_readers())
        ypy = await self._stack.enter_async_context(ypy_readers())
        self._room = await Room.connect(where["url"], where["token"], transports=[where["transport"]])  # type: ignore[list-item]
        self._stack.push_async_callback(self._room.close)
        self._shared = {name: self._room.document(name) for name in names}
        self._kinds = [(node, "provider"), (node, "sdk"), (ypy, "provider")]
        await asyncio.gather(*(document.when_synced() for document in self._shared.values()))
        await asyncio.gather(
            *(
                process.open(kind, f"{kind} {name}", document=name, **where)
                for process, kind in self._kinds
                for name in names
            )
        )

    async def read(self, recording: Recording) -> None:
        """Until every one of them reads as the history ends. Raises: AssertionError, with who does not."""
        name = recording.name
        waiting = {
            asyncio.create_task(process.until(f"{kind} {name}", recording.expected)): (process, kind)
            for process, kind in self._kinds
        }
        waiting[asyncio.create_task(becomes(self._shared[name], recording))] = None
        done, late = await asyncio.wait(waiting, timeout=60 * SECOND)
        for task in done:
            task.result()
        for task in late:
            task.cancel()
            reader = waiting[task]
            content = (
                content_of(self._shared[name].doc) if reader is None else await reader[0].content(f"{reader[1]} {name}")
            )
            raise AssertionError(f"{reader[1] if reader else 'the Python SDK'} reads {str(content)[:2_000]} in {name}")

    async def close(self) -> None:
        await self._stack.aclose()


async def becomes(document: SharedDocument, recording: Recording) -> None:
    changed = asyncio.Event()
    subscription = document.doc.observe(lambda _event: changed.set())
    while not reads(document.doc, recording.expected):
        changed.clear()
        await changed.wait()
    document.doc.unobserve(subscription)


@asynccontextmanager
async def following(
    server: ServerProcess, room_id: str, token: str, transport: str, names: Sequence[str]
) -> AsyncIterator[Followers]:
    followers = Followers(server, room_id, token, "websocket" if transport == "y-websocket" else transport)
    try:
        await followers.open(names)
        yield followers
    finally:
        await followers.close()


async def replay(tmp_path: Path, transport: str, names: Sequence[str]) -> None:
    recordings = [load_recording(name) for name in names]
    async with (
        running_server(tmp_path, module="tests.support.server_without_pace") as server,
        PasserelleApi(server.url) as api,
    ):
        created = await api.create_room("Dictée", host_name="Mme Roy")
        room_id = created.room.id
        invitation = await api.create_invitation(room_id, created.token, "pupil", lobby=False)
        async with following(server, room_id, created.token, transport, names) as followers, AsyncExitStack() as stack:
            lines = []
            for number in range(max(recording.authors for recording in recordings)):
                joined = await api.join(f"Élève {number}", code=invitation.code)
                lines.append(await stack.enter_async_context(author_line(transport, server.url, room_id, joined.token)))
            authors = {
                (recording.name, number): await lines[number].author(recording.name)
                for recording in recordings
                for number in range(recording.authors)
            }
            async with asyncio.TaskGroup() as playing:
                for recording in recordings:
                    for number in range(recording.authors):
                        own = [step for step in recording.steps if step.author == number]
                        playing.create_task(authors[recording.name, number].play(own))
            for recording in recordings:
                await followers.read(recording)
                for number in range(recording.authors):
                    await authors[recording.name, number].until_reads(recording.expected)
        await server.restart()
        async with following(server, room_id, created.token, transport, names) as followers:
            for recording in recordings:
                await followers.read(recording)


ALL_AT_ONCE = ("friendsforever", *MIXED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("transport", "names"),
    [
        ("y-websocket", ALL_AT_ONCE),
        pytest.param("websocket", MIXED, marks=pytest.mark.long),
        ("polling", MIXED),
        pytest.param("websocket", ALL_AT_ONCE, marks=pytest.mark.long),
        pytest.param("polling", ALL_AT_ONCE, marks=pytest.mark.long),
    ],
)
async def test_recorded_updates_read_the_same_everywhere(
    tmp_path: Path, transport: str, names: tuple[str, ...]
) -> None:
    """Those that were really written by several at once; thirty clients pass the others on in test_traces."""
    await replay(tmp_path, transport, names)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", ["sveltecomponent", "json-crdt-patch", "b4-automerge-paper", "seph-blog1"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_recorded_updates_of_one_author_read_the_same_everywhere(
    tmp_path: Path, transport: str, name: str
) -> None:
    await replay(tmp_path, transport, (name,))
