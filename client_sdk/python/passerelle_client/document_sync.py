"""The sync of one document over one connection: bytes in, bytes out, no I/O.

y-protocols (PROTOCOL.md, sync protocol) plus Passerelle's `saved` (100) and `unsaved` (101). A
`DocumentSync` lives as long as the connection; the document outlives it. Call `start` first and
send what it returns; feed everything that arrives to `receive` and send what it returns; give each
local update to `local_update`.
"""

from dataclasses import dataclass, field
from typing import Any

import pycrdt

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
SAVED, UNSAVED = 100, 101
STEP_1, STEP_2, UPDATE = 0, 1, 2

MERGE_AT_ONCE = 200
"""`merge_updates` is quadratic in the number of updates; by hundreds it costs next to nothing."""


class MalformedMessage(ValueError):
    """The server sent what this protocol does not know."""


def write_var_uint(number: int) -> bytes:
    """lib0 varUint: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    out.append(number)
    return bytes(out)


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises: MalformedMessage."""
    number = 0
    for shift in range(0, 56, 7):
        if at >= len(data):
            raise MalformedMessage("truncated number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise MalformedMessage("number too long")


def read_var_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Length-prefixed bytes at `at`, and where they end. Raises: MalformedMessage."""
    length, at = read_var_uint(data, at)
    if at + length > len(data):
        raise MalformedMessage("truncated bytes")
    return data[at : at + length], at + length


def var_bytes(data: bytes) -> bytes:
    return write_var_uint(len(data)) + data


def sync_message(step: int, body: bytes) -> bytes:
    return bytes((SYNC, step)) + var_bytes(body)


def awareness_message(update: bytes) -> bytes:
    return bytes((AWARENESS,)) + var_bytes(update)


def merge(updates: list[bytes]) -> bytes:
    """One update for many, in order, merged in a tree."""
    while len(updates) > 1:
        updates = [
            pycrdt.merge_updates(*updates[at : at + MERGE_AT_ONCE]) if at + 1 < len(updates) else updates[at]
            for at in range(0, len(updates), MERGE_AT_ONCE)
        ]
    return updates[0]


@dataclass(slots=True)
class Received:
    """What a message led to."""

    to_send: list[bytes] = field(default_factory=list)
    updates: list[bytes] = field(default_factory=list)
    """To apply to the document, in order, as of the server."""
    awareness: bytes | None = None
    denied: str | None = None
    """The server refused a write, and why."""
    awareness_wanted: bool = False


class DocumentSync:
    """State of the exchange with the server over one connection."""

    def __init__(self, doc: pycrdt.Doc[Any]) -> None:
        self._doc = doc
        self._early: list[bytes] = []
        self.synced = False
        """Everything that the server had has arrived."""
        self._answered = False
        self.sent_count = 0
        """Update-carrying messages sent over this connection."""
        self.saved_count = 0
        """How many of these the server has stored."""
        self.server_failing = False
        """The server has them but cannot store them now."""

    @property
    def saved(self) -> bool:
        """Everything local is in the server's store."""
        return self.synced and self._answered and self.saved_count >= self.sent_count

    @property
    def unsaved_count(self) -> int:
        return self.sent_count - self.saved_count

    def start(self) -> list[bytes]:
        """What to send when the connection opens."""
        return [sync_message(STEP_1, self._doc.get_state())]

    def local_update(self, update: bytes) -> list[bytes]:
        """What to send for a local change. Before the server's sync step 1 was answered there is
        nothing to send: that answer will contain it."""
        if not self._answered:
            return []
        self.sent_count += 1
        return [sync_message(UPDATE, update)]

    def receive(self, message: bytes) -> Received:
        """Raises: MalformedMessage."""
        kind, at = read_var_uint(message, 0)
        if kind == SYNC:
            return self._receive_sync(message, at)
        if kind == AWARENESS:
            body, _ = read_var_bytes(message, at)
            return Received(awareness=body)
        if kind == AUTH:
            _denied, at = read_var_uint(message, at)
            reason, _ = read_var_bytes(message, at)
            return Received(denied=reason.decode("utf-8", "replace"))
        if kind == QUERY_AWARENESS:
            return Received(awareness_wanted=True)
        if kind in (SAVED, UNSAVED):
            count, _ = read_var_uint(message, at)
            self.server_failing = kind == UNSAVED
            if kind == SAVED:
                self.saved_count = max(self.saved_count, min(count, self.sent_count))
            return Received()
        return Received()  # a newer server's message: not for us

    def _receive_sync(self, message: bytes, at: int) -> Received:
        step, at = read_var_uint(message, at)
        body, _ = read_var_bytes(message, at)
        if step == STEP_1:
            self._answered = True
            self.sent_count += 1
            return Received(to_send=[sync_message(STEP_2, self._doc.get_update(body))])
        if step == STEP_2:
            # Updates that overtook this answer may need it: pycrdt drops what it cannot place yet.
            early, self._early = self._early, []
            self.synced = True
            return Received(updates=[body, *early])
        if step == UPDATE:
            if not self.synced:
                self._early.append(body)
                return Received()
            return Received(updates=[body])
        raise MalformedMessage(f"unknown sync message {step}")
