"""Documents under test: a store that remembers the order of things, readers, an editor that speaks Yjs."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pycrdt

from rooms.documents import sync
from rooms.documents.errors import ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.open_document import OpenDocument
from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StoredDocument, StoreUnavailable
from tests.support.deadlines import SECOND
from tests.support.traces import generate_trace, load_trace, trace_folder

KEY = DocumentKey("room-1", "text")


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait for the condition. Raises: TimeoutError."""
    async with asyncio.timeout(seconds * SECOND):
        while not condition():
            await asyncio.sleep(0.001)


# --- store ------------------------------------------------------------------------------------------


@dataclass
class _Kept:
    snapshot: bytes | None = None
    snapshot_seq: int = 0
    updates: dict[int, bytes] = field(default_factory=dict)
    last_seq: int = 0
    bindings: dict[int, str] = field(default_factory=dict)
    relays: list[RelayedRange] = field(default_factory=list)


class RecordingStore:
    """A DocumentStore in memory. `journal` gets an entry for each append; set `is_failing` to refuse
    writes and reads, `refused_key` to refuse one document, clear `gate` to hold appends back."""

    def __init__(self) -> None:
        self.documents: dict[DocumentKey, _Kept] = {}
        self.journal: list[tuple[str, object]] = []
        self.is_failing = False
        self.refused_key: DocumentKey | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.transactions = 0
        self.loads = 0

    async def load_document(self, key: DocumentKey) -> StoredDocument:
        await asyncio.sleep(0)
        self.loads += 1
        if self.is_failing:
            raise StoreUnavailable
        kept = self.documents.get(key, _Kept())
        return StoredDocument(
            kept.snapshot, kept.snapshot_seq, tuple(kept.updates.values()), kept.last_seq, dict(kept.bindings)
        )

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.is_failing:
            raise StoreUnavailable
        if any(append.key == self.refused_key for append in appends):
            raise ValueError("a row that cannot be stored")
        self.transactions += 1
        return [self._append(append) for append in appends]

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> None:
        """Always awaited, so that a test can hold it back."""

    async def append_first(self, append: DocumentAppend) -> bool:
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.is_failing:
            raise StoreUnavailable
        if append.key in self.documents:
            return False
        self._append(append)
        return True

    def _append(self, append: DocumentAppend) -> int:
        kept = self.documents.setdefault(append.key, _Kept())
        kept.last_seq += 1
        kept.updates[kept.last_seq] = append.update
        for binding in append.bindings:
            kept.bindings.setdefault(binding.client_id, binding.participant_id)
        kept.relays.extend(append.relays)
        self.journal.append(("stored", append.update))
        return kept.last_seq

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        if self.is_failing:
            raise StoreUnavailable
        kept = self.documents[key]
        if up_to_seq < kept.snapshot_seq:
            return
        kept.snapshot, kept.snapshot_seq = snapshot, up_to_seq
        kept.updates = {seq: update for seq, update in kept.updates.items() if seq > up_to_seq}

    @asynccontextmanager
    async def compaction_turn(self, key: DocumentKey) -> AsyncIterator[bool]:
        yield True

    async def list_documents(self, room_id: str) -> Sequence[str]:
        return [key.document for key in self.documents if key.room_id == room_id]

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        return self.documents.get(key, _Kept()).relays

    def text(self, key: DocumentKey = KEY) -> str:
        """What a process that starts now would show."""
        kept = self.documents.get(key, _Kept())
        return text_of(*([kept.snapshot] if kept.snapshot else []), *kept.updates.values())


def text_of(*updates: bytes) -> str:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text))


# --- readers ----------------------------------------------------------------------------------------


class Access:
    def __init__(self, *, read: bool = True, write: bool = True, silenced: bool = False) -> None:
        self.read, self.write, self.silenced = read, write, silenced

    def can_read(self) -> bool:
        return self.read

    def can_write(self) -> bool:
        return self.write

    def is_silenced(self) -> bool:
        return self.silenced


class RecordingReader:
    """A reader that only keeps what it is sent, and buffers as much as the test says."""

    def __init__(
        self, participant_id: str = "p-1", connection_id: str = "c-1", *, wants_acknowledgement: bool = True
    ) -> None:
        self.participant_id = participant_id
        self.connection_id = connection_id
        self.wants_acknowledgement = wants_acknowledgement
        self.inbox: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.buffered = 0

    def send(self, message: bytes) -> None:
        self.inbox.append(message)

    def buffered_bytes(self) -> int:
        return self.buffered

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def received(self, prefix: bytes) -> list[bytes]:
        return [message for message in self.inbox if message.startswith(prefix)]

    def denials(self) -> list[str]:
        return [message[3:].decode() for message in self.received(b"\x02\x00")]


