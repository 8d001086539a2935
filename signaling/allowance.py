"""How much one sender may send on to others: a bucket that refills. Pure; `now` is an argument."""


class Allowance:
    """`burst` at once, refilled at `per_second`; the unit is the caller's."""

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._level = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Whether so much was left; if not, nothing was taken."""
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._level = min(self._burst, self._level + elapsed * self._per_second)
        if amount > self._level:
            return False
        self._level -= amount
        return True
