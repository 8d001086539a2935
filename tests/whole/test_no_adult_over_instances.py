"""ROLE-5 over two server processes behind the proxy: the only adult goes with their line, or with their instance."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from passerelle_client import Refused
from rooms.supervision import GRACE_S
from tests.support.cluster import Cluster, running_cluster
from tests.support.cluster_class import ClusterClass, Member, class_behind
from tests.support.deadlines import SECOND
from tests.support.network_cut import CuttableProxy, cuttable_proxy
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.timeout(240)
FROZEN_WITHIN_S = 12.0 * SECOND
THAWED_WITHIN_S = 2.0 * SECOND
LEAST_S = GRACE_S - 4.0
"""Who died with an instance was last heard with its last heartbeat, or answered the last time they were asked; and a busy
machine is late with either."""
SOME = 6
EVERYBODY = 25


@dataclass
class Lesson:
    """An adult over one instance, pupils over both."""

    cluster: Cluster
    school: ClusterClass
    adult: Member
    pupils: Sequence[Member]
    line: CuttableProxy
    """The adult's."""


async def home_of(cluster: Cluster) -> str:
    """The instance that decides for the one room there is."""
    homes = [await cluster.metric(server, "passerelle_rooms_at_home") for server in cluster.instances]
    assert sorted(homes) == [0.0, 1.0]
    return f"i{homes.index(1.0) + 1}"


@asynccontextmanager
async def lesson(folder: Path, postgres: PostgresServer, count: int, *, at_home: bool) -> AsyncIterator[Lesson]:
    """`at_home`: the adult is connected to the instance that decides."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(folder, postgres))
        line = await stack.enter_async_context(cuttable_proxy(cluster.proxy.port))
        people = [("pupil", "polling" if number % 3 == 0 else "websocket") for number in range(count)]
        school = await stack.enter_async_context(class_behind(cluster.url, people))
        while {member.instance for member in school.members[1:]} != {"i1", "i2"}:
            await school.join("pupil", "websocket")  # the proxy may have led all of so few to one
        pupils = tuple(school.members[1:])
        home = await home_of(cluster)
        devices = [school.host]
        while len(devices) == 1 or (devices[-1].instance == home) is not at_home:
            # The proxy leads each to where the fewest are: the next one comes elsewhere, while those before it stay.
            devices.append(await school.enter("adult", "host", school.host.room.token, "websocket", line.url))
        *others, adult = devices
        for device in others:
            await leave_quietly(school, device)
        yield Lesson(cluster, school, adult, pupils, line)


async def leave_quietly(school: ClusterClass, device: Member) -> None:
    """One device of the adult's is closed; another is there."""
    school.members.remove(device)
    await device.room.close()


def is_frozen(member: Member) -> bool:
    view = member.room.view
    return view is not None and view.freeze is not None and view.freeze.until is None


async def time_until_all(members: Sequence[Member], condition: Callable[[Member], bool], limit_s: float) -> float:
    """From now; seconds. Raises: TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not all(map(condition, members)):
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def nothing_is_written_or_shown(here: Lesson) -> None:
    before = {pupil.text for pupil in here.pupils}
    assert len(before) == 1
    for pupil in here.pupils:
        pupil.write()
    for pupil in here.pupils:
        # Its connection carries everything in order: what it wrote before has been judged when this is.
        with pytest.raises(Refused) as refused:
            await pupil.room.send_chat("Personne ne regarde")
        assert refused.value.code == "room-frozen"
    (text,) = before
    for pupil in here.pupils:
        assert len(pupil.text) == len(text) + len(pupil.wrote[-1]), "somebody was shown what another one wrote"
        assert pupil.document.state != "saved"
        assert pupil.room.view is not None
        assert not [line for line in pupil.room.view.chat if line.text == "Personne ne regarde"]


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (SOME, "the home is killed"),
        pytest.param(EVERYBODY, "the home is killed", marks=pytest.mark.long),
        pytest.param(EVERYBODY, "their instance is killed", marks=pytest.mark.long),
        pytest.param(EVERYBODY, "their line goes dead", marks=pytest.mark.long),
    ],
)
async def test_pupils_over_two_instances_stand_still_without_their_adult_and_go_on_with_them(
    tmp_path: Path, postgres: PostgresServer, count: int, how: str
) -> None:
    async with lesson(tmp_path, postgres, count, at_home=how != "their instance is killed") as here:
        for member in (here.adult, *here.pupils):
            member.write()
        await here.school.until_all_read_all()
        raised = here.pupils[1]
        await raised.room.set_hand(True)

        here.line.hold()
        if "killed" in how:
            assert here.adult.instance is not None
            await here.cluster.instances[int(here.adult.instance[1]) - 1].kill()
        frozen_s = await time_until_all(here.pupils, is_frozen, FROZEN_WITHIN_S + 5)
        assert LEAST_S < frozen_s < FROZEN_WITHIN_S
        await here.school.until(lambda: all(pupil.room.connection_state == "connected" for pupil in here.pupils))
        await nothing_is_written_or_shown(here)

        here.school.members.remove(here.adult)
        back = here.school.enter("back", "host", here.adult.room.token, "websocket")
        thawed_s, _device = await asyncio.gather(
            time_until_all(here.pupils, lambda pupil: not is_frozen(pupil), THAWED_WITHIN_S + 5), back
        )
        print(f"{how}, {count} pupils: frozen after {frozen_s:.2f} s, thawed after {thawed_s:.2f} s")
        assert thawed_s < THAWED_WITHIN_S
        await here.school.until_all_read_all()
        assert raised.room.view is not None
        up = [person.id for person in raised.room.view.participants if person.hand_raised_at is not None]
        assert up == [raised.room.participant_id]
        await here.adult.room.close()
