"""The door and its races."""

import pytest

from rooms import lobby
from rooms.commands import (
    Admit,
    AskToJoin,
    ComeBack,
    Connect,
    Deny,
    Disconnect,
    Leave,
    Remove,
    RemoveInvited,
    Rename,
)
from rooms.errors import (
    AlreadyDecided,
    Denied,
    InvalidName,
    LastHost,
    NotAdmitted,
    NotFound,
    NotOneself,
    PermissionDenied,
    Removed,
    RoomFull,
)
from rooms.events import ParticipantAdmitted, ParticipantGone, ParticipantWaited
from rooms.models import ParticipantStatus as Status
from rooms.models import Role
from rooms.roster import admitted, waiting
from rooms.visibility import Joined, Left, Lobby, YouAreAdmitted, YouAreDenied, YouAreOut, see
from tests.support.room_stage import RoomStage


@pytest.fixture
def stage() -> RoomStage:
    """Two hosts inside, Ana then Bo in the lobby."""
    stage = RoomStage()
    stage.bring("host2", Role.HOST)
    stage.bring("ana", Role.GUEST, lobby=True, invitation="museum")
    stage.bring("bo", Role.GUEST, lobby=True, invitation="museum")
    return stage


def in_line(stage: RoomStage) -> list[str]:
    return [person.id for person in waiting(stage.state)]


def test_the_host_sees_who_waits_with_name_and_label_first_come_first(stage: RoomStage) -> None:
    seen = see(stage.state, "host")
    assert seen is not None
    assert [(person.name, person.label) for person in seen.lobby] == [
        ("ana", "label of ana"),
        ("bo", "label of bo"),
    ]


def test_who_waits_sees_nothing_and_hears_only_their_own_fate(stage: RoomStage) -> None:
    assert see(stage.state, "ana") is None
    stage.bring("class")
    stage.play(Rename("Marie"), "host")
    stage.play(Deny("bo"), "host")
    assert "ana" not in {viewer for viewer, heard in stage.heard.items() if heard}
    stage.play(Admit("ana"), "host")
    assert stage.heard["ana"] == [YouAreAdmitted()]


def test_only_who_may_admit_hears_of_the_lobby(stage: RoomStage) -> None:
    stage.bring("class")
    stage.bring("cy", Role.GUEST, lobby=True)
    assert [type(each) for each in stage.heard["host"]] == [Lobby]
    assert stage.heard["class"] == []


def test_admission_is_one_entrance_for_the_others(stage: RoomStage) -> None:
    stage.bring("class")
    stage.play(Admit("ana"), "host")
    ana = stage.person("ana")
    assert stage.heard["class"] == [Joined(ana)]
    assert stage.heard["host"] == [Joined(ana), Lobby(waiting(stage.state))]
    assert ana.joined_at == stage.now


def test_two_hosts_who_both_admit_both_succeed(stage: RoomStage) -> None:
    assert stage.play(Admit("ana"), "host")
    seq = stage.state.seq
    assert stage.play(Admit("ana"), "host2") == []
    assert stage.state.seq == seq


def test_two_hosts_who_both_deny_both_succeed(stage: RoomStage) -> None:
    assert stage.play(Deny("ana"), "host")
    assert stage.heard["ana"] == [YouAreDenied()]
    assert stage.play(Deny("ana"), "host2") == []


def test_the_second_of_two_hosts_who_disagree_is_told_what_was_decided(stage: RoomStage) -> None:
    stage.play(Admit("ana"), "host")
    stage.play(Deny("bo"), "host")
    for command, status in ((Deny("ana"), Status.ADMITTED), (Admit("bo"), Status.DENIED)):
        with pytest.raises(AlreadyDecided) as refused:
            stage.play(command, "host2")
        assert refused.value.status == status
        assert refused.value.code == "already-decided"
    assert (stage.status("ana"), stage.status("bo")) == (Status.ADMITTED, Status.DENIED)


def test_a_host_who_comes_later_finds_the_lobby_as_it_is() -> None:
    stage = RoomStage(host=None)
    stage.bring("ana", Role.GUEST, lobby=True)
    stage.bring("bo", Role.GUEST, lobby=True)
    stage.bring("host", Role.HOST)
    seen = see(stage.state, "host")
    assert seen is not None
    assert [person.id for person in seen.lobby] == ["ana", "bo"]
    assert stage.play(Admit("ana"), "host")


