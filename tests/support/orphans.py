"""No service of a test outlives the tests, however they end: killed, they could not stop anything themselves.

A process beside the tests is told of each service and reads to the end of a pipe whose other end is theirs alone. The
kernel closes that with them (a parent's death signal would not do: who gives up root, as coturn, loses it, and so does
a daemon, as PostgreSQL), and then what is left is killed, with all that it started.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PROC = Path("/proc")
_watch: subprocess.Popen[bytes] | None = None


def ends_with_tests(pid: int) -> None:
    """That process is killed when this one has ended, whatever ended it; nothing happens if it has ended before."""
    global _watch
    if (began := _began(pid)) is None:
        return
    if _watch is None:
        # Not in a group with the tests: what is meant for them must not end it.
        command = [sys.executable, "-I", "-S", __file__]
        _watch = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(_end)
    assert _watch.stdin is not None
    _watch.stdin.write(f"{pid} {began}\n".encode())
    _watch.stdin.flush()


def _end() -> None:
    assert _watch is not None
    _watch.communicate()


def _began(pid: int) -> str | None:
    """When, in ticks since the system began: a number that is given again is another process (proc(5))."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _stat(pid: int) -> list[str]:
    """Its fields behind the command's name; none when it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _tree(pid: int) -> Iterator[int]:
    """The process and all that it started, and those started."""
    yield pid
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid:
            yield from _tree(int(entry.name))


def main() -> None:
    watched = [line.decode("ascii").split() for line in sys.stdin.buffer]
    for pid, began in watched:
        if _began(int(pid)) != began:
            continue
        for each in list(_tree(int(pid))):
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)


if __name__ == "__main__":
    main()
