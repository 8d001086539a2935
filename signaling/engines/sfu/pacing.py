"""When a new peer connection may begin, so that a class arriving together disturbs nobody's sound.

Pure; `now` is an argument, in seconds.
"""

JOINS_PER_SECOND = 20.0
"""A DTLS handshake costs about 4 ms of the loop that forwards: 20 of them a second are 8 %."""
BURST = 6
"""Two participants' connections at once and a guest's, without waiting."""


class JoinPacer:
    __slots__ = ("_free_at",)

    def __init__(self) -> None:
        self._free_at = float("-inf")

    def take_place(self, now: float) -> float:
        """Reserve the next place; how many seconds to wait for it."""
        interval = 1 / JOINS_PER_SECOND
        start = max(self._free_at, now - (BURST - 1) * interval)
        self._free_at = start + interval
        return max(0.0, start - now)
