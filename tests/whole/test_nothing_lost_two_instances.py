"""As test_nothing_lost, over two instances: half of the fifty are connected to each. DOC-2 to DOC-6 of the figures.

What was saved, and what anybody was shown over either instance, is there when all of them are gone.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import pytest_asyncio

from passerelle_client import PasserelleApi
from rooms.documents.close_codes import DRAINING, UNAVAILABLE
from rooms.link import EVERYONE, SILENT_S
from rooms.sharing import BEAT_S
from tests.support.deadlines import SECOND
from tests.support.fleet import Fleet, running_fleet
from tests.support.lesson import DOCUMENTS, PEOPLE, Lesson, begin_lesson, wait_until_closed
from tests.support.media_session import eventually
from tests.support.room_client import yjs_connected

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

BACK_WITHIN_S = 5.0 * SECOND
TOLD_WITHIN_S = SILENT_S + BEAT_S + 2.0 * SECOND
"""After an instance died: when its silence is noticed, and then the store is read."""
OVERRUN_BYTES = 33 * 1024 * 1024
"""One more than Redis keeps for a listener that is behind (client-output-buffer-limit pubsub 32mb)."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with running_fleet(tmp_path_factory.mktemp("fleet"), 2) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lesson(fleet: Fleet) -> Lesson:
    return await begin_lesson([instance.server for instance in fleet.instances])


async def check_everywhere(fleet: Fleet, lesson: Lesson) -> int:
    return min([await lesson.check(instance.server) for instance in fleet.instances])


