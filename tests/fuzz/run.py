"""`python -m tests.fuzz.run TARGET COUNTS [libFuzzer's arguments]`: atheris takes over the whole process.

COUNTS is a file of sixteen bytes, written through memory so that it also outlives a process that dies: how many inputs
were tried, and how many were let in.
"""

import mmap
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rooms"]):
    from tests.fuzz.targets import COUNTS, TARGETS, Target


def always_fails(_data: bytes) -> bool:
    """For the test of the harness."""
    raise AssertionError("as it was asked to")


def counted(target: Target, path: Path) -> Target:
    path.write_bytes(bytes(COUNTS.size))
    with path.open("r+b") as file:
        counts = mmap.mmap(file.fileno(), COUNTS.size)
    tried = let_in = 0

    def count(data: bytes) -> bool:
        nonlocal tried, let_in
        tried += 1
        is_let_in = target(data)
        let_in += is_let_in
        COUNTS.pack_into(counts, 0, tried, let_in)
        return is_let_in

    return count


def main() -> None:
    name, path, *arguments = sys.argv[1:]
    target = counted({**TARGETS, "always_fails": always_fails}[name], Path(path))

    def one_input(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
