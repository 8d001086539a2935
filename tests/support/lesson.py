"""Fifty people who type into three documents of a real server process, and what each was promised and shown."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from passerelle_client import PasserelleApi
from tests.support.deadlines import SECOND
from tests.support.server_process import ServerProcess, running_server
from tests.support.typists import Typist, clocks_of

PEOPLE = 50
DOCUMENTS = ("dictee", "recit", "questions")
DEADLINE_S = 30 * SECOND


class Lesson:
    """A room with its people; who types is replaced each round, the text stays."""

    def __init__(
        self, server: ServerProcess, room_id: str, tokens: Sequence[str], others: Sequence[ServerProcess] = ()
    ) -> None:
        """`others`: of the same room; its people are spread over all of them."""
        self.server = server
        self._servers = (server, *others)
        self.room_id = room_id
        self.tokens = tokens
        self._clients = iter(range(1_000_000, 2_000_000))
        self.typists: list[Typist] = []

    def server_of(self, number: int) -> ServerProcess:
        """To which that one of the people is connected."""
        return self._servers[number % len(self._servers)]

    def typists_at(self, server: ServerProcess) -> list[Typist]:
        return [typist for number, typist in enumerate(self.typists) if self.server_of(number) is server]

    @contextlib.asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Everybody types, once all are there: who comes finds nobody's flood. At the end all of them are gone."""
        self.typists = [
            Typist(
                self.server_of(number).url, self.room_id, DOCUMENTS[number % len(DOCUMENTS)], token, next(self._clients)
            )
            for number, token in enumerate(self.tokens)
        ]
        for typist in self.typists:
            typist.may_type.clear()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            running = [asyncio.create_task(typist.run(session)) for typist in self.typists]
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(typist.is_ready.wait() for typist in self.typists))
                for typist in self.typists:
                    typist.may_type.set()
                yield
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def until_promised(self) -> None:
        """Until everyone has been told that more is saved, and shown more, than now."""
        before = [(typist.saved, sum(typist.seen.values())) for typist in self.typists]
        async with asyncio.timeout(DEADLINE_S):
            while not all(
                typist.saved > saved + 3 and sum(typist.seen.values()) > seen + 3
                for typist, (saved, seen) in zip(self.typists, before, strict=True)
            ):
                await asyncio.sleep(0.01)  # messages come all the time: it is asked again after some

    async def until_shown_more(self) -> None:
        """Until everyone has been shown more of the others than now."""
        before = [sum(typist.seen.values()) for typist in self.typists]
        async with asyncio.timeout(DEADLINE_S):
            while any(sum(typist.seen.values()) <= seen for typist, seen in zip(self.typists, before, strict=True)):
                await asyncio.sleep(0.01)

    async def until_told_unsaved(self) -> None:
        """Until everyone has been told that what they write is not saved."""
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(typist.unsaved_told.wait() for typist in self.typists))

    async def until_all_is_saved(self) -> None:
        """Everybody rests; until each has been told that all is saved."""
        for typist in self.typists:
            typist.may_type.clear()
        async with asyncio.timeout(DEADLINE_S):
            while any(typist.saved < typist.typed for typist in self.typists):
                await asyncio.sleep(0.01)

    async def check(self, server: ServerProcess | None = None) -> int:
        """How many characters were promised or shown. Raises: AssertionError when one is missing, over that instance."""
        promised = 0
        for document in DOCUMENTS:
            there = await clocks_of((server or self.server).url, self.room_id, document, self.tokens[0])
            for typist in self.typists:
                if typist.document != document:
                    continue
                wanted = {typist.client: typist.saved}
                for client, end in typist.seen.items():
                    if client != typist.client:
                        wanted[client] = end
                lost = {client: end - there.get(client, 0) for client, end in wanted.items()}
                lost = {client: count for client, count in lost.items() if count > 0}
                assert not lost, f"lost in {document}, over {(server or self.server).url}: {lost}"
                promised += typist.saved
        return promised


@contextlib.asynccontextmanager
async def a_lesson(tmp_path: Path, **environment: str) -> AsyncIterator[Lesson]:
    async with running_server(tmp_path, environment) as server:
        yield await begin_lesson([server])


async def begin_lesson(servers: Sequence[ServerProcess]) -> Lesson:
    """A new room, over all of them."""
    async with PasserelleApi(servers[0].url) as api:
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        joined = [await api.join(f"Élève {number}", code=invitation.code) for number in range(PEOPLE)]
    return Lesson(servers[0], created.room.id, [pupil.token for pupil in joined], servers[1:])


async def wait_until_closed(typists: Sequence[Typist]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while any(typist.close_code is None for typist in typists):
            await asyncio.sleep(0.01)
