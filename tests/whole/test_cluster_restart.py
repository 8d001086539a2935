"""A school day behind the proxy: instances restarted in turn, Wi-Fi that goes for everybody."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from passerelle_client import Disconnected, PasserelleApi
from tests.support.cluster import running_cluster
from tests.support.cluster_class import ClusterClass, Member, class_behind
from tests.support.deadlines import SECOND
from tests.support.network_cut import cuttable_proxy
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.timeout(400)
BACK_S = 5.0
WRITE_EVERY_S = 0.2
SOME = 8
EVERYBODY = 30
"""Without the host."""


def mixed(count: int) -> list[tuple[str, str]]:
    """Roles and transports of a lesson: two classes, their pupils, a guest."""
    roles = ["class", "guest", *["pupil"] * 4]
    return [(roles[n % len(roles)], "polling" if n % 3 == 0 else "websocket") for n in range(count)]


async def raise_hands(school: ClusterClass) -> list[str]:
    """Every second one, one after the other; the line that they stand in."""
    line = []
    for member in school.members[1::2]:
        await member.room.set_hand(True)
        line.append(member.room.participant_id)
    return line


def line_of(member: Member) -> list[str]:
    """Who has a hand up, first raised first, as this member sees it."""
    assert member.room.view is not None
    raised = [person for person in member.room.view.participants if person.hand_raised_at]
    return [person.id for person in sorted(raised, key=lambda person: (str(person.hand_raised_at), person.id))]


def roll_of(member: Member) -> dict[str, tuple[str, bool]]:
    """Everybody's role, and whether they are there."""
    assert member.room.view is not None
    return {person.id: (person.role, person.connected) for person in member.room.view.participants}


@asynccontextmanager
async def busy(school: ClusterClass, done: list[str]) -> AsyncIterator[None]:
    """Everybody writes all the time, the host chats, somebody raises and lowers a hand. What a cut interrupts is
    asked again; any refusal fails the test. `done`: the chat's lines."""
    restless = school.members[2]
    resting = asyncio.Event()

    async def writes(member: Member) -> None:
        while not resting.is_set():
            member.write()
            await asyncio.sleep(WRITE_EVERY_S)

    async def chats() -> None:
        for number in itertools.count():
            if resting.is_set():
                return
            await again(lambda line=f"ligne {number}": school.host.room.send_chat(line))
            done.append(f"ligne {number}")
            await asyncio.sleep(1.2)  # as fast as chat lines may come

    async def fidgets() -> None:
        for number in itertools.count(1):
            if resting.is_set() and number % 2:
                return
            await again(lambda raised=bool(number % 2): restless.room.set_hand(raised))
            await asyncio.sleep(WRITE_EVERY_S)

    tasks = [asyncio.create_task(work) for work in (chats(), fidgets(), *map(writes, school.members))]
    try:
        yield
        resting.set()
        async with asyncio.timeout(30 * SECOND):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def again(ask: Callable[[], Awaitable[Any]]) -> None:
    """Raises: Refused, Removed; TimeoutError."""
    async with asyncio.timeout(30 * SECOND):
        while True:
            try:
                await ask()
                return
            except Disconnected:
                await asyncio.sleep(0.05)


def gaps(members: list[Member], since: float) -> list[float]:
    """How long after `since` each who lost the connection was back."""
    return [next(at for at in member.back_at if at > since) - since for member in members if member.back_at[-1] > since]


