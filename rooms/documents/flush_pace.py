"""How long a document gathers before it is shown again.

To send costs what it costs, however little is in it: a flush of a document with n readers is n sends. So a
document rests after a flush for as long as keeps its own sends below a share of the processor, and more
than one flush is worth nothing to the eye: a class of 30 rests three milliseconds, one of 200 twenty. A
document that has rested is flushed at once. Where many documents are busy at the same time the share is
theirs together, and all of them rest longer; a document with few readers hardly rests at all, since waiting would
merge nothing.

Pure: `now` is an argument, in seconds of any one clock.
"""

import math
from typing import Final

SEND_S: Final = 8e-6
"""About what the process pays for one send: the way to it, a system call and the kernel's work on the packet."""
SHARE: Final = 0.08
"""Of one core, for sending: what is left is for reading, merging, storing and everybody's rooms."""
MEMORY_S: Final = 0.25
"""The load is an average over about this long."""


class FlushPace:
    def __init__(self, longest_rest_s: float) -> None:
        self._longest_rest_s = longest_rest_s
        self._sends_per_s = 0.0
        self._at = -math.inf

    def note_sends(self, count: int, now: float) -> None:
        """So many sends were made just now, over all documents."""
        if count:
            self._sends_per_s = self._rate(now) + count / MEMORY_S
            self._at = now

    def rest_s(self, readers: int, now: float) -> float:
        """How long a document with so many readers rests after a flush."""
        load = self._rate(now) * SEND_S / SHARE
        return min(self._longest_rest_s, readers * SEND_S / SHARE * max(1.0, load))

    def _rate(self, now: float) -> float:
        if now == self._at or not self._sends_per_s:
            return self._sends_per_s
        return self._sends_per_s * math.exp((self._at - now) / MEMORY_S)
