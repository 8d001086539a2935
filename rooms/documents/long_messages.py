"""A long message of one connection, read in steps and taken in slices, and what the connection said meanwhile.

The engine takes 70 ms for 60,000 letters that were written one by one, and our scan twice that. Nothing overtakes it:
what comes behind waits, bounded, and is worked off in its order.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from rooms.documents import sync
from rooms.documents.errors import MalformedMessage, ProtocolViolation
from rooms.documents.limits import KIB
from rooms.documents.live import Incoming
from rooms.documents.scan import Scan, scan_in_steps, scan_update
from rooms.documents.slices import is_sliced, plan_update_slices
from rooms.documents.sync import Kind

if TYPE_CHECKING:
    from rooms.documents.open_document import OpenDocument

INLINE_SCAN_BYTES: Final = 16 * KIB
"""Up to this much a scan takes at most 5 ms; a longer one is made in steps."""
MALFORMED: Final = Scan()
"""Stands for the scan of an update that was found to have none."""

Result = TypeVar("Result")


class StepHome(Protocol):
    async def in_steps(self, work: Generator[object, None, Result]) -> Result:
        """Long work, a step a turn (`Steps`)."""


class LongMessages:
    """From the first long message until all that came meanwhile is worked off."""

    def __init__(self, reader: "OpenDocument", home: StepHome, limit_bytes: int) -> None:
        self._reader = reader
        self._home = home
        self._limit_bytes = limit_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sliced: Incoming | None = None
        self._slice: Incoming | None = None
        self._taken: asyncio.Future[bool] | None = None
        """Whether the slice that is under way was taken, and not refused."""

    def put(self, message: bytes) -> bool:
        """False: more waits than a connection may have waiting."""
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        return self._waiting_bytes <= self._limit_bytes

    def take_in_slices(self, incoming: Incoming) -> bool:
        """It was let in. False: it is short enough to be taken at once."""
        if not is_sliced(incoming.update, incoming.scan):
            return False
        self._sliced = incoming
        return True

    def note_taken(self, incoming: Incoming, *, is_refused: bool) -> None:
        """A flush is over that had this of the reader."""
        if incoming is self._slice:
            self._settle(not is_refused)

    def end(self) -> None:
        """The reader has gone."""
        self._settle(False)

    def _settle(self, is_taken: bool) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(is_taken)

    async def work_off(self) -> None:
        """Raises: ProtocolViolation."""
        while self._waiting and not self._reader.is_closed:
            message = self._waiting[0]
            scan = await self._scan(message) if len(message) > INLINE_SCAN_BYTES else None
            if self._reader.is_closed:
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(message)
            self._reader.receive_scanned(message, scan)
            sliced, self._sliced = self._sliced, None
            if sliced is not None:
                await self._take_slices(sliced)

    async def _scan(self, message: bytes) -> Scan | None:
        """Of the update in it; None when it has none."""
        try:
            read = sync.read_message(message)
        except MalformedMessage:
            return None  # found again at once
        if read.kind not in (Kind.STEP_2, Kind.UPDATE):
            return None
        try:
            return await self._home.in_steps(scan_in_steps(read.body))
        except MalformedMessage:
            return MALFORMED

    async def _take_slices(self, long: Incoming) -> None:
        """Each as an update of its own, the next when that is saved and shown. Raises: ProtocolViolation."""
        copy = self._reader.live.copy
        planning = plan_update_slices(long.update, copy.clocks if copy is not None else {})
        slices = list((await self._home.in_steps(planning)).updates(long.update))
        for place, update in enumerate(slices):
            if self._reader.is_closed:
                return
            is_last = place == len(slices) - 1
            part = Incoming(
                self._reader, long.number, update, scan_update(update), is_answer=long.is_answer and is_last
            )
            part.is_part, part.relayed = not is_last, long.relayed
            self._slice = part
            self._taken = asyncio.get_running_loop().create_future()
            if not self._reader.let_in(part) or not await self._taken:
                return


async def work_off(messages: LongMessages, reader: "OpenDocument") -> None:
    """All of it, or until the reader has gone or broken a rule."""
    try:
        await messages.work_off()
    except ProtocolViolation as violation:
        reader.reader.close(violation.code, violation.reason)
    finally:
        reader.long_messages_ended()


def found(scan: Scan | None) -> Scan | None:
    """The scan, if one was made. Raises: MalformedMessage, if that was found already."""
    if scan is MALFORMED:
        raise MalformedMessage("found in steps")
    return scan
