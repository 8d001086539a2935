"""What was freed goes back to the system when documents have left.

glibc keeps freed memory for what comes next, in pieces that fit ever less: a thousand documents opened and closed
five times left the process a third larger than after the first time, with not one object more in it. `malloc_trim`
gives whole free pages back; it takes some milliseconds, in a thread, without the interpreter's lock.
"""

import asyncio
import ctypes
from collections.abc import Callable

LOOK_S = 1.0
"""How often it is looked whether documents have left."""


def find_trim() -> Callable[[], object] | None:
    """None where the C library has no such thing (musl, macOS, Windows)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return lambda: trim(0)


async def give_memory_back(count_documents: Callable[[], int], trim: Callable[[], object] | None = None) -> None:
    """For ever, where it can be done: each time that fewer documents are in memory than a moment ago."""
    trim = trim or find_trim()
    if trim is None:
        return
    before = count_documents()
    while True:
        await asyncio.sleep(LOOK_S)
        now = count_documents()
        if now < before:
            await asyncio.to_thread(trim)
        before = now
