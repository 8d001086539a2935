"""DOC-1 with what people really use: both SDKs and y-websocket's provider, at random, through a server that is killed.

Each replica has a network of its own, which is cut and mended; it is edited on both sides of a cut. In the end all have
the same text, and so has a reader that comes after one more `kill -9`.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pycrdt
import pytest

from passerelle_client import PasserelleApi, Room, SharedDocument
from tests.support.deadlines import SECOND
from tests.support.document_readers import DocumentReaders, yjs_readers
from tests.support.network_cut import CuttableProxy, cuttable_proxy
from tests.support.server_process import ServerProcess, running_server

DOCUMENT = "dictee"
KINDS = ("python websocket", "python polling", "sdk websocket", "sdk polling", "provider", "provider")
WORDS = ("a", "é", "📊", "mot ", "Привет", "")
AGREEMENT_S = 60 * SECOND


@dataclass(slots=True)
class Replica:
    name: str
    proxy: CuttableProxy
    python: SharedDocument | None
    node: DocumentReaders
    is_cut: bool = False
    edits: int = 0
    offline_edits: int = 0

    async def edit(self, chance: random.Random) -> None:
        at, remove, insert = chance.random(), chance.choice((0, 0, 0, 1, 3)), chance.choice(WORDS)
        self.edits += 1
        self.offline_edits += self.is_cut
        if self.python is None:
            await self.node.edit(self.name, at=at, remove=remove, insert=insert)
            return
        text = self.python.doc.get("text", type=pycrdt.Text)
        characters = str(text)
        place = int(at * (len(characters) + 1))
        start, end = (len(characters[:index].encode()) for index in (place, place + remove))
        with self.python.doc.transaction():
            if end > start:
                del text[start:end]
            if insert:
                text.insert(start, insert)

    async def text(self) -> str:
        if self.python is not None:
            return str(self.python.doc.get("text", type=pycrdt.Text))
        text: str = (await self.node.content(self.name))["text"]
        return text

    async def cut_or_mend(self) -> None:
        if self.is_cut:
            self.proxy.mend()
        else:
            await self.proxy.cut()
        self.is_cut = not self.is_cut


class History:
    def __init__(self, server: ServerProcess, replicas: list[Replica], chance: random.Random) -> None:
        self._server = server
        self._replicas = replicas
        self._chance = chance

    async def run(self, turns: int, kills: int) -> None:
        killed_at = set(self._chance.sample(range(turns // 4, turns), kills))
        for turn in range(turns):
            replica = self._chance.choice(self._replicas)
            await replica.edit(self._chance)
            if self._chance.random() < 0.15:
                await self._chance.choice(self._replicas).cut_or_mend()
            if turn in killed_at:
                await self._kill_and_write_on()
            if self._chance.random() < 0.2:
                await self._pause()
        for replica in self._replicas:
            if replica.is_cut:
                await replica.cut_or_mend()

    async def _kill_and_write_on(self) -> None:
        await self._server.kill()
        for replica in self._chance.sample(self._replicas, 3):
            await replica.edit(self._chance)
        await self._server.start()

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 0.1))  # as people do, so that something travels between edits

    async def agreement(self) -> str:
        """The text, once all have the same. Raises: AssertionError."""
        texts: list[str] = []
        try:
            async with asyncio.timeout(AGREEMENT_S):
                while True:
                    texts = [await replica.text() for replica in self._replicas]
                    if len(set(texts)) == 1:
                        return texts[0]
                    await asyncio.sleep(0.02)
        except TimeoutError:
            differing = {replica.name: text for replica, text in zip(self._replicas, texts, strict=True)}
            raise AssertionError(f"they do not agree: {differing}") from None


@asynccontextmanager
async def a_class(server: ServerProcess) -> AsyncIterator[tuple[list[Replica], dict[str, str]]]:
    """One replica of each kind, each a participant of its own; where a later one may read."""
    async with PasserelleApi(server.url) as api, AsyncExitStack() as stack:
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        node = await stack.enter_async_context(yjs_readers())
        replicas: list[Replica] = []
        for number, kind in enumerate(KINDS):
            token = (await api.join(f"Élève {number}", code=invitation.code)).token
            proxy = await stack.enter_async_context(cuttable_proxy(server.port))
            program, _, transport = kind.partition(" ")
            replica = Replica(f"{kind} {number}", proxy, None, node)
            if program == "python":
                room = await Room.connect(proxy.url, token, transports=[transport])  # type: ignore[list-item]
                stack.push_async_callback(room.close)
                replica.python = room.document(DOCUMENT)
                await replica.python.when_synced()
            else:
                where = {"url": proxy.url, "room": created.room.id, "token": token, "document": DOCUMENT}
                await node.open(program, replica.name, **where, transport=transport)
            replicas.append(replica)
        yield replicas, {"url": server.url, "room": created.room.id, "token": created.token, "document": DOCUMENT}


async def converge(tmp_path: Path, seed: int, *, turns: int, kills: int) -> None:
    print(f"seed {seed}")
    async with running_server(tmp_path) as server, a_class(server) as (replicas, where):
        history = History(server, replicas, random.Random(seed))
        await history.run(turns, kills)
        text = await history.agreement()
        assert all(replica.edits for replica in replicas)
        assert any(replica.offline_edits for replica in replicas)
        await server.restart()  # what all have seen is saved
        async with yjs_readers() as fresh:
            await fresh.open("provider", "fresh", **where)
            assert (await fresh.content("fresh"))["text"] == text
        assert await history.agreement() == text


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_both_sdks_and_a_provider_end_with_the_same_text(tmp_path: Path, seed: int) -> None:
    await converge(tmp_path, seed, turns=50, kills=1)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(100, 120))
async def test_long_histories_of_both_sdks_end_with_the_same_text(tmp_path: Path, seed: int) -> None:
    await converge(tmp_path, seed, turns=300, kills=4)
