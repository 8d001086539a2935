"""What an update would do, read from its bytes before the engine sees them.

The engine (pycrdt) dies of deep nesting and panics on inconsistent structs, and tells neither who
wrote nor what is missing. This scan walks the Yjs v1 update format (yjs `encoding.js`, `Item.js`,
`Content*.js`, lib0 `decoding.js`) once, without recursion, and answers: which clocks of which client
ids it writes, what must be there before it, what it deletes. It refuses what Yjs 13.6 never writes:
subdocuments, engine extensions, impossible ids, JSON that a browser would choke on. A claimed count is
never trusted: it reserves nothing, and each thing counted takes at least one byte of the message.
"""

import re
import struct
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final, NoReturn

from rooms.documents.errors import MalformedMessage
from rooms.documents.json_value import check_json
from rooms.documents.limits import MAX_CLIENT_ID, MAX_CLOCK, MAX_VALUE_DEPTH

ClockRange = tuple[int, int, int]
"""client id, first clock, clock after the last"""

GC: Final = 0
SKIP: Final = 10
HAS_ORIGIN: Final = 0x80
HAS_RIGHT_ORIGIN: Final = 0x40
HAS_PARENT_SUB: Final = 0x20
CONTENT: Final = 0x1F

NAMED_TYPES: Final = (3, 5)
"""XML element and XML hook carry a name; array, map, text, fragment and XML text do not."""
LAST_TYPE: Final = 6

STEP_STRUCTS: Final = 1_000
"""Read in one step of many: 1 to 2 ms."""
STEP_RANGES: Final = 2_000
"""Likewise, of deletions."""

_PAIR: Final = re.compile("[\U00010000-\U0010ffff]")
"""A character of two UTF-16 code units."""


class Scan:
    """The reach of one update."""

    __slots__ = ("cuts", "deletes", "needs", "nested_types", "pairs", "structs", "writes")

    def __init__(self) -> None:
        self.cuts: list[tuple[int, int]] = []
        """Client id and clock before which text is cut apart for an item to stand between."""
        self.pairs: list[tuple[int, int]] = []
        """Client id and clock of the second half of each surrogate pair that it writes: text must never
        be cut there."""
        self.writes: list[ClockRange] = []
        """Structs, by client block, in the order of the update; a hole begins a new range."""
        self.needs: dict[int, int] = {}
        """Client id → clock up to which its structs must be known before these can be placed."""
        self.deletes: list[ClockRange] = []
        self.structs = 0
        self.nested_types = 0

    @property
    def is_empty(self) -> bool:
        """It says nothing."""
        return not self.writes and not self.deletes

    def is_covered_by(self, clocks: Mapping[int, int]) -> bool:
        """True when a document that has these clocks can place all of it at once."""
        reach: dict[int, int] = {}
        for client, start, end in self.writes:
            known = reach.get(client)
            if known is None:
                known = clocks.get(client, 0)
            if start > known:
                return False
            reach[client] = end if end > known else known
        for client, clock in self.needs.items():
            if clock > clocks.get(client, 0) and clock > reach.get(client, 0):
                return False
        for client, _start, end in self.deletes:
            if end > clocks.get(client, 0) and end > reach.get(client, 0):
                return False
        return True

    def writes_beyond(self, clocks: Mapping[int, int]) -> list[int]:
        """Client ids under which it would add structs that are not known yet."""
        return [client for client, _start, end in self.writes if end > clocks.get(client, 0)]


