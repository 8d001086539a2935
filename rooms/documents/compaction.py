"""Build whole states from what is stored, without stopping the event loop.

A snapshot is made from the store, not from the copy in memory: it then holds exactly what the log held up
to its last number, whoever appended it.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from rooms.documents.errors import DocumentBroken
from rooms.documents.loading import load_document
from rooms.documents.snapshot import read_snapshot
from rooms.documents.state_process import run_worker
from rooms.ports import DocumentAppend, DocumentKey, DocumentStore

logger = logging.getLogger(__name__)

SET_ASIDE_BYTES: Final = 1024 * 1024
"""Kept of a document's updates that the engine refuses: what an error of the engine would cost can be looked into, and
whoever makes such updates on purpose does not fill the disk."""
DEEP_STACK_BYTES: Final = 512 * 1024 * 1024
"""Stack for building a document in a thread of its own; memory is only used as it is touched."""


class Compacted(NamedTuple):
    """What stands for a document's log."""

    state: bytes
    waiting: Sequence[bytes]
    """Updates that still wait for what they depend on, and are not in it. A snapshot must have no holes: the engine
    shows what follows a hole, Yjs 13 drops it. So what waits is stored again after the snapshot."""
    left_out: Sequence[bytes]
    """What the engine refuses, and nobody has been shown."""


class StoredCompaction(NamedTuple):
    """What became of a log in the store."""

    state: bytes
    """The snapshot that stands for it."""
    entries: int
    log_bytes: int
    """Updates that are no longer in the log, and their length."""


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> Compacted:
    """Raises: DocumentBroken."""
    *_growing, document = load_document(snapshot, updates, 2**62, read_snapshot(snapshot))
    try:
        return Compacted(document.whole_state(), list(document.waiting), list(document.left_out))
    finally:
        document.close()


def compact_deep(snapshot: bytes | None, updates: Sequence[bytes]) -> Compacted:
    """As `compact`, in a thread whose stack bears deep documents: for a process of its own."""
    results: list[Compacted] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(compact(snapshot, updates))
        except BaseException as error:
            failures.append(error)

    before = threading.stack_size(DEEP_STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="compact")
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if failures:
        raise DocumentBroken(type(failures[0]).__name__)
    return results[0]


async def build_state(snapshot: bytes | None, updates: Sequence[bytes], thread_bytes: int) -> Compacted:
    """As `compact`, in a thread; above `thread_bytes` in a process of its own, since the engine
    does not let other threads run. Raises: DocumentBroken."""
    try:
        if len(snapshot or b"") + sum(map(len, updates)) <= thread_bytes:
            return await asyncio.to_thread(compact_deep, snapshot, updates)
        return await _in_a_process(snapshot, updates)
    except (OSError, RuntimeError, EOFError) as error:  # no thread or process to be had, or it died
        raise DocumentBroken(type(error).__name__) from error


async def _in_a_process(snapshot: bytes | None, updates: Sequence[bytes]) -> Compacted:
    state, waiting, *others = await run_worker([snapshot or b"", *updates])
    count = int.from_bytes(waiting)
    return Compacted(state, others[:count], others[count:])


async def compact_stored(
    store: DocumentStore, key: DocumentKey, thread_bytes: int, least_updates: int = 1
) -> StoredCompaction | None:
    """Replace a document's log in the store by a snapshot; what was replaced, or None when there was
    nothing to do: another instance does it, or has done it, since there are fewer than `least_updates`.
    Raises: StoreUnavailable, DocumentBroken; the log is then as it was."""
    async with store.compaction_turn(key) as is_ours:
        return await _compact_now(store, key, thread_bytes, least_updates) if is_ours else None


async def _compact_now(
    store: DocumentStore, key: DocumentKey, thread_bytes: int, least_updates: int
) -> StoredCompaction | None:
    stored = await store.load_document(key)
    if len(stored.updates) < least_updates:
        return None
    state, waiting, left_out = await build_state(stored.snapshot, stored.updates, thread_bytes)
    if len(waiting) >= len(stored.updates):
        return None  # everything waits: there is nothing to fold
    again = [DocumentAppend(key, update) for update in waiting]
    if left_out:
        again += await _to_set_aside(store, key, left_out)
    if again:
        # First again at the end of a log, then the snapshot: a crash in between leaves them twice,
        # never not at all. Updates are idempotent.
        await store.append_updates(again)
    await store.store_snapshot(key, state, stored.last_seq)
    logger.info(
        "document compacted", extra={"room_id": key.room_id, "updates": len(stored.updates), "state_bytes": len(state)}
    )
    gone_bytes = sum(map(len, stored.updates)) - sum(map(len, waiting))
    return StoredCompaction(state, len(stored.updates) - len(waiting), gone_bytes)


def set_aside_key(key: DocumentKey) -> DocumentKey:
    """Where that is kept which the engine refused: a log that nobody can open (no document's name has a slash), and
    that is exported and forgotten with the room. It may be text of somebody, and the error the engine's."""
    return DocumentKey(key.room_id, f"{key.document}/set-aside")


async def _to_set_aside(store: DocumentStore, key: DocumentKey, left_out: Sequence[bytes]) -> list[DocumentAppend]:
    kept = set((await store.load_document(set_aside_key(key))).updates)
    size_bytes = sum(map(len, kept))
    appends = []
    for update in left_out:
        size_bytes += len(update)
        if size_bytes <= SET_ASIDE_BYTES and update not in kept:
            appends.append(DocumentAppend(set_aside_key(key), update))
    logger.warning(
        "set aside what the engine refuses",
        extra={"room_id": key.room_id, "updates": len(left_out), "kept": len(appends)},
    )
    return appends
