"""One document in memory: the only file that knows pycrdt.

What pycrdt cannot be trusted with, this wrapper does around it:

- Updates that overtake what they depend on: the engine silently drops them, so they wait here, as bytes,
  and are tried again when more is known (`waiting`).
- Foreign bytes that make it panic (a `BaseException`) or answer with one of four other kinds of error:
  all become `DocumentBroken`; the copy is then unusable and is to be loaded again from the store.
- Updates that cut a character in two (an edit between the halves of a surrogate pair, which no good editor
  makes): the engine's copy then disagrees with itself, and with Yjs, for ever. They are refused (`surrogates`).
- Updates that it takes and cannot read afterwards: after each step the change is encoded once, before
  anyone stores or sees it.

Not thread-safe, and slow: 4 ms to load 245 kB, and the engine never lets go of the interpreter meanwhile. Deep
documents need a deep stack: the event loop's thread is started with 512 MiB (`server.cli`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio._backends._asyncio  # noqa: F401 (in 8 to 15 ms; pycrdt does with its first document in an event loop)
import pycrdt

from rooms.documents.base_state import BaseState
from rooms.documents.deletions import is_within, joined_ranges
from rooms.documents.engine_errors import scan_own, translate, translated_errors
from rooms.documents.errors import DocumentBroken
from rooms.documents.joining import Together, joined_blocks
from rooms.documents.limits import MAX_NESTED_TYPES
from rooms.documents.scan import ClockRange, Scan, scan_update
from rooms.documents.slices import SlicePlan, encode_deletes
from rooms.documents.snapshot import SnapshotFacts, is_read_at_once, read_snapshot
from rooms.documents.split import split_update
from rooms.documents.sync import Denial, encode_state_vector, read_state_vector
from rooms.documents.typing_run import TypedText, typed_update

MERGE_AT_ONCE: Final = 200
"""`merge_updates` is quadratic in their number: 100 take 0.1 ms, 10,000 take 200 ms."""
LOAD_AT_ONCE_BYTES: Final = 32 * 1024
"""Updates of a log applied in one step of a load: some milliseconds."""
TYPED_AT_ONCE_BYTES: Final = 4 * 1024
"""What people typed on is given to the engine when it is so much, or when the engine is asked for something: five
seconds of a class, in the time of one flush."""
WRITTEN_AT_ONCE: Final = 250_000
"""Characters that the engine writes in 1 ms where they were typed as people type, in 10 where each stands alone."""
LARGE_CLOCKS: Final = 1_000_000  # ever typed in a document that it takes the engine milliseconds to let go of
JOINED_BYTES: Final = 512 * 1024  # of what has changed since the whole was written: becomes one update in some ms
DISSOLVED_AT_ONCE: Final = 5_000

Update = tuple[bytes, Scan]
"""An update and its scan."""

pycrdt.Doc()  # imports forty modules with its first document: now, not while the first class waits


@dataclass(slots=True)
class Integrated:
    """What one `integrate` did."""

    clocks_before: Mapping[int, int]
    """What was known until then."""
    change: bytes | None = None
    """Everything that is new, as one update: to store, then to send on. None: nothing was."""
    kept: list[bytes] = field(default_factory=list)
    """Parts that wait now for what they depend on: to store as well, but not to send on."""
    incomplete: set[int] = field(default_factory=set)
    """Which of the given updates (by index) were not placed whole: ask their sender again."""
    refused: dict[int, Denial] = field(default_factory=dict)
    """Which of the given updates could not be taken, or not whole, and why."""
    released: bool = False
    """Something that had waited is in `change`."""


class YjsDocument:
    """A Yjs document, empty at first.

    `clocks` (client id → clock up to which its structs are here) is for reading only. After
    DocumentBroken from any method, only `close` may be called.
    """

    def __init__(self, waiting_limit_bytes: int = 4 * 1024 * 1024, facts: SnapshotFacts | None = None) -> None:
        """`facts`: `read_snapshot` of what `apply_snapshot` will be given."""
        self._doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        self._changes: list[bytes] = []
        changes = self._changes  # no reference to self: the engine's subscription is not collected
        self._subscription = self._doc.observe(lambda event: changes.append(event.update))
        self._waiting_limit_bytes = waiting_limit_bytes
        self._waiting: list[bytes] = []
        self._harmful: set[bytes] = set()
        """What is known to break the engine when it is placed: it is neither placed nor does it wait."""
        self._retries = True
        """Whether what waits is tried again; not when too much of it has broken the engine."""
        self._whole_state: bytes | None = None
        self._base = BaseState()
        self._state_vector: bytes | None = None
        self._deleted: dict[int, list[ClockRange]] | None = None
        self._typed: dict[int, tuple[bytes, list[bytes]]] = {}
        """By client id: what was typed on, the head of the update that adds it and its pieces, and is in `clocks`, yet
        not in the engine."""
        self._typed_bytes = 0
        facts = facts or SnapshotFacts()
        self._pairs, self._nested_types = facts.pairs, facts.nested_types
        self.clocks: dict[int, int] = {}
        self.changes = 0
        """How often it has changed."""
        self.deletions_digest: bytes | None = None
        """Of `deletions`, for whoever makes it; forgotten with each change."""

    @classmethod
    def load_sound(cls, stored: Sequence[bytes], waiting_limit_bytes: int) -> "Iterator[YjsDocument | None]":
        """As `loading.load_document`, in a third of the time, for what has nothing to be careful about: each update
        was scanned when it came, and it shows at the end whether all of it found its place. `stored`: snapshot and log,
        oldest first. Yields the growing document; then, last, None if it must be loaded with care."""
        document = cls(waiting_limit_bytes)
        try:
            yield from document._apply_sound(stored)
        except DocumentBroken:
            # The engine also looks into what still waits, which nobody has been shown: with care it is left to wait.
            document.close()
            yield None

    def _apply_sound(self, stored: Sequence[bytes]) -> "Iterator[YjsDocument | None]":
        whole = merge_updates(stored)
        yield self
        if not is_read_at_once(whole):
            yield None
            return
        self._nested_types = read_snapshot(whole).nested_types
        for step in _steps(stored):
            with translated_errors(), self._doc.transaction():
                for update in step:
                    self._doc.apply_update(update)
            yield self
        if self._holds_all_of(whole):
            self._changes.clear()
            yield self
        else:
            yield None

    def apply_snapshot(self, snapshot: bytes, plan: SlicePlan | None, *, is_all: bool) -> Iterator[None]:
        """Begin with that, which is a whole state, without holes (see `compact`): no scan needed. `is_all`: nothing
        else is stored. Yields after each step of some milliseconds, when there is a plan. Raises: DocumentBroken."""
        with translated_errors():
            self._doc.unobserve(self._subscription)  # to encode each slice anew costs half as much again
        for part in (snapshot,) if plan is None else plan.updates(snapshot):
            with translated_errors():
                self._doc.apply_update(part)
            yield
        with translated_errors():
            changes = self._changes
            self._subscription = self._doc.observe(lambda event: changes.append(event.update))
            self.clocks = read_state_vector(self._doc.get_state())
            if plan is not None and self.clocks != plan.clocks():
                self._doc.apply_update(snapshot)  # what the engine lost of the slices
                self.clocks = read_state_vector(self._doc.get_state())
        self._changes.clear()
        self._base.begin(snapshot, self.changes)
        if is_all:
            self._whole_state = snapshot  # as the engine wrote it: a class that opens it is sent these bytes

    @property
    def waiting(self) -> Sequence[bytes]:
        """Updates that cannot be placed yet."""
        return self._waiting

    @property
    def left_out(self) -> Collection[bytes]:
        """What `set_aside` was told of."""
        return self._harmful

    def set_aside(self, harmful: bytes) -> None:
        """It breaks the engine when it is placed (`DocumentBroken.waiting`); whoever it waits for is not to suffer."""
        self._harmful.add(harmful)
        self._waiting = [update for update in self._waiting if update != harmful]

    def try_waiting_no_more(self) -> None:
        """Too much of what waited has broken the engine already."""
        self._retries = False

    @property
    def waiting_bytes(self) -> int:
        return sum(map(len, self._waiting))

    def integrate_typed(self, typed: Sequence[TypedText]) -> Integrated | None:
        """As `integrate`, for people who type on, and nothing else: what each adds hangs on its own last character, as
        all that it typed before, so that the engine can only take it, and is given it when it is asked next.
        None: it is to be integrated like anything else. Raises: DocumentBroken."""
        blocks: dict[int, bytes] = {}
        for one in typed:
            if one.client in blocks or self.clocks.get(one.client) != one.start:
                return None
            blocks[one.client] = one.update[1:-1]
        if self._waiting:
            return None
        change = typed[0].update if len(typed) == 1 else joined_blocks(blocks)
        result = Integrated(clocks_before=self.clocks, change=change)
        self.clocks = self.clocks.copy()  # whoever asked what they were before keeps that
        for one in typed:
            self.clocks[one.client] = one.end
            if one.client in self._typed:
                self._typed[one.client][1].append(one.text)
            else:
                self._typed[one.client] = (one.head, [one.text])
            self._typed_bytes += len(one.text)
        self._note_change(change)
        if self._typed_bytes >= TYPED_AT_ONCE_BYTES:
            self._catch_up()
        return result

    def _catch_up(self) -> None:
        """Give the engine what was typed since it was asked last. Raises: DocumentBroken."""
        if not self._typed:
            return
        blocks = {client: typed_update(head, b"".join(texts))[1:-1] for client, (head, texts) in self._typed.items()}
        self._typed.clear()
        self._typed_bytes = 0
        joined = joined_blocks(blocks)
        with translated_errors():
            self._doc.apply_update(joined)
            # What comes out as it went in was placed whole; else (its paragraph is gone, say) it is looked at.
            is_placed = self._changes == [joined] or read_state_vector(self._doc.get_state()) == self.clocks
        self._changes.clear()
        if not is_placed:
            raise DocumentBroken("what was typed was not placed whole")

    def integrate(self, updates: Sequence[Update]) -> Integrated:
        """Take updates in the order in which they arrived, and say what became of them.
        Raises: DocumentBroken: one of them is bad; load again and take them one by one. With `waiting`: it is not
        to blame, but something that had waited for it; load again and set that aside."""
        self._catch_up()
        result = Integrated(clocks_before=self.clocks)
        expected = self.clocks.copy()
        with translated_errors():
            with self._doc.transaction():
                together = Together(self._doc.apply_update)
                for index, (update, scan) in enumerate(updates):
                    self._place(index, update, scan, expected, result, together)
                together.apply()
            if self._waiting and self._retries:
                self._retry_waiting(expected, result)
            if self._changes != [together.last]:
                # A document that cannot be read must not be stored. What comes out as it went in has been read.
                self._doc.get_update(encode_state_vector(result.clocks_before))
        result.change = self._take_change(together.last, expected)
        self._check_reach(expected)
        return result

    def state_vector(self) -> bytes:
        if self._state_vector is None:
            self._catch_up()
            with translated_errors():
                self._state_vector = self._doc.get_state()
        return self._state_vector

    def whole_state(self) -> bytes:
        """Everything placed, as one update. Kept until the next change: a class opens at once."""
        if self._whole_state is None:
            self._catch_up()
            with translated_errors():
                self._whole_state = self._doc.get_update()
            self._base.begin(self._whole_state, self.changes)
        return self._whole_state

    def is_told_quickly(self, state_vector: bytes) -> bool:
        """Whether `difference_in_parts` takes some milliseconds at most. Raises: MalformedMessage."""
        is_kept = self._base.state is not None and self._base.since_bytes <= JOINED_BYTES
        return is_kept or self._whole_state is not None or not self.is_much_beyond(state_vector)

    def is_much_beyond(self, state_vector: bytes) -> bool:
        """Whether `difference` may take longer than that. Raises: MalformedMessage."""
        return self._is_much_beyond(read_state_vector(state_vector))

    def difference_in_parts(self, state_vector: bytes) -> Sequence[bytes]:
        """As `difference`, in one or more updates, each to follow the one before. Of a large document the whole is not
        written anew for each one who opens it: what was written last is followed by what has changed since.
        Raises: MalformedMessage."""
        base, known = self._base, read_state_vector(state_vector)
        if self._whole_state is not None or base.state is None or (known and not self._is_much_beyond(known)):
            return [self.difference(state_vector)]
        if len(base.since) > 1 and base.since_bytes <= JOINED_BYTES:
            base.join(merge_updates(base.since), self.changes)
        return [base.state, *base.since]

    def _is_much_beyond(self, known: Mapping[int, int]) -> bool:
        return sum([max(0, clock - known.get(client, 0)) for client, clock in self.clocks.items()]) > WRITTEN_AT_ONCE

    def expect_base(self) -> None:
        """`renew_base` will be called: remember what changes from now on."""
        self._base.expect()

    def renew_base(self, state: bytes, changes: int) -> None:
        """That is a whole state, with all that this document had when it had changed so often, and maybe more."""
        self._base.renew(state, changes, self.changes)

    def difference(self, state_vector: bytes) -> bytes:
        """What a peer with this state vector lacks (and every deletion), as one update.
        Raises: MalformedMessage."""
        if not read_state_vector(state_vector):
            return self.whole_state()
        self._catch_up()
        with translated_errors():
            return self._doc.get_update(state_vector)

    def deletions(self) -> bytes:
        """An update that holds every deletion, and nothing else."""
        self._catch_up()
        with translated_errors():
            return self._doc.get_update(self._doc.get_state())

    def has_all_of(self, scan: Scan) -> bool:
        """True when the update of this scan would change nothing."""
        if scan.writes_beyond(self.clocks):
            return False
        if not scan.deletes:
            return True
        if self._deleted is None:
            self._deleted = joined_ranges(scan_own(self.deletions()).deletes)
        return all(is_within(deleted, self._deleted.get(deleted[0], [])) for deleted in scan.deletes)

    @property
    def is_large(self) -> bool:
        """To be let go of with `dissolve`."""
        return sum(self.clocks.values()) >= LARGE_CLOCKS

    def close(self) -> None:
        """Let go of the engine's copy."""
        try:
            self._doc.unobserve(self._subscription)
        except BaseException as error:
            translate(error)  # a broken engine may fail here too; it is going away

    def dissolve(self) -> Iterator[None]:
        """As `close`, for a large document: to let go of 20 MB at once takes the engine 15 ms. Yields after each
        step (from the end: what is inside something goes first); nothing else may be called any more."""
        self.close()
        try:
            for client, end in self.clocks.items():
                for start in range((end - 1) // DISSOLVED_AT_ONCE * DISSOLVED_AT_ONCE, -1, -DISSOLVED_AT_ONCE):
                    deleted = (client, start, min(end, start + DISSOLVED_AT_ONCE))
                    with translated_errors():
                        self._doc.apply_update(b"\x00" + encode_deletes([deleted]))
                    yield
        except DocumentBroken:
            return  # it goes in one piece then

    # --- inside -------------------------------------------------------------------------------

    def _holds_all_of(self, whole: bytes) -> bool:
        """Whether the engine, which says nothing of what it could not place, has placed everything; then the clocks
        are known as well."""
        with translated_errors():
            state_vector = pycrdt.get_state(whole)
            deletions = pycrdt.get_update(whole, state_vector)
            reached = read_state_vector(self._doc.get_state())
        scan = scan_own(deletions)
        if scan.writes or read_state_vector(state_vector) != reached:
            return False
        self.clocks = reached
        return all(end <= reached.get(client, 0) for client, _start, end in scan.deletes)

    def _place(
        self,
        index: int,
        update: bytes,
        scan: Scan,
        clocks: dict[int, int],
        result: Integrated,
        together: Together,
    ) -> None:
        if scan.is_covered_by(clocks):
            self._apply(index, update, scan, clocks, result, together)
            return
        ready, rest = split_update(update, clocks)
        if ready is not None and not self._apply(index, ready, scan_update(ready), clocks, result, together):
            return
        if rest is None:
            return
        result.incomplete.add(index)
        if rest in self._waiting or rest in self._harmful:
            return
        if self.waiting_bytes + len(rest) > self._waiting_limit_bytes:
            result.refused[index] = "waiting"
            return
        self._waiting.append(rest)
        result.kept.append(rest)

    def _retry_waiting(self, clocks: dict[int, int], result: Integrated) -> None:
        placed = True
        while placed and self._waiting:
            placed, waiting, self._waiting = False, self._waiting, []
            for update in waiting:
                ready, rest = split_update(update, clocks)
                if ready is not None:
                    if not self._place_alone(update, ready, clocks, result):
                        continue  # its author was told to send it again, and will then be refused
                    placed = result.released = True
                if rest is not None:
                    self._waiting.append(rest)

    def _place_alone(self, waiting: bytes, ready: bytes, clocks: dict[int, int], result: Integrated) -> bool:
        """Place what had waited, apart from all else: if it breaks the engine, it is known what did. False: refused.
        Raises: DocumentBroken."""
        alone, scan = Together(self._doc.apply_update), scan_update(ready)
        if not self._apply(None, ready, scan, clocks, result, alone):
            return False
        try:
            with self._doc.transaction():
                alone.apply()
            self._doc.get_update(encode_state_vector(result.clocks_before))
            reached = read_state_vector(self._doc.get_state())
        except BaseException as error:
            raise translate(error, waiting) from error
        if scan.writes_beyond(reached):
            raise DocumentBroken("what had waited was not placed whole", waiting=waiting)
        return True

    def _apply(
        self,
        index: int | None,
        update: bytes,
        scan: Scan,
        clocks: dict[int, int],
        result: Integrated,
        together: Together,
    ) -> bool:
        """Hand a covered update to the engine, and note how far it must have come then. False: it was
        not handed over; `result` says why, of the update at this index."""
        denial = self._denial(scan)
        if denial is not None:
            if index is not None:
                result.refused[index] = denial
            return False
        self._pairs.add(scan)
        self._nested_types += scan.nested_types
        together.add(update, scan)
        for client, _start, end in scan.writes:
            if end > clocks.get(client, 0):
                clocks[client] = end
        return True

    def _denial(self, scan: Scan) -> Denial | None:
        if (self._pairs or scan.pairs) and self._pairs.are_cut_by(scan):
            return "half-character"
        if scan.nested_types and self._nested_types + scan.nested_types > MAX_NESTED_TYPES:
            return "too-large"
        return None

    def _take_change(self, given: bytes, expected: dict[int, int]) -> bytes | None:
        """What the engine says has changed. Content that it knew already makes no change, which keeps
        the echo of reconnecting clients out of the log."""
        if not self._changes:
            return None
        self.clocks = self.clocks.copy()  # whoever asked what they were before keeps that
        change = self._changes[0] if len(self._changes) == 1 else merge_updates(self._changes)
        self._changes.clear()
        self._note_change(change)
        if change == given:  # as it was handed over, so what that said of clocks holds
            self.clocks = expected
            return change
        for client, _start, end in scan_own(change).writes:
            if end > self.clocks.get(client, 0):
                self.clocks[client] = end
        return change

    def _note_change(self, change: bytes) -> None:
        self._whole_state = self._state_vector = self._deleted = self.deletions_digest = None
        self.changes += 1
        self._base.note(change, self.changes)

    def _check_reach(self, expected: dict[int, int]) -> None:
        """The engine has placed all that was covered. If not, an update refers to itself in circles, or
        the engine errs: either way text would be acknowledged that no one gets."""
        if self.clocks != expected:
            raise DocumentBroken("an update was not placed whole")


def _steps(stored: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """What is applied in one go: some milliseconds' worth."""
    step, size_bytes = list[bytes](), 0
    for update in stored:
        step.append(update)
        size_bytes += len(update)
        if size_bytes >= LOAD_AT_ONCE_BYTES:
            yield step
            step, size_bytes = [], 0
    yield step


def merge_updates(updates: Sequence[bytes]) -> bytes:
    """One update that stands for all of them, in a tree (see MERGE_AT_ONCE). Raises: DocumentBroken."""
    merged = list(updates)
    with translated_errors():
        while len(merged) > 1:
            merged = [
                pycrdt.merge_updates(*merged[start : start + MERGE_AT_ONCE])
                for start in range(0, len(merged), MERGE_AT_ONCE)
            ]
    return merged[0] if merged else b"\x00\x00"
