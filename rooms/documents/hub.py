"""The documents of this process: who has which one open, and the one loop that flushes them all.

A flush takes what came in since the last one, gives it to the copies in memory, appends it to the store
for all documents in one transaction, and only then shows it to anyone: one message a document, sent to all
its readers, awareness beside it, and the acknowledgements to the authors. What arrives meanwhile is the next
flush. When the store fails the order is turned round, and said so: readers are told `unsaved`, writing goes
on in bounded memory, and `saved` follows when the store has returned.

While a document is being flushed (`LiveDocument.flushing`) its copy is ahead of the store, so nobody is
shown it; only the flush loop and a load change a copy.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rooms.documents import close_codes
from rooms.documents.bridge import DocumentBridge
from rooms.documents.compaction import build_state
from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, DocumentForbidden, DocumentUnavailable, TooManyReaders
from rooms.documents.flush import FlushedDocument, recover, show, take
from rooms.documents.flush_pace import FlushPace
from rooms.documents.library import DocumentLibrary
from rooms.documents.limits import HubLimits
from rooms.documents.live import LiveDocument
from rooms.documents.long_answers import LongAnswers
from rooms.documents.long_messages import INLINE_SCAN_BYTES, Result
from rooms.documents.open_document import OpenDocument
from rooms.documents.reader import DocumentAccess, Reader
from rooms.documents.saving import DocumentSaver
from rooms.documents.scan import Scan, scan_in_steps, scan_update
from rooms.documents.steps import Steps
from rooms.documents.template import EMPTY_PARAGRAPH, TEMPLATE_AUTHOR, TEMPLATE_CLIENT_ID
from rooms.ports import Bus, ClientBinding, DocumentAppend, DocumentKey, DocumentStore, StoredDocument, StoreUnavailable

logger = logging.getLogger(__name__)

LEAST_REST_S = 0.001
"""A shorter rest is not worth a timer; uvloop's know no less."""
SLICE_S = 0.005
"""A flush of many documents lets others run this often."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Figures for the metrics; counts are since the start."""

    documents: int
    readers: int
    unsaved_bytes: int
    """Text in memory that the store has not taken; above 0 the store fails."""
    flushes: int
    updates_taken: int
    messages_sent: int
    bytes_appended: int
    store_failures: int
    broken_copies: int
    updates_left_out: int
    """Stored updates that the engine refused when a document was loaded."""
    compactions: int
    bus_messages_published: int
    bus_messages_received: int
    """From other instances."""
    bus_messages_malformed: int
    bus_messages_lost: int
    """Never published: the bus was away or too slow."""
    gaps_repaired: int
    """How often something that was missed of another instance was found and brought."""


