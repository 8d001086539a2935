"""What a server process and all that it started use: the memory that is theirs, the time on a core; and whether one
runs at all."""

from pathlib import Path

from benchmarks.documents.process_tree import cpu_seconds, tree

KIB = 1024


def memory_bytes(root: int) -> int:
    """Proportional share of resident memory (proc(5), smaps_rollup): what two of them share counts once."""
    return sum(map(_pss_bytes, tree(root)))


def cpu_s(root: int) -> float:
    """Processor time so far, in user and kernel mode."""
    return cpu_seconds(tree(root))


def stands_still(pid: int) -> bool:
    """Whether every thread of the process has been stopped by a signal (proc(5), stat)."""
    try:
        states = [
            each.read_text("ascii", "replace").rpartition(")")[2] for each in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
    except OSError:
        return False  # a thread ended just now
    return all(state.split()[0] == "T" for state in states)


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0  # it has ended
    return sum(KIB * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
