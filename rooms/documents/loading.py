"""Builds the copy in memory of what is stored, with care: what the engine alone refuses is left out, the rest opens.

What is stored was looked at when it came, by the instance that it came to. Two instances may have stored at once what
the engine cannot take one after the other (a letter here; there, what lay in wait for it). Nobody is to be kept out of
a text by that, and nothing else may be lost: what is left out stays in the log until the next compaction puts it aside.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rooms.documents.document import LOAD_AT_ONCE_BYTES, YjsDocument
from rooms.documents.engine_errors import scan_own
from rooms.documents.errors import DocumentBroken
from rooms.documents.scan import Scan
from rooms.documents.slices import slices_in_steps
from rooms.documents.snapshot import SnapshotFacts

LOAD_AT_ONCE: Final = 100
"""Updates applied in one step, if they are not LOAD_AT_ONCE_BYTES before."""
MOST_WAITING_HARMFUL: Final = 8
"""Waiting updates that broke the engine, before nothing that waits is tried any more: each costs a load."""
MOST_LEFT_OUT: Final = 64
"""Stored updates that break the engine where they stand, before the document is given up: each costs a load, 5 ms for
the text of a long project, and each needs an instance that was cut off from the others for a moment."""

_Step = Sequence[tuple[bytes, Scan]]


def load_document(
    snapshot: bytes | None, updates: Sequence[bytes], waiting_limit_bytes: int, facts: SnapshotFacts
) -> Iterator[YjsDocument]:
    """Yields the same, growing document after each step of some milliseconds; the last one is complete, without what
    is in its `left_out`. When something breaks it, a new one grows. `facts`: `read_snapshot(snapshot)`.
    Raises: DocumentBroken."""
    loading = _Loading(snapshot, updates, waiting_limit_bytes, facts)
    while True:
        document = loading.new_document()
        try:
            yield from loading.grow(document)
            return
        except DocumentBroken as error:
            document.close()
            if not loading.learns_from(error):
                raise


class _Loading:
    def __init__(
        self, snapshot: bytes | None, updates: Sequence[bytes], waiting_limit_bytes: int, facts: SnapshotFacts
    ) -> None:
        self._snapshot = snapshot
        self._updates = updates
        self._waiting_limit_bytes = waiting_limit_bytes
        self._facts = facts
        self._waiting_harmful: set[bytes] = set()
        """Broke the engine when what they had waited for came."""
        self._left_out: set[bytes] = set()
        """Broke it where they stand."""
        self._one_by_one: set[int] = set()
        """Steps in which there is something bad, and it is to be found."""
        self._at = -1
        """The step under way."""
        self._alone: bytes | None = None
        """The update that is given to the engine apart from all others."""

    def new_document(self) -> YjsDocument:
        document = YjsDocument(self._waiting_limit_bytes, self._facts)
        for update in self._waiting_harmful | self._left_out:
            document.set_aside(update)
        if len(self._waiting_harmful) >= MOST_WAITING_HARMFUL:
            document.try_waiting_no_more()
        return document

    def grow(self, document: YjsDocument) -> Iterator[YjsDocument]:
        self._at, self._alone = -1, None
        if self._snapshot is not None:
            for _step in document.apply_snapshot(self._snapshot, self._facts.plan, is_all=not self._updates):
                yield document
        yield document
        for at, step in enumerate(_grouped(self._updates)):
            self._at = at
            if len(step) == 1 and len(step[0]) > LOAD_AT_ONCE_BYTES:
                yield from self._grow_by_long(document, step[0])
                continue
            # What is stored was scanned when it came. It is scanned again to know what still waits.
            for part in self._parts([(update, scan_own(update)) for update in step]):
                document.integrate(part)
                yield document

    def _grow_by_long(self, document: YjsDocument, update: bytes) -> Iterator[YjsDocument]:
        self._alone = update
        if update in self._left_out:
            return
        for part in slices_in_steps(update, document.clocks):
            if part is not None:
                document.integrate([(part, scan_own(part))])
            yield document

    def _parts(self, step: _Step) -> Iterator[_Step]:
        wanted = [one for one in step if one[0] not in self._left_out]
        self._alone = None
        if self._at not in self._one_by_one:
            yield wanted
            return
        for one in wanted:
            self._alone = one[0]
            yield [one]

    def learns_from(self, error: DocumentBroken) -> bool:
        """Whether it is worth another try."""
        if error.waiting is not None:
            is_new = error.waiting not in self._waiting_harmful
            self._waiting_harmful.add(error.waiting)
            return is_new
        if self._alone is not None:
            self._left_out.add(self._alone)
            return len(self._left_out) <= MOST_LEFT_OUT
        is_new = self._at >= 0 and self._at not in self._one_by_one  # before the first step: the snapshot is bad
        self._one_by_one.add(self._at)
        return is_new


def _grouped(updates: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """What is applied in one step; a long one is alone."""
    step, size_bytes = list[bytes](), 0
    for update in updates:
        if step and len(update) > LOAD_AT_ONCE_BYTES:
            yield step
            step, size_bytes = [], 0
        step.append(update)
        size_bytes += len(update)
        if len(step) >= LOAD_AT_ONCE or size_bytes >= LOAD_AT_ONCE_BYTES:
            yield step
            step, size_bytes = [], 0
    if step:
        yield step
