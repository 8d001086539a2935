"""One outgoing SSRC: its sequence numbers and timestamps stay continuous whatever feeds it.

Pure. **Nonce reuse is impossible by construction.** SRTP's nonce is (SSRC, extended sequence
number). A rewriter belongs to one SSRC for the SSRC's whole life and cuts its sequence space into
segments: within a segment the publisher's extended sequence number, which `ReceiveLog.accept` gives
out once, is shifted by a constant; a new segment begins above everything sent before, and what
belongs below it is refused. So one number never stands for two packets.
"""

MAX_JUMP = 4_096
"""A publisher that skips further begins a new segment: SRTP's peer guesses the upper bits of a
number from the last one it saw and would guess wrong beyond 2^15."""


class StreamRewriter:
    """`begin` opens a segment; `sequence` and `timestamp` translate its packets."""

    __slots__ = (
        "_clock_rate",
        "_floor",
        "_highest",
        "_last_at",
        "_last_timestamp",
        "_sequence_shift",
        "_timestamp_shift",
    )

    def __init__(self, clock_rate: int, first_sequence: int, first_timestamp: int) -> None:
        """`first_sequence`: random, below 2^15 so that the upper bits start at zero (RFC 3711 section 3.3.1)."""
        self._clock_rate = clock_rate
        self._highest = first_sequence - 1
        self._floor = first_sequence
        self._sequence_shift: int | None = None
        self._timestamp_shift = 0
        self._last_timestamp = first_timestamp
        self._last_at: float | None = None

    @property
    def timestamp_shift(self) -> int:
        """To be added to the publisher's timestamps, modulo 2^32; for sender reports."""
        return self._timestamp_shift

    def begin(self, sequence: int, timestamp: int, now: float, *, same_clock: bool) -> None:
        """The next packet sent is `sequence` of a source, which continues this SSRC.

        `same_clock`: the source is the one that was sent before (it was muted, or not subscribed
        to), so its timestamps go on; another source's are moved so that time passes as it did."""
        self._floor = self._highest + 1
        self._sequence_shift = self._floor - sequence
        if not same_clock or self._last_at is None:
            elapsed = 0 if self._last_at is None else max(1, int((now - self._last_at) * self._clock_rate))
            self._timestamp_shift = (self._last_timestamp + elapsed - timestamp) & 0xFFFFFFFF

    def end(self) -> None:
        """No segment is open: nothing can be sent or sent again until `begin`."""
        self._sequence_shift = None

    def sequence(self, sequence: int) -> int | None:
        """The extended number to send it under; None: it belongs before the segment, drop it."""
        if self._sequence_shift is None:
            return None
        outgoing = sequence + self._sequence_shift
        return outgoing if outgoing >= self._floor else None

    def jumps(self, sequence: int) -> bool:
        """Whether `sequence` is so far ahead that a new segment has to begin."""
        return self._sequence_shift is not None and sequence + self._sequence_shift > self._highest + MAX_JUMP

    def timestamp(self, timestamp: int) -> int:
        return (timestamp + self._timestamp_shift) & 0xFFFFFFFF

    def sent(self, outgoing: int, timestamp: int, now: float) -> None:
        """`outgoing` went out with this (outgoing) timestamp."""
        if outgoing > self._highest:
            self._highest = outgoing
            self._last_timestamp = timestamp
            self._last_at = now

    def original(self, outgoing: int) -> tuple[int, int] | None:
        """(publisher's extended number, our extended number) of a 16-bit number that a subscriber
        asks for; None when it is not of this segment."""
        if self._sequence_shift is None:
            return None
        extended = self._highest - ((self._highest - outgoing) & 0xFFFF)
        if extended < self._floor:
            return None
        return extended - self._sequence_shift, extended
