"""How long this instance may decide for a room: until its lease could have lapsed, by its own clock. Pure.

A process that was stopped for a while finds out by this clock, before it decides anything, that
somebody else may be deciding by now.
"""

from dataclasses import dataclass

from rooms.ports import LEASE_S, Lease

MARGIN_S = 1.0
"""A home stops deciding this long before its lease can lapse: two machines' clocks do not run apart by so much in
six seconds, and what was decided in the last moment has time to be kept."""


@dataclass(slots=True)
class Tenure:
    """A lease, and until when its holder may rely on it (monotonic seconds)."""

    lease: Lease
    until: float

    @classmethod
    def of(cls, lease: Lease, asked_at: float) -> "Tenure":
        """`asked_at`: before the lease was asked for."""
        return cls(lease, asked_at + LEASE_S - MARGIN_S)

    def renew(self, asked_at: float) -> None:
        self.until = asked_at + LEASE_S - MARGIN_S

    def may_decide(self, now: float) -> bool:
        return now < self.until