def test_the_lobby_keeps_the_order_of_arrival_even_when_the_clock_is_set_back(stage: RoomStage) -> None:
    stage.now -= 3_600
    stage.bring("cy", Role.GUEST, lobby=True)
    stage.play(AskToJoin("di", "Di", Role.GUEST, "", None, True), after_s=0.0)
    assert in_line(stage) == ["ana", "bo", "cy", "di"]


# --- going and coming back -----------------------------------------------------------------------


def test_a_guest_who_closes_the_page_keeps_the_place_in_the_line(stage: RoomStage) -> None:
    stage.play(Connect(), "ana")
    stage.play(Disconnect(), "ana")
    assert not stage.person("ana").connected
    assert stage.play(ComeBack("ana", "ana")) == []
    stage.play(Connect(), "ana")
    assert in_line(stage) == ["ana", "bo"]


def test_a_guest_who_leaves_the_lobby_gives_the_place_up(stage: RoomStage) -> None:
    stage.play(Leave(), "ana")
    assert in_line(stage) == ["bo"]
    stage.play(ComeBack("ana", "ana"))
    assert in_line(stage) == ["bo", "ana"]


def test_an_admitted_guest_who_leaves_and_comes_back_does_not_wait_again(stage: RoomStage) -> None:
    stage.bring("class")
    stage.play(Admit("ana"), "host")
    stage.play(Leave(), "ana")
    assert stage.heard["class"] == [Left("ana", "left")]
    assert [type(event) for event in stage.play(ComeBack("ana", "Ana B."))] == [ParticipantAdmitted]
    assert stage.person("ana").name == "Ana B."
    assert stage.heard["class"] == [Joined(stage.person("ana"))]


def test_who_left_comes_back_by_connecting_so_that_a_host_is_not_locked_out(stage: RoomStage) -> None:
    stage.play(Leave(), "host")
    with pytest.raises(NotAdmitted):
        stage.play(Admit("ana"), "host")
    stage.play(Connect(), "host")
    assert stage.person("host").connected
    assert stage.play(Admit("ana"), "host")


def test_who_left_the_lobby_and_connects_again_waits_again(stage: RoomStage) -> None:
    stage.play(Leave(), "ana")
    assert [type(event) for event in stage.play(Connect(), "ana")] == [ParticipantWaited]
    assert in_line(stage) == ["bo", "ana"]


def test_a_refusal_stands(stage: RoomStage) -> None:
    stage.play(Deny("ana"), "host")
    for command, actor in ((ComeBack("ana", "ana"), None), (Connect(), "ana"), (Rename("Eve"), "ana")):
        with pytest.raises(Denied):
            stage.play(command, actor)


@pytest.mark.parametrize("place", ["inside", "lobby", "left"])
def test_who_was_removed_never_returns(stage: RoomStage, place: str) -> None:
    if place != "lobby":
        stage.play(Admit("ana"), "host")
    if place == "left":
        stage.play(Leave(), "ana")
    stage.play(Remove("ana"), "host")
    assert stage.heard["ana"] == [YouAreOut("removed")]
    for command, actor in (
        (ComeBack("ana", "ana"), None),
        (Connect(), "ana"),
        (Leave(), "ana"),
        (Disconnect(), "ana"),
    ):
        with pytest.raises(Removed):
            stage.play(command, actor)
    with pytest.raises(AlreadyDecided):
        stage.play(Admit("ana"), "host")
    assert stage.play(Remove("ana"), "host2") == []


def test_a_removal_crossing_an_admission_ends_outside(stage: RoomStage) -> None:
    stage.play(Admit("ana"), "host")
    stage.play(Remove("ana"), "host2")
    assert stage.status("ana") is Status.REMOVED


def test_nobody_removes_themselves(stage: RoomStage) -> None:
    with pytest.raises(NotOneself):
        stage.play(Remove("host"), "host")
    assert stage.play(Remove("host"), "host2")


@pytest.mark.parametrize("command", [Admit("nobody"), Deny("nobody"), Remove("nobody")])
def test_deciding_over_nobody_is_refused(stage: RoomStage, command: Admit) -> None:
    with pytest.raises(NotFound):
        stage.play(command, "host")


@pytest.mark.parametrize("command", [Admit("ana"), Deny("ana"), Remove("host")])
@pytest.mark.parametrize(("actor", "error"), [("ana", NotAdmitted), ("nobody", NotFound), (None, NotFound)])
def test_who_waits_decides_nothing(stage: RoomStage, command: Admit, actor: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        stage.play(command, actor)


# --- what only the server does -------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [AskToJoin("x", "X", Role.HOST, "", None, False), ComeBack("ana", "Ana"), RemoveInvited("museum")],
)
def test_nobody_asks_for_what_only_an_invitation_gives(stage: RoomStage, command: AskToJoin) -> None:
    for actor in ("host", "ana", "nobody"):
        with pytest.raises(PermissionDenied):
            stage.play(command, actor)
    assert stage.play(command) != [] or isinstance(command, ComeBack)


