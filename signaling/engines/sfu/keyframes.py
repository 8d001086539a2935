"""When to ask a publisher for a picture that a decoder can begin with.

Pure. Where such a picture starts, `vp8` and `h264` know.
"""

KEYFRAME_INTERVAL_S = 0.3
"""At most one request to a publisher's stream per this time, however many ask: a key frame costs it ten
times an ordinary one, and a class of viewers loses packets together."""
KEYFRAME_RETRY_S = 0.6
"""A request, or the key frame's first packet, can be lost: ask again while someone waits."""


class KeyframeRequests:
    """When to ask one publisher for a key frame of one stream.

    `want(now)` notes that someone needs one; `is_due(now)` tells, and notes, that it is time to
    ask; `arrived()` that one came."""

    __slots__ = ("_asked_at", "_wanted", "arrivals")

    def __init__(self) -> None:
        self.arrivals = 0
        """Key frames that have come so far."""
        self._asked_at = float("-inf")
        self._wanted = False

    @property
    def wanted(self) -> bool:
        return self._wanted

    def want(self) -> None:
        self._wanted = True

    def arrived(self) -> None:
        self.arrivals += 1
        self._wanted = False

    def is_due(self, now: float, *, waiting: bool) -> bool:
        """`waiting`: someone has no picture until it comes, so a lost request is repeated."""
        if self._wanted and now - self._asked_at >= KEYFRAME_INTERVAL_S:
            self._asked_at = now
            self._wanted = False
            return True
        if waiting and now - self._asked_at >= KEYFRAME_RETRY_S:
            self._asked_at = now
            return True
        return False
