"""Byte strings of any length, given to another process and taken back, while our other threads run.

A pickle of 20 MB holds the interpreter for 11 ms, and as long again where it is read; a file's `write` and `read` let
go of it meanwhile. The file is in memory only, has no name, and is gone with the last process that has it open.
"""

import os
import struct
import tempfile
from collections.abc import Sequence
from typing import Final

_COUNT: Final = struct.Struct("<Q")


def make_byte_file() -> int:
    """A new, empty one: its descriptor, to be closed. Raises: OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("passerelle")
    with tempfile.TemporaryFile() as file:  # no Linux: where the system keeps such things
        return os.dup(file.fileno())


def write_parts(descriptor: int, parts: Sequence[bytes]) -> None:
    """From the beginning of the file. Blocks. Raises: OSError."""
    sizes = [len(parts), *map(len, parts)]
    _write(descriptor, b"".join(map(_COUNT.pack, sizes)), 0)
    at = _COUNT.size * len(sizes)
    for part in parts:
        _write(descriptor, part, at)
        at += len(part)


def read_parts(descriptor: int) -> list[bytes]:
    """What was written. Blocks. Raises: OSError; EOFError when there is less than was announced."""
    (count,) = _COUNT.unpack(_read(descriptor, _COUNT.size, 0))
    sizes = list(_COUNT.iter_unpack(_read(descriptor, _COUNT.size * count, _COUNT.size)))
    at = _COUNT.size * (1 + count)
    parts = []
    for (size,) in sizes:
        parts.append(_read(descriptor, size, at))
        at += size
    return parts


def _write(descriptor: int, data: bytes, at: int) -> None:
    written = os.pwrite(descriptor, data, at)
    while written < len(data):  # a signal, or 2 GB
        written += os.pwrite(descriptor, memoryview(data)[written:], at + written)


def _read(descriptor: int, size: int, at: int) -> bytes:
    data = os.pread(descriptor, size, at)
    if len(data) < size:
        raise EOFError("a byte file is shorter than it says")
    return data
