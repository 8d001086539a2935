"""Divide an update into what a document can place now and what has to wait.

The engine loses what it cannot place at once (updates that overtake each other), so it is never given
any: what depends on something unknown waits outside, as bytes, and is tried again when more is known.
This is the rare path; the usual update is covered whole (`Scan.is_covered_by`).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooms.documents.encoding import var_uint
from rooms.documents.scan import CONTENT, SKIP, ClockRange, Cursor, Scan, scan_deletes, scan_struct
from rooms.documents.slices import encode_deletes


@dataclass(frozen=True, slots=True)
class _Struct:
    start: int
    """First clock."""
    at: int
    """Offset of its first byte."""
    needs: Mapping[int, int]
    is_hole: bool


@dataclass(slots=True)
class _Block:
    """The structs of one client; those before `placed` have found their place."""

    client: int
    structs: Sequence[_Struct]
    end_clock: int
    end_at: int
    placed: int = 0

    def clock(self, index: int) -> int:
        return self.structs[index].start if index < len(self.structs) else self.end_clock

    def offset(self, index: int) -> int:
        return self.structs[index].at if index < len(self.structs) else self.end_at


def split_update(update: bytes, clocks: Mapping[int, int]) -> tuple[bytes | None, bytes | None]:
    """The part that a document with these clocks can place, and the rest; None where there is nothing.

    `update` has passed `scan_update`. Every struct and deletion ends up in exactly one of the two."""
    cursor = Cursor(update)
    blocks = [_read_block(cursor) for _ in range(cursor.number())]
    deletes = Scan()
    scan_deletes(cursor, deletes)
    reach = _place(blocks, clocks)
    ready, late = _divide_deletes(deletes.deletes, {**clocks, **reach})
    return (
        _encode(update, [(block, 0, block.placed) for block in blocks], ready),
        _encode(update, [(block, block.placed, len(block.structs)) for block in blocks], late),
    )


def _read_block(cursor: Cursor) -> _Block:
    count, client, clock = cursor.number(), cursor.number(), cursor.number()
    structs = []
    for _ in range(count):
        at, start, needs = cursor.at, clock, Scan()
        info = cursor.data[at]
        cursor.at += 1
        is_hole = info & CONTENT == SKIP
        clock += cursor.number() if is_hole else scan_struct(cursor, needs, info, client, clock)
        structs.append(_Struct(start, at, needs.needs, is_hole))
    return _Block(client, structs, clock, cursor.at)


def _place(blocks: Sequence[_Block], clocks: Mapping[int, int]) -> dict[int, int]:
    """Advance `placed` of each block as far as it goes; the clocks reached, by client id."""
    reach = {block.client: clocks.get(block.client, 0) for block in blocks}
    of_client = {block.client: block for block in blocks}
    blocked_by: dict[int, list[_Block]] = {}
    todo = deque(blocks)
    while todo:
        block = todo.popleft()
        before = reach[block.client]
        while block.placed < len(block.structs):
            struct, end = block.structs[block.placed], block.clock(block.placed + 1)
            known = reach[block.client]
            if end > known:
                if struct.start > known or struct.is_hole:
                    break
                missing = _missing(struct, clocks, reach)
                if missing is not None:
                    if missing in of_client:
                        blocked_by.setdefault(missing, []).append(block)
                    break
                reach[block.client] = end
            block.placed += 1
        if reach[block.client] > before:
            todo.extend(blocked_by.pop(block.client, ()))
    return reach


def _missing(struct: _Struct, clocks: Mapping[int, int], reach: Mapping[int, int]) -> int | None:
    """A client id of which too little is known, or None."""
    for client, clock in struct.needs.items():
        if clock > reach.get(client, clocks.get(client, 0)):
            return client
    return None


def _divide_deletes(
    deletes: Sequence[ClockRange], clocks: Mapping[int, int]
) -> tuple[list[ClockRange], list[ClockRange]]:
    ready, late = [], []
    for client, start, end in deletes:
        known = clocks.get(client, 0)
        if start < min(end, known) or (start == end and end <= known):
            ready.append((client, start, min(end, known)))
        if end > known:
            late.append((client, max(start, known), end))
    return ready, late


def _encode(update: bytes, parts: Sequence[tuple[_Block, int, int]], deletes: Sequence[ClockRange]) -> bytes | None:
    """An update of the structs from..to of each block, copied as they stand, and these deletions."""
    parts = [(block, start, stop) for block, start, stop in parts if start < stop]
    if not parts and not deletes:
        return None
    out = bytearray(var_uint(len(parts)))
    for block, start, stop in parts:
        out += var_uint(stop - start) + var_uint(block.client) + var_uint(block.clock(start))
        out += update[block.offset(start) : block.offset(stop)]
    return bytes(out + encode_deletes(deletes))