async def until_it_is_everywhere(fleet: Fleet, lesson: Lesson) -> int:
    """What an instance stored just before it died it may not have told: another that has the document in memory
    shows it once it has missed the first one's heartbeats. Raises: AssertionError."""
    last_look = asyncio.get_running_loop().time() + TOLD_WITHIN_S
    while True:
        try:
            return await check_everywhere(fleet, lesson)
        except AssertionError:
            if asyncio.get_running_loop().time() > last_look:
                raise
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_an_instance_that_is_killed_loses_nothing_that_was_saved_or_seen_over_either(
    fleet: Fleet, lesson: Lesson, rounds: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(rounds):
        victim = chance.choice(fleet.instances)
        async with lesson.typing():
            await lesson.until_promised()
            await asyncio.sleep(chance.uniform(0.0, 0.3))  # any moment
            await victim.server.kill()
        await victim.server.start()
        assert await until_it_is_everywhere(fleet, lesson) > PEOPLE


async def test_an_instance_that_is_stopped_under_load_leaves_within_ten_seconds_and_loses_nothing(
    fleet: Fleet, lesson: Lesson
) -> None:
    leaving, staying = fleet.instances
    async with lesson.typing():
        await lesson.until_promised()
        async with asyncio.timeout(10 * SECOND):
            assert await leaving.server.terminate() == 0
        await wait_until_closed(lesson.typists_at(leaving.server))
        left = lesson.typists_at(staying.server)
        before = [typist.saved for typist in left]
        await eventually(
            lambda: all(typist.saved > saved for typist, saved in zip(left, before, strict=True)),
            20 * SECOND,
            "who is connected to the other goes on",
        )
        assert all(typist.close_code is None for typist in left)
    assert {typist.close_code for typist in lesson.typists_at(leaving.server)} == {DRAINING}
    await leaving.server.start()
    assert await check_everywhere(fleet, lesson) > PEOPLE


async def test_while_postgresql_is_away_both_write_on_unsaved_and_no_document_is_shown_empty(
    fleet: Fleet, lesson: Lesson
) -> None:
    asleep = await begin_lesson([instance.server for instance in fleet.instances])
    async with asleep.typing():
        await asleep.until_promised()
        await asleep.until_all_is_saved()
    for instance in fleet.instances:  # so that what was written there is in nobody's memory
        await instance.server.restart()
    async with lesson.typing():
        await lesson.until_promised()
        await asyncio.to_thread(fleet.postgres.stop)
        await lesson.until_told_unsaved()
        await lesson.until_shown_more()
        async with aiohttp.ClientSession() as http:
            for instance in fleet.instances:
                address = (http, instance.url, asleep.room_id, DOCUMENTS[0], asleep.tokens[0])
                async with yjs_connected(*address) as socket:
                    assert (await socket.wait_closed())[0] == UNAVAILABLE
                    assert not socket.frames, "nothing of it was shown"
        await asyncio.to_thread(fleet.postgres.start)
        await lesson.until_promised()
        await lesson.until_all_is_saved()
        for instance in fleet.instances:
            await instance.server.kill()
    for instance in fleet.instances:
        await instance.server.start()
    assert await check_everywhere(fleet, lesson) > PEOPLE
    assert await check_everywhere(fleet, asleep) > PEOPLE


@pytest.mark.long
async def test_while_postgresql_is_full_both_write_on_unsaved_and_it_is_saved_when_there_is_room(
    fleet: Fleet, lesson: Lesson
) -> None:
    async with lesson.typing():
        await lesson.until_promised()
        with fleet.postgres.full():
            await lesson.until_told_unsaved()
            await lesson.until_shown_more()
        await lesson.until_promised()
        await lesson.until_all_is_saved()
        for instance in fleet.instances:
            await instance.server.kill()
    for instance in fleet.instances:
        await instance.server.start()
    assert await check_everywhere(fleet, lesson) > PEOPLE


async def stopped(fleet: Fleet, seconds: float) -> None:
    await fleet.redis.stop()
    await asyncio.sleep(seconds)
    await fleet.redis.start()
    await fleet.redis.ask("FLUSHALL")


async def overrun(fleet: Fleet, _seconds: float) -> None:
    """On channels that both listen to, of a document and of rooms: each of their listeners is cut off by Redis."""
    channels = await fleet.redis.ask("PUBSUB", "CHANNELS")
    listeners = {channel: (await fleet.redis.ask("PUBSUB", "NUMSUB", channel))[1] for channel in channels}
    of_both = [channel for channel, count in listeners.items() if count == len(fleet.instances)]
    of_rooms = next(
        each for each in of_both if each.endswith(hashlib.sha256(EVERYONE.encode()).hexdigest()[:32].encode())
    )
    for channel in (next(each for each in of_both if each != of_rooms), of_rooms):
        assert await fleet.redis.ask("PUBLISH", channel, b"x" * OVERRUN_BYTES) == len(fleet.instances)


Fault = Callable[[Fleet, float], Awaitable[None]]


@pytest.mark.parametrize(
    ("fault", "seconds"), [(stopped, 4.0), (overrun, 0.0), pytest.param(stopped, 30.0, marks=pytest.mark.long)]
)
async def test_a_bus_that_fails_loses_nothing_and_both_agree_within_five_seconds_of_its_return(
    fleet: Fleet, lesson: Lesson, fault: Fault, seconds: float
) -> None:
    async with lesson.typing():
        await lesson.until_promised()
        await fault(fleet, seconds)
        for typist in lesson.typists:
            typist.may_type.clear()
        await eventually(lambda: everybody_was_shown_everything(lesson), BACK_WITHIN_S, "both agree")
        await lesson.until_all_is_saved()
    assert await check_everywhere(fleet, lesson) > PEOPLE


def everybody_was_shown_everything(lesson: Lesson) -> bool:
    for document in DOCUMENTS:
        theirs = [typist for typist in lesson.typists if typist.document == document]
        for reader in theirs:
            if any(reader.seen.get(typist.client, 0) < typist.typed for typist in theirs if typist is not reader):
                return False
    return True


async def test_who_opens_a_room_over_the_other_instance_finds_its_people(fleet: Fleet, lesson: Lesson) -> None:
    """The fleet is as good as new after all that."""
    for instance in fleet.instances:
        async with PasserelleApi(instance.url) as api:
            assert (await api.get_room(lesson.room_id, lesson.tokens[0])).room.name == "Dictée"
