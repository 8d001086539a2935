"""Give flushes to the store, and keep what it does not take until it does.

All documents of a flush go in one transaction. When the store fails, theirs are kept in order, in memory, and
offered again one document at a time, so that what one of them holds cannot keep the others from being
saved.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from rooms.documents.limits import HubLimits
from rooms.documents.live import LiveDocument
from rooms.ports import DocumentAppend, DocumentStore

logger = logging.getLogger(__name__)


class DocumentSaver:
    def __init__(self, store: DocumentStore, limits: HubLimits, saved: Callable[[LiveDocument], None]) -> None:
        """`saved` is called when a document that failed is wholly in the store again."""
        self._store = store
        self._limits = limits
        self._saved = saved
        self._failing: dict[LiveDocument, None] = {}
        self._retry: asyncio.Task[None] | None = None
        self.unsaved_bytes = 0
        self.appended_bytes = 0
        self.failures = 0

    async def append(self, appends: Sequence[DocumentAppend]) -> bool:
        """Whether the store took them, all of them, in time."""
        try:
            if self._store.append_at_once(appends) is None:
                async with asyncio.timeout(self._limits.store_timeout_s):
                    await self._store.append_updates(appends)
        except Exception as error:
            # StoreUnavailable is what it may raise; whatever else it does must not cost any text.
            # After a timeout it may have them all the same: updates are idempotent.
            self.failures += 1
            logger.error("store does not take updates", extra={"kind": type(error).__name__})
            return False
        self.appended_bytes += sum(len(append.update) for append in appends)
        return True

    def keep(self, live: LiveDocument, appends: Sequence[DocumentAppend]) -> None:
        """The store did not take these."""
        live.unsaved.extend(appends)
        self.unsaved_bytes += sum(len(append.update) for append in appends)
        self._failing[live] = None
        if self._retry is None:
            self._retry = asyncio.create_task(self._retry_until_saved())

    async def until_saved(self) -> None:
        """Wait until nothing is unsaved."""
        if self._retry is not None:
            await asyncio.shield(self._retry)

    async def stop(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)

    async def _retry_until_saved(self) -> None:
        try:
            while self._failing:
                for live in list(self._failing):
                    await asyncio.sleep(0 if await self._save(live) else self._limits.store_retry_s)
        finally:
            self._retry = None

    async def _save(self, live: LiveDocument) -> bool:
        appends = list(live.unsaved)
        if not await self.append(appends):
            return False
        del live.unsaved[: len(appends)]
        self.unsaved_bytes -= sum(len(append.update) for append in appends)
        live.note_appended(appends)
        if not live.unsaved:
            self._failing.pop(live, None)
            self._saved(live)
        return True
