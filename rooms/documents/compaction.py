"""Build whole states from what is stored, without stopping the event loop.

A snapshot is made from the store, not from the copy in memory: it then holds exactly what the log held up
to its last number, whoever appended it.
"""

import asyncio
import logging
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken
from rooms.documents.snapshot import read_snapshot
from rooms.ports import DocumentAppend, DocumentKey, DocumentStore

logger = logging.getLogger(__name__)

DEEP_STACK_BYTES: Final = 512 * 1024 * 1024
"""Stack for building a document in a thread of its own; memory is only used as it is touched."""


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """A whole state that stands for all of this, and the updates that still wait and are not in it.

    A snapshot must have no holes: the engine shows what follows a hole, Yjs 13 drops it. So what waits
    is stored again after the snapshot instead of being merged into it. Raises: DocumentBroken."""
    *_growing, document = YjsDocument.load(snapshot, updates, 2**62, read_snapshot(snapshot))
    try:
        return document.whole_state(), list(document.waiting)
    finally:
        document.close()


def compact_deep(snapshot: bytes | None, updates: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """As `compact`, in a thread whose stack bears deep documents: for a process of its own."""
    results: list[tuple[bytes, list[bytes]]] = []
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


async def build_state(snapshot: bytes | None, updates: Sequence[bytes], thread_bytes: int) -> tuple[bytes, list[bytes]]:
    """As `compact`, in a thread; above `thread_bytes` in a process of its own, since the engine
    does not let other threads run. Raises: DocumentBroken."""
    try:
        if len(snapshot or b"") + sum(map(len, updates)) <= thread_bytes:
            return await asyncio.to_thread(compact_deep, snapshot, updates)
        return await _in_a_process(snapshot, updates)
    except (OSError, RuntimeError) as error:  # no thread or process to be had, or it died (BrokenProcessPool)
        raise DocumentBroken(type(error).__name__) from error


async def _in_a_process(snapshot: bytes | None, updates: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    # A fresh one each time: this is rare, and one that idles would cost its memory for ever.
    pool = ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_the_process_that_began_this
    )
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, compact_deep, snapshot, list(updates))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _end_with_the_process_that_began_this() -> None:
    """A pool's process waits for more work for ever, also when whoever would give it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_the_end_of, args=(parent.sentinel,), daemon=True).start()


def _wait_for_the_end_of(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


async def compact_stored(
    store: DocumentStore, key: DocumentKey, thread_bytes: int, least_updates: int = 1
) -> int | None:
    """Replace a document's log in the store by a snapshot; the snapshot's size, or None when there was
    nothing to do: another instance does it, or has done it, since there are fewer than `least_updates`.
    Raises: StoreUnavailable, DocumentBroken; the log is then as it was."""
    async with store.compaction_turn(key) as is_ours:
        return await _compact_now(store, key, thread_bytes, least_updates) if is_ours else None


async def _compact_now(store: DocumentStore, key: DocumentKey, thread_bytes: int, least_updates: int) -> int | None:
    stored = await store.load_document(key)
    if len(stored.updates) < least_updates:
        return None
    state, waiting = await build_state(stored.snapshot, stored.updates, thread_bytes)
    if len(waiting) >= len(stored.updates):
        return None  # everything waits: there is nothing to fold
    if waiting:
        # First again at the end of the log, then the snapshot: a crash in between leaves them twice,
        # never not at all. Updates are idempotent.
        await store.append_updates([DocumentAppend(key, update) for update in waiting])
    await store.store_snapshot(key, state, stored.last_seq)
    logger.info(
        "document compacted", extra={"room_id": key.room_id, "updates": len(stored.updates), "state_bytes": len(state)}
    )
    return len(state)
