"""From one home to the next: nothing older takes the place of what was acknowledged, nobody is shown who has gone."""

import asyncio

import pytest

from rooms.commands import Leave, Rename, SetHand
from rooms.instance_messages import Ask
from rooms.link import SILENT_S
from rooms.orders import OpenConnection
from rooms.ports import LEASE_S
from rooms.presence import OpenConnections
from rooms.sharing import BEAT_S
from rooms.succession import SETTLE_S
from tests.support.shared_rooms import Instance, SharedRoom, refusal, settled, shared_room
from tests.support.virtual_time import in_virtual_time

A_LEASE = LEASE_S + BEAT_S


# --- what was acknowledged ------------------------------------------------------------------------


async def come_and_go(instance: Instance, room: SharedRoom, times: int) -> None:
    """Events of presence, which are numbered and not kept."""
    for _ in range(times):
        await instance.disconnect(room.id, room.klass.id)
        await instance.connect(room.id, room.klass.id)


@in_virtual_time
async def test_a_replica_of_an_earlier_home_is_older_than_what_a_later_one_acknowledged() -> None:
    """However many events that one had numbered: neither it nor the one after it had kept any of them."""
    async with shared_room() as room:
        first, second = room.instances
        await room.rooms.kill(first)
        second.manager._rooms.forget(room.id)
        await settled(A_LEASE)
        third = await room.rooms.start()
        await third.connect(room.id, room.host.id)
        await second.connect(room.id, room.klass.id)
        assert room.rooms.home(room.id) is third
        await come_and_go(second, room, 20)

        second.cut_off()
        await room.rooms.kill(third)
        await settled(A_LEASE)
        fourth = await room.rooms.start()
        await fourth.connect(room.id, room.host.id)
        assert room.rooms.home(room.id) is fourth
        await room.do(fourth, Rename("Mme Roy-Caron"))

        await room.rooms.kill(fourth)
        second.come_back()
        await settled(A_LEASE + SETTLE_S)
        await room.do(second, SetHand(True), room.klass)
        assert room.rooms.home(room.id) is second
        assert second.state(room.id).participants[room.host.id].name == "Mme Roy-Caron"


@in_virtual_time
async def test_a_change_that_failed_and_is_kept_late_takes_the_place_of_none_that_was_acknowledged() -> None:
    async with shared_room() as room:
        first, second = room.instances
        first.store.saves_late = True
        assert await refusal(room.do(first, Rename("Trop tard"))) == "store-unavailable"
        first.store.saves_late = False
        await room.do(second, Rename("6e A de Rimouski"), room.klass)
        await first.store.arrive()
        await room.rooms.kill(first)
        second.manager._rooms.forget(room.id)
        await settled(A_LEASE)
        await second.connect(room.id, room.klass.id, "again")
        people = second.state(room.id).participants
        assert (people[room.host.id].name, people[room.klass.id].name) == ("Mme Roy", "6e A de Rimouski")


@in_virtual_time
async def test_replicas_follow_on_after_a_change_that_could_not_be_kept() -> None:
    async with shared_room() as room:
        first, second = room.instances
        first.store.failing.add("save_room")
        assert await refusal(room.do(first, Rename("Mme Caron"))) == "store-unavailable"
        first.store.failing.clear()
        assert first.state(room.id).participants[room.host.id].name == "Mme Roy"
        await room.do(first, SetHand(True))
        await settled()
        assert first.state(room.id) == second.state(room.id)
        assert second.state(room.id).participants[room.host.id].hand_raised_at is not None


@in_virtual_time
async def test_what_was_asked_of_an_instance_that_stood_still_comes_too_late() -> None:
    """It is read from its socket when it goes on; they are elsewhere by then, and were answered."""
    async with shared_room(3) as room:
        _first, second, third = room.instances
        seen = second.state(room.id).seq
        await third.connect(room.id, room.klass.id)
        await room.do(third, Rename("6e A de Matane", seen=third.state(room.id).seq), room.klass)
        assert await refusal(room.do(second, Rename("6e A de Rimouski", seen=seen), room.klass)) == "outdated"
        await settled()
        assert {state.participants[room.klass.id].name for state in room.states()} == {"6e A de Matane"}