def test_a_revoked_invitation_puts_everyone_out_who_came_with_it(stage: RoomStage) -> None:
    stage.play(Admit("ana"), "host")
    stage.bring("cy", Role.GUEST, invitation="museum")
    stage.play(Leave(), "cy")
    stage.bring("other", Role.GUEST, invitation="school")
    events = stage.play(RemoveInvited("museum"))
    assert events == [ParticipantGone(person, "revoked") for person in ("ana", "bo", "cy")]
    assert stage.heard["ana"] == [YouAreOut("revoked")]
    assert stage.heard["other"] == [Left("ana", "revoked")]
    assert stage.status("other") is Status.ADMITTED
    for person in ("ana", "bo", "cy"):
        with pytest.raises(Removed):
            stage.play(ComeBack(person, person))
    assert stage.play(RemoveInvited("museum")) == []


def test_revoking_never_leaves_a_room_without_anyone_to_run_it() -> None:
    stage = RoomStage()
    stage.bring("host2", Role.HOST, invitation="teachers")
    stage.play(Remove("host"), "host2")
    with pytest.raises(LastHost):
        stage.play(RemoveInvited("teachers"))
    stage.bring("host3", Role.HOST, invitation="later")
    stage.play(Leave(), "host3")
    assert stage.play(RemoveInvited("teachers")), "who left can come back and run the room"


# --- bounds --------------------------------------------------------------------------------------


def test_a_full_lobby_refuses_while_everyone_in_it_is_there(stage: RoomStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "MAX_WAITING", 2)
    stage.play(Connect(), "ana")
    stage.play(Connect(), "bo")
    with pytest.raises(RoomFull) as refused:
        stage.bring("cy", Role.GUEST, lobby=True)
    assert refused.value.bound == 2
    assert refused.value.code == "room-full"
    stage.play(Admit("ana"), "host")
    stage.bring("cy", Role.GUEST, lobby=True)


def test_who_went_away_from_a_full_lobby_makes_room_and_may_wait_again(
    stage: RoomStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "MAX_WAITING", 2)
    stage.play(Connect(), "ana")
    stage.bring("cy", Role.GUEST, lobby=True)
    assert in_line(stage) == ["ana", "cy"]
    stage.play(Connect(), "bo")
    assert in_line(stage) == ["ana", "bo"]


def test_a_full_room_lets_the_longest_away_go_and_never_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tablets without a memory are new participants each morning."""
    monkeypatch.setattr(lobby, "MAX_ADMITTED", 4)
    stage = RoomStage()
    for name in ("monday", "tuesday", "wednesday"):
        stage.bring(name, Role.PUPIL)
    stage.play(Connect(), "monday")
    stage.bring("thursday", Role.PUPIL)
    assert {person.id for person in admitted(stage.state)} == {"host", "monday", "wednesday", "thursday"}
    for name in ("wednesday", "thursday"):
        stage.play(Connect(), name)
    with pytest.raises(RoomFull):
        stage.bring("friday", Role.PUPIL)
    stage.play(Disconnect(), "thursday")
    stage.play(Connect(), "tuesday")
    assert stage.status("thursday") is Status.LEFT


def test_a_full_room_refuses_an_admission_and_the_guest_goes_on_waiting(
    stage: RoomStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "MAX_ADMITTED", 2)
    with pytest.raises(RoomFull):
        stage.play(Admit("ana"), "host")
    assert in_line(stage) == ["ana", "bo"]


def test_hosts_have_a_bound_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "MAX_HOSTS", 2)
    stage = RoomStage()
    stage.bring("host2", Role.HOST)
    with pytest.raises(RoomFull):
        stage.bring("host3", Role.HOST)
    stage.bring("host3", Role.HOST, lobby=True)
    with pytest.raises(RoomFull):
        stage.play(Admit("host3"), "host")
    stage.play(Leave(), "host2")
    assert stage.play(Admit("host3"), "host")


@pytest.mark.parametrize("command", [AskToJoin("x", "\u202e", Role.GUEST, "", None, True), ComeBack("ana", " ")])
def test_nobody_comes_in_under_a_name_that_cannot_be_shown(stage: RoomStage, command: AskToJoin) -> None:
    with pytest.raises(InvalidName):
        stage.play(command)
