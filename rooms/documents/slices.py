"""A large stored state in slices, each of which the engine takes in a few milliseconds: it never lets go of the
interpreter meanwhile, and takes a tenth of a second for 20 MB.

Only what waits for nothing can be sliced (a whole state, or what follows on what is known): each slice then rests on
those before it. The plan (where to
cut) reads every struct, and is made in steps too: a thread that computes holds the loop for 5 ms at *each* of its
callbacks, 50 ms a turn. The slices are copied out as they are needed.
"""

from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rooms.documents.encoding import var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.limits import KIB
from rooms.documents.scan import CONTENT, SKIP, ClockRange, Cursor, Scan, deletes_in_steps, scan_struct

SLICE_BYTES: Final = 256 * KIB
"""Some 2 ms of the engine's time for text as people write it; a struct is not cut, and 1 MB of text in one takes 4."""
SLICE_STRUCTS: Final = 3_000
"""At most so many structs; small ones cost more than their bytes."""
SLICE_DELETIONS: Final = 3_000
STEP_STRUCTS: Final = 1_000
"""Read for the plan in one step: 1 to 2 ms."""
STEP_BYTES: Final = 512 * KIB


@dataclass(frozen=True, slots=True)
class SliceSize:
    """At most so much, but for a struct, which is not cut."""

    most_bytes: int
    most_structs: int


STATE_SLICE: Final = SliceSize(SLICE_BYTES, SLICE_STRUCTS)
UPDATE_SLICE: Final = SliceSize(128 * KIB, 1_000)
"""Of what is written in again as soon as it is taken, stored and sent on."""


def is_sliced(update: bytes, scan: Scan) -> bool:
    """Whether an update is so long that the engine takes milliseconds for it."""
    return (
        len(update) > 2 * UPDATE_SLICE.most_bytes
        or scan.structs > 2 * UPDATE_SLICE.most_structs
        or len(scan.deletes) > SLICE_DELETIONS
    )


Piece = tuple[int, int, int]
"""Place of the block, first struct, struct after the last."""


@dataclass(slots=True)
class _Block:
    """The structs of one client."""

    client: int
    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    """First clock of each."""
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    """Of each, and of the end."""
    needs: deque[tuple[int, int, int]] = field(default_factory=deque)
    """What a struct (by index) needs of another client, up to which clock; in order."""
    end_clock: int = 0
    placed: int = 0

    def clock(self, index: int) -> int:
        return self.starts[index] if index < len(self.starts) else self.end_clock


@dataclass(frozen=True, slots=True)
class SlicePlan:
    blocks: Sequence[_Block]
    slices: Sequence[Sequence[Piece]]
    deletes: Sequence[ClockRange]
    rest: Sequence[Piece] = ()
    """What waits for something that is not known; nothing of a whole state does."""
    late_deletes: Sequence[ClockRange] = ()
    """Likewise."""

    def updates(self, state: bytes, deletions: int = SLICE_DELETIONS) -> Iterator[bytes]:
        """The slices (of so many deletions at most), in the order in which they are to be applied; deletions behind all
        text, and last, in one piece, what waits."""
        for pieces in self.slices:
            yield self._encode(state, pieces) + b"\x00"
        for start in range(0, len(self.deletes), deletions):
            yield b"\x00" + encode_deletes(self.deletes[start : start + deletions])
        if self.rest or self.late_deletes:
            yield self._encode(state, self.rest) + encode_deletes(self.late_deletes)

    def clocks(self) -> dict[int, int]:
        """What is known of each client when all of a whole state is applied."""
        return {block.client: block.end_clock for block in self.blocks}

    def _encode(self, state: bytes, pieces: Sequence[Piece]) -> bytes:
        out = bytearray(var_uint(len(pieces)))
        for place, start, stop in pieces:
            block = self.blocks[place]
            out += var_uint(stop - start) + var_uint(block.client) + var_uint(block.starts[start])
            out += state[block.offsets[start] : block.offsets[stop]]
        return bytes(out)


def plan_slices(state: bytes, size: SliceSize | None = None) -> Generator[None, None, tuple[SlicePlan | None, Scan]]:
    """The plan (None: it is no whole state after all, and to be taken in one piece), and the pairs and nested types
    of a scan. About 2.5 µs a struct; yields after each millisecond or two. Raises: MalformedMessage."""
    blocks, scan = yield from _read_blocks(state)
    slicing = _Slicing(blocks, {}, size or STATE_SLICE)
    yield from slicing.run()
    plan = None if slicing.rest() or not slicing.is_whole else SlicePlan(blocks, slicing.slices, scan.deletes)
    return plan, scan


def plan_update_slices(
    update: bytes, clocks: Mapping[int, int], size: SliceSize = UPDATE_SLICE
) -> Generator[None, None, SlicePlan]:
    """How a long update, which has passed `scan_update`, is taken where these clocks are known. As `plan_slices`."""
    blocks, scan = yield from _read_blocks(update)
    slicing = _Slicing(blocks, clocks, size)
    yield from slicing.run()
    ready, late = yield from _divide_deletes(scan.deletes, slicing.reach)
    return SlicePlan(blocks, slicing.slices, ready, slicing.rest(), late)


def slices_in_steps(update: bytes, clocks: Mapping[int, int]) -> Iterator[bytes | None]:
    """The slices of a long update that has been scanned; None where a moment has passed."""
    planning = plan_update_slices(update, clocks)
    while True:
        try:
            next(planning)
        except StopIteration as done:
            plan: SlicePlan = done.value
            break
        yield None
    yield from plan.updates(update)


