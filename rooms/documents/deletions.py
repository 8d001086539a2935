"""What is deleted in a document, in a form in which two copies can be compared.

A state vector says how far each client's writing is known and nothing of deletions: two copies with the same
vector may differ in what they show.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from rooms.documents.encoding import var_uint
from rooms.documents.scan import ClockRange, scan_update

DIGEST_BYTES: Final = 16


def joined_ranges(deletes: Iterable[ClockRange]) -> dict[int, list[ClockRange]]:
    """By client id: sorted, and those that touch joined, so that equal deletions look equal."""
    joined: dict[int, list[ClockRange]] = {}
    for client, start, end in sorted(deletes):
        if start == end:
            continue
        ranges = joined.setdefault(client, [])
        if ranges and start <= ranges[-1][2]:
            ranges[-1] = (client, ranges[-1][1], max(end, ranges[-1][2]))
        else:
            ranges.append((client, start, end))
    return joined


def digest_of_deletions(update: bytes) -> bytes:
    """16 bytes that are the same for two updates which delete the same, however they say it. About 1 µs a
    range. Raises: MalformedMessage."""
    digest = hashlib.sha256()
    for client, ranges in sorted(joined_ranges(scan_update(update).deletes).items()):
        digest.update(var_uint(client) + var_uint(len(ranges)))
        digest.update(b"".join(var_uint(start) + var_uint(end) for _client, start, end in ranges))
    return digest.digest()[:DIGEST_BYTES]


def is_within(deleted: ClockRange, ranges: Sequence[ClockRange]) -> bool:
    """Whether one of the sorted, disjoint ranges holds it whole (bisection by first clock)."""
    _client, start, end = deleted
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        if ranges[middle][1] <= start:
            low = middle + 1
        else:
            high = middle
    return start == end or (low > 0 and end <= ranges[low - 1][2])
