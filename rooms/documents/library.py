"""Which documents are in memory: loaded once however many ask, compacted when their log is long, forgotten
when nobody reads them any more."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence

from rooms.documents.bridge import DocumentBridge
from rooms.documents.compaction import compact_stored
from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, DocumentUnavailable, TooManyReaders
from rooms.documents.limits import HubLimits
from rooms.documents.live import LiveDocument
from rooms.documents.loading import load_document
from rooms.documents.snapshot import snapshot_steps
from rooms.documents.steps import Steps, last_of, nothing_of
from rooms.ports import DocumentKey, DocumentStore, StoredDocument, StoreUnavailable

logger = logging.getLogger(__name__)


FETCHES = 10
"""While somebody's updates break a copy again and again, whoever opens the document waits for that many new ones."""
QUICK_LOG_ENTRIES = 8
"""With fewer updates after the snapshot, looking at each of them costs nothing worth saving."""


class DocumentLibrary:
    def __init__(
        self,
        store: DocumentStore,
        limits: HubLimits,
        clock: Callable[[], float],
        bridge: DocumentBridge,
        steps: Steps,
    ) -> None:
        self._store = store
        self._bridge = bridge
        self._steps = steps
        self._limits = limits
        self._clock = clock
        self._documents: dict[DocumentKey, LiveDocument] = {}
        self._idle: dict[LiveDocument, float] = {}
        """Those without readers, and since when; the longest first."""
        self._loading: dict[DocumentKey, asyncio.Task[LiveDocument]] = {}
        self._written: dict[LiveDocument, float] = {}
        """Those whose log is compacted when they are quiet, and when they were flushed last."""
        self._compacting: dict[DocumentKey, asyncio.Task[None]] = {}
        self._one_compaction = asyncio.Semaphore(1)
        self._dissolving: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.broken_copies = 0
        self.compactions = 0
        self.left_out = 0

    @property
    def documents(self) -> Collection[LiveDocument]:
        return self._documents.values()

    async def fetch(self, key: DocumentKey) -> LiveDocument:
        """The document with a copy in memory. Raises: DocumentUnavailable, TooManyReaders."""
        for _ in range(FETCHES):
            live = self._documents.get(key)
            if live is None or live.copy is None:
                live = await self._loaded(key)
            if live.copy is not None:  # else it broke, or was let go of, in the moment since it was loaded
                return live
        raise DocumentUnavailable(key.document)  # it broke again each time before it could be looked at

    async def _loaded(self, key: DocumentKey) -> LiveDocument:
        """After the load that is under way, or one that begins now."""
        task = self._loading.get(key)
        if task is None:
            if key not in self._documents:
                self._make_room(key)
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda done: self._end_load(key, done))
        return await asyncio.shield(task)  # one who goes away does not spoil it for the others

    async def reload(self, live: LiveDocument) -> YjsDocument:
        """A copy broke: begin again from the store. Raises: DocumentUnavailable."""
        self.broken_copies += 1
        async with live.loading:
            self._drop_copy(live)
            copy = await self._load_copy(live)
        self._bridge.greet(live)
        return copy

    async def read_stored(self, key: DocumentKey) -> tuple[StoredDocument, YjsDocument]:
        """What is stored, and a copy of its own of it; to be closed. Raises: DocumentUnavailable."""
        return await self._read(key, ())

    async def read_owners(self, key: DocumentKey) -> Mapping[int, str]:
        """Participants by client id, as stored. Raises: DocumentUnavailable."""
        try:
            return (await self._load_stored(key)).bindings
        except Exception as error:
            raise DocumentUnavailable(key.document) from error

    def drop(self, live: LiveDocument) -> None:
        """Its copy is broken, and nothing of it is wanted but what is not saved yet."""
        self.broken_copies += 1
        self._drop_copy(live)
        if not live.unsaved and self._documents.get(live.key) is live:
            self._remove(live)

    def note_readers(self, live: LiveDocument) -> None:
        """Its readers have come or gone."""
        if self._documents.get(live.key) is not live or live.readers:
            self._idle.pop(live, None)
        else:
            self._idle.setdefault(live, self._clock())

    def forget_idle(self) -> None:
        """Let go of documents that nobody has read for a while. Their logs are compacted afterwards:
        that needs the store alone."""
        before = self._clock() - self._limits.idle_document_s
        for live, since in list(self._idle.items()):
            if since > before:
                break
            if live.is_quiet:
                self._remove(live)
                if live.log_entries > 1:
                    self._start_compaction(live)

    def compact_if_long(self, live: LiveDocument) -> None:
        """It was flushed just now."""
        most_bytes = max(self._limits.log_bytes, live.snapshot_bytes // 2)
        if live.log_entries > self._limits.log_entries or live.log_bytes > most_bytes:
            self._start_compaction_if_useful(live)
        elif live.log_entries > self._limits.quiet_log_entries:
            self._written[live] = self._clock()

    def compact_quiet(self) -> None:
        """To be called now and then: those that were written to for a while, and are no more."""
        before = self._clock() - self._limits.quiet_s
        for live, at in list(self._written.items()):
            if at <= before:
                del self._written[live]
                if self._documents.get(live.key) is live:
                    self._start_compaction_if_useful(live)

    def write_whole(self, live: LiveDocument) -> bool:
        """Begin a compaction, whose result is what is sent to who opens it. False: it cannot be done now."""
        if live.unsaved or self._documents.get(live.key) is not live:
            return False
        self._start_compaction(live)
        return True

    def is_compacting(self, live: LiveDocument) -> bool:
        return live.key in self._compacting

    async def stop(self) -> None:
        self._is_stopping = True
        tasks = [*self._loading.values(), *self._compacting.values(), *self._dissolving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for live in list(self._documents.values()):
            self._remove(live)

    # --- loading -------------------------------------------------------------------------------------

    async def _load(self, key: DocumentKey) -> LiveDocument:
        live = self._documents.get(key) or LiveDocument(key, self._limits)
        await self._bridge.join(live)
        try:
            async with live.loading:  # the flush may be loading it again
                if live.copy is None:
                    await self._load_copy(live)
        except BaseException:
            if self._documents.get(key) is not live:
                self._bridge.leave(live)
            raise
        self._documents[key] = live
        self._bridge.greet(live)
        self.note_readers(live)
        return live

    def _end_load(self, key: DocumentKey, task: asyncio.Task[LiveDocument]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited have it; there may be none left to fetch it

    async def _load_copy(self, live: LiveDocument) -> YjsDocument:
        """Fill `live.copy` from the store and from what the store has not taken yet.
        Raises: DocumentUnavailable: never an empty document over a full one."""
        stored, live.copy = await self._read(live.key, [append.update for append in live.unsaved])
        live.owners = {**live.owners, **stored.bindings}
        live.snapshot_bytes = len(stored.snapshot or b"")
        live.log_entries = len(stored.updates)
        live.log_bytes = sum(map(len, stored.updates))
        if live.copy.left_out:
            self._note_left_out(live, len(live.copy.left_out))
        return live.copy

    def _note_left_out(self, live: LiveDocument, count: int) -> None:
        self.left_out += count
        logger.warning("left out what the engine refuses", extra={"room_id": live.key.room_id, "updates": count})
        self._written[live] = self._clock()  # the next one to open it need not find out again

    async def _read(self, key: DocumentKey, unsaved: Sequence[bytes]) -> tuple[StoredDocument, YjsDocument]:
        """What is stored, and a copy of it with what is not stored yet. Raises: DocumentUnavailable."""
        try:
            stored = await self._load_stored(key)
            updates = [*stored.updates, *unsaved]
            copy = await self._build_sound(stored.snapshot, updates) or await self._build(stored.snapshot, updates)
        except Exception as error:
            # Not only StoreUnavailable: whatever a store raises, the document stays shut.
            logger.error("document cannot be loaded", extra={"room_id": key.room_id, "kind": type(error).__name__})
            raise DocumentUnavailable(key.document) from error
        return stored, copy

    async def _build(self, snapshot: bytes | None, updates: Sequence[bytes]) -> YjsDocument:
        facts = await self._steps.run(snapshot_steps(snapshot))
        return await self._steps.run(last_of(load_document(snapshot, updates, self._limits.waiting_bytes, facts)))

    async def _build_sound(self, snapshot: bytes | None, updates: Sequence[bytes]) -> YjsDocument | None:
        """The quick way, for a log of middling length; None: take the other."""
        stored = [*([snapshot] if snapshot is not None else []), *updates]
        if len(updates) < QUICK_LOG_ENTRIES or sum(map(len, stored)) > self._limits.thread_compaction_bytes:
            return None
        return await self._steps.run(last_of(YjsDocument.load_sound(stored, self._limits.waiting_bytes)))

    async def _load_stored(self, key: DocumentKey) -> StoredDocument:
        async with asyncio.timeout(self._limits.store_timeout_s):
            return await self._store.load_document(key)

    def _make_room(self, key: DocumentKey) -> None:
        if len(self._documents) + len(self._loading) < self._limits.documents:
            return
        idle = next((live for live in self._idle if live.is_quiet), None)
        if idle is None:
            raise TooManyReaders(key.document)
        self._remove(idle)

    def _remove(self, live: LiveDocument) -> None:
        self._drop_copy(live)
        self._written.pop(live, None)
        self._idle.pop(live, None)
        self._documents.pop(live.key, None)
        self._bridge.leave(live)

    def _drop_copy(self, live: LiveDocument) -> None:
        copy, live.copy = live.copy, None
        if copy is not None:
            self.let_go(copy)

    def let_go(self, copy: YjsDocument) -> None:
        """Nobody needs it any more."""
        if copy.is_large and not self._is_stopping:
            task = asyncio.create_task(self._steps.run(nothing_of(copy.dissolve())))
            self._dissolving.add(task)
            task.add_done_callback(self._dissolving.discard)
        else:
            copy.close()

    # --- compaction ------------------------------------------------------------------------------------

    def _start_compaction_if_useful(self, live: LiveDocument) -> None:
        if not live.unsaved and live.log_entries >= live.compact_from:
            self._start_compaction(live)

    def _start_compaction(self, live: LiveDocument) -> None:
        if live.key in self._compacting:
            return
        task = self._compacting[live.key] = asyncio.create_task(self._compact(live))
        task.add_done_callback(lambda _done: self._compacting.pop(live.key, None))

    async def _compact(self, live: LiveDocument) -> None:
        is_shared = live.exchange is not None and bool(live.exchange.peers)
        if is_shared:
            # Every instance counts the same log: let one of them be first.
            await asyncio.sleep(random.uniform(0, self._limits.compaction_spread_s))
        async with self._one_compaction:
            entries, size_bytes = live.log_entries, live.log_bytes
            least = max(1, entries // 2) if is_shared else 1
            # The changes of a flush that is under way, at most two, may not be stored yet.
            copy, changes = live.copy, live.copy.changes - 2 * live.flushing if live.copy is not None else 0
            if copy is not None and not live.is_failing:
                copy.expect_base()
            try:
                made = await compact_stored(self._store, live.key, self._limits.thread_compaction_bytes, least)
            except (StoreUnavailable, DocumentBroken) as error:
                logger.warning(
                    "document not compacted", extra={"room_id": live.key.room_id, "kind": type(error).__name__}
                )
                live.compact_from = 2 * live.log_entries  # not with every flush
                return
        self.compactions += made is not None
        live.compact_from = 0
        if made is None:
            live.note_compacted(entries, size_bytes)  # by another instance
            return
        # What was stored since, before the store was read, is in it too: counted twice, the document would be called
        # full before it is.
        live.note_compacted(made.entries, made.log_bytes)
        live.snapshot_bytes = len(made.state)
        if copy is not None and copy is live.copy and not live.is_failing:
            copy.renew_base(made.state, changes)
