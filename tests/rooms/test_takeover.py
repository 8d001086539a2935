"""A room whose home dies, is cut off or leaves: another instance goes on with it, and nothing is lost."""

import asyncio
from contextlib import suppress

from rooms.commands import Remove, Rename, SetHand
from rooms.errors import RoomError, Unavailable
from rooms.instance_messages import Answer
from rooms.models import ParticipantStatus, Role, RoomKind
from rooms.orders import Snapshot
from rooms.ports import LEASE_S
from rooms.roles import Permission
from rooms.sharing import BEAT_S
from rooms.succession import ORDER_DEADLINE_S, SETTLE_S
from tests.support.shared_rooms import Instance, SharedRoom, refusal, settled, shared_room, shared_rooms
from tests.support.virtual_time import in_virtual_time

A_LEASE = LEASE_S + BEAT_S


# --- the home dies --------------------------------------------------------------------------------


@in_virtual_time
async def test_when_the_home_dies_another_instance_goes_on_with_all_that_was_acknowledged() -> None:
    async with shared_room(3) as room:
        first, second, third = room.instances
        await room.do(first, SetHand(True))
        await room.do(second, SetHand(True), room.klass)
        await third.connect(room.id, room.host.id)
        await settled()
        await room.rooms.kill(first)
        await room.do(second, Rename("6e A de Rimouski"), room.klass)
        await settled(A_LEASE)
        state = room.rooms.home(room.id).state(room.id)
        assert room.rooms.home(room.id) is not first
        assert second.state(room.id) == third.state(room.id) == state
        assert [state.participants[each.id].hand_raised_at is not None for each in (room.host, room.klass)] == [
            True
        ] * 2
        assert state.participants[room.klass.id].name == "6e A de Rimouski"
        assert [dict(each.sharing.lease_changes) for each in (second, third)].count({"taken_over": 1}) == 1
        assert [each.sharing.homes for each in (second, third)].count(1) == 1
        assert all(state.participants[each.id].connected for each in (room.host, room.klass))


@in_virtual_time
async def test_a_room_is_taken_over_by_an_instance_with_people_in_it_though_nobody_orders_anything() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.rooms.kill(first)
        await settled(A_LEASE + BEAT_S)
        assert room.rooms.home(room.id) is second
        await settled(SETTLE_S + BEAT_S)
        assert not second.state(room.id).participants[room.host.id].connected, "whose instance died"
        assert second.state(room.id).participants[room.klass.id].connected


@in_virtual_time
async def test_an_order_whose_answer_died_with_the_home_makes_one_participant() -> None:
    async with shared_room() as room:
        first, second = room.instances
        invitation = await first.manager.create_invitation(room.id, room.host.id, Role.CLASS)
        room.rooms.network.is_lost = lambda data: b"Answer" in data or b"Told" in data
        joining = asyncio.create_task(second.manager.join(name="6e B", invitation_id=invitation.id))
        await settled(0.2)
        assert len(first.state(room.id).participants) == 3
        await room.rooms.kill(first)
        room.rooms.network.is_lost = lambda _data: False
        _state, person = await joining
        assert [each.name for each in second.state(room.id).participants.values()].count("6e B") == 1
        assert person.id in second.state(room.id).participants


@in_virtual_time
async def test_a_home_that_was_paused_finds_itself_deposed_before_it_decides() -> None:
    """Stopped while the store had its change in hand: nothing of before takes effect."""
    async with shared_room() as room:
        first, second = room.instances
        gate = first.store.hold("save_room")
        late = asyncio.create_task(room.do(first, Rename("Trop tard")))
        await gate.reached.wait()
        first.cut_off()
        await settled(A_LEASE + BEAT_S)
        await room.do(second, Remove(room.klass.id))
        gate.open()
        first.come_back()
        await asyncio.wait([late])
        await settled(A_LEASE)
        assert room.rooms.home(room.id) is second
        assert first.state(room.id) == second.state(room.id)
        assert isinstance(late.exception(), Unavailable)
        assert first.state(room.id).participants[room.host.id].name == "Mme Roy"
        assert first.state(room.id).participants[room.klass.id].status is ParticipantStatus.REMOVED
        assert (first.sharing.lease_changes["lost"], second.sharing.lease_changes["taken_over"]) == (1, 1)
        assert (first.sharing.homes, second.sharing.homes) == (0, 1)


