"""Contracts between the document hub and the transports: who reads, and with what rights."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Reader(Protocol):
    """One connection's view of one document, made by a transport adapter.

    An adapter that can send one encoded frame to many of its connections gives its readers an
    attribute `fan_out: FanOut`; without it (or with None) each gets `send`. One that can send a message without
    putting it together (to copy 20 MB takes 15 ms) has a method `send_long(head: bytes, rest: bytes)`: as `send` of
    both as one message.
    """

    @property
    def connection_id(self) -> str: ...

    @property
    def participant_id(self) -> str: ...

    @property
    def wants_acknowledgement(self) -> bool:
        """True for our SDKs: they understand `saved` (100) and `unsaved` (101). A plain
        y-websocket client must be False, or it logs an error for each."""

    def send(self, message: bytes) -> None:
        """One y-protocols message. Never blocks, never raises."""

    def buffered_bytes(self) -> int:
        """How much was sent that the network has not taken yet."""

    def close(self, code: int, reason: str) -> None:
        """Close this reader (`rooms.documents.close_codes`). Never blocks, never raises; the hub
        has forgotten the reader already, so `OpenDocument.close` need not follow (it may)."""


class FanOut(Protocol):
    """Encodes what all readers of one adapter get once, and gives it to each in one piece."""

    def broadcast(
        self,
        readers: Sequence[Reader],
        messages: Sequence[bytes],
        full_bytes: int,
        own: Mapping[int, Sequence[bytes]],
    ) -> Sequence[int]:
        """As `send` of these messages to each (`own`: of others, by place in `readers`, which may be none), except to
        those whose `buffered_bytes` is above `full_bytes`: they get none of them, and their places are the answer.
        Never blocks, never raises; changes nothing that it was given."""


class DocumentAccess(Protocol):
    """What this participant may do with this document, asked anew each time."""

    def can_read(self) -> bool: ...

    def can_write(self) -> bool: ...

    def is_silenced(self) -> bool:
        """Whether nothing that it says may reach anybody now, its cursor neither; and will when that is over."""
