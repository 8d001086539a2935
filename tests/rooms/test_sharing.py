"""A room over several instances: one decides, all see the same, and nothing is lost when one dies."""

import asyncio
from contextlib import suppress

from rooms.commands import Admit, Configure, Leave, Remove, Rename, SetHand
from rooms.errors import RoomError, Unavailable
from rooms.events import ParticipantChanged, ParticipantGone
from rooms.instance_messages import Answer, Ask
from rooms.link import SILENT_S
from rooms.models import ParticipantStatus, Role, RoomKind
from rooms.orders import Greet, Snapshot
from rooms.ports import LEASE_S
from rooms.presence import UNSURE_S
from rooms.replica import ASK_S
from rooms.roles import Permission
from rooms.sharing import BEAT_S
from rooms.succession import ORDER_DEADLINE_S, SETTLE_S
from tests.support.shared_rooms import Instance, SharedRoom, refusal, settled, shared_room, shared_rooms
from tests.support.virtual_time import in_virtual_time

A_LEASE = LEASE_S + BEAT_S


# --- one room -------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_room_has_one_home_and_everyone_sees_the_same() -> None:
    async with shared_room() as room:
        first, second = room.instances
        assert room.rooms.home(room.id) is first
        await room.do(second, SetHand(True), room.klass)
        await room.do(first, Rename("Mme Roy-Caron"))
        await settled()
        assert first.state(room.id) == second.state(room.id)
        state = second.state(room.id)
        assert state.participants[room.klass.id].hand_raised_at is not None
        assert state.participants[room.host.id].name == "Mme Roy-Caron"
        assert all(state.participants[each.id].connected for each in (room.host, room.klass))


@in_virtual_time
async def test_what_was_ordered_is_seen_by_who_ordered_it_when_it_is_answered() -> None:
    async with shared_room() as room:
        second = room.instances[1]
        for up in (True, False) * 10:
            state = await room.do(second, SetHand(up), room.klass)
            assert (state.participants[room.klass.id].hand_raised_at is not None) is up
            assert second.state(room.id) is state


@in_virtual_time
async def test_listeners_hear_over_each_instance_what_happened_step_by_step() -> None:
    async with shared_room() as room:
        first, second = room.instances
        for each in room.instances:
            each.changes.clear()
        await room.do(second, SetHand(True), room.klass)
        await room.do(first, Remove(room.klass.id))
        await settled()
        for each in room.instances:
            assert [type(event) for change in each.changes for event in change.events] == [
                ParticipantChanged,
                ParticipantGone,
            ]


@in_virtual_time
async def test_a_refusal_comes_back_as_it_is() -> None:
    async with shared_room() as room:
        second = room.instances[1]
        assert await refusal(room.do(second, Remove(room.host.id), room.klass)) == "permission-denied"
        assert await refusal(room.do(second, Admit("nobody"))) == "not-found"
        assert await refusal(room.do(second, Rename("\u202e"), room.klass)) == "name-invalid"
        assert await refusal(second.manager.join(name="Zoé", invitation_id="unknown")) == "invitation-unknown"
        assert await refusal(second.manager.get_state("unknown")) == "not-found"


@in_virtual_time
async def test_people_come_in_through_the_lobby_over_any_instance() -> None:
    async with shared_room(3) as room:
        _first, second, third = room.instances
        guest = await room.join(third, Role.GUEST)
        assert guest.status is ParticipantStatus.WAITING
        await third.connect(room.id, guest.id)
        await room.do(second, Admit(guest.id))
        await settled()
        for each in room.instances:
            assert each.manager.can(room.id, guest.id, Permission.WRITE_DOCUMENT)
            assert each.state(room.id).participants[guest.id].connected


@in_virtual_time
async def test_invitations_are_made_listed_and_revoked_over_any_instance() -> None:
    async with shared_room() as room:
        first, second = room.instances
        invitation = await second.manager.create_invitation(room.id, room.host.id, Role.CLASS)
        _state, klass = await second.manager.join(name="6e B", code=invitation.code)
        await first.manager.revoke_invitation(room.id, room.host.id, invitation.id)
        listed = await second.manager.list_invitations(room.id, room.host.id)
        assert {each.id: each.revoked for each in listed}[invitation.id]
        await settled()
        assert second.state(room.id).participants[klass.id].status is ParticipantStatus.REMOVED
        assert await refusal(second.manager.join(name="6e C", invitation_id=invitation.id)) == "invitation-unknown"


@in_virtual_time
async def test_settings_follow_on_every_instance() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.do(second, Configure(writing_enabled=False))
        await settled()
        assert not first.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)
        assert not second.manager.can(room.id, room.klass.id, Permission.WRITE_DOCUMENT)


# --- chat -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_line_is_there_once_on_every_instance() -> None:
    async with shared_room() as room:
        first, second = room.instances
        for _ in range(2):
            await second.manager.send_chat(room.id, room.klass.id, "Bonjour", "mine")
        await first.manager.send_chat(room.id, room.host.id, "Bonjour à vous")
        await settled()
        for each in room.instances:
            assert [line.text for line in each.chat(room.id)] == ["Bonjour", "Bonjour à vous"]
        assert len(await room.rooms.stored.load_chat(room.id, 10)) == 2


@in_virtual_time
async def test_a_line_that_was_lost_on_the_way_is_there_after_the_next_heartbeat() -> None:
    async with shared_room() as room:
        first, second = room.instances
        room.rooms.network.is_lost = lambda data: b"Told" in data
        await first.manager.send_chat(room.id, room.host.id, "Bonjour")
        room.rooms.network.is_lost = lambda _data: False
        await settled(2 * BEAT_S)
        assert [line.text for line in second.chat(room.id)] == ["Bonjour"]
        assert [change.chat.text for change in second.changes if change.chat] == ["Bonjour"]