@in_virtual_time
async def test_a_home_that_is_cut_off_stops_deciding_before_anybody_else_begins() -> None:
    async with shared_room() as room:
        first, _second = room.instances
        first.cut_off()
        decided: dict[str, list[float]] = {"a": [], "b": []}
        for _ in range(60):
            for each in room.instances:
                before = len(each.changes)
                with suppress(RoomError, TimeoutError):
                    async with asyncio.timeout(0.1):
                        await room.do(each, SetHand(len(decided[each.name]) % 2 == 0))
                if len(each.changes) > before and room.rooms.leases is not None and each.sharing.is_home(room.id):
                    decided[each.name].append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)
        assert decided["a"]
        assert decided["b"]
        assert max(decided["a"]) < min(decided["b"])


@in_virtual_time
async def test_a_room_whose_store_is_away_is_taken_over_when_it_is_back() -> None:
    async with shared_room() as room:
        first, second = room.instances
        second.store.available = False
        await room.rooms.kill(first)
        assert await refusal(room.do(second, SetHand(True), room.klass)) == "store-unavailable"
        assert second.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT), "rights are known all the same"
        second.store.available = True
        await room.do(second, SetHand(True), room.klass)


# --- the leases are away ----------------------------------------------------------------------------


@in_virtual_time
async def test_while_nobody_can_say_who_decides_orders_fail_and_rights_stand() -> None:
    async with shared_room() as room:
        first, second = room.instances
        for each in room.instances:
            each.cut_off()
        await settled(A_LEASE)
        for each in room.instances:
            assert await refusal(room.do(each, Remove(room.klass.id))) == "store-unavailable"
            assert each.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)
        room.rooms.leases.lose_memory()
        for each in room.instances:
            each.come_back()
        await settled(5.0)
        await room.do(second, Remove(room.klass.id))
        await settled()
        assert first.state(room.id) == second.state(room.id)
        assert first.state(room.id).participants[room.klass.id].status is ParticipantStatus.REMOVED
        assert first.state(room.id).participants[room.host.id].connected


@in_virtual_time
async def test_leases_that_lost_their_memory_give_no_fence_twice() -> None:
    async with shared_room() as room:
        first, second = room.instances
        fences = [room.rooms.leases._fences[room.id]]
        for _ in range(4):
            room.rooms.leases.lose_memory()
            await settled(2 * BEAT_S)
            await room.do(second, SetHand(True), room.klass)
            await room.do(second, SetHand(False), room.klass)
            fences.append(room.rooms.leases._fences[room.id])
        assert fences == sorted(set(fences))
        assert first.state(room.id) == second.state(room.id)


# --- leaving ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_home_that_leaves_hands_its_rooms_to_who_has_people_in_them() -> None:
    async with shared_room(3, kind=RoomKind.CONSULTATION) as room:
        first, second, third = room.instances
        await first.manager.send_chat(room.id, room.host.id, "À demain")
        began = asyncio.get_running_loop().time()
        await first.manager.leave()
        await room.do(second, SetHand(True), room.klass)
        assert asyncio.get_running_loop().time() - began < 1.0
        assert room.rooms.home(room.id) is second
        await first.disconnect(room.id, room.host.id)
        await first.manager.stop()
        await third.connect(room.id, room.host.id)
        await settled()
        assert second.state(room.id) == third.state(room.id)
        assert [line.text for line in third.chat(room.id)] == ["À demain"]
        assert third.state(room.id).participants[room.host.id].connected
        assert dict(first.sharing.lease_changes) == {"handed_over": 1}
        assert dict(second.sharing.lease_changes) == {"inherited": 1}


