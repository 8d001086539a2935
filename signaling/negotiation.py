"""Offers and answers as numbers and moments: who may say what next. Pure; `now` is an argument.

Every offer of a peer connection has a number that rises, and its answer carries the same (the
wire's `negotiation`). That is enough to tell an answer that is wanted from one that is late, doubled
or invented, with no look into the descriptions:

- `OfferNegotiation` is for whoever makes offers: one outstanding, changes meanwhile coalesce.
- `OfferWatch` is for whoever stands beside a connection with one offerer, and judges what passes.
- `PeerNegotiation` is for whoever relays between two sides that may both offer (W3C webrtc-pc,
  "Perfect negotiation example").
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

RESEND_AFTER_S = 5.0
MAX_TRIES = 6
"""Half a minute: the caller closes sessions that are away for 10 s, so this is the last resort."""
OFFER_STANDS_S = 10.0
"""How long an offer that nobody answers counts as outstanding between two peers: its maker has asked
again by then, and one that was lost on its way must not stand in the way of the other side's."""

DescriptionType = Literal["offer", "answer", "rollback"]


class Verdict(Enum):
    """What a description is, by its number. Only NEW is to be used."""

    NEW = "new"
    AGAIN = "again"
    """The same once more: sent again after a cut."""
    STALE = "stale"
    """Of an earlier negotiation than the present one."""
    FOREIGN = "foreign"
    """An answer to what was never offered."""
    GLARE = "glare"
    """An answer of the impolite side, whose own offer is outstanding: it cannot have applied the other's."""


class OfferNegotiation:
    """The making of offers. Three states, this side is the only offerer:

        settled --change--> wanted --offer sent--> offered --answer--> settled
                                        ^             |  (a change meanwhile: wanted)
                                        +-------------+

    `want_offer()` when something changed, then `offer_to_send(now)` whenever the caller can
    offer; `receive_answer`; `handle_timer(now)` about every second. An offer without an answer is sent
    again (the client may have been between two connections), and after `MAX_TRIES` given up.
    """

    def __init__(self) -> None:
        self._number = 0
        self._wanted = False
        self._outstanding = False
        self._tries = 0
        self._sent_at = 0.0

    @property
    def is_offered(self) -> bool:
        return self._outstanding

    @property
    def is_settled(self) -> bool:
        return not self._outstanding and not self._wanted

    @property
    def number(self) -> int:
        """Of the last offer."""
        return self._number

    def want_offer(self) -> None:
        self._wanted = True

    def offer_to_send(self, now: float) -> int | None:
        """The number of the offer to make and send now, None: nothing changed, or one is outstanding."""
        if not self._wanted or self._outstanding:
            return None
        self._number += 1
        self._wanted = False
        self._outstanding = True
        self._tries = 1
        self._sent_at = now
        return self._number

    def receive_answer(self, number: int) -> bool:
        """Whether it answers the outstanding offer; an answer to an older one is ignored."""
        if not self._outstanding or number != self._number:
            return False
        self._outstanding = False
        return True

    def handle_timer(self, now: float) -> Literal["resend", "give_up"] | None:
        if not self._outstanding or now - self._sent_at < RESEND_AFTER_S:
            return None
        if self._tries >= MAX_TRIES:
            self._outstanding = False
            return "give_up"
        self._tries += 1
        self._sent_at = now
        return "resend"

    def start_over(self) -> None:
        """The peer connection was replaced: what is outstanding belongs to the old one."""
        self._outstanding = False
        self._wanted = True


class OfferWatch:
    """What passes over one peer connection with one offerer. Either nothing is outstanding, or the
    offer of `number` is, and its answer is due."""

    def __init__(self) -> None:
        self._number = -1
        self._outstanding = False

    @property
    def is_answer_due(self) -> bool:
        return self._outstanding

    def receive_offer(self, number: int) -> Verdict:
        """NEW: its answer is due now, and no earlier one's. AGAIN: as before; whether an answer is due
        says `is_answer_due`."""
        if number < self._number:
            return Verdict.STALE
        if number == self._number:
            return Verdict.AGAIN
        self._number = number
        self._outstanding = True
        return Verdict.NEW

    def reopen(self, number: int) -> None:
        """The offerer makes this very offer (again), whatever was before: its answer is due."""
        self._number = number
        self._outstanding = True

    def judge_answer(self, number: int) -> Verdict:
        """NEW: call `settle` once it was used; until then its offer is outstanding."""
        if number > self._number:
            return Verdict.FOREIGN
        if number < self._number:
            return Verdict.STALE
        return Verdict.NEW if self._outstanding else Verdict.AGAIN

    def settle(self, number: int) -> None:
        """The offer of this number was answered, refused or taken back; a later one is still due."""
        if number == self._number:
            self._outstanding = False

    def start_over(self) -> None:
        """The peer connection was replaced: its numbers begin anew."""
        self._number = -1
        self._outstanding = False


@dataclass(slots=True)
class _Side:
    offers: OfferWatch
    number: int = -1
    offered_at: float = 0.0

    def is_offering(self, now: float) -> bool:
        return self.offers.is_answer_due and now - self.offered_at < OFFER_STANDS_S


class PeerNegotiation:
    """What passes between two media sessions that may both offer.

    Who came later is the polite one, for as long as both are there: when two offers cross, it takes
    its own back and answers. Numbers are each side's own, and rise for as long as both sessions live.
    """

    def __init__(self, first: str, second: str) -> None:
        self.polite = second
        """The id of the polite session; the other one came first."""
        self._sides = {first: _Side(OfferWatch()), second: _Side(OfferWatch())}
        self._other = {first: second, second: first}

    def receive(self, sender: str, kind: DescriptionType, number: int, now: float) -> Verdict:
        """What is to become of a description of `sender`: NEW is to be relayed, the rest dropped."""
        if kind == "offer":
            return self._receive_offer(self._sides[sender], number, now)
        if kind == "answer":
            return self._receive_answer(sender, number, now)
        return self._receive_rollback(self._sides[sender], number)

    def _receive_offer(self, side: _Side, number: int, now: float) -> Verdict:
        verdict = side.offers.receive_offer(number)
        if verdict is Verdict.NEW:
            side.number, side.offered_at = number, now
        return verdict

    def _receive_answer(self, sender: str, number: int, now: float) -> Verdict:
        own, other = self._sides[sender], self._sides[self._other[sender]]
        verdict = other.offers.judge_answer(number)
        if verdict is not Verdict.NEW:
            return verdict
        if own.is_offering(now):
            if sender != self.polite:
                return Verdict.GLARE
            own.offers.settle(own.number)  # rolled back, or it could not have answered
        other.offers.settle(number)
        return Verdict.NEW

    def _receive_rollback(self, side: _Side, number: int) -> Verdict:
        verdict = side.offers.judge_answer(number)
        if verdict is Verdict.NEW:
            side.offers.settle(number)
        return verdict
