"""One outgoing SSRC: its sequence numbers and timestamps stay continuous whatever feeds it.

Pure. **Nonce reuse is impossible by construction.** SRTP's nonce is (SSRC, extended sequence
number). A rewriter belongs to one SSRC for the SSRC's whole life and cuts its sequence space into
segments: within a segment the publisher's extended sequence number, which `ReceiveLog.accept` gives
out once, is shifted by a constant; a new segment begins above everything sent before, and what
belongs below it is refused. So one number never stands for two packets.
"""


class StreamRewriter:
    """`begin` opens a segment; `advance` and `timestamp` translate its packets."""

    __slots__ = (
        "_clock_rate",
        "_floor",
        "_highest",
        "_is_open",
        "_last_at",
        "_last_timestamp",
        "_sequence_shift",
        "timestamp_shift",
    )

    def __init__(self, clock_rate: int, first_sequence: int, first_timestamp: int) -> None:
        """`first_sequence`: random, below 2^15 so that the upper bits start at zero (RFC 3711 section 3.3.1)."""
        self.timestamp_shift = 0
        """To be added to the publisher's timestamps, modulo 2^32."""
        self._clock_rate = clock_rate
        self._highest = first_sequence - 1
        self._floor = first_sequence
        self._is_open = False
        self._sequence_shift = 0
        self._last_timestamp = first_timestamp
        self._last_at: float | None = None

    def begin(self, sequence: int, timestamp: int, now: float, *, same_clock: bool) -> None:
        """The next packet sent is `sequence` of a source, which continues this SSRC.

        `same_clock`: the source is the one that was sent before (it was muted, or not subscribed
        to), so its timestamps go on; another source's are moved so that time passes as it did."""
        self._floor = self._highest + 1
        self._sequence_shift = self._floor - sequence
        self._is_open = True
        if not same_clock or self._last_at is None:
            elapsed = 0 if self._last_at is None else max(1, int((now - self._last_at) * self._clock_rate))
            self.timestamp_shift = (self._last_timestamp + elapsed - timestamp) & 0xFFFFFFFF

    def end(self) -> None:
        """No segment is open: nothing can be sent or sent again until `begin`."""
        self._is_open = False

    def advance(self, sequence: int, timestamp: int, now: float) -> int | None:
        """The extended number to send a packet under, now; None: it belongs to no open segment."""
        outgoing = sequence + self._sequence_shift
        if outgoing < self._floor or not self._is_open:
            return None
        if outgoing > self._highest:
            self._highest = outgoing
            self._last_timestamp = timestamp + self.timestamp_shift
            self._last_at = now
        return outgoing

    def timestamp(self, timestamp: int) -> int:
        return (timestamp + self.timestamp_shift) & 0xFFFFFFFF

    def original(self, outgoing: int) -> tuple[int, int] | None:
        """(publisher's extended number, our extended number) of a 16-bit number that a subscriber
        asks for; None when it is not of this segment."""
        if not self._is_open:
            return None
        extended = self._highest - ((self._highest - outgoing) & 0xFFFF)
        if extended < self._floor:
            return None
        return extended - self._sequence_shift, extended
