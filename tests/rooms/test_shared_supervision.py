"""No adult, no room, over several instances that die, leave and are cut off: within the figures of ROLE-5, whenever it
happens between two heartbeats."""

import asyncio

import pytest

from rooms.models import Role
from rooms.sharing import BEAT_S
from rooms.supervision import GRACE_S
from tests.support.shared_rooms import Instance, SharedRoom, settled, shared_room
from tests.support.virtual_time import in_virtual_time

FROZEN_WITHIN_S = 12.0
"""ROLE-5."""
BACK_WITHIN_S = 5.0
"""NET-6: so long a client takes at most to be back over another instance."""
phases = pytest.mark.parametrize("phase_s", [0.0, 0.4, 0.9, 1.3, 1.9])
"""How long after a heartbeat it happens."""


def now() -> float:
    return asyncio.get_running_loop().time()


async def until_frozen(room: SharedRoom, instance: Instance, since: float, limit_s: float = 60.0) -> float:
    """How long after `since` the people of that instance see the room frozen."""
    while not instance.state(room.id).watch.is_frozen:
        assert now() < since + limit_s, "never frozen"
        await asyncio.sleep(0.05)
    return now() - since


async def never_frozen(room: SharedRoom, instances: list[Instance], seconds: float = 40.0) -> None:
    ends_at = now() + seconds
    while now() < ends_at:
        for each in instances:
            assert not each.state(room.id).watch.is_frozen, f"on {each.name}"
        await asyncio.sleep(0.1)


async def move_host(room: SharedRoom, instance: Instance) -> None:
    await instance.connect(room.id, room.host.id)
    await room.instances[0].disconnect(room.id, room.host.id)


async def after_a_beat(phase_s: float) -> None:
    """Long after everybody has greeted everybody."""
    at = now() + 4 * BEAT_S
    await asyncio.sleep(at - at % BEAT_S + phase_s - now())


@phases
@in_virtual_time
async def test_pupils_whose_adult_died_with_the_home_stand_still_in_time(phase_s: float) -> None:
    async with shared_room() as room:
        first, second = room.instances
        await after_a_beat(phase_s)
        died_at = now()
        await room.rooms.kill(first)
        assert GRACE_S - BEAT_S <= await until_frozen(room, second, died_at) < FROZEN_WITHIN_S
        await second.connect(room.id, room.host.id)
        assert not second.state(room.id).watch.is_frozen


@phases
@in_virtual_time
async def test_pupils_whose_adult_died_with_another_instance_stand_still_in_time(phase_s: float) -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await move_host(room, third)
        await after_a_beat(phase_s)
        died_at = now()
        await room.rooms.kill(third)
        for each in (first, second):
            assert GRACE_S - BEAT_S <= await until_frozen(room, each, died_at) < FROZEN_WITHIN_S


@phases
@in_virtual_time
async def test_pupils_who_come_to_an_instance_that_did_not_have_the_room_stand_still_in_time(phase_s: float) -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        pupil = await room.join(first, Role.PUPIL, "Léo", lobby=False)
        await first.connect(room.id, pupil.id)
        await second.disconnect(room.id, room.klass.id)
        second.manager._rooms.forget(room.id)
        await after_a_beat(phase_s)
        died_at = now()
        await room.rooms.kill(first)
        await third.connect(room.id, pupil.id)
        assert GRACE_S - BEAT_S <= await until_frozen(room, third, died_at) < FROZEN_WITHIN_S


@phases
@in_virtual_time
async def test_who_is_back_over_another_instance_when_theirs_died_freezes_nothing(phase_s: float) -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await after_a_beat(phase_s)
        await room.rooms.kill(first)
        await asyncio.sleep(BACK_WITHIN_S)
        back = asyncio.create_task(third.connect(room.id, room.host.id))
        await never_frozen(room, [second])
        await back


@phases
@in_virtual_time
async def test_an_adult_over_an_instance_that_lives_is_not_missed_when_the_home_dies(phase_s: float) -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await move_host(room, third)
        await after_a_beat(phase_s)
        await room.rooms.kill(first)
        await never_frozen(room, [second, third])


@phases
@in_virtual_time
async def test_a_home_that_hands_the_room_over_freezes_nothing_and_who_does_not_come_back_is_missed(
    phase_s: float,
) -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await after_a_beat(phase_s)
        await first.manager.leave()
        await settled(0.2)
        await first.disconnect(room.id, room.host.id)
        left_at = now()
        await first.manager.stop()
        first.is_dead = True
        await asyncio.sleep(BACK_WITHIN_S)
        assert not second.state(room.id).watch.is_frozen
        await third.connect(room.id, room.host.id)
        await never_frozen(room, [second, third])
        await third.disconnect(room.id, room.host.id)
        left_at = now()
        assert GRACE_S <= await until_frozen(room, second, left_at) < FROZEN_WITHIN_S


@phases
@in_virtual_time
async def test_an_adult_who_went_with_an_instance_that_hands_the_room_over_is_missed(phase_s: float) -> None:
    async with shared_room(3) as room:
        first, second, _third = room.instances
        await after_a_beat(phase_s)
        left_at = now()
        await first.manager.leave()
        await settled(0.2)
        await first.manager.stop()
        first.is_dead = True
        assert GRACE_S <= await until_frozen(room, second, left_at) < FROZEN_WITHIN_S


@phases
@in_virtual_time
async def test_while_nobody_hears_anybody_and_after_that_nothing_freezes(phase_s: float) -> None:
    """Redis is away for half a minute, then back for one instance after the other."""
    async with shared_room(3) as room:
        first, second, third = room.instances
        await after_a_beat(phase_s)
        for each in room.instances:
            each.cut_off()
        await never_frozen(room, [first, second], 30.0)
        for each in (second, third, first):
            each.come_back()
            await never_frozen(room, [first, second], 1.0)
        await never_frozen(room, [first, second])


@phases
@in_virtual_time
async def test_pupils_from_whom_the_adults_instance_is_cut_off_stand_still_until_it_is_back(phase_s: float) -> None:
    async with shared_room() as room:
        first, second = room.instances
        await after_a_beat(phase_s)
        cut_at = now()
        first.cut_off()
        assert GRACE_S - BEAT_S <= await until_frozen(room, second, cut_at) < FROZEN_WITHIN_S
        first.come_back()
        await settled(BEAT_S + 3.0)
        for each in room.instances:
            assert not each.state(room.id).watch.is_frozen