class DocumentHub:
    """Call `start` in the event loop that will use it, and `stop` before that ends."""

    def __init__(
        self,
        store: DocumentStore,
        *,
        bus: Bus | None = None,
        clock: Callable[[], float] = time.monotonic,
        limits: HubLimits | None = None,
    ) -> None:
        """`bus` joins the documents with those of other instances; without it this one is alone."""
        self.limits = limits or HubLimits()
        self._clock = clock
        self._store = store
        self._steps = Steps()
        self.long_answers = LongAnswers(self.limits.long_answers_bytes, self._end_turn_soon)
        self._saver = DocumentSaver(store, self.limits, self._saved_again)
        self._bridge = DocumentBridge(bus, self)
        self._library = DocumentLibrary(store, self.limits, clock, self._bridge, self._steps)
        self._dirty: dict[LiveDocument, None] = {}
        """To be flushed as soon as may be."""
        self._resting: dict[LiveDocument, asyncio.TimerHandle] = {}
        """To be flushed when they have rested."""
        self._pace = FlushPace(self.limits.longest_rest_s)
        self._lagging: set[OpenDocument] = set()
        self._incoming_bytes = 0
        self._wake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """Asked for once: to ask costs a system call (CPython 3.11 looks at the process id), with each key pressed."""
        self._flushes = self._updates_taken = self._messages_sent = 0

    # --- for the server --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start flushing."""
        self._loop = asyncio.get_running_loop()
        self._loops = [asyncio.create_task(self._flush_for_ever()), asyncio.create_task(self._keep_house())]

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Flush everything within the deadline, close all readers (`DRAINING`), stop."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_flushed()
                self.close_readers(code=close_codes.DRAINING)
                await self._until_flushed()
                await self._saver.until_saved()
        except TimeoutError:
            logger.error("stopped with unsaved text", extra={"bytes": self._saver.unsaved_bytes + self._incoming_bytes})
        self.close_readers(code=close_codes.DRAINING)
        tasks = [*self._loops, *self._tasks]
        for task in tasks:
            task.cancel()
        for timer in self._resting.values():
            timer.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._saver.stop()
        await self._library.stop()
        await self._bridge.stop()

    async def open(self, key: DocumentKey, reader: Reader, access: DocumentAccess) -> OpenDocument:
        """Make the connection a reader of the document.
        Raises: DocumentForbidden, DocumentUnavailable, TooManyReaders (all CannotOpen: `code`, `reason`)."""
        if self._stopping:
            raise DocumentUnavailable(key.document)
        if not access.can_read():
            raise DocumentForbidden(key.document)
        live = await self._library.fetch(key)
        if self._stopping:
            raise DocumentUnavailable(key.document)
        if not access.can_read():  # the load took a while
            raise DocumentForbidden(key.document)
        if len(live.readers) >= self.limits.readers_per_document:
            raise TooManyReaders(key.document)
        opened = OpenDocument(live, reader, access, self)
        live.readers[opened] = None
        self._library.note_readers(live)
        return opened

    async def begin(self, key: DocumentKey, update: bytes) -> bool:
        """Make this (of `template_update`) what the document begins with: stored when this returns, and shown to
        whoever has it open already. Asked again, also on another instance, it changes nothing. False: there is
        other text in it, and nothing is changed. Raises: DocumentUnavailable, TooManyReaders."""
        if self._stopping:
            raise DocumentUnavailable(key.document)
        live = await self._library.fetch(key)
        append = DocumentAppend(key, update, (ClientBinding(TEMPLATE_CLIENT_ID, TEMPLATE_AUTHOR),))
        try:
            async with asyncio.timeout(self.limits.store_timeout_s):
                is_first = not live.has_text and await self._store.append_first(append)
                stored = None if is_first else await self._store.load_document(key)
        except (StoreUnavailable, TimeoutError) as error:
            raise DocumentUnavailable(key.document) from error
        if stored is not None and (stored.snapshot is not None or next(iter(stored.updates), None) != update):
            return False
        self._bridge.show_begun(live, update, is_untold=is_first)
        return True

    async def begin_with_paragraph(self, key: DocumentKey) -> None:
        """Should nothing be written in it, it begins with one empty paragraph. To be called before `open`, by whoever
        may write. Raises: DocumentUnavailable, TooManyReaders, only where `open` would."""
        live = await self._library.fetch(key)
        if not live.has_text and not live.is_failing:
            with contextlib.suppress(DocumentUnavailable):  # the store fails: writing goes on without
                await self.begin(key, EMPTY_PARAGRAPH)

    def close_readers(self, *, participant_id: str | None = None, room_id: str | None = None, code: int) -> int:
        """Close, at once, every reader that matches all that is given; how many they were."""
        matching = self._matching(participant_id, room_id)
        for opened in matching:
            opened.expel(code)
        return len(matching)

    def rights_changed(self, *, participant_id: str | None = None, room_id: str | None = None) -> None:
        """Look again at the rights of every reader that matches: those who may not read any more are
        closed, and those who may write again are asked for what was refused."""
        for opened in self._matching(participant_id, room_id):
            try:
                opened.rights_changed()
            except DocumentBroken:
                self.give_up(opened.live)

    def instance_lost(self) -> None:
        """To be called when another instance has fallen silent: what it stored last is read from the store, where
        it had a document that is open here too."""
        self._bridge.instance_lost()

    async def whole_state(self, key: DocumentKey) -> bytes:
        """The document as one Yjs update v1, saved content only. Raises: DocumentUnavailable."""
        try:
            stored = await self._store.load_document(key)
            compacted = await build_state(stored.snapshot, stored.updates, self.limits.thread_compaction_bytes)
        except (StoreUnavailable, DocumentBroken) as error:
            raise DocumentUnavailable(key.document) from error
        return compacted.state

    def statistics(self) -> HubStatistics:
        documents = self._library.documents
        return HubStatistics(
            documents=len(documents),
            readers=sum(len(live.readers) for live in documents),
            unsaved_bytes=self._saver.unsaved_bytes,
            flushes=self._flushes,
            updates_taken=self._updates_taken,
            messages_sent=self._messages_sent,
            bytes_appended=self._saver.appended_bytes,
            store_failures=self._saver.failures,
            broken_copies=self._library.broken_copies,
            updates_left_out=self._library.left_out,
            compactions=self._library.compactions,
            bus_messages_published=self._bridge.published,
            bus_messages_received=self._bridge.received,
            bus_messages_malformed=self._bridge.malformed,
            bus_messages_lost=self._bridge.lost,
            gaps_repaired=self._bridge.repaired,
        )

    # --- for the readers (Home) ---------------------------------------------------------------------

    def now(self) -> float:
        return self._clock()

    @property
    def incoming_bytes(self) -> int:
        return self._incoming_bytes

    def reserve(self, size_bytes: int) -> bool:
        """Room for an update until it is flushed; False when too much waits for the store already."""
        if self._saver.unsaved_bytes + self._incoming_bytes + size_bytes > self.limits.unsaved_bytes:
            return False
        self._incoming_bytes += size_bytes
        return True

    def mark(self, live: LiveDocument, patience_s: float = 0.0) -> None:
        if live.due_at <= live.rests_until:
            return  # as soon as may be already: most calls are for a document that gathers
        self._flushed.clear()
        loop = self._loop or asyncio.get_running_loop()
        now = loop.time()
        due_at = max(live.rests_until, now + patience_s)
        if live.due_at <= due_at:
            return
        timer = self._resting.pop(live, None)
        if timer is not None:
            timer.cancel()
        if due_at - now >= LEAST_REST_S:
            live.due_at = due_at
            self._resting[live] = loop.call_at(due_at, self._make_due, live)
        else:
            self._make_due(live)

    def _make_due(self, live: LiveDocument) -> None:
        self._resting.pop(live, None)
        live.due_at = 0.0
        self._dirty[live] = None
        self._wake.set()

    def write_whole(self, live: LiveDocument) -> bool:
        return self._library.write_whole(live)

    def is_writing_whole(self, live: LiveDocument) -> bool:
        return self._library.is_compacting(live)

    def _end_turn_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.long_answers.end_turn)

    def note_lag(self, reader: OpenDocument) -> None:
        self._lagging.add(reader)

    def leave(self, reader: OpenDocument) -> None:
        live, connection_id = reader.live, reader.reader.connection_id
        live.readers.pop(reader, None)
        live.unfollow(reader)
        self._lagging.discard(reader)
        if not any(other.reader.connection_id == connection_id for other in live.readers):
            for client in live.awareness.remove_connection(connection_id):
                live.depart(client)
        if live.awareness.has_changes():
            self.mark(live, self.limits.cursor_patience_s)
        self._library.note_readers(live)

    def give_up(self, live: LiveDocument) -> None:
        logger.error("document broken in memory", extra={"room_id": live.key.room_id})
        self._incoming_bytes -= live.incoming_bytes
        live.incoming, live.asking = [], []
        self._bridge.forget_arrivals(live)
        live.flushing = False
        self._library.drop(live)
        for opened in list(live.readers):
            opened.expel(close_codes.UNAVAILABLE)

    def run_apart(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def scan(self, update: bytes) -> Scan:
        is_short = len(update) <= INLINE_SCAN_BYTES
        return scan_update(update) if is_short else await self.in_steps(scan_in_steps(update))

    async def in_steps(self, work: Generator[object, None, Result]) -> Result:
        return await self._steps.run(work)

    # --- for the bridge ---------------------------------------------------------------------------------

    async def read_stored(self, key: DocumentKey) -> tuple[StoredDocument, YjsDocument]:
        return await self._library.read_stored(key)

    def let_go(self, copy: YjsDocument) -> None:
        self._library.let_go(copy)

    async def read_owners(self, key: DocumentKey) -> Mapping[int, str]:
        return await self._library.read_owners(key)

    async def adopt(self, live: LiveDocument, update: bytes, bindings: Sequence[ClientBinding]) -> None:
        appends = [DocumentAppend(live.key, update, bindings)]
        if not live.is_failing and await self._saver.append(appends):
            live.note_appended(appends)
        else:
            self._saver.keep(live, appends)

    # --- the flush ------------------------------------------------------------------------------------

    async def _flush_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        rests_until = 0.0
        while True:
            await self._wake.wait()
            # Slept through only when there is something to do: to be woken for nothing costs as much as a flush.
            rest_s = rests_until - loop.time()
            if rest_s > 0.0 and not self._stopping:
                await asyncio.sleep(rest_s)
            self._wake.clear()
            dirty, self._dirty = self._dirty, {}
            for live in dirty:
                live.due_at = math.inf
            try:
                await self._flush(list(dirty))
            except Exception:
                # Nothing is known of these documents any more; their readers have their text.
                logger.exception("flush failed")
                for live in dirty:
                    self.give_up(live)
            if not self._dirty and not self._resting:
                self._flushed.set()
            commit_rest_s = min(len(dirty) * self.limits.commit_rest_s, self.limits.longest_commit_rest_s)
            rests_until = loop.time() + commit_rest_s
            if self._wake.is_set():  # else it sleeps anyway
                await asyncio.sleep(0)

    async def _flush(self, dirty: Sequence[LiveDocument]) -> None:
        self._flushes += 1
        flushed = await self._take_all(dirty)
        # Of a document that fails already, all goes behind what is kept: the log stays in order.
        direct = [one for one in flushed if one.appends and not one.live.is_failing]
        behind = [one for one in flushed if one.appends and one.live.is_failing]
        is_stored = not direct or await self._saver.append([append for one in direct for append in one.appends])
        for one in direct:
            if is_stored:
                one.live.note_appended(one.appends)
            else:
                self._saver.keep(one.live, one.appends)
        for one in behind:
            self._saver.keep(one.live, one.appends)
        newly_failing = set() if is_stored else {one.live for one in direct}
        await self._show_all(flushed, newly_failing)

    async def _take_all(self, dirty: Sequence[LiveDocument]) -> list[FlushedDocument]:
        flushed = []
        since = time.monotonic()
        for live in dirty:
            self._incoming_bytes -= live.incoming_bytes
            self._updates_taken += len(live.incoming)
            one = take(live)
            if one.is_broken and not await self._has_recovered(one):
                continue
            flushed.append(one)
            if time.monotonic() - since > SLICE_S:
                since = await _let_others_run()
        return flushed

    async def _has_recovered(self, broken: FlushedDocument) -> bool:
        try:
            await recover(broken, self._library.reload)
        except (DocumentBroken, DocumentUnavailable):
            broken.live.flushing = False
            self.give_up(broken.live)
            return False
        return True

    async def _show_all(self, flushed: Sequence[FlushedDocument], newly_failing: set[LiveDocument]) -> None:
        since = time.monotonic()
        for one in flushed:
            one.live.flushing = False
            try:
                self._bridge.publish(one)
                self._rest(one.live, show(one, tell_everyone=one.live in newly_failing))
            except DocumentBroken:
                self.give_up(one.live)
            self._bridge.settle(one.live)
            self._library.compact_if_long(one.live)
            if time.monotonic() - since > SLICE_S:
                since = await _let_others_run()

    def _rest(self, live: LiveDocument, sent: int) -> None:
        self._messages_sent += sent
        now = (self._loop or asyncio.get_running_loop()).time()
        self._pace.note_sends(sent, now)
        live.rests_until = now + self._pace.rest_s(sent, now)

    def _saved_again(self, live: LiveDocument) -> None:
        for opened in list(live.readers):
            opened.acknowledgements.store()
            opened.acknowledge()
        self._library.note_readers(live)

    async def _until_flushed(self) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        for live, timer in list(self._resting.items()):
            timer.cancel()
            self._make_due(live)
        if self._loops:
            await self._flushed.wait()

    # --- the slow and the idle ------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self.limits.housekeeping_s)
            self.long_answers.look_again()
            for opened in list(self._lagging):
                self._look_after(opened)
                if self.long_answers.is_turn_taken:
                    await asyncio.sleep(0)
            self._bridge.tick()
            self._library.forget_idle()
            self._library.compact_quiet()

    def _look_after(self, opened: OpenDocument) -> None:
        try:
            if opened.catch_up():
                self._lagging.discard(opened)
        except DocumentBroken:
            self.give_up(opened.live)

    def _matching(self, participant_id: str | None, room_id: str | None) -> list[OpenDocument]:
        return [
            opened
            for live in self._library.documents
            if room_id is None or live.key.room_id == room_id
            for opened in live.readers
            if participant_id is None or opened.reader.participant_id == participant_id
        ]


async def _let_others_run() -> float:
    """Yield to the event loop: a slice of time is used up. When the next one began."""
    await asyncio.sleep(0)
    return time.monotonic()
