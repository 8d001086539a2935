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
    most: int,
) -> Sequence[Published]:
    """At most `most` of them: sounds first, then pictures that the page shows, then the others; among equals who came
    first. `shown`: ids of tracks; None: it shows all."""

    def rank(each: Published) -> int:
        track = described(each)
        if track.kind == "audio":
            return 0
        return 1 if shown is None or track.id in shown else 2

    return tracks if len(tracks) <= most else sorted(tracks, key=rank)[:most]
