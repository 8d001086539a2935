"""What was called saved, and what anyone else was shown, outlives the server, however it ends.

Fifty people type into three documents of a real server process. It is killed at a random moment, or asked to stop,
or its disk refuses; every client is gone then. A reader that comes after the restart is given all of it.
"""

import asyncio
import contextlib
import random
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from passerelle_client import PasserelleApi
from tests.support.deadlines import SECOND
from tests.support.server_process import ServerProcess, running_server
from tests.support.typists import Typist, clocks_of

PEOPLE = 50
DOCUMENTS = ("dictee", "recit", "questions")
FULL_AT_BYTES = 64 * 1024
"""Below what the write-ahead log has grown to by then; the log of the server is shorter."""
DEADLINE_S = 30 * SECOND


class Lesson:
    """A room with its people; who types is replaced each round, the text stays."""

    def __init__(self, server: ServerProcess, room_id: str, tokens: Sequence[str]) -> None:
        self.server = server
        self.room_id = room_id
        self._tokens = tokens
        self._clients = iter(range(1_000_000, 2_000_000))
        self.typists: list[Typist] = []

    @contextlib.asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Everybody types. At the end all of them are gone."""
        self.typists = [
            Typist(self.server.url, self.room_id, DOCUMENTS[number % len(DOCUMENTS)], token, next(self._clients))
            for number, token in enumerate(self._tokens)
        ]
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            running = [asyncio.create_task(typist.run(session)) for typist in self.typists]
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(typist.is_ready.wait() for typist in self.typists))
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

    async def check(self) -> int:
        """How many characters were promised or shown. Raises: AssertionError when one is missing."""
        promised = 0
        for document in DOCUMENTS:
            there = await clocks_of(self.server.url, self.room_id, document, self._tokens[0])
            for typist in self.typists:
                if typist.document != document:
                    continue
                wanted = {typist.client: typist.saved}
                for client, end in typist.seen.items():
                    if client != typist.client:
                        wanted[client] = end
                lost = {client: end - there.get(client, 0) for client, end in wanted.items()}
                assert not {client: count for client, count in lost.items() if count > 0}, f"lost in {document}"
                promised += typist.saved
        return promised


@contextlib.asynccontextmanager
async def a_lesson(tmp_path: Path, **environment: str) -> AsyncIterator[Lesson]:
    async with running_server(tmp_path, environment) as server:
        async with PasserelleApi(server.url) as api:
            created = await api.create_room("Dictée", host_name="Mme Roy")
            invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
            joined = [await api.join(f"Élève {number}", code=invitation.code) for number in range(PEOPLE)]
        yield Lesson(server, created.room.id, [pupil.token for pupil in joined])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("rounds", "durability"),
    [(4, "process"), (2, "power"), pytest.param(20, "process", marks=pytest.mark.long)],
)
async def test_a_server_that_is_killed_has_all_that_was_saved_or_seen(
    tmp_path: Path, rounds: int, durability: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    async with a_lesson(tmp_path, PASSERELLE_DURABILITY=durability) as lesson:
        for _ in range(rounds):
            async with lesson.typing():
                await lesson.until_promised()
                await asyncio.sleep(moments.uniform(0.0, 0.3))  # any moment
                await lesson.server.kill()
            await lesson.server.start()
            assert await lesson.check() > PEOPLE


async def test_a_server_that_is_stopped_sends_everyone_away_and_has_it_all(tmp_path: Path) -> None:
    async with a_lesson(tmp_path) as lesson:
        async with lesson.typing():
            await lesson.until_promised()
            async with asyncio.timeout(10 * SECOND):
                assert await lesson.server.terminate() == 0
            await wait_until_closed(lesson.typists)
        assert {typist.close_code for typist in lesson.typists} == {1012}
        await lesson.server.start()
        await lesson.check()


async def wait_until_closed(typists: Sequence[Typist]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while any(typist.close_code is None for typist in typists):
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def locked_by_another(server: ServerProcess) -> Iterator[None]:
    """As a backup that holds the database does."""
    with contextlib.closing(sqlite3.connect(server.data / "passerelle.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def no_file_may_grow(server: ServerProcess) -> Iterator[None]:
    """As on a full disk, each write to the database fails in the middle of the load."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, before[1]))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("fault", [locked_by_another, no_file_may_grow])
async def test_while_the_store_fails_writing_goes_on_and_is_called_unsaved(
    tmp_path: Path, fault: Callable[[ServerProcess], contextlib.AbstractContextManager[None]]
) -> None:
    async with a_lesson(tmp_path) as lesson:
        async with lesson.typing():
            await lesson.until_promised()
            with fault(lesson.server):
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(typist.unsaved_told.wait() for typist in lesson.typists))
                await lesson.until_shown_more()
            await lesson.until_promised()
            for typist in lesson.typists:
                typist.may_type.clear()
            async with asyncio.timeout(DEADLINE_S):
                while any(typist.saved < typist.typed for typist in lesson.typists):
                    await asyncio.sleep(0.01)
            await lesson.server.kill()
        await lesson.server.start()
        await lesson.check()
