"""What must be known of a stored state before its document can be guarded: read from its bytes."""

import re
from dataclasses import dataclass, field
from typing import Final

from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.limits import MIB
from rooms.documents.scan import scan_update
from rooms.documents.surrogates import SurrogatePairs

UNCOUNTED_BYTES: Final = 2 * MIB
"""A state up to this size cannot hold enough nested types to matter (at six bytes each), so they are
not counted."""
LEAST_NESTED_TYPE_BYTES: Final = 6

_FOUR_BYTES = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
"""UTF-8 of a character outside the basic plane, or something that looks like it."""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    pairs: SurrogatePairs = field(default_factory=SurrogatePairs)
    nested_types: int = 0
    """Shared types inside others; at most so many, where they were not counted."""


def is_read_at_once(state: bytes) -> bool:
    """Whether `read_snapshot` of this has nothing to look for."""
    return len(state) <= UNCOUNTED_BYTES and not _FOUR_BYTES.search(state)


def read_snapshot(snapshot: bytes | None) -> SnapshotFacts:
    """Takes 0.1 ms a kilobyte where there is anything to look for (an emoji, or a large state), so keep large
    ones off the event loop. Raises: DocumentBroken."""
    if snapshot is None:
        return SnapshotFacts()
    if is_read_at_once(snapshot):
        return SnapshotFacts(nested_types=len(snapshot) // LEAST_NESTED_TYPE_BYTES)
    try:
        scan = scan_update(snapshot)
    except MalformedMessage as error:
        raise DocumentBroken("a stored state is malformed") from error
    facts = SnapshotFacts(nested_types=scan.nested_types)
    facts.pairs.add(scan)
    return facts
