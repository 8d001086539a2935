"""No adult, no room: what freezes a room, what stands still in it, and what the adult finds who comes back."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rooms.commands import (
    AdmitHeld,
    AskToJoin,
    ComeBack,
    Configure,
    Connect,
    Disconnect,
    KeepWatch,
    Leave,
    Rename,
    SetHand,
)
from rooms.difference import steps_between
from rooms.errors import RoomFrozen
from rooms.events import Event, WatchChanged
from rooms.hands import raised_hands
from rooms.lobby import MAX_ADMITTED
from rooms.models import Freeze, ParticipantStatus, Role, RoomKind
from rooms.presence import nobody_connected
from rooms.roles import Permission
from rooms.roster import admitted, has_permission, waiting
from rooms.supervision import GRACE_S, is_due, is_silenced
from tests.support.room_stage import RoomStage

Status = ParticipantStatus


def lesson(kind: RoomKind = RoomKind.INTERCLASS, pupils: int = 2, pupil: Role = Role.PUPIL) -> RoomStage:
    """A host and some pupils, all connected."""
    stage = RoomStage(kind)
    stage.play(Connect(), "host")
    for number in range(pupils):
        stage.bring(f"p{number}", pupil)
        stage.play(Connect(), f"p{number}")
    return stage


def look(stage: RoomStage, after_s: float = 0.0) -> Sequence[Event]:
    """As the server does twice a second."""
    stage.now += after_s
    if is_due(stage.state, stage.now):
        return stage.play(KeepWatch(), after_s=0.0)
    assert stage.play(KeepWatch(), after_s=0.0) == [], "due, and not seen to be"
    return []


def frozen_lesson(**options: object) -> RoomStage:
    stage = lesson(**options)  # type: ignore[arg-type]
    stage.play(Disconnect(), "host")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen
    return stage


def test_pupils_whom_the_last_adult_left_stand_still_after_the_grace() -> None:
    stage = lesson()
    stage.play(Disconnect(), "host")
    assert look(stage, GRACE_S - 0.1) == []
    look(stage, 0.1)
    assert stage.state.watch.is_frozen
    assert look(stage, 100.0) == []


def test_the_time_counts_from_when_the_adult_was_last_heard() -> None:
    stage = lesson()
    stage.play(Disconnect(silent_for_s=8.0), "host")
    look(stage, GRACE_S - 8.1)
    assert not stage.state.watch.is_frozen
    look(stage, 0.1)
    assert stage.state.watch.is_frozen


def test_an_adult_who_leaves_for_good_is_one_less() -> None:
    stage = lesson()
    stage.play(Leave(), "host")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen


def test_who_is_back_within_the_grace_freezes_nothing() -> None:
    stage = lesson()
    stage.play(Disconnect(), "host")
    look(stage, GRACE_S - 1.0)
    stage.play(Connect(), "host", after_s=0.5)
    look(stage, 3 * GRACE_S)
    assert stage.state.watch.freeze is None


def test_another_adult_looks_after_them() -> None:
    stage = lesson()
    stage.bring("second", Role.HOST)
    stage.play(Connect(), "second")
    stage.play(Disconnect(), "host")
    look(stage, 3 * GRACE_S)
    assert not stage.state.watch.is_frozen
    stage.play(Disconnect(), "second")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen


@pytest.mark.parametrize("role", [Role.GUEST, Role.OBSERVER, Role.CLASS])
def test_nobody_but_a_host_is_an_adult_in_charge(role: Role) -> None:
    stage = lesson()
    stage.bring("other", role)
    stage.play(Connect(), "other")
    stage.play(Disconnect(), "host")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen


def test_adults_among_themselves_need_nobody_until_pupils_come() -> None:
    stage = lesson(pupils=0)
    stage.bring("museum", Role.GUEST)
    stage.play(Connect(), "museum")
    stage.bring("p0", Role.PUPIL)
    stage.play(Disconnect(), "host")
    assert look(stage, 10 * GRACE_S) == []
    stage.play(Connect(), "p0")
    assert stage.state.watch.is_frozen, "the pupil comes into a room without an adult"


def test_a_class_is_children_too() -> None:
    assert frozen_lesson(pupil=Role.CLASS)


def test_a_room_in_which_no_adult_has_ever_been_goes_on() -> None:
    stage = RoomStage()
    stage.bring("p0", Role.PUPIL)
    stage.play(Connect(), "p0")
    assert look(stage, 10 * GRACE_S) == []
    # A program reads the text in the host's name, now and then.
    stage.play(Connect(is_editor=True), "host")
    stage.play(SetHand(True), "p0")
    stage.play(Disconnect(), "host")
    assert look(stage, 10 * GRACE_S) == []
    assert has_permission(stage.state, "p0", Permission.WRITE_DOCUMENT)


def test_a_community_does_not_freeze_and_a_consultation_does() -> None:
    community = lesson(RoomKind.COMMUNITY, pupil=Role.CLASS)
    community.play(Disconnect(), "host")
    assert look(community, 10 * GRACE_S) == []
    assert frozen_lesson(kind=RoomKind.CONSULTATION)


def test_a_host_may_let_pupils_go_on_by_themselves() -> None:
    stage = lesson()
    stage.play(Configure(needs_adult=False), "host")
    stage.play(Disconnect(), "host")
    assert look(stage, 10 * GRACE_S) == []
    stage.play(Connect(), "host")
    stage.play(Configure(needs_adult=True), "host")
    stage.play(Disconnect(), "host")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen


def test_in_a_frozen_room_nobody_writes_chats_is_heard_or_takes_another_name() -> None:
    stage = frozen_lesson()
    stage.bring("museum", Role.GUEST, lobby=False)
    for permission in (Permission.WRITE_DOCUMENT, Permission.CHAT):
        assert not has_permission(stage.state, "p0", permission)
    assert is_silenced(stage.state, "p0")
    assert not is_silenced(stage.state, "host")
    with pytest.raises(RoomFrozen):
        stage.play(Rename("Un message"), "p0")
    stage.play(ComeBack("p0", "Un message"))
    assert stage.person("p0").name == "p0"
    assert has_permission(stage.state, "p0", Permission.READ_DOCUMENT)
    stage.play(Connect(), "host")
    stage.play(Rename("Zoé"), "p0")
    assert has_permission(stage.state, "p0", Permission.WRITE_DOCUMENT)


def test_hands_and_places_are_kept_and_a_hand_may_be_raised() -> None:
    stage = lesson()
    stage.play(SetHand(True), "p1")
    stage.play(Disconnect(), "host")
    look(stage, GRACE_S)
    stage.play(SetHand(True), "p0")
    before = [person.id for person in admitted(stage.state)]
    stage.play(Connect(), "host")
    assert [person.id for person in raised_hands(stage.state)] == ["p1", "p0"]
    assert [person.id for person in admitted(stage.state)] == before


def test_who_comes_into_a_frozen_room_is_held_and_let_in_when_an_adult_is_back() -> None:
    stage = frozen_lesson()
    stage.bring("late", Role.PUPIL)
    stage.bring("guest", Role.GUEST, lobby=True)
    stage.play(Leave(), "p1")
    stage.play(Connect(), "p1")
    stage.play(AdmitHeld())
    assert {person.id for person in waiting(stage.state)} == {"late", "guest", "p1"}
    stage.play(Connect(), "host")
    assert is_due(stage.state, stage.now)
    stage.play(AdmitHeld())
    assert stage.status("late") is stage.status("p1") is Status.ADMITTED
    assert stage.status("guest") is Status.WAITING, "their invitation has them wait"
    assert not is_due(stage.state, stage.now)


def test_an_adult_who_was_inside_passes_every_lock_and_a_stranger_does_not() -> None:
    stage = lesson()
    stage.play(Configure(frozenset(Role)), "host")
    stage.play(Leave(), "host")
    look(stage, GRACE_S)
    stage.play(AskToJoin("stranger", "Inconnu", Role.HOST, "", "colleagues", lobby=True))
    stage.play(Connect(), "stranger")
    assert stage.status("stranger") is Status.WAITING
    assert stage.state.watch.is_frozen
    stage.play(Connect(), "host")
    assert stage.status("host") is Status.ADMITTED
    assert not stage.state.watch.is_frozen


def test_no_bound_keeps_the_adult_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ADMITTED > 3
    monkeypatch.setattr("rooms.lobby.MAX_ADMITTED", 3)
    stage = lesson(pupils=2)
    stage.play(Leave(), "host")
    stage.bring("p2", Role.PUPIL)
    stage.play(Connect(), "p2")
    look(stage, GRACE_S)
    stage.play(Connect(), "host")
    assert stage.status("host") is Status.ADMITTED
    assert len(admitted(stage.state)) == 4


def test_what_happened_is_there_to_read_for_the_adult_who_comes_back() -> None:
    stage = frozen_lesson()
    since = stage.now
    stage.play(Connect(), "host", after_s=60.0)
    assert stage.state.watch.freeze == Freeze(since, since + 60.0)


def test_a_room_that_comes_back_into_memory_gives_the_adult_the_same_time_anew() -> None:
    stage = lesson()
    stage.now += 1_000.0
    stage.state = nobody_connected(stage.state, stage.now)
    stage.play(Connect(), "p0")
    assert look(stage, GRACE_S - 1.1) == []
    look(stage, 0.2)
    assert stage.state.watch.is_frozen
    stage.state = nobody_connected(stage.state, stage.now)
    assert stage.state.watch.is_frozen, "and it stays so over a restart"


def test_whoever_missed_it_hears_the_difference() -> None:
    before = lesson()
    after = frozen_lesson()
    steps = steps_between(before.state, after.state)
    assert [event for *_states, event in steps if isinstance(event, WatchChanged)] == [WatchChanged(after.state.watch)]


def test_a_clock_that_is_ahead_elsewhere_does_not_put_it_off() -> None:
    stage = lesson()
    stage.play(Disconnect(), "host")
    ahead = replace(stage.state.watch, alone_since=stage.now + 3_600.0)
    stage.state = replace(stage.state, watch=ahead)
    stage.play(SetHand(True), "p0")
    look(stage, GRACE_S)
    assert stage.state.watch.is_frozen
