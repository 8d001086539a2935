"""Whoever missed how a room came to be as it is hears what must have happened."""

from dataclasses import replace
from itertools import pairwise

from rooms.commands import Admit, AskToJoin, Configure, CreateDocument, Deny, Leave, Remove, RenameDocument, SetHand
from rooms.difference import steps_between
from rooms.events import DocumentCreated, ParticipantAdmitted, ParticipantChanged, ParticipantGone
from rooms.models import Role
from rooms.visibility import hear, see
from tests.support.room_stage import Picture, RoomStage


def a_room_with_people() -> RoomStage:
    stage = RoomStage()
    for name, lobby in (("anna", False), ("bela", False), ("carl", True), ("dora", True)):
        stage.play(AskToJoin(name, name, Role.GUEST, "", None, lobby), None)
    return stage


def test_nothing_happened_between_a_state_and_itself() -> None:
    state = a_room_with_people().state
    assert steps_between(state, state) == []
    assert steps_between(state, replace(state, seq=state.seq + 9)) == []


def test_the_last_state_is_the_one_that_was_reached() -> None:
    stage = a_room_with_people()
    before = stage.state
    for command in (Admit("carl"), Deny("dora"), Remove("anna"), Configure(chat_enabled=False), SetHand(True)):
        stage.play(command, "host")
    stage.play(SetHand(True), "bela")
    stage.play(CreateDocument("texte-2", "Deuxième"), "host")
    stage.play(RenameDocument("texte-2", "Second"), "host")
    steps = steps_between(before, stage.state)
    assert steps[0][0] is before
    assert steps[-1][1] is stage.state
    assert all(one[1] is other[0] for one, other in pairwise(steps))
    events = [event for _before, _after, event in steps]
    assert ParticipantGone("anna", "removed") in events
    assert [event.participant.id for event in events if isinstance(event, ParticipantAdmitted)] == ["carl"]
    assert {event.participant.id for event in events if isinstance(event, ParticipantChanged)} == {"host", "bela"}
    assert [event.document.title for event in events if isinstance(event, DocumentCreated)] == ["Second"]


def test_everybody_who_hears_it_sees_what_is_there() -> None:
    """As after each event of a room that missed nothing."""
    stage = a_room_with_people()
    before = stage.state
    pictures = {name: Picture.fresh(see(before, name)) for name in before.participants}
    for command, actor in (
        (Admit("carl"), "host"),
        (Remove("anna"), "host"),
        (Leave(), "bela"),
        (SetHand(True), "carl"),
    ):
        stage.play(command, actor)
    for old, new, event in steps_between(before, stage.state):
        for name, picture in pictures.items():
            for heard in hear(old, new, event, name):
                picture = picture.after(heard) if picture is not None else None
            pictures[name] = picture
    assert pictures["host"] == Picture.fresh(see(stage.state, "host"))
    assert pictures["anna"] is None


def test_who_came_and_went_in_between_left_no_trace() -> None:
    stage = a_room_with_people()
    before = stage.state
    stage.play(AskToJoin("eva", "eva", Role.GUEST, "", None, False), None)
    stage.play(Leave(), "eva")
    assert [event for _old, _new, event in steps_between(before, stage.state)] == []
