"""The shell: one turn at a time, kept before announced, presence, memory, chat."""

import asyncio
from dataclasses import replace

import pytest

from rooms import loaded_rooms
from rooms.chat import CHAT_HISTORY, MAX_CHAT_CHARACTERS
from rooms.commands import Admit, Configure, Leave, Remove, Rename, SetHand
from rooms.events import ParticipantAdmitted, ParticipantChanged
from rooms.hands import raised_hands
from rooms.manager import RoomChange
from rooms.models import ParticipantStatus, Role
from rooms.roles import Permission
from tests.support.deadlines import SECOND
from tests.support.managed_room import ManagedRoom

pytestmark = pytest.mark.timeout(30)


# --- turns ---------------------------------------------------------------------------------------


async def test_a_change_is_kept_before_anyone_hears_of_it(room: ManagedRoom) -> None:
    gate = room.store.hold("save_room")
    asked = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    assert room.changes == []
    assert (await room.person(room.host.id)).hand_raised_at is None
    gate.open()
    await asked
    (change,) = room.changes
    stored = await room.store.load_room(room.id)
    assert stored is not None
    assert stored.seq == change.after.seq == change.before.seq + 1
    assert [type(event) for event in change.events] == [ParticipantChanged]


async def test_commands_of_one_room_take_turns_in_the_order_asked(room: ManagedRoom) -> None:
    gate = room.store.hold("save_room")
    asked = [asyncio.create_task(room.do(Rename(f"Mme Roy {number}"))) for number in range(5)]
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    gate.open()
    await asyncio.gather(*asked)
    names = [change.after.participants[room.host.id].name for change in room.changes]
    assert names == [f"Mme Roy {number}" for number in range(5)]
    assert [change.after.seq for change in room.changes] == list(range(room.state.seq + 1, room.state.seq + 6))


async def test_a_room_that_is_held_up_holds_no_other_up(room: ManagedRoom) -> None:
    other, other_host = await room.manager.create_room("Autre", room.state.kind, "M. Caron")
    gate = room.store.hold("save_room")
    asked = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    line = await asyncio.wait_for(room.manager.send_chat(other.id, other_host.id, "Bonjour"), 10 * SECOND)
    assert line.text == "Bonjour"
    gate.open()
    await asked


async def test_what_was_begun_is_finished_when_who_asked_goes_away(room: ManagedRoom) -> None:
    """The store may have it: memory that forgot it would decide against what is kept."""
    gate = room.store.hold("save_room")
    asked = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open()
    await room.do(Rename("Mme Roy-Caron"))
    assert [type(change.events[0]) for change in room.changes] == [ParticipantChanged, ParticipantChanged]
    host = await room.person(room.host.id)
    assert host.hand_raised_at is not None


