"""Long work in steps of a few milliseconds, one a turn of the event loop: whoever else waits is never kept for long.

Not in a thread: one that computes lets go of the interpreter every 5 ms only, and the loop asks for it again after each
system call. Not each by itself either: thirty that come back at once would take thirty steps a turn.
"""

import asyncio
from collections.abc import Generator, Iterator
from typing import TypeVar

Result = TypeVar("Result")


def last_of(growing: Iterator[Result]) -> Generator[None, None, Result]:
    """Work that yields its result as it grows; there is at least one."""
    result = next(growing)
    for result in growing:  # noqa: B007 (the last one is the complete one)
        yield
    return result


def nothing_of(steps: Iterator[None]) -> Generator[None, None, None]:
    """Work without a result."""
    yield from steps


class Steps:
    """One for all documents of a process."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, work: Generator[object, None, Result]) -> Result:
        """What the work returns. Raises: what it raises."""
        while True:
            async with self._turn:
                try:
                    next(work)
                except StopIteration as done:
                    result: Result = done.value
                    return result
                await asyncio.sleep(0)
