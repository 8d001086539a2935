"""A room over several instances: one decides, all see the same, and what is lost on the way is noticed."""

import asyncio

from rooms.commands import Admit, Configure, Leave, Remove, Rename, SetHand
from rooms.events import ParticipantChanged, ParticipantGone
from rooms.instance_messages import Ask
from rooms.link import SILENT_S
from rooms.models import ParticipantStatus, Role, RoomKind
from rooms.orders import Greet
from rooms.ports import LEASE_S
from rooms.replica import ASK_S
from rooms.roles import Permission
from rooms.sharing import BEAT_S
from tests.support.shared_rooms import refusal, settled, shared_room
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
