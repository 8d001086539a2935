"""Offers of the subscribe peer connection: one outstanding, changes meanwhile coalesce.

Pure; `now` is an argument. Three states, the server is the only offerer:

    settled --change--> wanted --offer sent--> offered --answer--> settled
                                    ^             |  (a change meanwhile: wanted)
                                    +-------------+

An offer without an answer is sent again (the client may have been between two connections), and
after `MAX_TRIES` given up.
"""

from typing import Literal

RESEND_AFTER_S = 5.0
MAX_TRIES = 6
"""Half a minute: the caller closes sessions that are away for 10 s, so this is the last resort."""


class OfferNegotiation:
    """`want_offer()` when something changed, then `offer_to_send(now)` whenever the caller can
    offer; `receive_answer`; `handle_timer(now)` about every second."""

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

    @property
    def number(self) -> int:
        """Of the last offer."""
        return self._number

    def start_over(self) -> None:
        """The peer connection was replaced: what is outstanding belongs to the old one."""
        self._outstanding = False
        self._wanted = True
