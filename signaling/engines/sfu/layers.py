"""Which layer of each picture a subscriber gets: what its tiles need, as far as its line carries it.

Pure. Layers are counted from the smallest picture; what is chosen for one subscriber concerns no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_ENLARGEMENT = 1.35
"""How much a picture may be stretched before the next layer is sent for its tile: the next one costs
three times as much and shows no more than that to people who sit some metres away."""
ASSUMED_TOP = (1_280, 720)
"""Size of the largest layer until a key frame tells; each one below is taken for half."""
FIRST_RATES_BPS = (150_000.0, 500_000.0, 1_500_000.0)
"""What layers are taken to cost, smallest first, until they have been measured for a second; the last
one is also that of a single stream."""

KEEP_SHARE = 0.75
"""A picture is kept in its smallest layer while there is room for this much of it: an estimate errs by so
much, and a face that vanishes is worse than one that stutters now and then."""

Size = tuple[int, int]
"""Width and height, in pixels."""


def layer_for_tile(sizes: Sequence[Size | None], tile: Size | None) -> int:
    """The smallest layer that fills the tile, whole picture in view; else, and without a tile, the largest."""
    if tile is None:
        return len(sizes) - 1
    for index in range(len(sizes) - 1):
        width, height = sizes[index] or _assumed(index, len(sizes))
        if min(tile[0] / width, tile[1] / height) <= MAX_ENLARGEMENT:
            return index
    return len(sizes) - 1


def _assumed(index: int, count: int) -> Size:
    steps = count - 1 - index
    return max(1, ASSUMED_TOP[0] >> steps), max(1, ASSUMED_TOP[1] >> steps)


def assumed_rate(index: int, count: int) -> float:
    """Bits per second of a layer that was not measured yet."""
    return FIRST_RATES_BPS[-1] if count == 1 else FIRST_RATES_BPS[min(index, len(FIRST_RATES_BPS) - 1)]


@dataclass(frozen=True, slots=True)
class Wish:
    """One picture for one tile."""

    rates_bps: Sequence[float]
    """Of the layers that come, up to the one that the tile needs; smallest first, at least one."""
    area: int
    """Of the tile: the larger one is looked at."""


@dataclass(frozen=True, slots=True)
class Allocation:
    levels: Sequence[int | None]
    """For each wish the index into its rates; None: the line has no room for this picture."""
    cost_bps: float
    next_step_bps: float | None
    """What the cheapest further step would cost; None: every wish is granted."""


def allocate(wishes: Sequence[Wish], room_bps: float) -> Allocation:
    """Every picture in its smallest layer first, the largest tile before the others; then all of them one
    layer up, and again, as long as there is room."""
    order = sorted(range(len(wishes)), key=lambda index: -wishes[index].area)
    levels: list[int | None] = [None] * len(wishes)
    left = room_bps
    for level in range(max((len(wish.rates_bps) for wish in wishes), default=0)):
        for index in order:
            step = _step(wishes[index], levels[index], level)
            if step is not None and step * (KEEP_SHARE if level == 0 else 1.0) <= left:
                levels[index] = level
                left -= step
    further = [
        step
        for wish, level in zip(wishes, levels, strict=True)
        if (step := _step(wish, level, 0 if level is None else level + 1)) is not None
    ]
    cost = sum(wish.rates_bps[level] for wish, level in zip(wishes, levels, strict=True) if level is not None)
    return Allocation(levels, cost, min(further, default=None))


def _step(wish: Wish, have: int | None, level: int) -> float | None:
    """What it costs to go to `level` from the one below it; None when there is no such step."""
    if level >= len(wish.rates_bps) or (-1 if have is None else have) != level - 1:
        return None
    return wish.rates_bps[level] - (0.0 if have is None else wish.rates_bps[have])
