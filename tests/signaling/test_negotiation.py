"""Numbers of offers and answers: what is wanted, late, doubled or invented."""

from hypothesis import given
from hypothesis import strategies as st

from signaling.negotiation import (
    MAX_TRIES,
    OFFER_STANDS_S,
    RESEND_AFTER_S,
    DescriptionType,
    OfferNegotiation,
    OfferWatch,
    PeerNegotiation,
    Verdict,
)

# --- making offers ------------------------------------------------------------------------------


def test_changes_while_an_offer_is_out_become_one_more_offer() -> None:
    offers = OfferNegotiation()
    offers.want_offer()
    assert offers.offer_to_send(0.0) == 1
    for _ in range(5):
        offers.want_offer()
        assert offers.offer_to_send(0.1) is None
    assert offers.receive_answer(1)
    assert offers.offer_to_send(0.2) == 2
    assert offers.receive_answer(2)
    assert offers.is_settled
    assert offers.offer_to_send(0.3) is None


def test_an_answer_counts_once_and_only_for_its_offer() -> None:
    offers = OfferNegotiation()
    assert not offers.receive_answer(0)
    offers.want_offer()
    offers.offer_to_send(0.0)
    assert not offers.receive_answer(0)
    assert not offers.receive_answer(2)
    assert offers.receive_answer(1)
    assert not offers.receive_answer(1)


def test_an_offer_without_an_answer_is_sent_again_and_then_given_up() -> None:
    offers = OfferNegotiation()
    offers.want_offer()
    offers.offer_to_send(0.0)
    now, results = 0.0, []
    assert offers.handle_timer(RESEND_AFTER_S - 0.1) is None
    for _ in range(MAX_TRIES):
        now += RESEND_AFTER_S
        results.append(offers.handle_timer(now))
    assert results == ["resend"] * (MAX_TRIES - 1) + ["give_up"]
    assert offers.handle_timer(now + 100) is None


# --- watching one offerer -----------------------------------------------------------------------


def test_an_offer_that_is_repeated_or_overtaken_is_told_from_a_new_one() -> None:
    watch = OfferWatch()
    assert watch.receive_offer(1) is Verdict.NEW
    assert watch.is_answer_due
    assert watch.receive_offer(1) is Verdict.AGAIN
    assert watch.receive_offer(3) is Verdict.NEW
    assert watch.receive_offer(2) is Verdict.STALE
    assert watch.judge_answer(1) is Verdict.STALE
    assert watch.judge_answer(3) is Verdict.NEW


def test_an_answer_that_could_not_be_used_leaves_the_offer_open() -> None:
    watch = OfferWatch()
    watch.receive_offer(1)
    assert watch.judge_answer(1) is Verdict.NEW
    assert watch.judge_answer(1) is Verdict.NEW
    watch.settle(1)
    assert watch.judge_answer(1) is Verdict.AGAIN
    assert watch.judge_answer(2) is Verdict.FOREIGN


def test_settling_an_earlier_offer_leaves_the_present_one_due() -> None:
    """The engine offers anew while it still takes the answer before."""
    watch = OfferWatch()
    watch.reopen(1)
    watch.reopen(2)
    watch.settle(1)
    assert watch.is_answer_due


def test_a_replaced_connection_counts_from_the_beginning() -> None:
    watch = OfferWatch()
    watch.receive_offer(7)
    watch.start_over()
    assert not watch.is_answer_due
    assert watch.receive_offer(0) is Verdict.NEW


# --- between two that may both offer ------------------------------------------------------------


def between(*steps: tuple[str, DescriptionType, int]) -> list[Verdict]:
    negotiation = PeerNegotiation("first", "later")
    return [negotiation.receive(sender, kind, number, now=float(at)) for at, (sender, kind, number) in enumerate(steps)]


def test_who_came_later_is_polite() -> None:
    assert PeerNegotiation("first", "later").polite == "later"


def test_each_side_counts_its_own_offers() -> None:
    assert (
        between(("later", "offer", 1), ("first", "answer", 1), ("first", "offer", 1), ("later", "answer", 1))
        == [Verdict.NEW] * 4
    )


def test_when_offers_cross_the_polite_side_gives_way() -> None:
    assert between(
        ("first", "offer", 1),
        ("later", "offer", 1),  # it had not seen the other one
        ("later", "answer", 1),  # now it has, and took its own back
        ("first", "answer", 1),  # to an offer that is no longer there
        ("later", "offer", 2),
        ("first", "answer", 2),
    ) == [Verdict.NEW, Verdict.NEW, Verdict.NEW, Verdict.AGAIN, Verdict.NEW, Verdict.NEW]


