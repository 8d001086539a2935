"""Somebody who types on: character after character behind their own last one.

Nine in ten updates of a lesson say just that, as a struct of one or a few characters whose left neighbour is
the same client's previous clock, and whose right neighbour is the one its predecessor had. Such a message is known
by its first bytes, which can be written down before it comes: no scan is needed to see that it is sound, and what
arrives between two flushes is one struct, as Yjs itself would merge it (`Item.mergeWith`). Whatever
differs by one byte takes the long way.
"""

from dataclasses import dataclass
from typing import Final

from rooms.documents.encoding import var_uint
from rooms.documents.scan import CONTENT, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, Cursor, Scan

TEXT: Final = 4
LONGEST_MESSAGE: Final = 0x7F
"""Bytes: up to here the count of the update's bytes, and that of the text's, take one byte each."""
_ONE_STRUCT: Final = b"\x01\x01"
_NO_DELETIONS: Final = b"\x00"
_SYNC_UPDATE: Final = b"\x00\x02"


class TypingRun:
    """Where one client's typing stands, and how its next message must begin."""

    __slots__ = ("_client_bytes", "_prefix", "_right", "client", "end")

    def __init__(self, client: int, end: int, right: bytes) -> None:
        self.client = client
        self.end = end
        """The clock after its last character."""
        self._client_bytes = var_uint(client)
        # The id of the right neighbour as it is encoded; empty where there is none.
        self._right = right
        self._prefix = self._next_prefix()

    @classmethod
    def after(cls, update: bytes, scan: Scan) -> "TypingRun | None":
        """The run that this update begins or goes on with; None when it is no plain text. It was scanned."""
        if scan.structs != 1 or len(scan.writes) != 1 or scan.deletes or scan.pairs:
            return None
        client, _start, end = scan.writes[0]
        cursor = Cursor(update, 1)
        for _ in range(3):  # count, client id, clock
            cursor.number()
        info = cursor.data[cursor.at]
        if info & CONTENT != TEXT or info & HAS_PARENT_SUB:
            return None
        cursor.at += 1
        if info & HAS_ORIGIN:
            cursor.number(), cursor.number()
        start = cursor.at
        if info & HAS_RIGHT_ORIGIN:
            cursor.number(), cursor.number()
        return cls(client, end, update[start : cursor.at])

    @property
    def head(self) -> bytes:
        """An update's bytes up to the text that comes next."""
        return self._prefix

    def continue_with(self, message: bytes) -> tuple[bytes, int] | None:
        """The text that this message adds to the run, in UTF-8, and how many clocks it takes; None when it is
        anything else, or must be looked at closely."""
        size = len(message)
        if not message.startswith(_SYNC_UPDATE) or not message.startswith(self._prefix, 3):
            return None
        if size > LONGEST_MESSAGE or message[2] != size - 3:
            return None
        at = 3 + len(self._prefix)
        text = message[at + 1 : -1]
        if not text or at >= size or message[at] != len(text) or message[-1] != 0:
            return None
        if text.isascii():
            return text, len(text)
        return _checked(text)

    def advance(self, clocks: int) -> None:
        self.end += clocks
        self._prefix = self._next_prefix()

    def _next_prefix(self) -> bytes:
        info = TEXT | HAS_ORIGIN | (HAS_RIGHT_ORIGIN if self._right else 0)
        own = self._client_bytes
        origin = var_uint(self.end - 1)
        return b"".join((_ONE_STRUCT, own, var_uint(self.end), bytes((info,)), own, origin, self._right))


@dataclass(slots=True)
class TypedText:
    """What one client has typed on, behind its own last character."""

    client: int
    start: int
    end: int
    head: bytes
    """Of the update that adds it (`TypingRun.head`, before the first of it)."""
    text: bytes
    update: bytes
    """`typed_update(head, text)`"""


def typed_update(head: bytes, text: bytes) -> bytes:
    """The update that adds the text; `head` from the run, before the first of it."""
    return b"".join((head, var_uint(len(text)), text, _NO_DELETIONS))


def _checked(text: bytes) -> tuple[bytes, int] | None:
    """Text beyond ASCII; None for what is no UTF-8, or has characters of two UTF-16 units, which may be cut."""
    if max(text) >= 0xF0:
        return None
    try:
        return text, len(text.decode())
    except UnicodeDecodeError:
        return None
