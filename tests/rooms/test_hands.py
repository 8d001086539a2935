"""The line of raised hands."""

import pytest

from rooms.commands import Connect, Disconnect, Leave, SetHand
from rooms.errors import NotAdmitted, NotFound, PermissionDenied
from rooms.hands import raised_hands
from rooms.models import Role
from rooms.visibility import Changed
from tests.support.room_stage import RoomStage


@pytest.fixture
def stage() -> RoomStage:
    stage = RoomStage()
    for name in ("rimouski", "montreal", "gaspe"):
        stage.bring(name)
    return stage


def line(stage: RoomStage) -> list[str]:
    return [person.id for person in raised_hands(stage.state)]


def test_first_raised_is_first_called(stage: RoomStage) -> None:
    for name in ("gaspe", "rimouski", "montreal"):
        stage.play(SetHand(True), name)
    assert line(stage) == ["gaspe", "rimouski", "montreal"]
    assert stage.heard["host"] == [Changed(stage.person("montreal"))]


@pytest.mark.parametrize("step_s", [0.0, -3_600.0])
def test_order_holds_within_one_instant_and_when_the_clock_is_set_back(stage: RoomStage, step_s: float) -> None:
    for name in ("gaspe", "rimouski", "montreal"):
        stage.play(SetHand(True), name, after_s=step_s)
    assert line(stage) == ["gaspe", "rimouski", "montreal"]


def test_raising_again_keeps_the_place(stage: RoomStage) -> None:
    stage.play(SetHand(True), "gaspe")
    stage.play(SetHand(True), "rimouski")
    assert stage.play(SetHand(True), "gaspe") == []
    assert line(stage) == ["gaspe", "rimouski"]


def test_lowering_gives_the_place_up(stage: RoomStage) -> None:
    stage.play(SetHand(True), "gaspe")
    stage.play(SetHand(True), "rimouski")
    stage.play(SetHand(False), "gaspe")
    assert stage.play(SetHand(False), "gaspe") == []
    stage.play(SetHand(True), "gaspe")
    assert line(stage) == ["rimouski", "gaspe"]


def test_a_lost_connection_keeps_the_place_and_leaving_does_not(stage: RoomStage) -> None:
    stage.play(Connect(), "gaspe")
    stage.play(SetHand(True), "gaspe")
    stage.play(SetHand(True), "rimouski")
    stage.play(Disconnect(), "gaspe")
    stage.play(Connect(), "gaspe")
    assert line(stage) == ["gaspe", "rimouski"]
    stage.play(Leave(), "gaspe")
    stage.play(Connect(), "gaspe")
    assert line(stage) == ["rimouski"]


def test_a_host_lowers_anothers_hand_and_raises_nobodys(stage: RoomStage) -> None:
    stage.play(SetHand(True), "gaspe")
    with pytest.raises(PermissionDenied):
        stage.play(SetHand(True, "rimouski"), "host")
    stage.play(SetHand(False, "gaspe"), "host")
    assert line(stage) == []


def test_a_class_lowers_its_own_hand_by_name_and_no_other(stage: RoomStage) -> None:
    stage.play(SetHand(True), "gaspe")
    with pytest.raises(PermissionDenied):
        stage.play(SetHand(False, "gaspe"), "rimouski")
    stage.play(SetHand(False, "gaspe"), "gaspe")
    assert line(stage) == []


def test_who_waits_raises_no_hand_and_has_none_to_lower(stage: RoomStage) -> None:
    stage.bring("guest", Role.GUEST, lobby=True)
    with pytest.raises(NotAdmitted):
        stage.play(SetHand(True), "guest")
    for nobody in ("guest", "unknown"):
        with pytest.raises(NotFound):
            stage.play(SetHand(False, nobody), "host")
