"""The document store with its answers timed and its failures counted, for the metrics."""

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from rooms.ports import DocumentAppend, DocumentKey, DocumentStore, RelayedRange, StoredDocument, StoreUnavailable
from server.metrics import Metrics


class ObservedDocumentStore:
    """`rooms.ports.DocumentStore`; everything is done by the store inside."""

    def __init__(self, store: DocumentStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def load_document(self, key: DocumentKey) -> StoredDocument:
        try:
            return await self._store.load_document(key)
        except StoreUnavailable:
            self._metrics.count_store_error()
            raise

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        started = time.monotonic()
        try:
            numbers = await self._store.append_updates(appends)
        except StoreUnavailable:
            self._metrics.count_store_error()
            raise
        self._metrics.observe_flush(time.monotonic() - started)
        return numbers

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> Sequence[int] | None:
        started = time.monotonic()
        numbers = self._store.append_at_once(appends)
        if numbers is not None:
            self._metrics.observe_flush(time.monotonic() - started)
        return numbers

    async def append_first(self, append: DocumentAppend) -> bool:
        try:
            return await self._store.append_first(append)
        except StoreUnavailable:
            self._metrics.count_store_error()
            raise

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        try:
            await self._store.store_snapshot(key, snapshot, up_to_seq)
        except StoreUnavailable:
            self._metrics.count_store_error()
            raise

    def compaction_turn(self, key: DocumentKey) -> AbstractAsyncContextManager[bool]:
        return self._store.compaction_turn(key)

    async def list_documents(self, room_id: str) -> Sequence[str]:
        return await self._store.list_documents(room_id)

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        return await self._store.load_relays(key)
