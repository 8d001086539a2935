"""Where a decoder can begin, and when to ask a publisher for such a place.

Pure. Only the first bytes of a payload are looked at; nothing is decoded.
"""

KEYFRAME_INTERVAL_S = 0.3
"""At most one request to a publisher per this time, however many ask: a key frame costs it ten
times an ordinary one, and a class of viewers loses packets together."""
KEYFRAME_RETRY_S = 1.0
"""A request, or the key frame's first packet, can be lost: ask again while someone waits."""


def starts_keyframe(codec: str, payload: bytes) -> bool:
    """Whether a decoder can begin with this packet. `codec`: "VP8" or "H264"; others: always True."""
    if codec == "VP8":
        return _starts_vp8_keyframe(payload)
    if codec == "H264":
        return _starts_h264_keyframe(payload)
    return True


def _starts_vp8_keyframe(payload: bytes) -> bool:
    """RFC 7741 sections 4.2 and 4.3: first packet of partition 0, and the P bit is clear."""
    if not payload or payload[0] & 0x17 != 0x10:
        return False
    start = 1
    if payload[0] & 0x80 and len(payload) > 1:
        flags = payload[1]
        start = 2
        if flags & 0x80:
            start += 2 if len(payload) > 2 and payload[2] & 0x80 else 1
        if flags & 0x40:
            start += 1
        if flags & 0x30:
            start += 1
    return len(payload) > start and payload[start] & 1 == 0


_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28


def _starts_h264_keyframe(payload: bytes) -> bool:
    """RFC 6184: a sequence parameter set, alone or in an aggregate, or an IDR picture's first slice.

    Browsers send the parameter sets before each IDR picture, so the set is the better beginning; an
    IDR picture alone is one too, for encoders that send the sets out of band."""
    if not payload:
        return False
    unit = payload[0] & 0x1F
    if unit == _STAP_A:
        position = 1
        while position + 3 <= len(payload):
            if payload[position + 2] & 0x1F in (_SPS, _IDR):
                return True
            position += 2 + int.from_bytes(payload[position : position + 2], "big")
        return False
    if unit == _FU_A:
        return len(payload) > 1 and payload[1] & 0x80 != 0 and payload[1] & 0x1F == _IDR
    return unit in (_SPS, _IDR)


class KeyframeRequests:
    """When to ask one publisher for a key frame.

    `want(now)` notes that someone needs one; `is_due(now)` tells, and notes, that it is time to
    ask; `arrived()` that one came."""

    __slots__ = ("_asked_at", "_wanted")

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._wanted = False

    @property
    def wanted(self) -> bool:
        return self._wanted

    def want(self) -> None:
        self._wanted = True

    def arrived(self) -> None:
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
