"""Somebody is shown large to everyone, until a host says otherwise or they leave."""

import pytest

from rooms.commands import Disconnect, Leave, Remove, Spotlight
from rooms.errors import NotFound, PermissionDenied
from rooms.models import Role
from rooms.visibility import Configured
from tests.support.room_stage import RoomStage


@pytest.fixture
def stage() -> RoomStage:
    stage = RoomStage()
    for name in ("rimouski", "montreal"):
        stage.bring(name)
    return stage


def test_everyone_hears_who_is_shown_large(stage: RoomStage) -> None:
    stage.play(Spotlight("rimouski"), "host")
    for name in ("host", "rimouski", "montreal"):
        (heard,) = stage.heard[name]
        assert isinstance(heard, Configured)
        assert heard.settings.spotlight == "rimouski"
    assert stage.play(Spotlight("rimouski"), "host") == []
    stage.play(Spotlight(None), "host")
    assert stage.state.settings.spotlight is None


def test_only_who_sets_the_room_decides_and_only_about_who_is_inside(stage: RoomStage) -> None:
    with pytest.raises(PermissionDenied):
        stage.play(Spotlight("montreal"), "rimouski")
    stage.bring("gone")
    stage.play(Leave(), "gone")
    for nobody in ("gone", "never-seen"):
        with pytest.raises(NotFound):
            stage.play(Spotlight(nobody), "host")
    assert stage.state.settings.spotlight is None


def test_a_lost_connection_keeps_the_light_and_leaving_ends_it(stage: RoomStage) -> None:
    stage.play(Spotlight("rimouski"), "host")
    stage.play(Disconnect(), "rimouski")
    assert stage.state.settings.spotlight == "rimouski"
    stage.play(Leave(), "rimouski")
    assert stage.state.settings.spotlight is None
    stage.play(Spotlight("montreal"), "host")
    stage.play(Remove("montreal"), "host")
    assert stage.state.settings.spotlight is None


def test_who_leaves_beside_them_changes_nothing(stage: RoomStage) -> None:
    stage.bring("camille", Role.GUEST)
    stage.play(Spotlight("rimouski"), "host")
    stage.play(Leave(), "camille")
    assert stage.state.settings.spotlight == "rimouski"