def _read_blocks(state: bytes) -> Generator[None, None, tuple[list[_Block], Scan]]:
    """Raises: MalformedMessage."""
    cursor, scan = Cursor(state), Scan()
    blocks: list[_Block] = []
    steps = 0
    try:
        for _ in range(cursor.number()):
            blocks.append(_Block(0))
            yield from _read_block(cursor, scan, blocks[-1])
            steps += 1 + len(blocks[-1].starts)
            if steps >= STEP_STRUCTS:
                steps = 0
                yield
        yield from deletes_in_steps(cursor, scan)
    except IndexError as error:
        raise MalformedMessage("truncated update") from error
    if cursor.at != len(state):
        raise MalformedMessage("bytes after the end")
    return blocks, scan


def _divide_deletes(
    deletes: Sequence[ClockRange], reach: Callable[[int], int]
) -> Generator[None, None, tuple[list[ClockRange], list[ClockRange]]]:
    ready, late = list[ClockRange](), list[ClockRange]()
    for index, deleted in enumerate(deletes):
        (ready if deleted[2] <= reach(deleted[0]) else late).append(deleted)
        if index % STEP_STRUCTS == STEP_STRUCTS - 1:
            yield
    return ready, late


def _read_block(cursor: Cursor, scan: Scan, block: _Block) -> Iterator[None]:
    count, block.client, clock = cursor.number(), cursor.number(), cursor.number()
    needs, cuts = scan.needs, scan.cuts
    yield_at = cursor.at + STEP_BYTES
    for index in range(count):
        if index % STEP_STRUCTS == STEP_STRUCTS - 1 or cursor.at > yield_at:
            yield_at = cursor.at + STEP_BYTES
            yield
        block.starts.append(clock)
        block.offsets.append(cursor.at)
        info = cursor.data[cursor.at]
        cursor.at += 1
        if info & CONTENT == SKIP:
            needs[-1] = 1  # nobody's, so that it is never placed: a whole state has no holes
            clock += cursor.number()
        else:
            clock += scan_struct(cursor, scan, info, block.client, clock)
        for other, upto in needs.items():
            block.needs.append((index, other, upto))
        needs.clear()
        cuts.clear()
    block.offsets.append(cursor.at)
    block.end_clock = clock


class _Slicing:
    """Fills slices with what needs only what is placed before it."""

    def __init__(self, blocks: Sequence[_Block], clocks: Mapping[int, int], size: SliceSize) -> None:
        self._blocks = blocks
        self._clocks = clocks
        self._size = size
        self._of_client = {block.client: place for place, block in enumerate(blocks)}
        self._blocked_by: dict[int, list[int]] = {}
        self.slices: list[list[Piece]] = []
        self._slice: dict[int, tuple[int, int]] = {}
        """By place: first struct, struct after the last."""
        self._bytes = self._structs = self._steps = 0

    @property
    def is_whole(self) -> bool:
        """Nothing comes before it, and no client twice."""
        return len(self._of_client) == len(self._blocks) and not any(block.clock(0) for block in self._blocks)

    def run(self) -> Iterator[None]:
        """Fills `slices`."""
        todo = deque(range(len(self._blocks)))
        while todo:
            place = todo.popleft()
            before = self._blocks[place].placed
            yield from self._advance(place)
            if self._blocks[place].placed > before:
                todo.extend(self._blocked_by.pop(self._blocks[place].client, ()))
        self._end_slice()

    def rest(self) -> list[Piece]:
        """What was not placed."""
        unplaced = [(place, block.placed, len(block.starts)) for place, block in enumerate(self._blocks)]
        return [piece for piece in unplaced if piece[1] < piece[2]]

    def _advance(self, place: int) -> Iterator[None]:
        block = self._blocks[place]
        if block.clock(0) > self._clocks.get(block.client, 0):
            return  # what comes before it is not known
        while block.placed < len(block.starts):
            while block.needs and block.needs[0][0] == block.placed:
                _index, other, upto = block.needs[0]
                if upto > self.reach(other):
                    self._blocked_by.setdefault(other, []).append(place)
                    return
                block.needs.popleft()
            self._take(place, block)
            self._steps += 1
            if self._steps % STEP_STRUCTS == 0:
                yield

    def reach(self, client: int) -> int:
        """Up to which clock the client is known when what was placed until now is applied."""
        place, known = self._of_client.get(client), self._clocks.get(client, 0)
        if place is None or not self._blocks[place].placed:
            return known
        return max(known, self._blocks[place].clock(self._blocks[place].placed))

    def _take(self, place: int, block: _Block) -> None:
        at = block.placed
        start, _stop = self._slice.get(place, (at, at))
        block.placed = at + 1
        self._slice[place] = (start, at + 1)
        self._structs += 1
        self._bytes += block.offsets[at + 1] - block.offsets[at]
        if self._bytes >= self._size.most_bytes or self._structs >= self._size.most_structs:
            self._end_slice()

    def _end_slice(self) -> None:
        if self._slice:
            # The engine writes the highest client id first, and so do we.
            places = sorted(self._slice, key=lambda place: self._blocks[place].client, reverse=True)
            self.slices.append([(place, *self._slice[place]) for place in places])
        self._slice, self._bytes, self._structs = {}, 0, 0


def encode_deletes(deletes: Sequence[ClockRange]) -> bytes:
    """The delete set of an update."""
    by_client: dict[int, list[ClockRange]] = {}
    for deleted in deletes:
        by_client.setdefault(deleted[0], []).append(deleted)
    out = bytearray(var_uint(len(by_client)))
    for client, ranges in by_client.items():
        out += var_uint(client) + var_uint(len(ranges))
        for _client, first, end in ranges:
            out += var_uint(first) + var_uint(end - first)
    return bytes(out)
