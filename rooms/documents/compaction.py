"""Build whole states from what is stored, without stopping the event loop.

A snapshot is made from the store, not from the copy in memory: it then holds exactly what the log held up
to its last number, whoever appended it.
"""

import asyncio
import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from rooms.documents.document import compact, compact_deep
from rooms.documents.errors import DocumentBroken
from rooms.ports import DocumentAppend, DocumentKey, DocumentStore

logger = logging.getLogger(__name__)


async def build_state(snapshot: bytes | None, updates: Sequence[bytes], inline_bytes: int) -> tuple[bytes, list[bytes]]:
    """As `document.compact`; above `inline_bytes` in a process of its own, since the engine does not let
    other threads run. Raises: DocumentBroken."""
    if len(snapshot or b"") + sum(map(len, updates)) <= inline_bytes:
        return compact(snapshot, updates)
    # A fresh process each time: this is rare, and one that idles would cost its memory for ever.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, compact_deep, snapshot, list(updates))
    except OSError as error:  # the process died, or could not be started
        raise DocumentBroken(type(error).__name__) from error
    except RuntimeError as error:  # BrokenProcessPool is one
        raise DocumentBroken(type(error).__name__) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def compact_stored(store: DocumentStore, key: DocumentKey, inline_bytes: int) -> int | None:
    """Replace a document's log in the store by a snapshot; the snapshot's size, or None when there was
    nothing to do. Raises: StoreUnavailable, DocumentBroken; the log is then as it was."""
    stored = await store.load_document(key)
    if not stored.updates:
        return None
    state, waiting = await build_state(stored.snapshot, stored.updates, inline_bytes)
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
