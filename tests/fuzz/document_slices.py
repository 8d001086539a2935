"""A long update in slices: whatever it is, they are short, each rests on those before it, and all together are the whole.

The fuzzer's bytes are an update with a head of two bytes: how many structs and deletions a slice may have, and how much of
what the update follows on is known (an eighth a step).
"""

from collections.abc import Generator, Mapping
from typing import TypeVar

from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.limits import HubLimits
from rooms.documents.scan import ClockRange, Scan, scan_in_steps, scan_update
from rooms.documents.slices import SliceSize, plan_slices, plan_update_slices
from rooms.documents.split import split_update
from tests.fuzz.document_life import Reach, reach

SLICE_BYTES = 200
Result = TypeVar("Result")


def sliced(data: bytes) -> bool:
    if len(data) < 2:
        return False
    most, known_eighths, update = 1 + data[0] % 16, data[1] % 9, data[2:]
    try:
        scan = scan_update(update)
    except MalformedMessage:
        _check_refused(update)
        return False
    assert _all(scan_in_steps(update)).writes == scan.writes
    clocks = {client: clock * known_eighths // 8 for client, clock in _before(scan).items()}
    slices = _check_slices(update, scan, clocks, most)
    _check_split(update, scan, clocks)
    _check_whole_state(update, most)
    _check_document(update, scan, slices if not clocks else list(_slices(update, {}, most)))
    return True


def _all(work: Generator[object, None, Result]) -> Result:
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result


def _check_refused(update: bytes) -> None:
    try:
        _all(scan_in_steps(update))
    except MalformedMessage:
        return
    raise AssertionError("what is refused in one go is refused in steps")


def _before(scan: Scan) -> Mapping[int, int]:
    """What must be known for all of it to be placed. Nothing of what it writes: who knows a struct knows what it needs."""
    before = dict(scan.needs)
    for client, _start, end in scan.deletes:
        before[client] = max(end, before.get(client, 0))
    for client, start, _end in reversed(scan.writes):
        before[client] = start
    return before


def _slices(update: bytes, clocks: Mapping[int, int], most: int) -> list[bytes]:
    return list(_all(plan_update_slices(update, clocks, SliceSize(SLICE_BYTES, most))).updates(update, most))


def _check_slices(update: bytes, scan: Scan, clocks: Mapping[int, int], most: int) -> list[bytes]:
    slices = _slices(update, clocks, most)
    reached, writes, deletes, is_late = dict(clocks), list[ClockRange](), list[ClockRange](), False
    for one in slices:
        read = scan_update(one)
        assert not is_late, "what waits comes last"
        is_late = not read.is_covered_by(reached)
        assert is_late or (read.structs <= most and len(read.deletes) <= most)
        for client, _start, end in read.writes:
            reached[client] = max(end, reached.get(client, 0))
        writes += read.writes
        deletes += read.deletes
    assert _units(writes) == _units(scan.writes)
    assert sorted(deletes) == sorted(scan.deletes)
    assert not is_late or not scan.is_covered_by(clocks)
    return slices


def _units(ranges: list[ClockRange]) -> list[ClockRange]:
    """Sorted, and those that touch joined."""
    joined = list[ClockRange]()
    for client, start, end in sorted(ranges):
        if joined and joined[-1][0] == client and joined[-1][2] == start:
            joined[-1] = (client, joined[-1][1], end)
        else:
            joined.append((client, start, end))
    return joined


def _check_split(update: bytes, scan: Scan, clocks: Mapping[int, int]) -> None:
    ready, rest = split_update(update, clocks)
    assert ready is None or scan_update(ready).is_covered_by(clocks)
    parts = [scan_update(part) for part in (ready, rest) if part is not None]
    assert _units([written for part in parts for written in part.writes]) == _units(scan.writes)
    if scan.is_covered_by(clocks):
        assert rest is None


def _check_whole_state(update: bytes, most: int) -> None:
    plan, _scan = _all(plan_slices(update, SliceSize(SLICE_BYTES, most)))
    if plan is None:
        return
    reached: dict[int, int] = {}
    for one in plan.updates(update, most):
        read = scan_update(one)
        assert all(start <= reached.get(client, 0) for client, start, _end in read.writes)
        assert all(
            clock <= reached.get(client, 0) or _is_within(read, client, clock) for client, clock in read.needs.items()
        )
        for client, _start, end in read.writes:
            reached[client] = end
    assert reached == {client: clock for client, clock in plan.clocks().items() if clock}


def _is_within(scan: Scan, client: int, clock: int) -> bool:
    return any(of == client and end >= clock for of, _start, end in scan.writes)


def _check_document(update: bytes, scan: Scan, slices: list[bytes]) -> None:
    at_once = _taken([update])
    in_turn = _taken(slices)
    if at_once is not None and in_turn is not None:
        assert in_turn == at_once


def _taken(updates: list[bytes]) -> tuple[Reach, list[ClockRange]] | None:
    """What a document has then, and what waits in it; None: something is refused."""
    document = YjsDocument(HubLimits().waiting_bytes)
    try:
        for update in updates:
            if document.integrate([(update, scan_update(update))]).refused:
                return None
        waiting = [scan_update(one) for one in document.waiting]
        return reach(document), _units([written for one in waiting for written in (*one.writes, *one.deletes)])
    except DocumentBroken:
        return None
    finally:
        document.close()
