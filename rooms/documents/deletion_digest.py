"""The digest of what is deleted in a document, made once for each change, and apart when there is much."""

import asyncio
from collections.abc import Callable
from typing import Final

from rooms.documents.deletions import digest_of_deletions
from rooms.documents.document import YjsDocument
from rooms.documents.limits import KIB
from rooms.documents.live import LiveDocument

INLINE_BYTES: Final = 16 * KIB
"""Up to this much a digest takes at most 5 ms; what is longer goes to a thread."""


class DeletionDigests:
    def __init__(self, made: Callable[[LiveDocument], None]) -> None:
        """`made` is called when one that took a while is there."""
        self._made = made
        self._making: dict[LiveDocument, asyncio.Task[None]] = {}

    def get(self, live: LiveDocument, copy: YjsDocument) -> bytes:
        """Empty while it is made. Raises: DocumentBroken."""
        if copy.deletions_digest is None:
            deletions = copy.deletions()
            if len(deletions) <= INLINE_BYTES:
                copy.deletions_digest = digest_of_deletions(deletions)
            elif live not in self._making:
                self._making[live] = asyncio.create_task(self._make(live, copy, deletions))
        return copy.deletions_digest or b""

    async def stop(self) -> None:
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, live: LiveDocument, copy: YjsDocument, deletions: bytes) -> None:
        changes = copy.changes
        try:
            digest = await asyncio.to_thread(digest_of_deletions, deletions)
        finally:
            del self._making[live]
        if live.copy is copy and copy.changes == changes:
            copy.deletions_digest = digest
            self._made(live)
