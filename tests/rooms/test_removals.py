"""Over several instances: a removal is called done once nobody who is out can see the room any more, and who went
silent is not there."""

from rooms.commands import Remove
from rooms.instance_messages import Ask
from rooms.link import SILENT_S
from rooms.orders import Greet
from rooms.ports import LEASE_S
from rooms.presence import UNSURE_S
from rooms.roles import Permission
from rooms.sharing import BEAT_S
from rooms.succession import SETTLE_S
from tests.support.shared_rooms import settled, shared_room
from tests.support.virtual_time import in_virtual_time

A_LEASE = LEASE_S + BEAT_S


@in_virtual_time
async def test_a_removal_is_confirmed_once_it_is_done_on_every_instance() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await third.connect(room.id, room.klass.id)
        for asked in room.instances:
            person = await room.join(asked, lobby=False)
            for each in room.instances:
                await each.connect(room.id, person.id)
            await room.do(asked, Remove(person.id))
            assert await asked.manager.wait_gone(room.id, [person.id], 1.0)
            assert not any((room.id, person.id) in each.open for each in room.instances)
        assert first.state(room.id) == second.state(room.id) == third.state(room.id)


@in_virtual_time
async def test_a_removal_whose_word_was_lost_is_carried_out_by_the_question() -> None:
    async with shared_room() as room:
        first, second = room.instances
        room.rooms.network.is_lost = lambda data: b"Told" in data
        await room.do(first, Remove(room.klass.id))
        assert await first.manager.wait_gone(room.id, [room.klass.id], 1.0)
        assert not second.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)


@in_virtual_time
async def test_a_removal_is_not_confirmed_while_an_instance_is_silent_or_slow() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await third.connect(room.id, room.host.id)
        second.closes_slowly = True
        await room.do(first, Remove(room.klass.id))
        assert not await first.manager.wait_gone(room.id, [room.klass.id], 1.0)
        second.closes_slowly = False
        assert await first.manager.wait_gone(room.id, [room.klass.id], 1.0)


@in_virtual_time
async def test_a_removal_is_not_confirmed_while_an_instance_that_showed_the_room_is_not_heard_of() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        other = await room.join(first, lobby=False)
        await third.connect(room.id, other.id)
        second.cut_off()
        await settled(A_LEASE + BEAT_S)
        assert not first.state(room.id).participants[room.klass.id].connected
        await room.do(first, Remove(room.klass.id))
        assert not await first.manager.wait_gone(room.id, [room.klass.id], 1.0)
        await room.do(first, Remove(other.id))
        assert await first.manager.wait_gone(room.id, [other.id], 1.0), "who was not connected there"
        assert second.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)
        second.come_back()
        await settled(2 * BEAT_S)
        assert not second.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)
        assert await first.manager.wait_gone(room.id, [room.klass.id], 1.0)


@in_virtual_time
async def test_an_instance_that_never_comes_back_is_doubted_for_a_while_only() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.rooms.kill(second)
        await settled(A_LEASE + BEAT_S)
        await room.do(first, Remove(room.klass.id))
        assert not await first.manager.wait_gone(room.id, [room.klass.id], 1.0)
        await settled(UNSURE_S)
        assert await first.manager.wait_gone(room.id, [room.klass.id], 1.0)


@in_virtual_time
async def test_a_removal_is_confirmed_right_after_a_room_was_handed_over() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        other = await room.join(first, lobby=False)
        await third.connect(room.id, other.id)
        await settled(SILENT_S)
        await first.disconnect(room.id, room.host.id)
        await second.connect(room.id, room.host.id)
        await first.manager.leave()
        await first.manager.stop()
        first.is_dead = True
        await settled()
        assert room.rooms.home(room.id) in (second, third)
        await room.do(second, Remove(other.id))
        assert await second.manager.wait_gone(room.id, [other.id], 1.0)
        assert (room.id, other.id) not in third.open


@in_virtual_time
async def test_a_removal_is_not_confirmed_by_a_new_home_that_may_not_know_of_everyone() -> None:
    """It was stopped itself a moment ago, and has not heard since who lives."""
    async with shared_room(3) as room:
        first, _second, third = room.instances
        other = await room.join(first, lobby=False)
        await third.connect(room.id, other.id)
        await settled(SILENT_S)
        await first.manager.leave()
        await first.manager.stop()
        first.is_dead = True
        await settled()
        home = room.rooms.home(room.id)
        home.sharing._us.hears_anew()
        await room.do(home, Remove(other.id))
        assert not await home.manager.wait_gone(room.id, [other.id], 1.0)
        await settled(SETTLE_S + BEAT_S)
        assert await home.manager.wait_gone(room.id, [other.id], 1.0)


@in_virtual_time
async def test_a_roll_that_is_read_when_its_instance_has_gone_brings_nobody_back() -> None:
    async with shared_room() as room:
        home, second = room.instances
        async with home.manager._rooms.take_turn(room.id):
            greeting = Greet(1_000, {room.klass.id: ["late"]})
            home.sharing._receive(Ask("last", second.name, room.id, None, greeting))
            await second.manager.stop()
            await settled()
        await settled()
        assert not home.state(room.id).participants[room.klass.id].connected


@in_virtual_time
async def test_others_are_told_that_an_instance_fell_silent_and_not_that_one_has_left() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        third.cut_off()
        await settled(SILENT_S + 2 * BEAT_S)
        assert (first.times_lost, second.times_lost) == (1, 1)
        await second.manager.stop()
        await settled(SILENT_S + 2 * BEAT_S)
        assert first.times_lost == 1


@in_virtual_time
async def test_a_room_read_after_its_home_fell_silent_doubts_whoever_was_there_until_that_one_is_heard() -> None:
    """Over an instance that did not follow the room: it cannot know who was connected at the home."""
    async with shared_room(3) as room:
        first, second, third = room.instances
        await second.disconnect(room.id, room.klass.id)
        await first.connect(room.id, room.klass.id)
        second.manager._rooms.forget(room.id)
        third.manager._rooms.forget(room.id)
        await settled()
        first.cut_off()
        await settled(A_LEASE + 2 * BEAT_S)
        newcomer = await room.join(third, lobby=False)
        await room.do(third, Remove(room.klass.id))
        assert not await third.manager.wait_gone(room.id, [room.klass.id], 1.0)
        await settled(SETTLE_S + BEAT_S)
        assert not await third.manager.wait_gone(room.id, [room.klass.id], 1.0), "it may still be shown the room"
        await room.do(third, Remove(newcomer.id))
        assert await third.manager.wait_gone(room.id, [newcomer.id], 1.0), "who came later was never there"
        first.come_back()
        await settled(2 * BEAT_S)
        assert await third.manager.wait_gone(room.id, [room.klass.id], 1.0)
        assert (room.id, room.klass.id) not in first.open