class Cursor:
    """A place in an update. `IndexError` marks a read past the end; `scan_update` translates it."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def number(self) -> int:
        """lib0 varUint of at most eight bytes."""
        at = self.at
        byte = self.data[at]
        if byte < 0x80:
            self.at = at + 1
            return byte
        number, shift = byte & 0x7F, 7
        while True:
            at += 1
            byte = self.data[at]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.at = at + 1
                return number
            shift += 7
            if shift > 49:
                raise MalformedMessage("number of more than eight bytes")

    def take(self) -> bytes:
        """Length-prefixed bytes."""
        length = self.number()
        start, end = self.at, self.at + length
        if end > len(self.data):
            raise MalformedMessage("length beyond the end")
        self.at = end
        return self.data[start:end]

    def text(self) -> str:
        try:
            return self.take().decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage("text that is not UTF-8") from error

    def pass_over(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise MalformedMessage("truncated value")
        self.at += count


def scan_update(update: bytes) -> Scan:
    """Read the whole update. About 5 µs for one typed character, 1 µs a struct in large ones.
    Raises: MalformedMessage."""
    cursor, scan = Cursor(update), Scan()
    try:
        seen: set[int] = set()
        for _ in range(cursor.number()):
            count, client, clock = _read_head(cursor, seen)
            _end_client(scan, client, count, *_scan_structs(cursor, scan, client, clock, clock, count))
        scan_deletes(cursor, scan)
    except IndexError as error:
        raise MalformedMessage("truncated update") from error
    if cursor.at != len(update):
        raise MalformedMessage("bytes after the end")
    return scan


def scan_in_steps(update: bytes) -> Generator[None, None, Scan]:
    """As `scan_update`; yields after each millisecond or two."""
    cursor, scan = Cursor(update), Scan()
    try:
        seen: set[int] = set()
        steps = 0
        for _ in range(cursor.number()):
            count, client, clock = _read_head(cursor, seen)
            start = clock
            for done in range(0, count, STEP_STRUCTS):
                at_once = min(STEP_STRUCTS, count - done)
                clock, start = _scan_structs(cursor, scan, client, clock, start, at_once)
                steps += at_once
                if steps >= STEP_STRUCTS:  # counted over all clients: there may be 100,000 of one struct each
                    steps = 0
                    yield
            _end_client(scan, client, count, clock, start)
        yield from deletes_in_steps(cursor, scan)
    except IndexError as error:
        raise MalformedMessage("truncated update") from error
    if cursor.at != len(update):
        raise MalformedMessage("bytes after the end")
    return scan


def _read_head(cursor: Cursor, seen: set[int]) -> tuple[int, int, int]:
    """Of one client's structs: count, client id, clock of the first."""
    count, client, clock = cursor.number(), cursor.number(), cursor.number()
    if client > MAX_CLIENT_ID:
        raise MalformedMessage("impossible client id")
    if count == 0:  # Yjs writes none, and the engine panics
        raise MalformedMessage("a client without structs")
    if client in seen:  # Yjs and the engine disagree on what that would mean
        raise MalformedMessage("a client id twice")
    seen.add(client)
    return count, client, clock


def _scan_structs(cursor: Cursor, scan: Scan, client: int, clock: int, start: int, count: int) -> tuple[int, int]:
    """So many of one client's; the clock after them, and the first after the last hole."""
    for _ in range(count):
        info = cursor.data[cursor.at]
        cursor.at += 1
        if info & CONTENT == SKIP:
            if info != SKIP:
                raise MalformedMessage("unknown struct")
            if clock > start:
                scan.writes.append((client, start, clock))
            clock += _length(cursor)
            start = clock
        else:
            clock += scan_struct(cursor, scan, info, client, clock)
        if clock > MAX_CLOCK:
            raise MalformedMessage("impossible clock")
    return clock, start


def _end_client(scan: Scan, client: int, count: int, clock: int, start: int) -> None:
    if clock > MAX_CLOCK:
        raise MalformedMessage("impossible clock")
    if clock > start:
        scan.writes.append((client, start, clock))
    scan.structs += count


def scan_struct(cursor: Cursor, scan: Scan, info: int, client: int, clock: int) -> int:
    """A GC or an item after its info byte; its length in clocks."""
    content = info & CONTENT
    if content == GC:
        if info != GC:
            raise MalformedMessage("unknown struct")
        return _length(cursor)
    if info & HAS_ORIGIN:
        of, at = _need(cursor, scan, client, clock)
        scan.cuts.append((of, at + 1))
    if info & HAS_RIGHT_ORIGIN:
        scan.cuts.append(_need(cursor, scan, client, clock))
    if not info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN):
        by_name = cursor.number()
        if by_name == 1:
            cursor.text()
        elif by_name == 0:
            _need(cursor, scan, client, clock)
        else:
            raise MalformedMessage("unknown parent")
        if info & HAS_PARENT_SUB:
            cursor.text()
    if content == 4:
        return _scan_text(cursor, scan, client, clock)
    if content == 7:
        scan.nested_types += 1
    read = CONTENTS.get(content)
    if read is None:
        raise MalformedMessage("content of a kind that is not taken")
    return read(cursor)


def _scan_text(cursor: Cursor, scan: Scan, client: int, clock: int) -> int:
    """Text; its length in clocks is in UTF-16 code units, as JavaScript counts."""
    text = cursor.text()
    if not text:
        raise MalformedMessage("an empty struct")
    if text.isascii():
        return len(text)
    length = len(text.encode("utf-16-le")) // 2
    if length > len(text):
        for before, pair in enumerate(_PAIR.finditer(text)):
            scan.pairs.append((client, clock + pair.start() + before + 1))
    return length


def _need(cursor: Cursor, scan: Scan, client: int, clock: int) -> tuple[int, int]:
    """An id that a struct refers to (client id, clock). Within its own client it must come earlier, and then the
    order of clocks says so already."""
    of, at = cursor.number(), cursor.number()
    if of == client:
        if at >= clock:
            raise MalformedMessage("a struct that refers to a later one")
    elif at >= scan.needs.get(of, 0):
        if of > MAX_CLIENT_ID or at >= MAX_CLOCK:
            raise MalformedMessage("impossible id")
        scan.needs[of] = at + 1
    return of, at