@in_virtual_time
async def test_a_consultations_chat_is_in_no_store_and_outlives_its_home() -> None:
    async with shared_room(kind=RoomKind.CONSULTATION) as room:
        first, second = room.instances
        await first.manager.send_chat(room.id, room.host.id, "Comment vas-tu ?")
        await settled()
        assert await room.rooms.stored.load_chat(room.id, 10) == ()
        await room.rooms.kill(first)
        await second.manager.send_chat(room.id, room.klass.id, "Bien")
        assert [line.text for line in second.chat(room.id)] == ["Comment vas-tu ?", "Bien"]


# --- presence -------------------------------------------------------------------------------------


@in_virtual_time
async def test_one_connection_of_two_over_two_instances_keeps_somebody_present() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await first.connect(room.id, room.klass.id)
        await second.disconnect(room.id, room.klass.id)
        await settled()
        assert all(state.participants[room.klass.id].connected for state in room.states())
        await first.disconnect(room.id, room.klass.id)
        await settled()
        assert not any(state.participants[room.klass.id].connected for state in room.states())


@in_virtual_time
async def test_who_was_connected_over_an_instance_that_died_is_away_soon() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.rooms.kill(second)
        await settled(A_LEASE + BEAT_S)
        assert not first.state(room.id).participants[room.klass.id].connected
        assert first.state(room.id).participants[room.host.id].connected


@in_virtual_time
async def test_who_is_removed_connects_no_more_over_any_instance() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.do(first, Remove(room.klass.id))
        for each in room.instances:
            assert await refusal(each.connect(room.id, room.klass.id, "again")) == "removed"
        assert second.state(room.id).participants[room.klass.id].status is ParticipantStatus.REMOVED


@in_virtual_time
async def test_a_host_who_left_comes_back_by_connecting_over_another_instance() -> None:
    async with shared_room() as room:
        first, second = room.instances
        await room.do(first, Leave())
        await second.connect(room.id, room.host.id)
        assert second.manager.can(room.id, room.host.id, Permission.ADMIT)


# --- messages are lost ----------------------------------------------------------------------------


@in_virtual_time
async def test_a_lost_event_is_noticed_at_the_next_one() -> None:
    async with shared_room() as room:
        first, second = room.instances
        room.rooms.network.is_lost = lambda data: b"Told" in data
        await room.do(first, SetHand(True))
        room.rooms.network.is_lost = lambda _data: False
        assert second.state(room.id) != first.state(room.id)
        await room.do(first, Rename("Mme Caron"))
        await settled()
        assert second.state(room.id) == first.state(room.id)
        assert second.sharing.gaps == 1


@in_virtual_time
async def test_a_lost_event_that_nothing_follows_is_noticed_at_the_heartbeat() -> None:
    async with shared_room() as room:
        first, second = room.instances
        room.rooms.network.is_lost = lambda data: b"Told" in data
        await room.do(first, Remove(room.klass.id))
        await settled(2 * BEAT_S)
        assert second.state(room.id) == first.state(room.id)
        gone = [event for change in second.changes for event in change.events if isinstance(event, ParticipantGone)]
        assert gone == [ParticipantGone(room.klass.id, "removed")], "it is announced here all the same"


@in_virtual_time
async def test_an_order_or_answer_that_is_lost_or_repeated_is_carried_out_once() -> None:
    async with shared_room() as room:
        _first, second = room.instances
        for _ in range(20):
            lost = {b"Ask": 1, b"Answer": 1}

            def lose_once(data: bytes, lost: dict[bytes, int] = lost) -> bool:
                for word in lost:
                    if word in data and lost[word]:
                        lost[word] -= 1
                        return True
                return False

            room.rooms.network.is_lost = lose_once
            await room.join(second, lobby=False)
        people = room.states()[0].participants
        assert len(people) == 22
        assert len(await second.manager.list_invitations(room.id, room.host.id)) == 21


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
        await settled(4.0)
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


# --- removals are confirmed -----------------------------------------------------------------------------


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


def test_an_order_outlasts_a_lease() -> None:
    assert ORDER_DEADLINE_S > LEASE_S


@in_virtual_time
async def test_an_order_waits_for_a_home_that_is_slow_and_looks_for_no_other() -> None:
    """One that has much to do: whoever asked it for the whole room besides would only add to that."""
    async with shared_room() as room:
        first, second = room.instances
        network, codec = room.rooms.network, room.rooms.codec

        def greetings() -> int:
            asked = [codec.decode(data) for data in network.heard]
            return sum(isinstance(each, Ask) and isinstance(each.question, Greet) for each in asked)

        before = greetings()
        gate = first.store.hold("save_room")
        asking = asyncio.create_task(room.do(second, Rename("6e B"), room.klass))
        await asyncio.sleep(5 * ASK_S)
        assert not asking.done()
        gate.open()
        state = await asking
        assert state.participants[room.klass.id].name == "6e B"
        assert greetings() == before


@in_virtual_time
async def test_an_instance_that_hears_itself_does_not_take_itself_for_another() -> None:
    async with shared_room() as room:
        first, _second = room.instances
        first.sharing._receive(Ask("q", first.name, room.id, room.host.id, SetHand(True)))
        await settled(SILENT_S + 2 * BEAT_S)
        assert first.times_lost == 0
        assert first.state(room.id).participants[room.host.id].connected
