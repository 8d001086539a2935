"""A large stored state in slices, each of which the engine takes in a few milliseconds: it never lets go of the
interpreter meanwhile, and takes a tenth of a second for 20 MB.

Only a whole state can be sliced, which waits for nothing: each slice then rests on those before it. The plan (where to
cut) reads every struct, and is made in steps too: a thread that computes holds the loop for 5 ms at *each* of its
callbacks, 50 ms a turn. The slices are copied out as they are needed.
"""

from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rooms.documents.encoding import var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.limits import KIB
from rooms.documents.scan import CONTENT, SKIP, ClockRange, Cursor, Scan, scan_deletes, scan_struct

SLICE_BYTES: Final = 256 * KIB
"""Some 2 ms of the engine's time for text as people write it; a struct is not cut, and 1 MB of text in one takes 4."""
SLICE_STRUCTS: Final = 3_000
"""At most so many structs; small ones cost more than their bytes."""
SLICE_DELETIONS: Final = 3_000
STEP_STRUCTS: Final = 1_000
"""Read for the plan in one step: 1 to 2 ms."""
STEP_BYTES: Final = 512 * KIB

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

    def updates(self, state: bytes) -> Iterator[bytes]:
        """The slices, in the order in which they are to be applied; deletions last."""
        for pieces in self.slices:
            yield self._encode(state, pieces)
        for start in range(0, len(self.deletes), SLICE_DELETIONS):
            yield b"\x00" + encode_deletes(self.deletes[start : start + SLICE_DELETIONS])

    def clocks(self) -> dict[int, int]:
        """What is known of each client when all of it is applied."""
        return {block.client: block.end_clock for block in self.blocks}

    def _encode(self, state: bytes, pieces: Sequence[Piece]) -> bytes:
        out = bytearray(var_uint(len(pieces)))
        for place, start, stop in pieces:
            block = self.blocks[place]
            out += var_uint(stop - start) + var_uint(block.client) + var_uint(block.starts[start])
            out += state[block.offsets[start] : block.offsets[stop]]
        return bytes(out + b"\x00")


def plan_slices(state: bytes) -> Generator[None, None, tuple[SlicePlan | None, Scan]]:
    """The plan (None: it is no whole state after all, and to be taken in one piece), and the pairs and nested types
    of a scan. About 2.5 µs a struct; yields after each millisecond or two. Raises: MalformedMessage."""
    cursor, scan = Cursor(state), Scan()
    blocks: list[_Block] = []
    try:
        for _ in range(cursor.number()):
            blocks.append(_Block(0))
            yield from _read_block(cursor, scan, blocks[-1])
        scan_deletes(cursor, scan)
    except IndexError as error:
        raise MalformedMessage("truncated update") from error
    if cursor.at != len(state):
        raise MalformedMessage("bytes after the end")
    slices = yield from _Slicing(blocks).slices()
    return (None if slices is None else SlicePlan(blocks, slices, scan.deletes)), scan


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
    yield


class _Slicing:
    """Fills slices with what needs only what is placed before it."""

    def __init__(self, blocks: Sequence[_Block]) -> None:
        self._blocks = blocks
        self._of_client = {block.client: place for place, block in enumerate(blocks)}
        self._blocked_by: dict[int, list[int]] = {}
        self._slices: list[list[Piece]] = []
        self._slice: dict[int, tuple[int, int]] = {}
        """By place: first struct, struct after the last."""
        self._bytes = self._structs = self._steps = 0

    def slices(self) -> Generator[None, None, Sequence[Sequence[Piece]] | None]:
        if len(self._of_client) < len(self._blocks) or any(block.clock(0) for block in self._blocks):
            return None
        todo = deque(range(len(self._blocks)))
        while todo:
            place = todo.popleft()
            before = self._blocks[place].placed
            yield from self._advance(place)
            if self._blocks[place].placed > before:
                todo.extend(self._blocked_by.pop(self._blocks[place].client, ()))
        self._end_slice()
        return self._slices if all(block.placed == len(block.starts) for block in self._blocks) else None

    def _advance(self, place: int) -> Iterator[None]:
        block = self._blocks[place]
        while block.placed < len(block.starts):
            while block.needs and block.needs[0][0] == block.placed:
                _index, other, upto = block.needs[0]
                if upto > self._reach(other):
                    self._blocked_by.setdefault(other, []).append(place)
                    return
                block.needs.popleft()
            self._take(place, block)
            self._steps += 1
            if self._steps % STEP_STRUCTS == 0:
                yield

    def _reach(self, client: int) -> int:
        place = self._of_client.get(client)
        return self._blocks[place].clock(self._blocks[place].placed) if place is not None else 0

    def _take(self, place: int, block: _Block) -> None:
        at = block.placed
        start, _stop = self._slice.get(place, (at, at))
        block.placed = at + 1
        self._slice[place] = (start, at + 1)
        self._structs += 1
        self._bytes += block.offsets[at + 1] - block.offsets[at]
        if self._bytes >= SLICE_BYTES or self._structs >= SLICE_STRUCTS:
            self._end_slice()

    def _end_slice(self) -> None:
        if self._slice:
            # The engine writes the highest client id first, and so do we.
            places = sorted(self._slice, key=lambda place: self._blocks[place].client, reverse=True)
            self._slices.append([(place, *self._slice[place]) for place in places])
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