@in_virtual_time
async def test_an_instance_that_leaves_takes_no_room_any_more() -> None:
    async with shared_rooms(1) as rooms:
        (only,) = rooms.instances
        await only.manager.leave()
        state, host = await only.manager.create_room("R", RoomKind.COMMUNITY, "Mme Roy")
        assert await refusal(only.connect(state.id, host.id)) == "store-unavailable"


@in_virtual_time
async def test_an_instance_that_leaves_opens_a_room_for_who_still_comes_to_it_and_hands_it_on() -> None:
    async with shared_rooms(2) as rooms:
        first, second = rooms.instances
        state, host = await second.manager.create_room("R", RoomKind.COMMUNITY, "Mme Roy")
        await settled(700.0)
        second.manager.forget_idle()
        await settled()
        await first.manager.leave()
        await first.manager.execute(state.id, host.id, Rename("Mme Cyr"))
        await settled()
        assert rooms.home(state.id) is second
        assert second.state(state.id).participants[host.id].name == "Mme Cyr"


@in_virtual_time
async def test_who_comes_in_over_a_home_that_leaves_is_in_though_its_heir_is_slow_to_say_what_there_is() -> None:
    async with shared_room() as room:
        first, second = room.instances
        invitation = await first.manager.create_invitation(room.id, room.host.id, Role.GUEST, lobby=False)
        room.rooms.network.is_lost = lambda message: _is_snapshot(room, message)
        await first.manager.leave()
        joining = asyncio.create_task(first.manager.join(name="Nouvelle", invitation_id=invitation.id))
        await settled(2.0)
        assert not joining.done()
        room.rooms.network.is_lost = lambda _message: False
        _state, person = await joining
        assert second.state(room.id).participants[person.id] == first.state(room.id).participants[person.id]


async def _seek(instance: Instance, room: SharedRoom) -> bool:
    known = instance.manager._rooms.get(room.id)
    assert known is not None
    return await instance.sharing._succession.seek(known)


def _is_snapshot(room: SharedRoom, message: bytes) -> bool:
    read = room.rooms.codec.decode(message)
    return isinstance(read, Answer) and isinstance(read.reply, Snapshot)


@in_virtual_time
async def test_a_room_that_is_handed_over_during_a_search_for_its_home_is_taken_all_the_same() -> None:
    async with shared_room() as room:
        first, second = room.instances
        gate = second.leases.hold_answer()
        searching = asyncio.create_task(_seek(second, room))
        await gate.reached.wait()
        await first.manager.leave()
        await settled()
        gate.open()
        await searching
        await settled(1.0)
        assert second.sharing.is_home(room.id)


@in_virtual_time
async def test_what_a_home_kept_while_another_one_took_the_room_is_seen_by_who_asked_for_it() -> None:
    async with shared_room() as room:
        first, second = room.instances
        invitation = await first.manager.create_invitation(room.id, room.host.id, Role.GUEST, lobby=False)
        gate = first.store.hold_answer_of_save()
        joining = asyncio.create_task(first.manager.join(name="Nouvelle", invitation_id=invitation.id))
        await gate.reached.wait()
        room.rooms.leases.lose_memory()
        room.rooms.network.is_lost = lambda message: _is_snapshot(room, message)
        assert await _seek(second, room)
        await settled()
        assert room.rooms.home(room.id) is second
        gate.open()
        await settled()
        assert not joining.done()
        room.rooms.network.is_lost = lambda _message: False
        _state, person = await joining
        assert second.state(room.id).participants[person.id] == first.state(room.id).participants[person.id]


@in_virtual_time
async def test_a_room_that_is_idle_is_anybodys() -> None:
    async with shared_room() as room:
        first, second = room.instances
        for each, person in ((second, room.klass), (first, room.host)):
            await each.disconnect(room.id, person.id)
        await settled(700.0)
        for each in room.instances:
            each.manager.forget_idle()
            assert each.manager.room_count == 0
        await settled()
        await second.connect(room.id, room.klass.id)
        assert room.rooms.home(room.id) is second


def test_an_order_outlasts_a_lease() -> None:
    assert ORDER_DEADLINE_S > LEASE_S
