"""Cuts one Yjs update (encoding v1) into several, each small enough for a message.

A long stretch offline, or a document given back to a server that lost it, is more than a school's
proxy lets pass in one piece. The pieces are to be applied in order, and none needs a later one: a
struct goes out once its left and right neighbour and its parent have. The structs are copied as they
stand; only the heads of their runs are written anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from passerelle_client.lib0 import MalformedMessage, Reader, write_var_uint

Id = tuple[int, int]
"""Client and clock."""

_HEAD_BYTES = 32
"""What a struct may add to a piece besides itself: the head of its run."""
_RANGE_BYTES = 10
"""A deleted range, at most: two varUints of 32 bits."""
_GC, _SKIP = 0, 10


class UpdateTooLong(ValueError):
    """One edit alone (a huge paste) is more than a message can hold."""


@dataclass(slots=True)
class _Struct:
    clock: int
    length: int
    begin: int
    end: int
    """In bytes of the update."""
    needs: tuple[Id, ...]


@dataclass(slots=True)
class _Run:
    """The structs of one client, in the order of their clocks."""

    client: int
    structs: list[_Struct]
    placed: int = 0
    reached: int = 0
    """The clock up to which everything is placed."""


@dataclass(slots=True)
class _Piece:
    size: int = 0
    structs: dict[int, list[_Struct]] = field(default_factory=dict)


def split_update(update: bytes, most_bytes: int) -> list[bytes]:
    """The pieces, in the order in which they must be applied; the update itself when it is small.

    Raises: UpdateTooLong; MalformedMessage when this is no update."""
    if len(update) <= most_bytes:
        return [update]
    reader = Reader(update)
    runs = [_read_run(reader) for _ in range(reader.number())]
    deletions = _read_deletions(reader)
    if reader.at != len(update):
        raise MalformedMessage("bytes after the end")
    pieces: list[_Piece] = [_Piece()]
    for client, struct in _in_order_of_need(runs):
        size = struct.end - struct.begin + _HEAD_BYTES
        if size > most_bytes:
            raise UpdateTooLong(f"one edit of {size} bytes")
        if pieces[-1].size + size > most_bytes:
            pieces.append(_Piece())
        pieces[-1].size += size
        pieces[-1].structs.setdefault(client, []).append(struct)
    written = [_encode(update, piece) for piece in pieces if piece.structs]
    return written + _deletion_pieces(deletions, most_bytes)


# --- reading ------------------------------------------------------------------------------------


def _read_run(reader: Reader) -> _Run:
    count, client, clock = reader.number(), reader.number(), reader.number()
    structs: list[_Struct] = []
    for _ in range(count):
        begin = reader.at
        length, needs = _read_struct(reader)
        structs.append(_Struct(clock, length, begin, reader.at, needs))
        clock += length
    return _Run(client, structs, reached=structs[0].clock if structs else 0)


def _read_struct(reader: Reader) -> tuple[int, tuple[Id, ...]]:
    """Its length in clocks, and what it refers to (Yjs, Item.write and GC.write)."""
    info = reader.byte()
    kind = info & 0x1F
    if kind in (_GC, _SKIP):
        return reader.number(), ()
    needs: list[Id] = []
    for flag in (0x80, 0x40):  # left and right neighbour
        if info & flag:
            needs.append((reader.number(), reader.number()))
    if not needs:
        if reader.number() == 1:
            reader.bytes_()  # the name of a root type
        else:
            needs.append((reader.number(), reader.number()))
        if info & 0x20:
            reader.bytes_()  # the key in a map
    return _read_content(reader, kind), tuple(needs)


def _read_content(reader: Reader, kind: int) -> int:
    match kind:
        case 1:  # deleted
            return reader.number()
        case 2:  # JSON
            return _read_many(reader, reader.bytes_)
        case 3 | 5:  # binary, embed
            reader.bytes_()
        case 4:  # a string counts UTF-16 units
            return len(reader.bytes_().decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass")) // 2
        case 6:  # format
            reader.bytes_()
            reader.bytes_()
        case 7:  # type; XmlElement and XmlHook have a name
            if reader.number() in (3, 5):
                reader.bytes_()
        case 8:
            return _read_many(reader, lambda: _skip_any(reader))
        case 9:  # subdocument
            reader.bytes_()
            _skip_any(reader)
        case _:
            raise MalformedMessage(f"unknown content {kind}")
    return 1


def _read_many(reader: Reader, read: Callable[[], object]) -> int:
    count = reader.number()
    for _ in range(count):
        read()  # ends at the end of the data, whatever the count says
    return count


def _skip_any(reader: Reader) -> None:
    """One value of lib0's `any`."""
    kind = reader.byte()
    match kind:
        case 127 | 126 | 121 | 120:  # undefined, null, false, true
            return
        case 125:  # varInt
            while reader.byte() & 0x80:
                pass
        case 124:  # float32
            reader.skip(4)
        case 123 | 122:  # float64, bigint
            reader.skip(8)
        case 119 | 116:  # string, bytes
            reader.bytes_()
        case 118:  # object
            for _ in range(reader.number()):
                reader.bytes_()
                _skip_any(reader)
        case 117:  # array
            for _ in range(reader.number()):
                _skip_any(reader)
        case _:
            raise MalformedMessage("unknown value")


