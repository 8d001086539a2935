"""A large whole state, kept as it was written last, and what has changed since.

To write the whole state of a large document anew takes the engine milliseconds, and somebody opens it after every
change. So the newest one stays, with the changes that came after it; whoever opens the document is sent both.
"""

from collections.abc import Sequence
from typing import Final

from rooms.documents.limits import KIB, MIB

LARGE_BYTES: Final = 512 * KIB
"""A whole state of this size takes the engine 5 ms to write; from here on it is kept, and what came since beside it."""
MOST_SINCE_BYTES: Final = 4 * MIB
"""Of what came since: beyond, the whole state is written anew when it is asked for."""
MOST_SINCE: Final = 1_000
"""Likewise, in changes; a log of half as many is compacted, and then there is a newer state."""


class BaseState:
    """`changes` in its methods: how often the document had changed at that time."""

    __slots__ = ("_is_expected", "_since", "_since_from", "since_bytes", "state")

    def __init__(self) -> None:
        self.state: bytes | None = None
        """None: there is none, or it is not large."""
        self._since: list[tuple[int, bytes]] = []
        """Every change since, with its number."""
        self._since_from = 0
        """The number before the first of these."""
        self.since_bytes = 0
        """Of all of these."""
        self._is_expected = False

    @property
    def since(self) -> Sequence[bytes]:
        """What has changed since, oldest first."""
        return [change for _number, change in self._since]

    def expect(self) -> None:
        """`renew` will be called: remember what changes from now on."""
        self._is_expected = True

    def note(self, change: bytes, changes: int) -> None:
        """The document has changed."""
        if self.state is None and not self._is_expected:
            self._since_from = changes
            return
        self._since.append((changes, change))
        self.since_bytes += len(change)
        if self.since_bytes > MOST_SINCE_BYTES or len(self._since) > MOST_SINCE:
            self.begin(b"", changes)

    def begin(self, state: bytes, changes: int, later: Sequence[tuple[int, bytes]] = ()) -> None:
        """That is a whole state of some time ago, and these are all changes that may not be in it."""
        self.state = state if len(state) >= LARGE_BYTES else None
        self._since = list(later) if self.state is not None else []
        self._since_from = self._since[0][0] - 1 if self._since else changes
        self.since_bytes = sum(len(change) for _number, change in self._since)

    def renew(self, state: bytes, had_changed: int, changes: int) -> None:
        """That is a whole state, with all that the document had when it had changed so often, and maybe more."""
        self._is_expected = False
        if had_changed >= self._since_from:
            self.begin(state, changes, [(number, change) for number, change in self._since if number > had_changed])

    def join(self, merged: bytes, changes: int) -> None:
        """One change that stands for all of `since`."""
        self._since = [(changes, merged)]
        self.since_bytes = len(merged)
