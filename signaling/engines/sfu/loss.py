"""What of a publisher's stream has arrived: each packet once, what is missing, what to report.

Pure; `now` is an argument, in seconds. The log is also what makes SRTP nonce reuse impossible on
the way out: `accept` gives every extended sequence number at most once, whether the packet came by
itself, twice, or in a retransmission that claims an old number.
"""

from dataclasses import dataclass

MAX_GAP = 512
"""A larger hole is not asked for: it is a pause or a dead line, and a key frame heals it better."""
MAX_JUMP = 4_096
"""A publisher that skips further is taken to number anew: SRTP's receivers guess the upper bits of a
number from the last one they saw, and guess wrong beyond 2^15."""
MAX_MISSING = 1_024
REORDER_S = 0.012
"""Packets overtake each other by this much on ordinary Wi-Fi; asking sooner doubles traffic."""
FIRST_RETRY_S = 0.06
RETRY_GROWTH = 1.5
MAX_TRIES = 8
GIVE_UP_S = 1.0
"""What is older no jitter buffer waits for."""
LATE_S = 0.6
"""Of a path of 300 ms there and back two answers have failed to come by now: Chromium sends a packet again at most once
in that time. A decoder that waits for it says so after three seconds; a key frame now ends the wait within one."""
MAX_PER_NACK = 128
_HALF = 1 << 15


@dataclass(slots=True)
class _Missing:
    since: float
    next_try_at: float
    tries: int = 0
    is_harmless: bool = False
    """No decoder waits for it alone: a key frame has come since, or its absence has been told."""


@dataclass(frozen=True, slots=True)
class Reception:
    """The figures of a receiver report's block."""

    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int


class ReceiveLog:
    """One SSRC of a publisher. `epoch` rises when its numbering begins anew."""

    def __init__(self, clock_rate: int) -> None:
        self.epoch = 0
        self._clock_rate = clock_rate
        self._highest: int | None = None
        self._base = 0
        self._received = 0
        self._reported = (0, 0)
        self._missing: dict[int, _Missing] = {}
        self._has_late = False
        self._restart_candidate: int | None = None
        self._jitter = 0.0
        self._transit: float | None = None

    @property
    def has_missing(self) -> bool:
        return bool(self._missing)

    @property
    def has_late(self) -> bool:
        """What `take_late` would say."""
        return self._has_late

    def accept(self, sequence_number: int, now: float) -> int | None:
        """The packet's extended sequence number; None: seen before, or too late, drop it."""
        if self._highest is None:
            return self._begin(sequence_number)
        ahead = (sequence_number - self._highest) & 0xFFFF
        if ahead == 1:
            self._highest += 1
            self._received += 1
            return self._highest
        if MAX_JUMP < ahead < _HALF:
            self.epoch += 1
            return self._begin(sequence_number)
        if 0 < ahead < _HALF:
            return self._advance(ahead, now)
        return self._accept_late(self._highest - (-ahead & 0xFFFF), sequence_number)

    def _begin(self, sequence_number: int) -> int:
        # One turn up, so that a packet from before the first one is a positive number, too.
        self._highest = self._base = sequence_number + 0x10000
        self._received = 1
        self._reported = (0, 0)
        self._missing.clear()
        self._restart_candidate = None
        return self._highest

    def _advance(self, ahead: int, now: float) -> int:
        assert self._highest is not None
        if ahead <= MAX_GAP:
            for sequence in range(self._highest + 1, self._highest + ahead):
                self._missing[sequence] = _Missing(now, now + REORDER_S)
        self._highest += ahead
        self._received += 1
        while len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]
        return self._highest

    def _accept_late(self, sequence: int, sequence_number: int) -> int | None:
        if self._missing.pop(sequence, None) is not None:
            self._received += 1
            return sequence
        assert self._highest is not None
        if self._highest - sequence <= MAX_MISSING:
            return None
        # Far behind: the numbering began anew if the next packet follows this one (RFC 3550 appendix A.1).
        if self._restart_candidate == sequence_number:
            self.epoch += 1
            return self._begin(sequence_number)
        self._restart_candidate = (sequence_number + 1) & 0xFFFF
        return None

    def restart(self) -> None:
        """The publisher comes back on another connection: other numbers, other clock."""
        self.epoch += 1
        self._highest = None
        self._missing.clear()
        self._transit = None
        self._jitter = 0.0

    def note_arrival(self, timestamp: int, now: float) -> None:
        """Jitter (RFC 3550 section 6.4.1); for packets that came in order by themselves."""
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            difference = abs(transit - self._transit)
            # A wrapped timestamp, or a sender that jumped: not jitter.
            if difference < self._clock_rate * 10:
                self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    def nacks_to_send(self, now: float) -> list[int]:
        """Sequence numbers (16 bits) to ask for now, oldest first; call it every 20 ms or so."""
        due: list[int] = []
        given_up: list[int] = []
        for sequence, missing in self._missing.items():
            if now - missing.since > LATE_S and not missing.is_harmless:
                missing.is_harmless = self._has_late = True
            if missing.tries >= MAX_TRIES or now - missing.since > GIVE_UP_S:
                given_up.append(sequence)
            elif now >= missing.next_try_at and len(due) < MAX_PER_NACK:
                missing.next_try_at = now + FIRST_RETRY_S * RETRY_GROWTH**missing.tries
                missing.tries += 1
                due.append(sequence & 0xFFFF)
        for sequence in given_up:
            del self._missing[sequence]
        return due

    def take_late(self) -> bool:
        """Whether, since this was asked last, a packet has become so late that a key frame is sooner there."""
        had, self._has_late = self._has_late, False
        return had

    def note_keyframe(self, sequence: int) -> None:
        """One begins with this packet (its extended number): who decodes it needs nothing of before."""
        self._has_late = False
        for number, missing in self._missing.items():
            missing.is_harmless = missing.is_harmless or number < sequence

    def reception(self) -> Reception | None:
        """For a receiver report; None before the first packet. Each call begins a new interval."""
        if self._highest is None:
            return None
        expected = self._highest - self._base + 1
        lost = expected - self._received
        expected_before, lost_before = self._reported
        interval, interval_lost = expected - expected_before, lost - lost_before
        self._reported = (expected, lost)
        fraction = max(0, min(255, interval_lost * 256 // interval)) if interval > 0 else 0
        return Reception(fraction, lost, self._highest - 0x10000, int(self._jitter))