class Editor(RecordingReader):
    """A Yjs editor on one connection: it answers as y-websocket's provider does."""

    def __init__(self, name: str, *, doc: "pycrdt.Doc[pycrdt.Text] | None" = None, **options: bool) -> None:
        super().__init__(f"participant-{name}", f"connection-{name}", **options)
        self.doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc() if doc is None else doc
        self.content = self.doc.get("text", type=pycrdt.Text)
        self.awareness = pycrdt.Awareness(self.doc)
        self.opened: OpenDocument | None = None
        self.is_synced = False
        self.sent = 0
        self.saved = 0
        self.is_unsaved = False
        self.journal: list[tuple[str, object]] | None = None
        self._applying = False
        self._subscription = self.doc.observe(self._changed)

    async def open(self, hub: DocumentHub, key: DocumentKey = KEY, access: Access | None = None) -> "Editor":
        self.opened = await hub.open(key, self, access or Access())
        self.opened.start()
        self.tell(sync.sync_step_1(self.doc.get_state()))
        return self

    async def join(self, hub: DocumentHub, key: DocumentKey = KEY, access: Access | None = None) -> "Editor":
        """Open, and wait until the document is here."""
        await self.open(hub, key, access)
        await until(lambda: self.is_synced)
        return self

    def leave(self) -> None:
        if self.opened is not None:
            self.opened.close()
            self.opened = None
            self.is_synced = False

    def tell(self, message: bytes) -> None:
        if self.opened is None:
            return
        try:
            self.opened.receive(message)
        except ProtocolViolation as violation:
            self.close(violation.code, violation.reason)

    def type(self, text: str) -> None:
        self.content += text

    def show_cursor(self) -> int:
        """Its client id."""
        self.awareness.set_local_state({"user": {"name": "x"}})
        self.tell(sync.awareness_message(self.awareness.encode_awareness_update([self.doc.client_id])))
        return self.doc.client_id

    @property
    def text(self) -> str:
        return str(self.content)

    @property
    def all_saved(self) -> bool:
        return self.saved == self.sent > 0 and not self.is_unsaved

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        self.opened = None

    def send(self, message: bytes) -> None:
        super().send(message)
        kind, rest = message[0], message[1:]
        if kind == sync.SYNC:
            step, body = rest[0], pycrdt.Decoder(rest[1:]).read_message()
            assert body is not None
            if step == sync.STEP_1:
                # A transport delivers later, never from within the send.
                asyncio.get_running_loop().call_soon(self._answer, body)
            else:
                self._apply(body)
                self.is_synced = self.is_synced or step == sync.STEP_2
        elif kind == sync.AWARENESS:
            update = pycrdt.Decoder(rest).read_message()
            assert update is not None
            self.awareness.apply_awareness_update(update, "server")
        elif kind in (sync.SAVED, sync.UNSAVED):
            self.is_unsaved = kind == sync.UNSAVED
            if kind == sync.SAVED:
                self.saved = pycrdt.Decoder(rest).read_var_uint()

    def _answer(self, state_vector: bytes) -> None:
        self.sent += 1
        self.tell(sync.sync_step_2(self.doc.get_update(state_vector)))

    def _apply(self, update: bytes) -> None:
        before = self.text
        self._applying = True
        self.doc.apply_update(update)
        self._applying = False
        if self.journal is not None and self.text != before:
            self.journal.append(("seen", self.text))

    def _changed(self, event: pycrdt.TransactionEvent) -> None:
        if not self._applying and self.opened is not None:
            self.sent += 1
            self.tell(sync.sync_update(event.update))


# --- recorded data ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class History:
    updates: list[bytes]
    """Yjs updates, one an edit, in a causal order."""
    is_final: Callable[[str], bool]
    """Whether this is the text that they end with."""


def recorded_history(name: str) -> History:
    """The recorded history of that name, or a generated one (see tests/support/traces.py)."""
    folder = trace_folder()
    path = folder / f"{name}.yupdates.gz" if folder else None
    if path is not None and path.is_file():
        return History(list(_length_prefixed(gzip.decompress(path.read_bytes()))), load_trace(name).is_final)
    print(f"{name}: the recorded history is not here; a generated one of the same shape is used")
    seed, count = len(name), 6_000
    trace = generate_trace("generated", seed=seed, transactions=count)
    return History(generated_updates(seed=seed, count=count), trace.is_final)


def _length_prefixed(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield data[at : at + length]
        at += length


def generated_updates(*, seed: int, count: int) -> list[bytes]:
    """One author typing: an update for each edit."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=1000 + seed)
    text = doc.get("text", type=pycrdt.Text)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    plain: list[str] = []
    for patches in generate_trace("generated", seed=seed, transactions=count).transactions:
        for position, deleted, inserted in patches:
            # pycrdt counts bytes of UTF-8
            start = len("".join(plain[:position]).encode())
            if deleted:
                del text[start : start + len("".join(plain[position : position + deleted]).encode())]
                del plain[position : position + deleted]
            if inserted:
                text.insert(start, inserted)
                plain[position:position] = inserted
    doc.unobserve(subscription)
    return updates