def scan_deletes(cursor: Cursor, scan: Scan) -> None:
    """The delete set: clients, for each its id and its ranges (clock, length)."""
    for _ in range(cursor.number()):
        client = _deleting_client(cursor)
        _scan_ranges(cursor, scan, client, cursor.number())


def deletes_in_steps(cursor: Cursor, scan: Scan) -> Iterator[None]:
    """As `scan_deletes`; yields after each millisecond or two."""
    steps = 0
    for _ in range(cursor.number()):
        client, count = _deleting_client(cursor), cursor.number()
        for done in range(0, count, STEP_RANGES):
            at_once = min(STEP_RANGES, count - done)
            _scan_ranges(cursor, scan, client, at_once)
            steps += at_once
            if steps >= STEP_RANGES:
                steps = 0
                yield


def _deleting_client(cursor: Cursor) -> int:
    client = cursor.number()
    if client > MAX_CLIENT_ID:
        raise MalformedMessage("impossible client id")
    return client


def _scan_ranges(cursor: Cursor, scan: Scan, client: int, count: int) -> None:
    append = scan.deletes.append
    for _ in range(count):
        clock = cursor.number()
        end = clock + cursor.number()
        if end > MAX_CLOCK:
            raise MalformedMessage("impossible clock")
        append((client, clock, end))


# --- other contents: each reads its bytes and answers its length in clocks -------------------------


def _length(cursor: Cursor) -> int:
    length = cursor.number()
    if length == 0:
        raise MalformedMessage("an empty struct")
    return length


def _json_list(cursor: Cursor) -> int:
    length = _length(cursor)
    for _ in range(length):
        value = cursor.text()
        if value != "undefined":
            check_json(value, MAX_VALUE_DEPTH)
    return length


def _binary(cursor: Cursor) -> int:
    cursor.take()
    return 1


def _embed(cursor: Cursor) -> int:
    check_json(cursor.text(), MAX_VALUE_DEPTH)
    return 1


def _format(cursor: Cursor) -> int:
    cursor.text()
    check_json(cursor.text(), MAX_VALUE_DEPTH)
    return 1


def _type(cursor: Cursor) -> int:
    kind = cursor.data[cursor.at]  # one byte: the engine reads no longer form of it
    cursor.at += 1
    if kind > LAST_TYPE:
        raise MalformedMessage("unknown shared type")
    if kind in NAMED_TYPES:
        cursor.text()
    return 1


def _any_list(cursor: Cursor) -> int:
    length = _length(cursor)
    for _ in range(length):
        _any(cursor)
    return length


def _subdocument(cursor: Cursor) -> NoReturn:
    """Rooms list their documents themselves; a document inside a document would escape every right."""
    raise MalformedMessage("subdocuments are not taken")


CONTENTS: Final[dict[int, Callable[[Cursor], int]]] = {
    1: _length,  # deleted: only its length is left
    2: _json_list,
    3: _binary,
    5: _embed,
    6: _format,
    7: _type,
    8: _any_list,
    9: _subdocument,
}

_DOUBLE = struct.Struct(">d")
_FLOAT = struct.Struct(">f")


def _any(cursor: Cursor) -> None:
    """One lib0 Any value (lib0 `decoding.js`, readAny). Iterative: `open_values` holds, for each value
    around this place, how many entries it still has, and whether they have keys."""
    open_values: list[tuple[int, bool]] = []
    while True:
        tag = cursor.data[cursor.at]
        cursor.at += 1
        if tag == 118 or tag == 117:
            if len(open_values) >= MAX_VALUE_DEPTH:
                raise MalformedMessage("a value nested too deep")
            open_values.append((cursor.number(), tag == 118))
        else:
            _scalar(cursor, tag)
        while open_values:
            left, keyed = open_values[-1]
            if left:
                open_values[-1] = (left - 1, keyed)
                if keyed:
                    cursor.text()
                break
            open_values.pop()
        else:
            return


def _scalar(cursor: Cursor, tag: int) -> None:
    if tag == 119:
        cursor.text()
    elif tag in (127, 126, 121, 120):  # undefined, null, false, true
        pass
    elif tag == 125:
        _signed(cursor)
    elif tag == 124:
        cursor.pass_over(_FLOAT.size)
    elif tag in (123, 122):  # a double, a 64-bit integer
        cursor.pass_over(_DOUBLE.size)
    elif tag == 116:
        cursor.take()
    else:
        raise MalformedMessage("unknown value")


def _signed(cursor: Cursor) -> None:
    """lib0 varInt: sign and six bits in the first byte, seven in each of the others."""
    for _ in range(8):
        byte = cursor.data[cursor.at]
        cursor.at += 1
        if byte < 0x80:
            return
    raise MalformedMessage("number of more than eight bytes")
