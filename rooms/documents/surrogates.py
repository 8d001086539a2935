"""Where a document's characters outside the basic plane are, so that none is ever cut in two.

Yjs counts text in UTF-16 code units: such a character (an emoji) is two, a surrogate pair. An update may refer
to a place between the halves; Yjs then puts two replacement characters there, the engine keeps the character
and loses count, and what it says of the document afterwards makes Yjs clients fail. Editors do not edit
there (lib0's own diff steps aside), so such an update is refused instead of understood.
"""

from array import array
from bisect import bisect_left, insort

from rooms.documents.scan import Scan


class SurrogatePairs:
    """The clock of each pair's second half, by client id: four bytes a character."""

    def __init__(self) -> None:
        self._second_halves: dict[int, array[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._second_halves)

    def add(self, scan: Scan) -> None:
        """The pairs that an update writes."""
        for client, clock in scan.pairs:
            clocks = self._second_halves.setdefault(client, array("I"))
            if not clocks or clock > clocks[-1]:
                clocks.append(clock)
            elif not _holds(clocks, clock):
                insort(clocks, clock)

    def are_cut_by(self, scan: Scan) -> bool:
        """Whether the update would cut one, of these or of its own."""
        own = set(scan.pairs)
        return any(
            cut in own or self._is_second_half(*cut)
            for client, start, end in scan.deletes
            for cut in ((client, start), (client, end))
        ) or any(cut in own or self._is_second_half(*cut) for cut in scan.cuts)

    def _is_second_half(self, client: int, clock: int) -> bool:
        clocks = self._second_halves.get(client)
        return clocks is not None and _holds(clocks, clock)


def _holds(clocks: "array[int]", clock: int) -> bool:
    at = bisect_left(clocks, clock)
    return at < len(clocks) and clocks[at] == clock
