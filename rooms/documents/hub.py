"""Public interface (being filled in): see the docstrings."""

import time
from collections.abc import Callable
from typing import Protocol

from rooms.documents.limits import HubLimits
from rooms.documents.reader import DocumentAccess, Reader
from rooms.ports import Bus, DocumentKey, DocumentStore


class OpenDocument(Protocol):
    """One reader's way into an open document."""

    def start(self) -> None:
        """Send the server's sync step 1 and the awareness of the others. To be called once the
        transport has answered the opening; the first `receive` does it otherwise."""

    def receive(self, message: bytes) -> None:
        """One y-protocols message of the client. Never blocks.
        Raises: ProtocolViolation: close the transport with its `code` and `reason` (the hub has
        forgotten the reader already)."""

    def close(self) -> None:
        """The connection is gone. Its awareness ends for the others. Idempotent."""


class DocumentHub:
    def __init__(
        self,
        store: DocumentStore,
        bus: Bus | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        limits: HubLimits | None = None,
    ) -> None: ...

    async def start(self) -> None:
        """Start flushing."""

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Flush everything within the deadline, tell readers (`DRAINING`), stop."""

    async def open(self, key: DocumentKey, reader: Reader, access: DocumentAccess) -> OpenDocument:
        """Raises: DocumentForbidden, DocumentUnavailable, TooManyReaders (all CannotOpen, with `code`, `reason`)."""
        raise NotImplementedError

    def close_readers(
        self, *, participant_id: str | None = None, room_id: str | None = None, code: int
    ) -> int:
        """Close, at once, every reader that matches all that is given; how many they were."""
        raise NotImplementedError

    async def whole_state(self, key: DocumentKey) -> bytes:
        """The document as one Yjs update v1, saved content only. Raises: DocumentUnavailable."""
        raise NotImplementedError
