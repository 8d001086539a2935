"""A word that comes late takes the place of none that was given after it was asked."""

import pytest

from rooms.commands import Command, Configure, CreateDocument, Rename, RenameDocument, SetHand, Spotlight
from rooms.errors import Outdated, PermissionDenied
from rooms.events import RoomConfigured, WordGiven
from rooms.hands import raised_hands
from rooms.models import Role
from rooms.words import MAX_WORDS, remembered
from tests.support.room_stage import RoomStage


@pytest.fixture
def stage() -> RoomStage:
    stage = RoomStage()
    stage.bring("zoe")
    stage.bring("ali")
    stage.play(CreateDocument("recit", "Récit"), "host")
    return stage


SETTINGS: list[tuple[Command, Command, str]] = [
    (SetHand(True, seen=5), SetHand(False, seen=5), "zoe"),
    (SetHand(False, "zoe", seen=5), SetHand(False, "zoe", seen=5), "host"),
    (Rename("Zoé B.", seen=5), Rename("Zoé", seen=5), "zoe"),
    (Configure(chat_enabled=False, seen=5), Configure(chat_enabled=True, seen=5), "host"),
    (Spotlight("zoe", seen=5), Spotlight(None, seen=5), "host"),
    (RenameDocument("recit", "Conte", seen=5), RenameDocument("recit", "Récit", seen=5), "host"),
]


@pytest.mark.parametrize(("newer", "older", "actor"), SETTINGS)
def test_what_was_asked_before_the_last_word_could_be_seen_is_refused_and_then_heard(
    stage: RoomStage, newer: Command, older: Command, actor: str
) -> None:
    while stage.state.seq < 5:
        stage.play(Configure(chat_enabled=not stage.state.settings.chat_enabled), "host")
    stage.play(newer, actor)
    after = stage.state
    with pytest.raises(Outdated) as refused:
        stage.play(older, actor)
    assert stage.state is after
    assert 5 < refused.value.seq <= after.seq
    again = type(older)(**{**{name: getattr(older, name) for name in older.__slots__}, "seen": refused.value.seq})
    stage.play(again, actor)
    assert stage.state.words != after.words


def test_who_has_seen_the_last_word_is_heard_at_once(stage: RoomStage) -> None:
    for up in (True, False) * 3:
        stage.play(SetHand(up, seen=stage.state.seq), "zoe")
        assert [person.id for person in raised_hands(stage.state)] == (["zoe"] if up else [])


def test_a_word_has_a_number_that_whoever_sees_what_follows_has_seen(stage: RoomStage) -> None:
    """Else each second command of somebody who is alone would be asked twice: the word itself nobody is told."""
    before = stage.state
    events = stage.play(Configure(chat_enabled=False, seen=before.seq), "host")
    assert [type(event) for event in events] == [WordGiven, RoomConfigured]
    assert stage.state.words == {"settings": before.seq + 1}
    assert stage.state.seq == before.seq + 2


def test_a_word_that_changes_nothing_comes_before_what_is_still_on_its_way(stage: RoomStage) -> None:
    stage.play(SetHand(True), "zoe")
    seen = stage.state.seq
    stage.play(SetHand(True, seen=seen), "zoe")
    with pytest.raises(Outdated):
        stage.play(SetHand(False, seen=seen), "zoe")


def test_words_on_other_things_are_no_reason_to_refuse(stage: RoomStage) -> None:
    seen = stage.state.seq
    stage.play(SetHand(True, seen=seen), "zoe")
    stage.play(SetHand(True, seen=seen), "ali")
    stage.play(Rename("Zoé B.", seen=seen), "zoe")
    stage.play(Configure(chat_enabled=False, seen=seen), "host")
    assert [person.id for person in raised_hands(stage.state)] == ["zoe", "ali"]


def test_who_does_not_say_what_they_had_seen_is_heard_as_ever(stage: RoomStage) -> None:
    stage.play(SetHand(True, seen=stage.state.seq), "zoe")
    stage.play(SetHand(False), "zoe")
    assert raised_hands(stage.state) == []


def test_who_may_not_is_not_told_that_it_is_late(stage: RoomStage) -> None:
    stage.play(Configure(chat_enabled=False, seen=stage.state.seq), "host")
    with pytest.raises(PermissionDenied):
        stage.play(Configure(chat_enabled=True, seen=0), "zoe")


def test_an_observer_and_a_host_hear_of_the_hand_and_nothing_of_the_word(stage: RoomStage) -> None:
    stage.bring("parent", Role.OBSERVER)
    stage.play(SetHand(True, seen=stage.state.seq), "zoe")
    assert all(len(stage.heard[each]) == 1 for each in ("host", "ali", "parent"))


def test_the_newest_words_are_remembered() -> None:
    words = {}
    for number in range(2 * MAX_WORDS):
        words = dict(remembered(words, f"hand {number}", number))
    assert sorted(words.values()) == list(range(MAX_WORDS, 2 * MAX_WORDS))
