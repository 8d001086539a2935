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
from typing import Protocol

from signaling.engines.sfu.vp8 import PictureNumbers

MAX_PAST_SEGMENTS = 4
"""Whose packets may still be asked for after a switch: switches come a key frame apart, NACKs within a second."""
MAX_CLOCK_ERROR_S = 2.0
"""Two layers' reports that disagree with the time that passed by more than this are not believed."""
_HALF = 1 << 31


class Numbered(Protocol):
    """What a packet says of itself."""

    @property
    def sequence(self) -> int:
        """Extended: rises beyond 2^16."""

    @property
    def timestamp(self) -> int: ...
    @property
    def received_at(self) -> float: ...
    @property
    def numbers(self) -> PictureNumbers | None: ...


@dataclass(slots=True)
class Segment:
    """A stretch of one source's packets: what is added to each of its numbers."""

    source: object
    """Whose packets; for the caller, who compares it by identity."""
    floor: int
    """Our first number."""
    highest: int
    """Our last one so far; below `floor`: nothing was sent."""
    sequence_shift: int
    timestamp_shift: int
    picture_shift: int = 0
    tl0_shift: int = 0
    renumbers: bool = False
    """Whether the picture numbers are shifted at all."""
    newest: Numbered | None = None
    """What was sent under `highest`."""

    def advance(self, packet: Numbered) -> int | None:
        """The extended number to send a packet of the source under; None: it belongs before the segment."""
        outgoing = packet.sequence + self.sequence_shift
        if outgoing > self.highest:
            self.highest = outgoing
            self.newest = packet
        elif outgoing < self.floor:
            return None
        return outgoing


class StreamRewriter:
    """`begin` opens a segment, its `advance` numbers its packets, `find` tells what a number stood for."""

    __slots__ = ("_before", "_clock_rate", "_first_timestamp", "_next", "_past", "segment")

    def __init__(self, clock_rate: int, first_sequence: int, first_timestamp: int) -> None:
        """`first_sequence`: random, below 2^15 so that the upper bits start at zero (RFC 3711 section 3.3.1)."""
        self.segment: Segment | None = None
        """The open one."""
        self._clock_rate = clock_rate
        self._first_timestamp = first_timestamp
        self._next = first_sequence
        """Above everything that was sent in segments that ended."""
        self._before: Segment | None = None
        """In which the newest packet of those was sent; None: nothing was sent yet."""
        self._past: deque[Segment] = deque(maxlen=MAX_PAST_SEGMENTS)

    def begin(self, source: object, packet: Numbered, *, clock_offset: int | None) -> Segment:
        """The next packet sent is this one, of a source that continues this SSRC.

        `clock_offset`: what to add to this source's timestamps to have the last one's of the same
        moment (0: it is the same source, after a mute); None: not known, then its timestamps are
        moved so that time passes as it did."""
        if self.segment is not None:
            self._past.append(self.segment)
            self._leave(self.segment)
        floor, before = self._next, self._before
        timestamp = self._first_timestamp if before is None else self._continue_clock(before, packet, clock_offset)
        shift = (timestamp - packet.timestamp) & 0xFFFFFFFF
        self.segment = Segment(source, floor, floor - 1, floor - packet.sequence, shift)
        if before is not None:
            _continue_pictures(self.segment, before, packet.numbers)
        return self.segment

    def _leave(self, segment: Segment) -> None:
        self.segment = None
        if segment.newest is not None:
            self._next = segment.highest + 1
            self._before = segment

    def _continue_clock(self, before: Segment, packet: Numbered, clock_offset: int | None) -> int:
        """The packet's timestamp, as ours."""
        assert before.newest is not None
        last = before.newest.timestamp + before.timestamp_shift
        elapsed = int((packet.received_at - before.newest.received_at) * self._clock_rate)
        if clock_offset is None:
            return last + max(1, elapsed)
        ahead = (packet.timestamp + clock_offset + before.timestamp_shift - last) & 0xFFFFFFFF
        ahead = ahead - (1 << 32) if ahead >= _HALF else ahead
        if clock_offset and abs(ahead - elapsed) > MAX_CLOCK_ERROR_S * self._clock_rate:
            return last + max(1, elapsed)
        # Another layer's key frame may be of a moment that was sent already: never back in time.
        return last + max(1, ahead)

    def end(self) -> None:
        """No segment is open, and what was sent cannot be sent again."""
        if self.segment is not None:
            self._leave(self.segment)
        self._past.clear()

    def find(self, outgoing: int) -> tuple[Segment, int, int] | None:
        """(segment, the source's extended number, our extended number) of a 16-bit number that a
        subscriber asks for; None when it is of no segment that is still known."""
        segment = self.segment
        highest = self._next - 1 if segment is None else segment.highest
        extended = highest - ((highest - outgoing) & 0xFFFF)
        if segment is not None and extended >= segment.floor:
            return segment, extended - segment.sequence_shift, extended
        for segment in self._past:
            if segment.floor <= extended <= segment.highest:
                return segment, extended - segment.sequence_shift, extended
        return None


def _continue_pictures(segment: Segment, before: Segment, numbers: PictureNumbers | None) -> None:
    last = None if before.newest is None else before.newest.numbers
    # None: another codec: when the first one comes back, its decoder begins anew as well.
    if numbers is not None and last is not None:
        segment.picture_shift = last.id + before.picture_shift + 1 - numbers.id
        segment.tl0_shift = last.tl0 + before.tl0_shift + 1 - numbers.tl0
        segment.renumbers = True
