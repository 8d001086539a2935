"""Which tracks a subscriber is offered, where a room has more of them than media lines can be negotiated.

Pure. A voice that is not offered is never heard, however loud; a picture is missed only where it would be shown.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from signaling.messages import Track

Published = TypeVar("Published")


def offered_tracks(
    tracks: Sequence[Published],
    described: Callable[[Published], Track],
    shown: Collection[str] | None,
    is_carried: Callable[[Published], bool],
    most: int,
) -> Sequence[Published]:
    """At most `most` of them: sounds first, then pictures that the page shows, then those that are carried already
    (a page asks only for what it has), then the others; among equals who came first. `shown`: ids; None: all."""

    def rank(each: Published) -> int:
        track = described(each)
        if track.kind == "audio":
            return 0
        if shown is None or track.id in shown:
            return 1
        return 2 if is_carried(each) else 3

    return tracks if len(tracks) <= most else sorted(tracks, key=rank)[:most]
