"""The sync of one document over one connection: bytes in, bytes out, no I/O.

y-protocols (PROTOCOL.md, sync protocol) plus Passerelle's `saved` (100), `unsaved` (101) and `part` (102). A
`DocumentSync` lives as long as the connection; the document outlives it. Call `start` first and
send what it returns; feed everything that arrives to `receive` and send what it returns; give each
local update to `local_update`.
"""

from dataclasses import dataclass, field
from typing import Any

import pycrdt

from passerelle_client.lib0 import MalformedMessage, read_var_bytes, read_var_uint, var_bytes
from passerelle_client.message_parts import MessageParts
from passerelle_client.update_split import split_update

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
SAVED, UNSAVED, PART = 100, 101, 102
STEP_1, STEP_2, UPDATE = 0, 1, 2

MOST_UPDATE_BYTES = 700_000
"""Largest update in one message: in base64 (long polling) it still fits a body of 1 MB."""
MERGE_AT_ONCE = 200
"""`merge_updates` is quadratic in the number of updates; by hundreds it costs next to nothing."""


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
    asked: bool = False
    """The server asked for what it lacks, and is being sent all of it."""


class DocumentSync:
    """State of the exchange with the server over one connection."""

    def __init__(self, doc: pycrdt.Doc[Any]) -> None:
        self._doc = doc
        self._early: list[bytes] = []
        self._parts = MessageParts()
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
        nothing to send: that answer will contain it. Raises: UpdateTooLong."""
        return self._update_messages(UPDATE, update) if self._answered else []

    def _update_messages(self, kind: int, update: bytes) -> list[bytes]:
        """The first piece is of the given kind, further ones are updates. Raises: UpdateTooLong."""
        pieces = split_update(update, MOST_UPDATE_BYTES)
        self.sent_count += len(pieces)
        return [sync_message(kind if index == 0 else UPDATE, piece) for index, piece in enumerate(pieces)]

    def receive(self, message: bytes) -> Received:
        """Raises: MalformedMessage; UpdateTooLong when what the server asks for cannot be sent."""
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
        if kind == PART:
            return self._receive_part(message, at)
        return Received()  # a newer server's message: not for us

    def _receive_part(self, message: bytes, at: int) -> Received:
        whole = self._parts.take(message, at)
        if whole is None:
            return Received()
        if whole[:1] == bytes((PART,)):
            raise MalformedMessage("a part of parts")
        return self.receive(whole)

    def _receive_sync(self, message: bytes, at: int) -> Received:
        step, at = read_var_uint(message, at)
        body, _ = read_var_bytes(message, at)
        if step == STEP_1:
            messages = self._update_messages(STEP_2, self._doc.get_update(body))
            self._answered = True
            # What it refused before it will judge again: the answer holds all that we have.
            return Received(to_send=messages, asked=True)
        if step == STEP_2:
            # The answer goes on where they end, or they overtook it and need it: pycrdt drops what it cannot place yet.
            early, self._early = self._early, []
            self.synced = True
            return Received(updates=[merge([*early, body])])
        if step == UPDATE:
            if not self.synced:
                self._early.append(body)
                return Received()
            return Received(updates=[body])
        raise MalformedMessage(f"unknown sync message {step}")
