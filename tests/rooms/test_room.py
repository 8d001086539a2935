"""What a room decides besides the door and the hands, and what it remembers."""

import pytest

from rooms import room
from rooms.commands import (
    Admit,
    ComeBack,
    Command,
    Configure,
    Connect,
    Deny,
    Disconnect,
    Leave,
    Remove,
    Rename,
    SetHand,
)
from rooms.errors import InvalidName, NotAdmitted, NotFound, RoomError
from rooms.events import RoomConfigured
from rooms.models import ParticipantStatus, Role, RoomSettings
from rooms.visibility import Changed, Configured, see
from tests.support.room_stage import RoomStage


@pytest.fixture
def stage() -> RoomStage:
    stage = RoomStage()
    stage.bring("class")
    stage.bring("guest", Role.GUEST, lobby=True)
    return stage


def test_a_name_changes_for_everyone_who_sees_it(stage: RoomStage) -> None:
    stage.play(Rename("  Les  5e "), "class")
    assert stage.person("class").name == "Les 5e"
    assert stage.heard["host"] == [Changed(stage.person("class"))]
    assert stage.play(Rename("Les 5e"), "class") == []


def test_two_participants_may_have_one_name(stage: RoomStage) -> None:
    assert stage.play(Rename("class"), "host")


def test_who_waits_may_mend_their_name_and_only_the_host_hears_it(stage: RoomStage) -> None:
    stage.play(Rename("Mme Roy, musée"), "guest")
    assert stage.heard["class"] == []
    seen = see(stage.state, "host")
    assert seen is not None
    assert [person.name for person in seen.lobby] == ["Mme Roy, musée"]


def test_a_name_that_cannot_be_shown_changes_nothing(stage: RoomStage) -> None:
    with pytest.raises(InvalidName):
        stage.play(Rename("\u202e"), "class")
    assert stage.person("class").name == "class"


def test_settings_change_one_by_one_and_everyone_hears_their_own_permissions(stage: RoomStage) -> None:
    assert stage.play(Configure(), "host") == []
    assert stage.play(Configure(writing_enabled=True), "host") == []
    stage.play(Configure(lobby_roles=frozenset({Role.CLASS})), "host")
    events = stage.play(Configure(writing_enabled=False), "host")
    settings = RoomSettings(lobby_roles=frozenset({Role.CLASS}), writing_enabled=False)
    assert events == [RoomConfigured(settings)]
    (told,) = stage.heard["class"]
    assert isinstance(told, Configured)
    assert "write_document" not in told.permissions
    assert "chat" in told.permissions
    assert stage.heard["guest"] == []


def test_connecting_twice_is_heard_once(stage: RoomStage) -> None:
    stage.play(Connect(), "class")
    assert stage.heard["host"] == [Changed(stage.person("class"))]
    assert stage.play(Connect(), "class") == []
    stage.play(Disconnect(), "class")
    assert stage.play(Disconnect(), "class") == []


def test_leaving_ends_everything_one_could_do(stage: RoomStage) -> None:
    stage.play(SetHand(True), "class")
    stage.play(Leave(), "class")
    assert stage.status("class") is ParticipantStatus.LEFT
    assert stage.person("class").hand_raised_at is None
    for command in (Leave(), Rename("x"), SetHand(True), Disconnect()):
        with pytest.raises(NotAdmitted):
            stage.play(command, "class")


EVERY_COMMAND: list[Command] = [
    Admit("guest"),
    Deny("guest"),
    Remove("class"),
    SetHand(True),
    SetHand(False, "class"),
    Rename("x"),
    Configure(chat_enabled=False),
    Connect(),
    Disconnect(),
    Leave(),
]


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_nobody_and_a_stranger_are_answered_alike_whatever_they_ask(stage: RoomStage, command: Command) -> None:
    answers = set()
    for actor in (None, "stranger", ""):
        with pytest.raises(NotFound) as refused:
            stage.play(command, actor)
        answers.add((refused.value.code, str(refused.value)))
    assert len(answers) == 1


def test_every_event_counts_one_and_marks_the_room_as_used(stage: RoomStage) -> None:
    seq = stage.state.seq
    stage.play(SetHand(True), "class")
    assert stage.state.seq == seq + 1
    assert stage.state.last_active_at == stage.now


def test_a_state_handed_out_never_changes_under_its_reader(stage: RoomStage) -> None:
    before = stage.state
    people = dict(before.participants)
    stage.play(Admit("guest"), "host")
    stage.play(Remove("class"), "host")
    assert before.participants == people


def test_the_gone_are_forgotten_first_and_hosts_and_removed_ones_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_REMEMBERED", 6)
    stage = RoomStage()
    stage.bring("host2", Role.HOST)
    stage.play(Leave(), "host2")
    stage.bring("rude", Role.GUEST)
    stage.play(Remove("rude"), "host")
    for name in ("a", "b", "c", "d", "e"):
        stage.bring(name, Role.PUPIL)
        stage.play(Leave(), name)
    assert list(stage.state.participants) == ["host", "host2", "rude", "c", "d", "e"]
    with pytest.raises(NotFound):
        stage.play(ComeBack("a", "a"))


def test_nobody_inside_or_waiting_is_ever_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_REMEMBERED", 1)
    stage = RoomStage()
    stage.bring("class")
    stage.bring("guest", Role.GUEST, lobby=True)
    assert list(stage.state.participants) == ["host", "class", "guest"]


def test_every_error_has_a_code_of_its_own_and_a_sentence() -> None:
    def tree(kind: type[RoomError]) -> list[type[RoomError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    samples = {"RoomFull": (3, "hosts"), "RoleNotHere": ("observer", "consultation"), "InvalidTerms": ("uses", 1.0)}
    bare = {"NotFound", "NotAdmitted", "Denied", "Removed", "ChatDisabled", "NotOneself", "LastHost", "Unavailable"}
    for kind in tree(RoomError):
        if kind is RoomError:
            continue
        arguments = () if kind.__name__ in bare else samples.get(kind.__name__, ("expired",))
        error = kind(*arguments)
        assert error.code != RoomError.code
        assert error.code == error.code.lower().replace("_", "-").replace(" ", "-")
        assert len(str(error)) > 10