def test_the_impolite_side_cannot_answer_while_its_own_offer_is_out() -> None:
    assert between(("first", "offer", 1), ("later", "offer", 1), ("first", "answer", 1))[-1] is Verdict.GLARE


def test_an_offer_that_was_lost_does_not_block_for_ever() -> None:
    negotiation = PeerNegotiation("first", "later")
    negotiation.receive("first", "offer", 1, 0.0)
    negotiation.receive("later", "offer", 1, 1.0)
    assert negotiation.receive("first", "answer", 1, OFFER_STANDS_S + 0.1) is Verdict.NEW


def test_answers_nobody_waits_for_are_told_apart() -> None:
    assert between(("first", "answer", 1)) == [Verdict.FOREIGN]
    assert between(("later", "offer", 2), ("first", "answer", 1))[-1] is Verdict.STALE
    assert between(("later", "offer", 2), ("first", "answer", 3))[-1] is Verdict.FOREIGN
    assert between(("later", "offer", 1), ("later", "answer", 1))[-1] is Verdict.FOREIGN


def test_a_rollback_takes_back_the_senders_own_offer() -> None:
    assert between(("later", "offer", 1), ("later", "rollback", 1), ("first", "answer", 1)) == [
        Verdict.NEW,
        Verdict.NEW,
        Verdict.AGAIN,
    ]
    assert between(("first", "offer", 1), ("later", "rollback", 1))[-1] is Verdict.FOREIGN


STEP = st.tuples(
    st.sampled_from(["first", "later"]),
    st.sampled_from(["offer", "answer", "rollback"]),
    st.integers(min_value=0, max_value=4),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_is_said_each_offer_is_answered_at_most_once(steps: list[tuple[str, DescriptionType, int]]) -> None:
    verdicts = between(*steps)
    relayed = [step for step, verdict in zip(steps, verdicts, strict=True) if verdict is Verdict.NEW]
    offers = [(sender, number) for sender, kind, number in relayed if kind == "offer"]
    answers = [(sender, number) for sender, kind, number in relayed if kind == "answer"]
    assert len(set(offers)) == len(offers)
    assert len(set(answers)) == len(answers)
    other = {"first": "later", "later": "first"}
    assert {(other[sender], number) for sender, number in answers} <= set(offers)


class _Browser:
    """Perfect negotiation as the W3C's example has it, without the media."""

    def __init__(self, polite: bool) -> None:
        self.polite = polite
        self.number = 0
        self.is_offering = False
        self.remote = 0
        self.settled = 0

    def offer(self) -> tuple[DescriptionType, int] | None:
        if self.is_offering:
            return None
        self.number += 1
        self.is_offering = True
        return "offer", self.number

    def receive(self, kind: DescriptionType, number: int) -> tuple[DescriptionType, int] | None:
        if kind == "answer":
            if self.is_offering and number == self.number:
                self.is_offering = False
                self.settled += 1
            return None
        if self.is_offering and not self.polite:
            return None
        self.is_offering = False  # rolled back
        self.remote = number
        return "answer", number


@given(st.lists(st.sampled_from(["first offers", "later offers", "to first", "to later", "relay"]), max_size=80))
def test_two_browsers_that_offer_at_any_moment_end_in_agreement(schedule: list[str]) -> None:
    """However messages cross, nothing that perfect negotiation needs is dropped in between."""
    relay = PeerNegotiation("first", "later")
    sides = {"first": _Browser(polite=False), "later": _Browser(polite=True)}
    other = {"first": "later", "later": "first"}
    up: list[tuple[str, DescriptionType, int]] = []
    down: dict[str, list[tuple[DescriptionType, int]]] = {"first": [], "later": []}

    def send(sender: str, message: tuple[DescriptionType, int] | None) -> None:
        if message is not None:
            up.append((sender, *message))

    def pump() -> None:
        sender, kind, number = up.pop(0)
        if relay.receive(sender, kind, number, 0.0) is Verdict.NEW:
            down[other[sender]].append((kind, number))

    def hear(receiver: str) -> None:
        send(receiver, sides[receiver].receive(*down[receiver].pop(0)))

    for step in schedule:
        who = "first" if "first" in step else "later"
        if step.endswith("offers"):
            send(who, sides[who].offer())
        elif step == "relay":
            if up:
                pump()
        elif down[who]:
            hear(who)
    while up or any(down.values()):
        while up:
            pump()
        for who in ("first", "later"):
            while down[who]:
                hear(who)
    assert not sides["first"].is_offering
    assert not sides["later"].is_offering
