"""What one instance makes of what another says; no bus, no engine, no clock."""

from dataclasses import replace

import pytest

from rooms.documents import exchange as module
from rooms.documents.bus_message import BusMessage, Kind, SharedAwareness
from rooms.documents.exchange import DocumentExchange
from rooms.documents.limits import HubLimits

ADA, BEN = b"instance", b"another "
HERE = SharedAwareness(b"\x00")
LIMITS = HubLimits(heartbeat_s=10, heartbeats_missed=3, ask_timeout_s=2)


@pytest.fixture
def exchange() -> DocumentExchange:
    return DocumentExchange(b"-- me --", 0.0, LIMITS)


def change(number: int, sender: bytes = ADA) -> BusMessage:
    return BusMessage(Kind.CHANGE, sender, number)


def state(number: int, sender: bytes = ADA, **fields: object) -> BusMessage:
    return replace(BusMessage(Kind.STATE, sender, number, awareness=HERE), **fields)  # type: ignore[arg-type]


def answer(number: int, sender: bytes = ADA) -> BusMessage:
    return BusMessage(Kind.ANSWER, sender, number)


def hear(exchange: DocumentExchange, *messages: BusMessage, now: float = 0.0) -> list[bool]:
    """Which of them were late."""
    heard = [exchange.hear(message, now) for message in messages]
    return [one is not None and one.is_late for one in heard]


def test_changes_in_a_row_miss_nothing(exchange: DocumentExchange) -> None:
    assert hear(exchange, state(4), change(5), change(6), state(6)) == [False] * 4
    assert exchange.next_to_ask(0) is None


def test_a_change_of_an_instance_never_heard_of_makes_it_asked(exchange: DocumentExchange) -> None:
    hear(exchange, change(1))
    assert exchange.next_to_ask(0) == ADA


def test_a_jump_in_its_changes_makes_it_asked_until_it_answers(exchange: DocumentExchange) -> None:
    hear(exchange, state(1), change(3))
    assert exchange.next_to_ask(0) == ADA
    assert exchange.next_to_ask(1.9) is None  # it has time to answer
    assert exchange.next_to_ask(2) == ADA
    hear(exchange, answer(3))
    assert exchange.next_to_ask(9) is None
    assert not exchange.is_asking


def test_one_that_may_have_missed_the_question_is_asked_again_at_once(exchange: DocumentExchange) -> None:
    hear(exchange, state(1), change(3))
    assert exchange.next_to_ask(0) == ADA
    hear(exchange, state(3))
    assert exchange.next_to_ask(0.1) is None  # a heartbeat; the answer is on its way
    hear(exchange, state(3, sender=BEN, wants_reply=True))
    assert exchange.next_to_ask(0.1) is None  # that was somebody else
    hear(exchange, state(3, wants_reply=True))
    assert exchange.next_to_ask(0.1) == ADA


def test_who_may_have_missed_the_answer_asks_again_at_once(exchange: DocumentExchange) -> None:
    hear(exchange, state(1), change(3))
    assert exchange.next_to_ask(0) == ADA
    exchange.note_gap()
    assert exchange.next_to_ask(0.1) == ADA
    hear(exchange, answer(3))
    exchange.note_gap()
    assert exchange.next_to_ask(0.2) is None


def test_a_state_that_counts_more_changes_than_were_heard_makes_it_asked(exchange: DocumentExchange) -> None:
    hear(exchange, state(1), state(2))
    assert exchange.next_to_ask(0) == ADA


def test_an_answer_from_before_the_gap_does_not_fill_it(exchange: DocumentExchange) -> None:
    hear(exchange, state(1), change(5), answer(3))
    assert exchange.next_to_ask(0) == ADA


def test_late_and_repeated_changes_are_noticed_as_such(exchange: DocumentExchange) -> None:
    assert hear(exchange, state(0), change(1), change(3), change(2), change(3)) == [False, False, False, True, True]


