"""Which gateway a new room goes to. Pure."""

from collections.abc import Mapping

MAX_SESSIONS_PER_NODE = 1_000
"""Each may become two handles. Beyond some hundreds of people a gateway is busy enough with their media."""


def least_loaded(loads: Mapping[int, int]) -> int | None:
    """`loads`: the sessions of each gateway that takes rooms. The one with the fewest, the first of equal
    ones; None: all are full, or there is none."""
    free = {index: sessions for index, sessions in loads.items() if sessions < MAX_SESSIONS_PER_NODE}
    return min(free, key=lambda index: (free[index], index), default=None)
