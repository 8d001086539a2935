"""The life of a document whose clients send anything: what comes in is scanned, taken, stored, shown and read again.

The fuzzer's bytes are messages, one behind the other, each with a head of three bytes: who sends it (one of two), whether
it is flushed together with the next one, and its length. A sender that types on is known by its run, as in the server.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pycrdt

from rooms.documents.compaction import compact
from rooms.documents.deletions import digest_of_deletions
from rooms.documents.document import YjsDocument
from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.flush import _integrate
from rooms.documents.limits import HubLimits
from rooms.documents.live import Incoming
from rooms.documents.loading import load_document
from rooms.documents.scan import scan_update
from rooms.documents.snapshot import read_snapshot
from rooms.documents.sync import sync_update
from rooms.documents.typing_run import TypingRun

WAITING_LIMIT_BYTES = HubLimits().waiting_bytes
MOST_MESSAGES = 64
_HEAD_BYTES = 3
_SECOND_SENDER = 1
_WITH_THE_NEXT = 2


def framed(update: bytes, sender: int = 0, *, with_the_next: bool = False) -> bytes:
    return bytes([sender * _SECOND_SENDER + with_the_next * _WITH_THE_NEXT]) + len(update).to_bytes(2) + update


def _messages(data: bytes) -> Iterator[tuple[int, bool, bytes]]:
    at = 0
    for _ in range(MOST_MESSAGES):
        if at + _HEAD_BYTES > len(data):
            return
        length = int.from_bytes(data[at + 1 : at + _HEAD_BYTES])
        start, at_once = at + _HEAD_BYTES, bool(data[at] & _WITH_THE_NEXT)
        yield data[at] & _SECOND_SENDER, at_once, data[start : start + length]
        at = start + length


@dataclass(slots=True)
class DocumentLife:
    """One document and its log."""

    copy: YjsDocument = field(default_factory=lambda: YjsDocument(WAITING_LIMIT_BYTES))
    log: list[bytes] = field(default_factory=list)
    shown: list[bytes] = field(default_factory=list)
    batch: list[Incoming] = field(default_factory=list)
    runs: dict[int, TypingRun | None] = field(default_factory=dict)
    typing: dict[int, Incoming | None] = field(default_factory=dict)
    has_taken: bool = False

    def receive(self, sender: int, update: bytes) -> None:
        run = self.runs.get(sender)
        typed = run.continue_with(sync_update(update)) if run is not None else None
        if run is not None and typed is not None and self._may_type_on(sender, run):
            self._type_on(sender, run, *typed)
            return
        try:
            scan = scan_update(update)
        except MalformedMessage:
            return
        incoming = Incoming(None, 0, update, scan, is_answer=False)  # type: ignore[arg-type]
        self.batch.append(incoming)
        run = self.runs[sender] = TypingRun.after(update, scan)
        self.typing[sender] = incoming if run is not None else None

    def _may_type_on(self, sender: int, run: TypingRun) -> bool:
        incoming = self.typing[sender]
        is_next = incoming is not None and not incoming.is_sealed
        return is_next or self.copy.clocks.get(run.client, 0) == run.end

    def _type_on(self, sender: int, run: TypingRun, text: bytes, clocks: int) -> None:
        incoming = self.typing[sender]
        if incoming is None or incoming.is_sealed or not incoming.is_typed:
            incoming = self.typing[sender] = Incoming.typed(None, run)  # type: ignore[arg-type]
            self.batch.append(incoming)
        run.advance(clocks)
        incoming.add(0, text, run.end)

    def flush(self) -> None:
        """As the server does: together, and if that breaks the copy, one by one on a copy read from the store."""
        batch, self.batch = self.batch, []
        if not batch:
            return
        for incoming in batch:
            incoming.seal()
            assert scan_update(incoming.update).writes == incoming.scan.writes, "a run is what a scan says of it"
        try:
            self._take(batch)
        except DocumentBroken:
            self.reload()
            for incoming in batch:
                self._take_alone(incoming)

    def _take_alone(self, incoming: Incoming) -> None:
        harmful = set[bytes]()
        while True:
            try:
                self._take([incoming])
                return
            except DocumentBroken as error:
                self.reload()
                if error.waiting is None:
                    return
                if error.waiting in harmful:
                    raise
                harmful.add(error.waiting)
                for waiting in harmful:
                    self.copy.set_aside(waiting)

    def _take(self, batch: Sequence[Incoming]) -> None:
        result = _integrate(self.copy, batch)
        self.has_taken = True
        if result.change is not None:
            scan_update(result.change)
            self.log.append(result.change)
            self.shown.append(result.change)
        self.log += result.kept

    def reload(self) -> None:
        self.copy.close()
        *_growing, self.copy = load_document(None, self.log, WAITING_LIMIT_BYTES, read_snapshot(None))


Reach = tuple[dict[int, int], bytes]


def reach(document: YjsDocument) -> Reach:
    """All that is written and all that is deleted, as everyone who asks is told. Raises: DocumentBroken."""
    scan_update(document.whole_state())
    assert document.difference(document.state_vector()) is not None
    return document.clocks, digest_of_deletions(document.deletions())


def live_through(data: bytes) -> bool:
    """Whatever was taken, the document can be read, by who was there and by who comes later, and is the same for all.
    True: something was taken."""
    life = DocumentLife()
    try:
        for sender, is_with_the_next, update in _messages(data):
            life.receive(sender, update)
            if not is_with_the_next:
                life.flush()
        life.flush()
        expected, waiting = reach(life.copy), sorted(life.copy.waiting)
        _check_a_reload(life, expected, waiting)
        _check_a_compaction(life, expected, waiting)
        _check_who_was_there(life, expected)
    finally:
        life.copy.close()
    return life.has_taken


def _check_a_reload(life: DocumentLife, expected: Reach, waiting: Sequence[bytes]) -> None:
    life.reload()
    assert reach(life.copy) == expected
    assert sorted(life.copy.waiting) == waiting
    *_growing, quickly = YjsDocument.load_sound(life.log, WAITING_LIMIT_BYTES)
    assert quickly is None or (reach(quickly) == expected and not waiting)
    if quickly is not None:
        quickly.close()


def _check_a_compaction(life: DocumentLife, expected: Reach, waiting: Sequence[bytes]) -> None:
    snapshot, rest, _left_out = compact(None, life.log)
    *_growing, later = load_document(snapshot, rest, WAITING_LIMIT_BYTES, read_snapshot(snapshot))
    assert reach(later) == expected
    assert sorted(later.waiting) == waiting
    later.close()


def _check_who_was_there(life: DocumentLife, expected: Reach) -> None:
    """Who was sent each change as it came has what is there."""
    reader: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for change in life.shown:
        reader.apply_update(change)
    *_growing, theirs = load_document(None, [reader.get_update()], WAITING_LIMIT_BYTES, read_snapshot(None))
    assert reach(theirs) == expected
    theirs.close()


def document_seeds(updates: Sequence[bytes]) -> list[bytes]:
    """Real histories, of one and of two senders, alone and in batches; somebody who types on."""
    chance = random.Random(3)
    pieces = [updates[start : start + 12] for start in range(0, len(updates), 12)]
    in_turn = [b"".join(framed(update) for update in piece) for piece in pieces]
    mixed = [
        b"".join(
            framed(update, chance.randrange(2), with_the_next=chance.random() < 0.5)
            for update in chance.sample(piece, len(piece))
        )
        for piece in pieces
    ]
    return [
        *in_turn,
        *mixed,
        _typed("Bonjour à tous, les élèves"),
        _typed("a📊b"),
        framed(pycrdt.merge_updates(*updates[:12])),
    ]


def _typed(text: str) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=9)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    content = doc.get("text", type=pycrdt.Text)
    for character in text:
        content += character
    doc.unobserve(subscription)
    return b"".join(framed(update, with_the_next=number % 3 == 0) for number, update in enumerate(updates))