async def test_stopping_waits_for_what_is_under_way(room: ManagedRoom) -> None:
    gate = room.store.hold("save_room")
    asked = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    stopping = asyncio.create_task(room.manager.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.open()
    await asyncio.gather(asked, stopping)
    assert len(room.changes) == 1


async def test_a_listener_that_fails_stops_neither_the_change_nor_the_other_listeners(
    room: ManagedRoom, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_change: RoomChange) -> None:
        raise RuntimeError("defect")

    heard: list[RoomChange] = []
    room.manager.add_listener(fail)
    room.manager.add_listener(heard.append)
    await room.do(Rename("Nom secret"))
    assert len(heard) == 1
    assert "Nom secret" not in caplog.text


async def test_nothing_that_changes_nothing_is_kept_or_announced(room: ManagedRoom) -> None:
    await room.do(Rename("Mme Roy"))
    await room.do(SetHand(False))
    assert room.changes == []
    assert "save_room" not in room.store.calls


# --- the store fails -----------------------------------------------------------------------------


async def test_a_command_that_cannot_be_kept_fails_and_changes_nothing(room: ManagedRoom) -> None:
    guest = await room.join(await room.invite(Role.GUEST))
    before, told = await room.now(), len(room.changes)
    room.store.failing.add("save_room")
    for command in (Admit(guest.id), Remove(guest.id), SetHand(True), Configure(chat_enabled=False), Leave()):
        assert await room.refusal(room.do(command)) == "store-unavailable"
    # But for the number: the store may have the change all the same, and no other gets it.
    assert replace(await room.now(), seq=before.seq) == before
    assert len(room.changes) == told
    room.store.failing.clear()
    await room.admit(guest)
    assert (await room.person(guest.id)).status is ParticipantStatus.ADMITTED


async def test_presence_goes_on_while_the_store_is_gone(room: ManagedRoom) -> None:
    await room.manager.connect(room.id, room.host.id, "c1")
    room.store.available = False
    await room.manager.disconnect(room.id, room.host.id, "c1")
    await room.manager.connect(room.id, room.host.id, "c2")
    assert (await room.person(room.host.id)).connected
    assert [change.after.participants[room.host.id].connected for change in room.changes] == [True, False, True]


async def test_a_room_that_cannot_be_read_is_not_taken_for_one_that_does_not_exist(room: ManagedRoom) -> None:
    again = room.restarted()
    room.store.failing.add("load_room")
    assert await room.refusal(again.now()) == "store-unavailable"
    room.store.failing.clear()
    assert (await again.now()).id == room.id
    assert await room.refusal(again.manager.get_state("unknown")) == "not-found"


async def test_a_room_that_could_not_be_kept_does_not_exist(room: ManagedRoom) -> None:
    room.store.failing.add("create_room")
    count = room.manager.room_count
    assert await room.refusal(room.manager.create_room("R", room.state.kind, "H")) == "store-unavailable"
    assert room.manager.room_count == count


# --- presence ------------------------------------------------------------------------------------


async def test_presence_turns_at_the_first_and_the_last_connection_only(room: ManagedRoom) -> None:
    for connection in ("c1", "c2", "c2"):
        await room.manager.connect(room.id, room.host.id, connection)
    await room.manager.disconnect(room.id, room.host.id, "c1")
    await room.manager.disconnect(room.id, room.host.id, "c1")
    await room.manager.disconnect(room.id, room.host.id, "unknown")
    assert (await room.person(room.host.id)).connected
    await room.manager.disconnect(room.id, room.host.id, "c2")
    assert [change.after.participants[room.host.id].connected for change in room.changes] == [True, False]


async def test_a_connection_that_opens_while_the_last_one_closes_counts(room: ManagedRoom) -> None:
    await room.manager.connect(room.id, room.host.id, "old")
    gate = room.store.hold("save_room")
    slow = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    crossing = [
        asyncio.create_task(room.manager.connect(room.id, room.host.id, "new")),
        asyncio.create_task(room.manager.disconnect(room.id, room.host.id, "old")),
    ]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(slow, *crossing)
    assert (await room.person(room.host.id)).connected
    await room.manager.disconnect(room.id, room.host.id, "new")
    assert not (await room.person(room.host.id)).connected


async def test_a_connection_whose_opening_was_given_up_leaves_nobody_behind(room: ManagedRoom) -> None:
    gate = room.store.hold("save_room")
    slow = asyncio.create_task(room.do(SetHand(True)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    connecting = asyncio.create_task(room.manager.connect(room.id, room.host.id, "c1"))
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    gate.open()
    await slow
    await room.do(Rename("Mme Roy-Caron"))  # its turn comes after theirs
    assert not (await room.person(room.host.id)).connected


async def test_who_waits_connected_is_connected_once_admitted(room: ManagedRoom) -> None:
    guest = await room.join(await room.invite(Role.GUEST))
    await room.manager.connect(room.id, guest.id, "c1")
    await room.admit(guest)
    (event,) = room.changes[-1].events
    assert isinstance(event, ParticipantAdmitted)
    assert event.participant.connected


async def test_after_a_restart_nobody_is_connected_and_hands_are_still_up(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    await room.manager.connect(room.id, room.host.id, "c1")
    await room.manager.connect(room.id, klass.id, "c2")
    await room.do(SetHand(True), klass)
    await room.do(SetHand(True))
    again = room.restarted()
    state = await again.now()
    assert not any(person.connected for person in state.participants.values())
    assert [person.id for person in raised_hands(state)] == [klass.id, room.host.id]
    assert [person.id for person in raised_hands(await room.now())] == [klass.id, room.host.id]


async def test_presence_costs_the_store_one_write_when_the_last_one_goes(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    room.store.calls.clear()
    for person in (room.host, klass):
        await room.manager.connect(room.id, person.id, "c")
    await room.manager.disconnect(room.id, klass.id, "c")
    assert "save_room" not in room.store.calls
    await room.manager.disconnect(room.id, room.host.id, "c")
    assert room.store.calls == ["save_room"]
    assert (await room.restarted().now()).seq == (await room.now()).seq, "numbers of events go on"


async def test_a_removed_participant_connects_no_more_even_after_a_restart(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    await room.manager.connect(room.id, klass.id, "c1")
    await room.do(Remove(klass.id))
    await room.manager.disconnect(room.id, klass.id, "c1")
    for each in (room, room.restarted()):
        assert await room.refusal(each.manager.connect(room.id, klass.id, "c2")) == "removed"
        assert not each.manager.can(room.id, klass.id, Permission.SEE_ROSTER)


async def test_a_host_who_left_opens_the_link_again_and_is_back(room: ManagedRoom) -> None:
    await room.do(Leave())
    assert not room.manager.can(room.id, room.host.id, Permission.ADMIT)
    again = room.restarted()
    await again.manager.connect(room.id, room.host.id, "c1")
    assert again.manager.can(room.id, room.host.id, Permission.ADMIT)
    stored = await room.store.load_room(room.id)
    assert stored is not None
    assert stored.participants[room.host.id].status is ParticipantStatus.ADMITTED


# --- memory --------------------------------------------------------------------------------------


async def test_a_room_is_read_once_however_many_ask(room: ManagedRoom) -> None:
    again = room.restarted()
    gate = room.store.hold("load_room")
    asked = [asyncio.create_task(again.now()) for _ in range(10)]
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    asked[0].cancel()
    gate.open()
    states = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(states[0], asyncio.CancelledError)
    assert all(state is states[1] for state in states[1:])
    assert room.store.calls.count("load_room") == 1


async def test_a_reading_that_fails_is_tried_again(room: ManagedRoom) -> None:
    again = room.restarted()
    room.store.failing.add("load_room")
    asked = await asyncio.gather(*(again.now() for _ in range(3)), return_exceptions=True)
    assert [type(each).__name__ for each in asked] == ["Unavailable"] * 3
    assert room.store.calls.count("load_room") == 1
    room.store.failing.clear()
    assert (await again.now()).id == room.id


async def test_an_idle_room_leaves_memory_and_one_with_a_connection_stays(room: ManagedRoom) -> None:
    other, _host = await room.manager.create_room("Autre", room.state.kind, "M. Caron")
    await room.manager.connect(room.id, room.host.id, "c1")
    room.clock.now += loaded_rooms.IDLE_S - 1
    assert room.manager.forget_idle() == 0
    room.clock.now += 1
    assert room.manager.forget_idle() == 1
    assert room.manager.kind_of(other.id) is None
    assert room.manager.kind_of(room.id) is room.state.kind
    assert not room.manager.can(other.id, "anyone", Permission.SEE_ROSTER)
    await room.manager.disconnect(room.id, room.host.id, "c1")
    assert room.manager.forget_idle() == 0, "the time counts from the last connection"
    room.clock.now += loaded_rooms.IDLE_S
    assert room.manager.forget_idle() == 1
    assert (await room.now()).name == room.state.name


async def test_a_room_with_a_turn_under_way_or_waited_for_stays(room: ManagedRoom) -> None:
    """Two copies of one room would decide against each other."""
    gate = room.store.hold("save_room")
    asked = [asyncio.create_task(room.do(SetHand(up))) for up in (True, False)]
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    room.clock.now += 10 * loaded_rooms.IDLE_S
    assert room.manager.forget_idle() == 0
    gate.open()
    await asyncio.gather(*asked)
    assert room.manager.forget_idle() == 1


async def test_a_room_stays_between_one_turn_and_the_next(room: ManagedRoom) -> None:
    """In that instant its lock is free, and whoever waited has not yet taken it."""
    gone: list[int] = []
    loop = asyncio.get_running_loop()

    def forget_right_after(_change: RoomChange) -> None:
        # Before the next turn begins: that one is only woken when this one ends.
        loop.call_soon(lambda: gone.append(room.manager.forget_idle()))

    room.manager.add_listener(forget_right_after)
    room.clock.now += 10 * loaded_rooms.IDLE_S
    gate = room.store.hold("save_room")
    asked = [asyncio.create_task(room.do(SetHand(up))) for up in (True, False)]
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    gate.open()
    await asyncio.gather(*asked)
    assert gone[0] == 0


async def test_too_many_rooms_push_the_longest_idle_out(room: ManagedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_rooms, "MAX_ROOMS", 3)
    await room.manager.connect(room.id, room.host.id, "c1")
    made = []
    for number in range(6):
        room.clock.now += loaded_rooms.MIN_IDLE_S
        made.append((await room.manager.create_room(f"R{number}", room.state.kind, "H"))[0].id)
    assert room.manager.room_count == 3
    assert [room_id for room_id in made if room.manager.kind_of(room_id)] == made[-2:]
    assert room.manager.kind_of(room.id) is not None


async def test_rights_are_answered_from_memory_at_once(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    guest = await room.join(await room.invite(Role.GUEST))
    assert room.manager.can(room.id, klass.id, Permission.WRITE_DOCUMENT)
    assert not room.manager.can(room.id, guest.id, Permission.WRITE_DOCUMENT)
    assert not room.manager.can(room.id, "unknown", Permission.READ_DOCUMENT)
    assert not room.manager.can("unknown", klass.id, Permission.READ_DOCUMENT)
    await room.do(Configure(writing_enabled=False))
    assert not room.manager.can(room.id, klass.id, Permission.WRITE_DOCUMENT)
    assert room.manager.can(room.id, klass.id, Permission.READ_DOCUMENT)
    assert room.manager.can(room.id, room.host.id, Permission.WRITE_DOCUMENT)


async def test_connected_people_are_counted_by_role(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    await room.manager.connect(room.id, klass.id, "c1")
    await room.manager.connect(room.id, klass.id, "c2")
    counts = room.manager.participant_counts()
    assert (counts[Role.CLASS], counts[Role.HOST]) == (1, 0)


# --- chat ----------------------------------------------------------------------------------------


async def test_a_line_is_kept_announced_and_read_by_who_comes_later(room: ManagedRoom) -> None:
    line = await room.manager.send_chat(room.id, room.host.id, "Bonjour !", "k1")
    assert room.changes[-1].chat == line
    assert room.changes[-1].events == ()
    assert line.name == "Mme Roy"
    observer = await room.join(await room.invite(Role.OBSERVER))
    again = room.restarted()
    assert list(await again.manager.chat_history(room.id, observer.id)) == [line]


async def test_a_line_sent_again_after_a_cut_is_there_once(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    sent = await asyncio.gather(
        *(room.manager.send_chat(room.id, klass.id, "Bonjour", "k1") for _ in range(3)),
        room.manager.send_chat(room.id, room.host.id, "Bonjour", "k1"),
    )
    assert sent[0] is sent[1] is sent[2]
    assert sent[3].id != sent[0].id, "another author's id is another line"
    again = room.restarted()
    assert (await again.manager.send_chat(room.id, klass.id, "Bonjour", "k1")).id == sent[0].id
    await room.do(Configure(chat_enabled=False))
    assert (await room.manager.send_chat(room.id, klass.id, "Bonjour", "k1")).id == sent[0].id
    assert await room.refusal(room.manager.send_chat(room.id, klass.id, "Bonjour", "k2")) == "chat-disabled"
    assert len(await room.manager.chat_history(room.id, room.host.id)) == 2


async def test_two_lines_without_an_id_are_two_lines(room: ManagedRoom) -> None:
    for _ in range(2):
        await room.manager.send_chat(room.id, room.host.id, "Oui", None)
    assert len(await room.manager.chat_history(room.id, room.host.id)) == 2


async def test_who_waits_or_is_gone_neither_writes_nor_reads(room: ManagedRoom) -> None:
    await room.manager.send_chat(room.id, room.host.id, "Entre nous")
    guest = await room.join(await room.invite(Role.GUEST))
    klass = await room.join(await room.invite())
    await room.do(Remove(klass.id))
    for person, code in ((guest.id, "not-admitted"), (klass.id, "removed"), ("unknown", "not-found")):
        assert await room.refusal(room.manager.send_chat(room.id, person, "?")) == code
        assert await room.manager.chat_history(room.id, person) == ()


async def test_who_was_removed_does_not_even_send_a_line_again(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    await room.manager.send_chat(room.id, klass.id, "Bonjour", "k1")
    await room.do(Remove(klass.id))
    assert await room.refusal(room.manager.send_chat(room.id, klass.id, "Bonjour", "k1")) == "removed"


async def test_an_author_removed_while_the_line_waits_its_turn_is_not_heard(room: ManagedRoom) -> None:
    klass = await room.join(await room.invite())
    gate = room.store.hold("save_room")
    removal = asyncio.create_task(room.do(Remove(klass.id)))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    line = asyncio.create_task(room.manager.send_chat(room.id, klass.id, "Trop tard"))
    await asyncio.sleep(0)
    gate.open()
    await removal
    assert await room.refusal(line) == "removed"


@pytest.mark.parametrize("text", ["", "  \n ", "x" * (MAX_CHAT_CHARACTERS + 1)])
async def test_a_line_that_says_nothing_or_too_much_is_refused(room: ManagedRoom, text: str) -> None:
    assert await room.refusal(room.manager.send_chat(room.id, room.host.id, text)) == "invalid"
    assert await room.manager.send_chat(room.id, room.host.id, "x" * MAX_CHAT_CHARACTERS)


async def test_the_history_has_a_bound(room: ManagedRoom) -> None:
    for number in range(CHAT_HISTORY + 5):
        await room.manager.send_chat(room.id, room.host.id, str(number))
    for each in (room, room.restarted()):
        history = await each.manager.chat_history(room.id, room.host.id)
        assert [line.text for line in history] == [str(number) for number in range(5, CHAT_HISTORY + 5)]


async def test_a_line_that_cannot_be_kept_is_not_said(room: ManagedRoom) -> None:
    room.store.failing.add("append_chat")
    assert await room.refusal(room.manager.send_chat(room.id, room.host.id, "Bonjour", "k")) == "store-unavailable"
    assert room.changes == []
    room.store.failing.clear()
    assert await room.manager.send_chat(room.id, room.host.id, "Bonjour", "k")


async def test_a_consultations_chat_is_said_and_never_kept(consultation: ManagedRoom) -> None:
    room = consultation
    await room.manager.send_chat(room.id, room.host.id, "Comment ça va ?")
    assert room.changes[-1].chat is not None
    assert len(await room.manager.chat_history(room.id, room.host.id)) == 1
    assert await room.store.load_chat(room.id, 10) == ()
    assert "append_chat" not in room.store.calls
    room.store.available = False
    assert await room.manager.send_chat(room.id, room.host.id, "Et l'école ?"), "it waits for no store"
    room.store.available = True
    assert await room.restarted().manager.chat_history(room.id, room.host.id) == ()
