"""A document in memory: its copy, its readers, and what waits for the next flush. Data and small
questions only; `hub` decides when, `open_document` what a client may."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooms.documents.awareness import DocumentAwareness
from rooms.documents.document import YjsDocument
from rooms.documents.exchange import DocumentExchange
from rooms.documents.fan_out import Audience
from rooms.documents.limits import MAX_DEPARTED_CLIENT_IDS, HubLimits
from rooms.documents.scan import Scan
from rooms.documents.template import TEMPLATE_AUTHOR, TEMPLATE_CLIENT_ID
from rooms.documents.typing_run import TypedText, TypingRun, typed_update
from rooms.ports import ClientBinding, DocumentAppend, DocumentKey, RelayedRange

if TYPE_CHECKING:
    from rooms.documents.open_document import OpenDocument


class Incoming:
    """An update that was let in and waits for the flush: one message, or what one reader has typed since."""

    __slots__ = (
        "_client",
        "_end",
        "_head",
        "_scan",
        "_start",
        "_texts",
        "is_answer",
        "is_part",
        "is_sealed",
        "number",
        "reader",
        "relayed",
        "size_bytes",
        "typed_text",
        "update",
    )

    def __init__(
        self, reader: "OpenDocument", number: int, update: bytes, scan: Scan | None, *, is_answer: bool
    ) -> None:
        self.reader = reader
        self.number = number
        """Its number for the acknowledgement: the last one's, when it stands for several messages."""
        self.update = update
        self.is_answer = is_answer
        """It answers our own sync step 1."""
        self.is_part = False
        """More of the same message follows when this has been shown: it is not counted yet."""
        self.relayed: Collection[int] = ()
        """Client ids in it that are not its sender's."""
        self.is_sealed = False
        """A flush has taken it: nothing can be added."""
        self.typed_text: TypedText | None = None
        """What a sealed one holds, if its reader typed on and did nothing else."""
        self.size_bytes = len(update)
        self._scan = scan
        self._head = b""
        self._texts: list[bytes] = []
        self._client = self._start = self._end = 0

    @classmethod
    def typed(cls, reader: "OpenDocument", run: TypingRun) -> "Incoming":
        """For what the reader types from here on: `add` it."""
        incoming = cls(reader, 0, b"", None, is_answer=False)
        incoming._head = run.head
        incoming._client, incoming._start, incoming._end = run.client, run.end, run.end
        return incoming

    @property
    def is_typed(self) -> bool:
        return bool(self._head)

    @property
    def scan(self) -> Scan:
        """Of `update`; of what was typed on it is made when it is asked for, which is seldom."""
        if self._scan is None:
            self._scan = Scan()
            self._scan.structs = 1
            self._scan.writes.append((self._client, self._start, self._end))
        return self._scan

    @property
    def is_empty(self) -> bool:
        """It says nothing."""
        return self._scan is not None and self._scan.is_empty

    def add(self, number: int, text: bytes, end: int) -> None:
        """More of the same run, up to this clock."""
        self.number = number
        self.size_bytes += len(text)
        self._texts.append(text)
        self._end = end

    def seal(self) -> None:
        """A flush takes it: `update` and `scan` are complete after this."""
        self.is_sealed = True
        if self._texts:
            text = b"".join(self._texts)
            self.update = typed_update(self._head, text)
            self.typed_text = TypedText(self._client, self._start, self._end, self._head, text, self.update)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An update that came over the bus and waits for the flush: its instance has stored it, we only show it."""

    sender: bytes
    update: bytes
    scan: Scan
    is_repair: bool
    """It was asked for, or read from the store, because something was missed."""
    is_untold: bool = False
    """This instance has stored it by itself, and no other has been told."""


class LiveDocument:
    def __init__(self, key: DocumentKey, limits: HubLimits) -> None:
        self.key = key
        self.copy: YjsDocument | None = None
        """None while it is loaded (again)."""
        self.loading = asyncio.Lock()
        self.awareness = DocumentAwareness(limits.client_ids_per_connection)
        self.readers: dict[OpenDocument, None] = {}
        """In the order in which they came."""
        self.followers: dict[OpenDocument, None] = {}
        """Those that have been answered and keep up: each change is for them."""
        self._audience: Audience | None = None
        self.newcomers: dict[OpenDocument, None] = {}
        """Those that have not asked for the text yet: they are sent cursors only."""
        self.full_bytes = limits.reader_buffer_bytes
        """With more than this under way a reader does not keep up."""

        self.incoming: list[Incoming] = []
        self.arrivals: list[Arrival] = []
        self.asking: list[tuple[OpenDocument, bytes]] = []
        """Sync step 1 of readers which came while a flush was under way: answered after it."""
        self.rests_until = 0.0
        """It is not flushed again before (time of the event loop)."""
        self.due_at = math.inf
        """When its next flush is planned, for the hub; 0: at once; infinity: there is nothing to flush."""
        self.flushing = False
        """The copy holds, or will in a moment, text that the store does not have yet: show it to nobody."""
        self.unsaved: list[DocumentAppend] = []
        """Appends that the store did not take, in order; not empty: this document is failing."""

        self.exchange: DocumentExchange | None = None
        """With the other instances; None when there is no bus."""

        self.owners: dict[int, str] = {TEMPLATE_CLIENT_ID: TEMPLATE_AUTHOR}
        """Yjs client id → participant that first used it, as stored or to be stored."""
        self.announced: dict[int, str] = {}
        """The same for ids known from awareness only: kept while their connection lives."""
        self._departed: OrderedDict[int, str] = OrderedDict()
        """Those that were announced and have gone, newest last: other clients still repeat what they said, which
        must not make the cursors theirs."""
        self.has_relayed = False
        """Somebody brought text under client ids that are bound to nobody here, since this was last looked at:
        it may be another's, whose instance was not heard and has stored whose they are."""
        self._new_bindings: list[ClientBinding] = []

        self.snapshot_bytes = 0
        self.log_entries = 0
        self.log_bytes = 0
        self.compact_from = 0
        """Log entries below which compaction is not tried again, after it failed."""

    @property
    def size_bytes(self) -> int:
        """About how large the whole state is; too high until the log is compacted."""
        return self.snapshot_bytes + self.log_bytes

    @property
    def incoming_bytes(self) -> int:
        """What waits for the flush."""
        size_bytes = 0
        for one in self.incoming:
            size_bytes += one.size_bytes
        for arrival in self.arrivals:
            size_bytes += len(arrival.update)
        return size_bytes

    @property
    def has_text(self) -> bool:
        """Something is written in it, or will be with the next flush."""
        waits = any(not one.is_empty for one in self.incoming)
        return waits or self.copy is None or bool(self.copy.clocks)

    @property
    def is_failing(self) -> bool:
        return bool(self.unsaved)

    @property
    def is_quiet(self) -> bool:
        """Nothing would be lost if it left memory."""
        return not (self.readers or self.incoming or self.arrivals or self.asking or self.flushing or self.unsaved)

    def owner_of(self, client_id: int) -> str | None:
        return self.owners.get(client_id) or self.announced.get(client_id)

    @property
    def audience(self) -> Audience:
        """The followers, for sending."""
        if self._audience is None:
            self._audience = Audience(self.followers)
        return self._audience

    def follow(self, reader: "OpenDocument") -> None:
        self.newcomers.pop(reader, None)
        self.followers[reader] = None
        self._audience = None

    def unfollow(self, reader: "OpenDocument") -> None:
        self.newcomers.pop(reader, None)
        self.followers.pop(reader, None)
        self._audience = None

    def speaker_of(self, client_id: int) -> str | None:
        """Whose cursor it is, or was until a moment ago."""
        return self.owner_of(client_id) or self._departed.get(client_id)

    def announce(self, client_id: int, participant_id: str) -> None:
        """The participant shows a cursor with this client id."""
        if client_id not in self.owners:
            self.announced[client_id] = participant_id
            self._departed.pop(client_id, None)

    def depart(self, client_id: int) -> None:
        """Its awareness has ended."""
        participant_id = self.announced.pop(client_id, None)
        if participant_id is not None:
            self._departed[client_id] = participant_id
            if len(self._departed) > MAX_DEPARTED_CLIENT_IDS:
                self._departed.popitem(last=False)

    def bind(self, client_id: int, participant_id: str) -> None:
        """The participant wrote first under this client id; stored with the next append."""
        self.owners[client_id] = participant_id
        self.announced.pop(client_id, None)
        self._departed.pop(client_id, None)
        self._new_bindings.append(ClientBinding(client_id, participant_id))

    def appends_for(
        self, change: bytes | None, kept: Sequence[bytes], relays: Sequence[RelayedRange] = ()
    ) -> list[DocumentAppend]:
        """What the store gets of one flush, bindings and relays included. What waits is stored beside the change,
        not merged into it: a reload must find both as they were."""
        updates = [change, *kept] if change is not None else list(kept)
        appends = [DocumentAppend(self.key, update) for update in updates]
        if appends and (self._new_bindings or relays):
            appends[0] = DocumentAppend(self.key, updates[0], tuple(self._new_bindings), relays)
            self._new_bindings = []
        return appends

    def note_appended(self, appends: Sequence[DocumentAppend]) -> None:
        self.log_entries += len(appends)
        for append in appends:
            self.log_bytes += len(append.update)

    def note_compacted(self, entries: int, size_bytes: int) -> None:
        """So much of the log is in a snapshot now."""
        # While a flush is under way the store may have what is counted a moment later; else another instance's updates
        # were not heard of, and none of them is left.
        least = -math.inf if self.flushing else 0
        self.log_entries = int(max(least, self.log_entries - entries))
        self.log_bytes = int(max(least, self.log_bytes - size_bytes))

    def note_heard(self, change: bytes) -> None:
        """Another instance has appended it."""
        self.log_entries += 1
        self.log_bytes += len(change)
