"""What a process and all that it started use, read from /proc (proc(5), `/proc/pid/stat` and `/proc/pid/status`)."""

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Ids of the process and its descendants that live now, the root first."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Time on a core, in user and kernel mode, of these and of the children they have waited for."""
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICKS_PER_SECOND


def rss_bytes(pids: list[int]) -> int:
    """Resident memory; what they share counts for each, so only differences mean something."""
    total = 0
    for pid in pids:
        try:
            status = (_PROC / str(pid) / "status").read_text("ascii", "replace")
        except OSError:
            continue  # it has ended
        total += sum(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total


def _stat(pid: int) -> list[str]:
    """The fields behind the command's name, which may itself hold spaces; none when it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []
