"""Who has been sent a long text and has not taken it yet: the sum of these is bounded, whoever asks.

One reader's share is bounded by its transport (a document is one message); a thousand who ask for 20 MB at once would
hold 20 GB between them. So past a sum the others wait for their turn, behind those who read; who reads nothing is cut
off by its transport after a while, and its share is free again. A short answer waits for nobody.
"""

from collections.abc import Callable
from typing import Final

from rooms.documents.limits import MIB
from rooms.documents.reader import Reader

LONG_BYTES: Final = MIB
"""From here on an answer counts: what a class opens every day is shorter, and what is counted are few."""


class LongAnswers:
    """One for all documents of a hub."""

    def __init__(self, limit_bytes: int, sent: Callable[[], object] = lambda: None) -> None:
        """`sent` is called with each long answer; in the next turn of the event loop `end_turn` is to be called."""
        self._limit_bytes = limit_bytes
        self._sent = sent
        self.is_turn_taken = False
        """One was sent in this turn: the system takes a millisecond to take up the beginning of each."""
        self._under_way: dict[int, Reader] = {}
        """By identity: two adapters of one connection share what it has buffered."""
        self._is_full = False

    def admit(self, size_bytes: int) -> bool:
        """Whether an answer of about this size may be sent now. The first is admitted however long it is."""
        if size_bytes < LONG_BYTES:
            return True
        if self.is_turn_taken:
            return False
        if self._is_full:  # so said a moment ago, and a thousand ask
            return False
        under_way = self._sum()
        self._is_full = under_way > 0 and under_way + size_bytes > self._limit_bytes
        return not self._is_full

    def note(self, reader: Reader, size_bytes: int) -> None:
        """This was sent."""
        if size_bytes >= LONG_BYTES:
            self._under_way[id(reader)] = reader
            self.is_turn_taken = True
            self._sent()

    def end_turn(self) -> None:
        self.is_turn_taken = False

    def look_again(self) -> None:
        """To be called a few times a second, before those who wait are looked after."""
        self._is_full = False

    def _sum(self) -> int:
        buffered = {key: reader.buffered_bytes() for key, reader in self._under_way.items()}
        # What is left of one that drains, and what a closed transport has dropped, is too little to count.
        self._under_way = {key: self._under_way[key] for key, size in buffered.items() if size >= LONG_BYTES}
        return sum(buffered[key] for key in self._under_way)