@in_virtual_time
async def test_an_order_that_is_carried_out_again_by_the_next_home_takes_the_place_of_no_later_one() -> None:
    """The first home died before it could say that it had done it."""
    async with shared_room(3) as room:
        first, second, third = room.instances
        await third.connect(room.id, room.klass.id)
        await settled()
        asked: set[bytes] = set()

        def lose_answers(data: bytes) -> bool:
            if b"Rimouski" in data and b"Ask" in data:
                ask = room.rooms.codec.decode(data)
                assert isinstance(ask, Ask)
                asked.add(ask.ask_id.encode())
            return b"Answer" in data and any(each in data for each in asked)

        room.rooms.network.is_lost = lose_answers
        seen = second.state(room.id).seq
        older = asyncio.create_task(room.do(second, Rename("6e A de Rimouski", seen=seen), room.klass))
        await settled()
        assert first.state(room.id).participants[room.klass.id].name == "6e A de Rimouski"
        newer = Rename("6e A de Matane", seen=third.state(room.id).seq)
        await room.do(third, newer, room.klass)
        await room.rooms.kill(first)
        room.rooms.network.is_lost = lambda _data: False
        assert await refusal(older) == "outdated"
        await settled(A_LEASE)
        assert {state.participants[room.klass.id].name for state in room.states()} == {"6e A de Matane"}


# --- who is there ---------------------------------------------------------------------------------


def connections(instance: Instance, room: SharedRoom) -> OpenConnections:
    loaded = instance.manager._rooms.get(room.id)
    assert loaded is not None
    return loaded.connections


def ask_to_connect(home: Instance, other: Instance, room: SharedRoom) -> None:
    order = OpenConnection("late", 1_000)
    home.sharing._receive(Ask("last", other.name, room.id, room.klass.id, order))


@pytest.mark.parametrize("end", ["goodbye", "silence", "none"])
@in_virtual_time
async def test_a_connection_that_is_read_when_its_instance_has_gone_brings_nobody_back(end: str) -> None:
    async with shared_room() as room:
        home, other = room.instances
        await other.disconnect(room.id, room.klass.id)
        await settled()
        async with home.manager._rooms.take_turn(room.id):
            ask_to_connect(home, other, room)
            if end == "goodbye":
                await other.manager.stop()
            elif end == "silence":
                await room.rooms.kill(other)
                await settled(SILENT_S + 2 * BEAT_S)
            await settled()
        await settled()
        assert home.state(room.id).participants[room.klass.id].connected is (end == "none")
        assert (room.klass.id in connections(home, room)) is (end == "none")


@in_virtual_time
async def test_who_comes_back_while_their_instance_goes_is_away() -> None:
    """Back from outside is a change that is kept, and keeping it takes a while."""
    async with shared_room() as room:
        home, other = room.instances
        await room.do(home, Leave(), room.klass)
        await other.disconnect(room.id, room.klass.id)
        gate = home.store.hold("save_room")
        ask_to_connect(home, other, room)
        await gate.reached.wait()
        await other.manager.stop()
        await settled()
        gate.open()
        await settled()
        assert not home.state(room.id).participants[room.klass.id].connected
        assert room.klass.id not in connections(home, room)


@in_virtual_time
async def test_who_goes_when_their_instance_is_not_the_home_any_more_and_does_not_know_it_is_away_for_good() -> None:
    """The other instance, which has the room, is told; this one must not count them when it is the home again."""
    async with shared_room() as room:
        first, second = room.instances
        zoe = await room.join(first, lobby=False)
        await first.connect(room.id, zoe.id)
        first.cut_off()
        await settled(LEASE_S + SILENT_S)
        await room.do(second, SetHand(True), room.klass)
        first.come_back()
        await first.disconnect(room.id, zoe.id)  # before it has asked for its lease again
        await settled(SETTLE_S + 2 * BEAT_S)
        assert not second.state(room.id).participants[zoe.id].connected
        await room.rooms.kill(second)
        await settled(LEASE_S + SILENT_S + SETTLE_S + 2 * BEAT_S)
        assert room.rooms.home(room.id) is first
        people = first.state(room.id).participants
        assert {person.id for person in people.values() if person.connected} == {room.host.id}