def test_one_is_asked_at_a_time_and_all_in_turn(exchange: DocumentExchange) -> None:
    hear(exchange, change(1, ADA), change(1, BEN))
    assert exchange.next_to_ask(0) == ADA
    assert exchange.next_to_ask(0) is None
    assert exchange.next_to_ask(2) == BEN
    assert exchange.next_to_ask(4) == ADA
    hear(exchange, answer(1, ADA))
    assert exchange.next_to_ask(4) == BEN


def test_a_state_is_compared_when_all_that_came_before_is_in_the_copy(exchange: DocumentExchange) -> None:
    exchange.arrived, exchange.integrated = 3, 2
    hear(exchange, state(0))
    exchange.arrived = 9
    assert exchange.claims() == []
    exchange.integrated = 3
    assert exchange.claims() == [ADA]


@pytest.mark.parametrize(
    ("ours", "theirs", "is_asked", "needs_digest"),
    [
        ({1: 5}, {1: 5}, False, True),
        ({1: 5}, {1: 6}, True, False),
        ({1: 5}, {2: 1}, True, False),
        ({1: 5}, {1: 4}, False, False),
        ({1: 5, 2: 1}, {1: 5}, False, False),
    ],
)
def test_one_who_knows_more_is_asked(
    exchange: DocumentExchange, ours: dict[int, int], theirs: dict[int, int], is_asked: bool, needs_digest: bool
) -> None:
    exchange.hear(state(0, digest=b"theirs"), 0, theirs)
    assert exchange.compare(ADA, ours) is needs_digest
    assert exchange.next_to_ask(0) == (ADA if is_asked else None)


def test_other_deletions_are_asked_for_once(exchange: DocumentExchange) -> None:
    """An answer that does not make them equal is not asked for with every heartbeat."""
    hear(exchange, state(0, digest=b"theirs"))
    exchange.compare_digests(ADA, b"ours")
    assert exchange.next_to_ask(0) == ADA
    hear(exchange, answer(0), state(0, digest=b"theirs"))
    exchange.compare_digests(ADA, b"ours")
    assert exchange.next_to_ask(0) is None
    hear(exchange, state(0, digest=b"other"))
    exchange.compare_digests(ADA, b"ours")
    assert exchange.next_to_ask(0) == ADA


def test_equal_deletions_are_not_asked_for(exchange: DocumentExchange) -> None:
    hear(exchange, state(0, digest=b"same"))
    exchange.compare_digests(ADA, b"same")
    assert exchange.next_to_ask(0) is None


def test_one_that_is_silent_for_three_heartbeats_is_forgotten(exchange: DocumentExchange) -> None:
    hear(exchange, state(0, ADA), state(0, BEN), now=0)
    hear(exchange, state(0, BEN), now=25)
    assert exchange.forget_silent(30) == {}
    assert list(exchange.forget_silent(30.1)) == [ADA]
    assert list(exchange.peers) == [BEN]


def test_one_that_is_forgotten_is_neither_asked_nor_answered(exchange: DocumentExchange) -> None:
    hear(exchange, state(0, wants_reply=True), BusMessage(Kind.ASK, ADA, 3, state_vector=b"\x00"))
    assert exchange.asked == {ADA: b"\x00"}
    exchange.forget(ADA)
    assert (exchange.asked, exchange.greeting, exchange.next_to_ask(0)) == ({}, set(), None)


def test_heartbeats_keep_no_step(exchange: DocumentExchange) -> None:
    due = set()
    for _ in range(50):
        exchange.beat(100)
        due.add(exchange.next_beat)
    assert len(due) > 40
    assert all(108 <= at <= 112 for at in due)


def test_instances_are_bounded(exchange: DocumentExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INSTANCES", 2)
    senders = [bytes([n]) * 8 for n in range(3)]
    heard = [exchange.hear(state(0, sender), 0) for sender in senders]
    assert [one is None for one in heard] == [False, False, True]
    assert list(exchange.peers) == senders[:2]


def test_who_is_heard_of_after_a_change_that_nobody_was_told_is_told_how_we_stand(exchange: DocumentExchange) -> None:
    """It answered our greeting, which was from before the change."""
    hear(exchange, state(4))
    assert exchange.greeting == set()
    exchange.number += 1
    hear(exchange, state(9, BEN))
    assert exchange.greeting == {BEN}
