"""Whether a process that owes an answer has come to a stop: it neither computes nor waits for its turn to.

A busy machine makes a process slow; it is then ready to run, or its time goes on. One that was stopped, or that
waits for what will never come, is neither. Read from Linux' /proc (proc(5), `/proc/pid/stat`); elsewhere nothing is
known.
"""

from pathlib import Path

LOOK_EVERY_S = 0.5
STOPPED_LOOKS = 4
"""Looks without a sign of activity, one after the other: 2 s."""
_WAITING = frozenset("STt")
"""Asleep though there is something to read, stopped, traced. Not R (runs, or waits for its turn) nor D (the disk)."""


class ActivityWatch:
    """Of one process, while it owes an answer. Pure but for `read_activity`, whose result it is told."""

    def __init__(self) -> None:
        self._cpu_ticks = -1
        self._still = 0

    def has_stopped(self, activity: tuple[str, int] | None) -> bool:
        """To be told every `LOOK_EVERY_S`: state and processor time; None is not known."""
        if activity is None:
            return False
        state, cpu_ticks = activity
        is_still = state in _WAITING and cpu_ticks == self._cpu_ticks
        self._cpu_ticks = cpu_ticks
        self._still = self._still + 1 if is_still else 0
        return self._still >= STOPPED_LOOKS


def read_activity(pid: int) -> tuple[str, int] | None:
    """State (a letter) and processor time in ticks; None where there is no such file."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # its name may hold anything
    return fields[0], int(fields[11]) + int(fields[12])
