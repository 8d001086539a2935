"""One outgoing SSRC: its sequence numbers, timestamps and picture numbers stay continuous whatever feeds it.

Pure. **Nonce reuse is impossible by construction.** SRTP's nonce is (SSRC, extended sequence
number). A rewriter belongs to one SSRC for the SSRC's whole life and cuts its sequence space into
segments: within a segment the publisher's extended sequence number, which `ReceiveLog.accept` gives
out once, is shifted by a constant; a new segment begins above everything sent before, and what
belongs below it is refused. So one number never stands for two packets; and because a segment's
other shifts are constants too, a packet that is sent again under its number is the same packet.
"""

from collections import deque
from dataclasses import dataclass

from signaling.engines.sfu.vp8 import PictureNumbers

MAX_PAST_SEGMENTS = 4
"""Whose packets may still be asked for after a switch: switches come a key frame apart, NACKs within a second."""
MAX_CLOCK_ERROR_S = 2.0
"""Two layers' reports that disagree with the time that passed by more than this are not believed."""
_HALF = 1 << 31


@dataclass(slots=True)
class Segment:
    """A stretch of one source's packets: what is added to each of its numbers."""

    source: object
    """Whose packets; for the caller, who compares it by identity."""
    floor: int
    """Our first number."""
    end: int | None
    """Our last one; None while it is open."""
    sequence_shift: int
    timestamp_shift: int
    picture_shift: int = 0
    tl0_shift: int = 0
    renumbers: bool = False
    """Whether the picture numbers are shifted at all."""


class StreamRewriter:
    """`begin` opens a segment, `advance` numbers its packets, `find` tells what a number stood for."""

    __slots__ = (
        "_clock_rate",
        "_highest",
        "_last_at",
        "_last_numbers",
        "_last_segment",
        "_last_timestamp",
        "_past",
        "segment",
    )

    def __init__(self, clock_rate: int, first_sequence: int, first_timestamp: int) -> None:
        """`first_sequence`: random, below 2^15 so that the upper bits start at zero (RFC 3711 section 3.3.1)."""
        self.segment: Segment | None = None
        """The open one."""
        self._clock_rate = clock_rate
        self._highest = first_sequence - 1
        self._last_timestamp = first_timestamp
        self._last_at = 0.0
        self._last_numbers: PictureNumbers | None = None
        self._last_segment: Segment | None = None
        """In which the newest packet was sent; None: nothing was sent yet."""
        self._past: deque[Segment] = deque(maxlen=MAX_PAST_SEGMENTS)

    def begin(
        self,
        source: object,
        sequence: int,
        timestamp: int,
        now: float,
        *,
        clock_offset: int | None,
        numbers: PictureNumbers | None = None,
    ) -> Segment:
        """The next packet sent is `sequence` of a source, which continues this SSRC.

        `clock_offset`: what to add to this source's timestamps to have the last one's of the same
        moment (0: it is the same source, after a mute); None: not known, then its timestamps are
        moved so that time passes as it did."""
        if self.segment is not None:
            self.segment.end = self._highest
            self._past.append(self.segment)
        floor = self._highest + 1
        ahead = self._ticks_since_last(timestamp, now, clock_offset)
        shift = (self._last_timestamp + ahead - timestamp) & 0xFFFFFFFF
        self.segment = Segment(source, floor, None, floor - sequence, shift)
        self._continue_pictures(self.segment, numbers)
        return self.segment

    def _ticks_since_last(self, timestamp: int, now: float, clock_offset: int | None) -> int:
        last = self._last_segment
        if last is None:
            return 0
        elapsed = int((now - self._last_at) * self._clock_rate)
        if clock_offset is None:
            return max(1, elapsed)
        ahead = (timestamp + clock_offset + last.timestamp_shift - self._last_timestamp) & 0xFFFFFFFF
        ahead = ahead - (1 << 32) if ahead >= _HALF else ahead
        if clock_offset and abs(ahead - elapsed) > MAX_CLOCK_ERROR_S * self._clock_rate:
            return max(1, elapsed)
        # Another layer's key frame may be of a moment that was sent already: never back in time.
        return max(1, ahead)

    def _continue_pictures(self, segment: Segment, numbers: PictureNumbers | None) -> None:
        if numbers is None:
            # Another codec: when the first one comes back, its decoder begins anew as well.
            self._last_numbers = None
            return
        last, last_segment = self._last_numbers, self._last_segment
        if last is not None and last_segment is not None:
            segment.picture_shift = last.id + last_segment.picture_shift + 1 - numbers.id
            segment.tl0_shift = last.tl0 + last_segment.tl0_shift + 1 - numbers.tl0
            segment.renumbers = True

    def end(self) -> None:
        """No segment is open, and what was sent cannot be sent again."""
        self.segment = None
        self._past.clear()

    def advance(self, sequence: int, timestamp: int, now: float, numbers: PictureNumbers | None = None) -> int | None:
        """The extended number to send a packet of the open segment's source under, now; None: it
        belongs before the segment, or there is none."""
        segment = self.segment
        if segment is None:
            return None
        outgoing = sequence + segment.sequence_shift
        if outgoing < segment.floor:
            return None
        if outgoing > self._highest:
            self._highest = outgoing
            self._last_timestamp = timestamp + segment.timestamp_shift
            self._last_at = now
            self._last_segment = segment
            if numbers is not None:
                self._last_numbers = numbers
        return outgoing

    def find(self, outgoing: int) -> tuple[Segment, int, int] | None:
        """(segment, the source's extended number, our extended number) of a 16-bit number that a
        subscriber asks for; None when it is of no segment that is still known."""
        extended = self._highest - ((self._highest - outgoing) & 0xFFFF)
        segment = self.segment
        if segment is not None and extended >= segment.floor:
            return segment, extended - segment.sequence_shift, extended
        for segment in self._past:
            if segment.end is not None and segment.floor <= extended <= segment.end:
                return segment, extended - segment.sequence_shift, extended
        return None