def _read_deletions(reader: Reader) -> list[tuple[int, list[tuple[int, int]]]]:
    """(client, [(clock, length)])"""
    return [
        (reader.number(), [(reader.number(), reader.number()) for _ in range(reader.number())])
        for _ in range(reader.number())
    ]


# --- ordering and writing -------------------------------------------------------------------------


def _in_order_of_need(runs: list[_Run]) -> list[tuple[int, _Struct]]:
    """By client each run ascends; between clients, whatever a struct needs comes first."""
    by_client = {run.client: run for run in runs}
    ordered: list[tuple[int, _Struct]] = []

    def is_there(need: Id) -> bool:
        run = by_client.get(need[0])
        # Before the run: the receiver has it, or the update would not begin there.
        return run is None or need[1] < run.reached or run.placed >= len(run.structs)

    total = sum(len(run.structs) for run in runs)
    while len(ordered) < total:
        before = len(ordered)
        for run in runs:
            while run.placed < len(run.structs) and all(map(is_there, run.structs[run.placed].needs)):
                ordered.append((run.client, _place(run)))
        if len(ordered) == before:
            # What needs something that is nowhere in the update keeps its place.
            for run in runs:
                while run.placed < len(run.structs):
                    ordered.append((run.client, _place(run)))
    return ordered


def _place(run: _Run) -> _Struct:
    struct = run.structs[run.placed]
    run.placed += 1
    run.reached = struct.clock + struct.length
    return struct


def _encode(update: bytes, piece: _Piece) -> bytes:
    out = bytearray(write_var_uint(len(piece.structs)))
    for client, structs in piece.structs.items():
        out += write_var_uint(len(structs)) + write_var_uint(client) + write_var_uint(structs[0].clock)
        for struct in structs:
            out += update[struct.begin : struct.end]
    return bytes(out + b"\x00")  # no deletions


def _deletion_pieces(deletions: list[tuple[int, list[tuple[int, int]]]], most_bytes: int) -> list[bytes]:
    most = max(1, most_bytes // _RANGE_BYTES - 4)
    flat = [(client, clock, length) for client, ranges in deletions for clock, length in ranges]
    return [_encode_deletions(flat[at : at + most]) for at in range(0, len(flat), most)]


def _encode_deletions(ranges: list[tuple[int, int, int]]) -> bytes:
    by_client: dict[int, list[tuple[int, int]]] = {}
    for client, clock, length in ranges:
        by_client.setdefault(client, []).append((clock, length))
    out = bytearray(b"\x00" + write_var_uint(len(by_client)))
    for client, of_client in by_client.items():
        out += write_var_uint(client) + write_var_uint(len(of_client))
        for clock, length in of_client:
            out += write_var_uint(clock) + write_var_uint(length)
    return bytes(out)
