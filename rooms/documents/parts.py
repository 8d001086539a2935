"""A long message of the server in parts, each a message of its own (102), for clients that put them together.

As one message a document of 20 MB is 27 MB in long polling, which are put together and written in one go: that holds
the loop for a tenth of a second, and a line that does not take them within the 16 s after which a connection counts as
dead never opens it at all. A part is made when the one before was taken, and is as long as the line takes in a moment.

Bytes are cut and not the update: of half a list an editor would find what its schema does not know, and delete it.
"""

from collections.abc import Sequence
from typing import Final

from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.limits import KIB
from rooms.documents.sync import PART

FIRST_PART_BYTES: Final = 128 * KIB
"""In base64 2.8 s of a line of 500 kbit/s."""
LEAST_PART_BYTES: Final = 32 * KIB
LARGEST_PART_BYTES: Final = 512 * KIB
"""Some 2 ms of the loop in long polling; 40 polls for 20 MB."""
QUICKLY_S: Final = 0.4
SLOWLY_S: Final = 1.5
"""Far from the 8 s within which a client is to answer a ping, which waits behind the part."""


class LongMessage:
    """One that goes in parts. What it is made of is not copied: many readers are sent the same bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces`: the message is these one after the other."""
        self._pieces = [memoryview(piece) for piece in pieces]
        self._size_bytes = sum(map(len, pieces))
        self._at = 0

    @property
    def left_bytes(self) -> int:
        """What has not become a part yet."""
        return self._size_bytes - self._at

    def next_part(self, most_bytes: int) -> bytes:
        """The message that carries the next bytes, so many at most. To be called while `left_bytes` are above 0."""
        begin, end = self._at, min(self._at + most_bytes, self._size_bytes)
        self._at = end
        return bytes((PART,)) + var_uint(self._size_bytes) + var_uint(begin) + var_bytes(self._cut(begin, end))

    def _cut(self, begin: int, end: int) -> bytes:
        cut, at = [], 0
        for piece in self._pieces:
            cut.append(piece[max(0, begin - at) : max(0, end - at)])
            at += len(piece)
        return b"".join(cut)


class PartPace:
    """How long the next part of one connection is: what its line takes in about a second. Pure: times are given."""

    def __init__(self) -> None:
        self.part_bytes = FIRST_PART_BYTES

    def note_taken(self, took_s: float) -> None:
        """The last part was on its way for so long."""
        if took_s < QUICKLY_S:
            self.part_bytes = min(self.part_bytes * 2, LARGEST_PART_BYTES)
        elif took_s > SLOWLY_S:
            self.part_bytes = max(self.part_bytes // 2, LEAST_PART_BYTES)
