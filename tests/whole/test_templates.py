"""A text that a host makes, and a server that is killed: it begins with its template, once, or was not made at all."""

import asyncio
from pathlib import Path

import pycrdt
import pytest

from passerelle_client import PasserelleApi, Room
from passerelle_client.errors import Disconnected, PasserelleError
from tests.support.deadlines import SECOND
from tests.support.documents import until
from tests.support.server_process import running_server

DEADLINE_S = 30 * SECOND
"""In the middle of making a text; a restart is a second."""
TEMPLATE = {
    "type": "doc",
    "content": [{"type": "paragraph", "content": [{"type": "text", "text": f"Question {n} ?"}]} for n in range(40)],
}
SHOWN = "".join(f"<paragraph>Question {n} ?</paragraph>" for n in range(40))


def shown(known: "pycrdt.Doc[pycrdt.Text]") -> str:
    return str(known.get("content", type=pycrdt.XmlFragment))


async def read(url: str, token: str, document: str) -> str:
    """What stands in it for somebody who comes now."""
    async with asyncio.timeout(DEADLINE_S), await Room.connect(url, token) as room:
        await room.admitted()
        shared = room.document(document)
        await shared.when_synced()
        await until(lambda: shown(shared.doc) != "")
        return shown(shared.doc)


async def test_a_template_outlives_a_server_that_is_killed_before_anyone_has_opened_it(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, PasserelleApi(server.url) as api:
        created = await api.create_room("Classe verte")
        async with await Room.connect(server.url, created.token) as host:
            await host.admitted()
            made = await host.create_document("Questions", TEMPLATE)
            await server.kill()
        await server.start()
        assert await read(server.url, created.token, made.document) == SHOWN
        async with await Room.connect(server.url, created.token) as host:
            assert (await host.admitted()).documents == [made]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.long)])
async def test_a_text_that_is_asked_for_again_after_a_kill_is_made_once(tmp_path: Path, kills: int) -> None:
    """The kill falls a little later each time: before the command is read, or between its writes, or after them."""
    async with running_server(tmp_path) as server, PasserelleApi(server.url) as api:
        created = await api.create_room("Classe verte")
        for number in range(kills):
            name = f"questions-{number}"
            async with await Room.connect(server.url, created.token) as host:
                await host.admitted()
                making = asyncio.create_task(
                    host.command("create_document", title=f"Questions {number}", template=TEMPLATE, document=name)
                )
                for _ in range(number * 3):
                    await asyncio.sleep(0)
                await server.kill()
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        await making
                except (Disconnected, PasserelleError):
                    pass
            await server.start()
            async with await Room.connect(server.url, created.token) as host:
                await host.admitted()
                made = await host.create_document(f"Questions {number}", TEMPLATE, document=name)
                assert made.document == name
                assert [one.document for one in host.view.documents] == [f"questions-{n}" for n in range(number + 1)]  # type: ignore[union-attr]
            assert await read(server.url, created.token, name) == SHOWN
