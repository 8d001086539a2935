"""Real editing histories, written by thirty people at once through a running server.

Each history is one document. Thirty clients are in every document; the authorship of a history
passes from client to client by chunks, so that each of them writes, and all of them follow while
the others write elsewhere. At the end every client, a client that comes new, and a client that
comes after `kill -9` and a restart have the text of the history, byte for byte.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from pycrdt import Text

from passerelle_client import PasserelleApi, Room, SharedDocument
from tests.support.deadlines import SECOND
from tests.support.server_process import ServerProcess, running_server
from tests.support.traces import Patch, Trace, load_trace

CLIENTS = 30
CHUNKS = 30
DEADLINE_S = 90 * SECOND


class Writer:
    """Edits the text of a document by code points, as the histories count.

    pycrdt counts UTF-8 bytes: the positions are converted, by a table of the text's own
    characters only where some are not ASCII.
    """

    def __init__(self, document: SharedDocument) -> None:
        self._doc = document.doc
        self._text = document.doc.get("text", type=Text)
        self._characters = str(self._text)

    def write(self, patches: Sequence[Patch]) -> None:
        with self._doc.transaction():
            for position, deleted, inserted in patches:
                characters = self._characters
                start = self._offset(position)
                if deleted:
                    gone = characters[position : position + deleted]
                    del self._text[start : start + len(gone.encode())]
                if inserted:
                    self._text.insert(start, inserted)
                self._characters = characters[:position] + inserted + characters[position + deleted :]

    def _offset(self, position: int) -> int:
        return position if self._characters.isascii() else len(self._characters[:position].encode())


def chunks(trace: Trace) -> list[list[list[Patch]]]:
    size = -(-len(trace.transactions) // CHUNKS)
    return [trace.transactions[at : at + size] for at in range(0, len(trace.transactions), size)]


async def wait_for_text(document: SharedDocument, expected: str) -> None:
    """Until the document reads so; woken by its changes."""
    text = document.doc.get("text", type=Text)
    changed = asyncio.Event()
    subscription = document.doc.observe(lambda _event: changed.set())
    try:
        while str(text) != expected:
            changed.clear()
            await changed.wait()
    finally:
        document.doc.unobserve(subscription)


async def replay(trace: Trace, documents: Sequence[SharedDocument], first: int) -> None:
    """The chunks in turn, each by another client, which begins when it has what came before."""
    written = ""
    for number, chunk in enumerate(chunks(trace)):
        document = documents[(first + number) % len(documents)]
        await wait_for_text(document, written)
        writer = Writer(document)
        for count, patches in enumerate(chunk):
            writer.write(patches)
            if count % 20 == 19:
                await asyncio.sleep(0)  # let the others in: typing is many messages, not one
        written = str(document.doc.get("text", type=Text))
    assert trace.is_final(written), f"{trace.name}: the replay itself is wrong"


@contextlib.asynccontextmanager
async def a_class(server: ServerProcess, transport: str, count: int) -> AsyncIterator[list[Room]]:
    async with PasserelleApi(server.url) as api, contextlib.AsyncExitStack() as stack:
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        joined = [await api.join(f"Élève {number}", code=invitation.code) for number in range(count)]
        rooms = await asyncio.gather(
            *(Room.connect(server.url, pupil.token, transports=[transport]) for pupil in joined)  # type: ignore[list-item]
        )
        for room in rooms:
            stack.push_async_callback(room.close)
        yield list(rooms)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("transport", "names"),
    [
        ("websocket", ("json-crdt-patch",)),
        pytest.param("websocket", ("sveltecomponent", "json-crdt-patch"), marks=pytest.mark.long),
        pytest.param("polling", ("json-crdt-patch",), marks=pytest.mark.long),
    ],
)
async def test_thirty_clients_replay_histories(tmp_path: Path, transport: str, names: tuple[str, ...]) -> None:
    traces = [load_trace(name) for name in names]
    async with running_server(tmp_path) as server, a_class(server, transport, CLIENTS + 1) as rooms:
        newcomer, writers = rooms[0], rooms[1:]
        documents = {trace.name: [room.document(trace.name) for room in writers] for trace in traces}
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(document.when_synced() for group in documents.values() for document in group))
            await asyncio.gather(
                *(replay(trace, documents[trace.name], first=7 * number) for number, trace in enumerate(traces))
            )
            await asyncio.gather(*(document.saved() for group in documents.values() for document in group))
            for trace in traces:
                await everyone_has(trace, [*documents[trace.name], newcomer.document(trace.name)])

            await server.restart()
            for trace in traces:
                async with a_late_reader(server, newcomer.token, transport) as late:
                    await everyone_has(trace, [late.document(trace.name)])


async def everyone_has(trace: Trace, documents: Sequence[SharedDocument]) -> None:
    for document in documents:
        await document.when_synced()
        text = document.doc.get("text", type=Text)
        if not trace.is_final(str(text)):
            changed = asyncio.Event()
            subscription = document.doc.observe(lambda _event, changed=changed: changed.set())
            while not trace.is_final(str(text)):
                changed.clear()
                await changed.wait()
            document.doc.unobserve(subscription)


@contextlib.asynccontextmanager
async def a_late_reader(server: ServerProcess, token: str, transport: str) -> AsyncIterator[Room]:
    async with await Room.connect(server.url, token, transports=[transport]) as room:  # type: ignore[list-item]
        yield room