@pytest.mark.parametrize("count", [SOME, pytest.param(EVERYBODY, marks=pytest.mark.long)])
async def test_each_instance_restarted_in_turn_costs_a_lesson_nothing(
    tmp_path: Path, postgres: PostgresServer, count: int
) -> None:
    async with running_cluster(tmp_path, postgres) as cluster:
        async with class_behind(cluster.url, mixed(count)) as school, PasserelleApi(cluster.url) as newcomers:
            line, roll = await raise_hands(school), roll_of(school.host)
            said: list[str] = []
            joined = 0
            async with busy(school, said):
                for server in cluster.instances:
                    before = [member.lost for member in school.members]
                    there = [member for member in school.members if member.instance == cluster.name_of(server)]
                    told_at = time.monotonic()
                    ending = asyncio.create_task(server.terminate())
                    while not ending.done():
                        # Whoever comes to the door meanwhile notices nothing.
                        await newcomers.join(f"Nouvelle {joined}", code=school.codes["guest"])
                        joined += 1
                        await asyncio.wait([ending], timeout=0.25)
                    assert await ending == 0
                    assert time.monotonic() - told_at < 10 * SECOND, "DOC-3"
                    ended_at = time.monotonic()
                    await school.until(lambda: all(member.back_at[-1] > told_at for member in there))  # noqa: B023
                    back = gaps(there, ended_at - 0.5)
                    print(
                        f"{cluster.name_of(server)}: {len(back)} of {count + 1} back, the last after {max(back, default=0.0):.2f} s"
                    )
                    assert max(back, default=0.0) < BACK_S * SECOND
                    if count == EVERYBODY:
                        assert len(back) > count / 4, "the class was spread over both instances"
                        assert max(back) - min(back) > 0.5, "they came back in one instant"
                    lost = [member.lost - once for member, once in zip(school.members, before, strict=True)]
                    assert max(lost) == 1
                    assert sum(lost) == len(there), "the others noticed nothing"
                    await server.start()
                    await cluster.proxy.until(**{cluster.name_of(server): "UP"})
            assert joined > 4
            await school.until_all_read_all()
            await school.until(lambda: all(line_of(member) == line for member in school.members))
            views = [member.room.view for member in school.members]
            assert [view for view in views if view is None or view.freeze is not None] == [], (
                "ROLE-5: a restart freezes nothing"
            )
            now = roll_of(school.host)
            assert {person: now[person] for person in roll} == roll
            assert school.host.room.view is not None
            assert [line.text for line in school.host.room.view.chat][-len(said) :] == said


@pytest.mark.parametrize(
    ("count", "off_s", "is_silent"),
    [
        pytest.param(SOME, 3.0, False, marks=pytest.mark.long),
        pytest.param(EVERYBODY, 30.0, False, marks=pytest.mark.long),
        pytest.param(EVERYBODY, 30.0, True, marks=pytest.mark.long),
    ],
)
async def test_when_the_wi_fi_goes_for_everybody_at_once(
    tmp_path: Path, postgres: PostgresServer, count: int, off_s: float, is_silent: bool
) -> None:
    """NET-6. Connections break and are refused, or nothing answers any more (`is_silent`)."""
    async with running_cluster(tmp_path, postgres) as cluster, cuttable_proxy(cluster.proxy.port) as wifi:
        async with class_behind(wifi.url, mixed(count)) as school:
            line, roll = await raise_hands(school), roll_of(school.host)
            if is_silent:
                cluster.proxy.send_signal(signal.SIGSTOP)
            else:
                await wifi.cut()
            off_at = time.monotonic()
            while time.monotonic() < off_at + off_s:
                for member in school.members:
                    member.write()
                await asyncio.sleep(1.0)
            back_at = time.monotonic()
            if is_silent:
                cluster.proxy.send_signal(signal.SIGCONT)
            else:
                wifi.mend()
            await school.until(lambda: all(member.room.connection_state == "connected" for member in school.members))
            back = gaps(school.members, back_at)
            print(f"off for {off_s} s: {len(back)} back after {min(back):.2f} to {max(back):.2f} s")
            assert max(back) < BACK_S * SECOND
            if not is_silent:
                assert len(back) == count + 1
                assert max(back) - min(back) > (0.1 if count == SOME else 0.5), "they came back in one instant"
            await school.until_all_read_all()
            await school.until(lambda: all(line_of(member) == line for member in school.members))
            await school.until(lambda: roll_of(school.host) == roll)
