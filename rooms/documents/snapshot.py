"""What must be known of a stored state before its document can be guarded: read from its bytes."""

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.limits import KIB
from rooms.documents.slices import SlicePlan, plan_slices
from rooms.documents.surrogates import SurrogatePairs

UNCOUNTED_BYTES: Final = 512 * KIB
"""A state up to this size cannot hold enough nested types to matter (at six bytes each), so they are
not counted; and the engine takes it in one piece, in 10 ms at most (`slices`)."""
LEAST_NESTED_TYPE_BYTES: Final = 6

_FOUR_BYTES = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
"""UTF-8 of a character outside the basic plane, or something that looks like it."""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    pairs: SurrogatePairs = field(default_factory=SurrogatePairs)
    nested_types: int = 0
    """Shared types inside others; at most so many, where they were not counted."""
    plan: SlicePlan | None = None
    """How a large one is taken in slices; None: in one piece."""


def is_read_at_once(state: bytes) -> bool:
    """Whether `read_snapshot` of this has nothing to look for."""
    return len(state) <= UNCOUNTED_BYTES and not _FOUR_BYTES.search(state)


def read_snapshot(snapshot: bytes | None) -> SnapshotFacts:
    """Takes 2.5 µs a struct where there is anything to look for (an emoji, a large state). Raises: DocumentBroken."""
    steps = snapshot_steps(snapshot)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            facts: SnapshotFacts = done.value
            return facts


def snapshot_steps(snapshot: bytes | None) -> Generator[None, None, SnapshotFacts]:
    """As `read_snapshot`; yields after each millisecond or two."""
    if snapshot is None:
        return SnapshotFacts()
    if is_read_at_once(snapshot):
        return SnapshotFacts(nested_types=len(snapshot) // LEAST_NESTED_TYPE_BYTES)
    try:
        plan, scan = yield from plan_slices(snapshot)
    except MalformedMessage as error:
        raise DocumentBroken("a stored state is malformed") from error
    facts = SnapshotFacts(nested_types=scan.nested_types, plan=plan if len(snapshot) > UNCOUNTED_BYTES else None)
    facts.pairs.add(scan)
    return facts
