"""How much a subscriber's line carries, by what it reports: a fall of its estimate (REMB), or loss.

Pure; `now` is an argument, in seconds. A browser's estimate rises slowly and only with what it is
sent, so a low one means nothing; but it *falls* only when packets begin to queue (draft-ietf-rmcat-gcc,
section 5.5: to 85 % of what arrives), and that is what is acted upon. Upwards we try: one step at a
time, and after each one that failed the next try comes later.
"""

import math

from signaling.engines.sfu.rtcp import ReportBlock

START_BPS = 2_000_000.0
"""A face in 720p, or nine small tiles; then half as much again every second until the line says no."""
START_GROWTH = 1.5
ENOUGH_BPS = 30_000_000.0
"""A line that said nothing until here has no bound that matters."""
MIN_BPS = 30_000.0
"""Sound alone."""
FALL = 0.97
"""A lower estimate than this share of the last one is a fall: below it browsers report at once."""
LOSS_LIMIT = 0.25
"""Loss that sending less may heal: of a line that drops what it cannot carry instead of queueing it. Less is
taken for the radio's, which smaller pictures would not mend, and is repaired by sending again."""
CALM_LOSS = 0.12
"""With more than this nothing is tried."""
FIRST_TRY_AFTER_S = 8.0
LAST_TRY_AFTER_S = 64.0
TRY_LASTS_S = 6.0
"""A line that carries one step more for so long carries it."""
TRY_JUDGED_AFTER_S = 2.0
"""An estimate grows by 8 % a second (draft-ietf-rmcat-gcc, section 5.5)."""
TRY_SHARE = 0.25
"""Of what is used already: what is tried at least. Of thirty small pictures one more at a time would take minutes, and
a line that carries them all hardly notices a quarter more."""
TRY_MARGIN = 1.1
"""Layers cost a little more in one second than in another."""
MIN_PACKETS = 40
"""One lost of fewer says nothing."""
LEAST_BPS = 250_000.0
"""Below this a line is cut only when it asks again: an estimate is at most half as much again as what is sent, so
of two still pictures a hiccup of the radio makes a low one."""
REPEATED_S = 10.0
STEEPEST_CUT = 0.5
"""Of what was allowed, in one cut after the first; where nothing was forbidden yet, of what was sent: an estimate made
while a queue drained, or while the page had no processor, is too low, and what is held back needlessly takes eight
seconds to come again."""
CUT_PAUSE_S = 2.0
"""Between two cuts: until then what waits in the line's queue is still on its way, estimates go on falling for
it, and what is measured as sent is from before."""


class LineBandwidth:
    """`estimate` and `loss` as they are reported, `tick` every second; `room_bps` is what may be sent."""

    def __init__(self) -> None:
        self.room_bps = START_BPS
        """All media together; infinite until the line says no."""
        self._is_starting = True
        self._estimate: float | None = None
        self._estimated_at = -math.inf
        self._fell = False
        """It fell since the last cut, and that has not been judged."""
        self._try_after_s = FIRST_TRY_AFTER_S
        self._try_at = 0.0
        self._trying_since: float | None = None
        self._room_before_try = START_BPS
        self._estimate_before_try: float | None = None
        self._cut_at = -math.inf
        self._loss = 0.0

    def estimate(self, bitrate_bps: float, sent_bps: float, now: float) -> bool:
        """The subscriber's REMB. Whether less may be sent than before."""
        before, self._estimate, self._estimated_at = self._estimate, bitrate_bps, now
        if before is not None and bitrate_bps < before * FALL:
            self._fell = True
        if not self._fell or now - self._cut_at < CUT_PAUSE_S:
            return False
        self._fell = False
        # An estimate far above what is sent falls without any harm to what is sent.
        return bitrate_bps < max(sent_bps, MIN_BPS) * 1.2 and self._cut(bitrate_bps, sent_bps, now)

    def loss(self, fraction: float, sent_bps: float, now: float) -> bool:
        """Of all that was sent since the last report. Whether less may be sent than before."""
        self._loss = fraction
        if fraction <= LOSS_LIMIT or now - self._cut_at < CUT_PAUSE_S:
            return False
        return self._cut(sent_bps * (1 - fraction / 2), sent_bps, now)

    def _cut(self, room_bps: float, sent_bps: float, now: float) -> bool:
        # A line that has said nothing until the end of its beginning carries what is sent. Before that nobody knows.
        unbounded = sent_bps if math.isinf(self.room_bps) else 0.0
        carried = unbounded if self._is_starting else self.room_bps
        self._is_starting = False
        if self._trying_since is not None:
            self._try_after_s = min(self._try_after_s * 2, LAST_TRY_AFTER_S)
            self._trying_since = None
        is_repeated = self.room_bps <= LEAST_BPS and now - self._cut_at < REPEATED_S
        self._cut_at = now
        self._loss = 0.0  # of before
        self._try_at = now + self._try_after_s
        lower = max(MIN_BPS if is_repeated else LEAST_BPS, room_bps, STEEPEST_CUT * carried)
        if lower >= self.room_bps:
            return False
        self.room_bps = lower
        return True

    def tick(self, used_bps: float, next_step_bps: float | None, now: float) -> bool:
        """Every second: `used_bps` are allocated, `next_step_bps` more are wished for (None: nothing).
        Whether something else may be sent than before."""
        if self._is_starting:
            self.room_bps = math.inf if self.room_bps > ENOUGH_BPS else self.room_bps * START_GROWTH
            return next_step_bps is not None
        if self._trying_since is not None and self._try_fails(used_bps, now):
            return self._cut(self._room_before_try, used_bps, now)
        if self._trying_since is not None and now - self._trying_since >= TRY_LASTS_S:
            self._trying_since = None
            self._try_after_s = FIRST_TRY_AFTER_S
            self._try_at = now
        if next_step_bps is None or self._trying_since is not None or now < self._try_at or self._loss > CALM_LOSS:
            return False
        self._room_before_try, self._estimate_before_try = self.room_bps, self._estimate
        step_bps = max(next_step_bps, used_bps * TRY_SHARE)
        self.room_bps = max(self.room_bps, (used_bps + step_bps) * TRY_MARGIN)
        self._trying_since = now
        return True

    def _try_fails(self, used_bps: float, now: float) -> bool:
        """An estimate that was low already cannot fall; where more passes than before it rises at once."""
        since, estimate, before = self._trying_since, self._estimate, self._estimate_before_try
        if since is None or estimate is None or before is None:
            return False
        if now - since < TRY_JUDGED_AFTER_S or self._estimated_at < since + TRY_JUDGED_AFTER_S / 2:
            return False
        return estimate < used_bps and estimate <= before / FALL


class LossCounter:
    """What a subscriber's reports say of all its lines together."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}
        """SSRC → the highest number and the packets lost, as it was reported last."""
        self._expected = 0
        self._lost = 0

    def add(self, block: ReportBlock) -> None:
        before = self._before.get(block.ssrc)
        self._before[block.ssrc] = (block.highest_sequence, block.packets_lost)
        if before is not None:
            self._expected += max(0, block.highest_sequence - before[0])
            self._lost += block.packets_lost - before[1]

    def take(self) -> float | None:
        """The share lost since the last one that was told; None: too few packets to tell."""
        if self._expected < MIN_PACKETS:
            return None
        share = min(1.0, max(0.0, self._lost / self._expected))
        self._expected = self._lost = 0
        return share
