"""A simulcast track: three streams of one publisher, and lines that change between them."""

import math
from itertools import pairwise

from signaling.engines.layer_demand import UNWATCHED_S
from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import ABS_SEND_TIME, MID, NegotiatedCodec
from signaling.engines.sfu.forwarder import OutgoingLine
from signaling.engines.sfu.keyframes import KEYFRAME_INTERVAL_S
from signaling.engines.sfu.loss import LATE_S
from signaling.engines.sfu.published import LAYER_BACK_S, LAYER_SILENT_S, MEND_INTERVAL_S, PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket, parse_rtp, unwrap_rtx
from signaling.engines.sfu.vp8 import read_vp8
from signaling.messages import Track

VP8 = NegotiatedCodec("VP8", 96, 97)


def _picture(number: int, *, key: bool) -> bytes:
    """A packet that is a whole picture, with a picture id of 15 bits and a TL0PICIDX."""
    return (
        b"\x90\xe0"
        + (0x8000 | number & 0x7FFF).to_bytes(2, "big")
        + bytes((number & 0xFF, 0x20))
        + (b"\x10" if key else b"\x11")
        + b"picture"
    )


class Stage:
    """A publisher of three layers and one subscriber, whose packets are kept."""

    def __init__(self, *, rtx: bool = True) -> None:
        self.now = 10.0
        self.bytes = bytearray(2_048)
        self.out = self.way = self
        self.connected = True
        self.sent: list[RtpPacket] = []
        self.moments: list[float] = []
        """When each was sent."""
        described = Track(id="t", participant_id="p", session_id="s", source="camera", kind="video", muted=False)
        self.track = PublishedTrack(described, "stream", heard=lambda *_: None, hurry=lambda: None)
        self.track.bind([VP8], fresh=True, rids=["q", "h", "f"])
        self.numbers = {"q": 100, "h": 30_000, "f": 65_000}
        self.line = OutgoingLine("video", "1", self, set())
        self.line.set_codecs([NegotiatedCodec("VP8", 120, 121 if rtx else None)], {MID: 4, ABS_SEND_TIME: 5})
        self.line.attach(self.track, self.track.layers[0])

    def send_rtp(self, _way: object, size: int) -> None:
        self.sent.append(parse_rtp(bytes(self.bytes[:size])))
        self.moments.append(self.now)

    def frame(self, *keys: str, only: str = "qhf") -> None:
        """One picture of each layer; those in `keys` as key frames."""
        for rid in only:
            number = self.numbers[rid] = self.numbers[rid] + 1
            layer = self.track.layer(rid)
            assert layer is not None
            timestamp = self.timestamp(rid, self.now)
            payload = _picture(number, key=rid in keys)
            layer.receive(RtpPacket(96, 1, number & 0xFFFF, timestamp, ord(rid), b"", payload), None, self.now)
        self.now += 1 / 15

    @staticmethod
    def timestamp(rid: str, now: float) -> int:
        """Each stream's clock begins elsewhere (RFC 3550 section 5.1)."""
        return round(now * 90_000) + {"q": 11, "h": 4_000_000_000, "f": 77_777}[rid] & 0xFFFFFFFF

    def report(self) -> None:
        for rid in "qhf":
            layer = self.track.layer(rid)
            assert layer is not None
            sent = rtcp.SenderReport(ord(rid), int((1_000 + self.now) * (1 << 32)), self.timestamp(rid, self.now))
            layer.receive_report(sent, self.now)

    def aim(self, rid: str) -> None:
        self.line.aim(self.track.layer(rid))

    def is_continuous(self) -> None:
        """No number, no moment and no picture is missing, or there twice."""
        numbers = [packet.sequence_number for packet in self.sent]
        assert [(b - a) & 0xFFFF for a, b in pairwise(numbers)] == [1] * (len(numbers) - 1)
        pictures = [read_vp8(packet.payload)[1] for packet in self.sent]
        for before, after in pairwise(pictures):
            assert before is not None
            assert after is not None
            assert (after.id - before.id) % (1 << 15) == 1
            assert (after.tl0 - before.tl0) % 256 == 1
        passed = [(packet.timestamp - self.sent[0].timestamp) & 0xFFFFFFFF for packet in self.sent]
        assert passed == sorted(set(passed)), "two layers' pictures of one moment follow each other"
        for ticks, moment in zip(passed, self.moments, strict=True):
            assert abs(ticks - (moment - self.moments[0]) * 90_000) <= 8
        assert len({packet.ssrc for packet in self.sent}) == 1


def test_a_layer_changes_at_its_key_frame_and_nothing_shows() -> None:
    stage = Stage()
    stage.report()
    stage.frame("q", "h", "f")
    stage.frame()
    stage.aim("f")
    layer = stage.track.layer("f")
    assert layer is not None
    assert layer.keyframe_is_due(stage.now + 1), "the one layer is asked for a key frame"
    assert not stage.track.layers[1].keyframes.wanted
    stage.frame()
    stage.frame()
    assert stage.line.current is stage.track.layer("q"), "the old one goes on until it comes"
    stage.frame("f")
    stage.frame()
    assert stage.line.current is layer
    stage.aim("h")
    stage.frame("h")
    stage.frame()
    stage.aim("q")
    stage.frame("q")
    stage.frame()
    assert len(stage.sent) == 10 + 1, "q's last picture and f's first are of one moment"
    stage.is_continuous()


def test_without_reports_time_passes_as_it_did() -> None:
    stage = Stage()
    stage.frame("q")
    stage.aim("h")
    stage.frame("h")
    stage.frame()
    stage.is_continuous()


def test_a_change_that_is_taken_back_changes_nothing() -> None:
    stage = Stage()
    stage.frame("q")
    stage.aim("f")
    stage.aim("q")
    stage.frame("f")
    stage.frame("q")
    assert stage.line.current is stage.track.layer("q")
    assert [line for layer in stage.track.layers for line in layer.lines] == [stage.line]
    stage.is_continuous()


def test_what_was_lost_before_a_change_comes_again_after_it() -> None:
    for rtx in (True, False):
        stage = Stage(rtx=rtx)
        stage.frame("q")
        stage.frame()
        lost = stage.sent[-1]
        stage.aim("f")
        stage.frame("f")
        changed = stage.sent[-1]
        stage.sent.clear()
        stage.line.resend([lost.sequence_number, changed.sequence_number], stage.now)
        if rtx:
            assert [unwrap_rtx(packet.payload) for packet in stage.sent] == [
                (packet.sequence_number, packet.payload) for packet in (lost, changed)
            ]
        else:
            assert stage.sent == [lost, changed]


def test_sender_reports_follow_the_layer() -> None:
    """The same moment of the publisher is the same moment to the subscriber, whichever layer it sees."""
    stage = Stage()
    stage.report()
    stage.frame("q", "h", "f")
    for rid in ("q", "f", "h"):
        stage.aim(rid)
        sent_at = stage.now
        stage.frame(rid)
        encoded = stage.line.sender_report(sent_at)
        assert encoded is not None
        (report,) = rtcp.parse_rtcp(encoded)
        assert isinstance(report, rtcp.SenderReport)
        assert abs(report.ntp - int((1_000 + sent_at) * (1 << 32))) < 1 << 20
        assert abs(report.rtp_timestamp - stage.sent[-1].timestamp) <= 2


def test_a_mute_ends_every_layer_and_a_waiting_change_too() -> None:
    stage = Stage()
    stage.frame("q")
    stage.aim("f")
    stage.track.set_muted(True)
    stage.frame("q", "h", "f")
    assert len(stage.sent) == 1
    stage.track.set_muted(False)
    stage.frame("q")
    stage.frame("f")
    assert stage.line.current is stage.track.layer("f")


def test_a_layer_that_falls_silent_is_left_out_and_counts_again_when_steady() -> None:
    stage = Stage()
    stage.frame("q", "h", "f")
    assert stage.track.layers_changed(stage.now)
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q", "h", "f"]
    began = stage.now
    while stage.now - began < LAYER_SILENT_S * 2:
        stage.frame(only="qh")
    assert stage.track.layers_changed(stage.now)
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q", "h"]
    assert not stage.track.layers_changed(stage.now)
    stage.frame()
    stage.track.layers_changed(stage.now)
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q", "h"]
    began = stage.now
    while stage.now - began < LAYER_BACK_S:
        stage.frame()
    assert stage.track.layers_changed(stage.now)
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q", "h", "f"]


def test_a_pause_of_all_layers_silences_none() -> None:
    """A mute of the publisher's own, or a line that was away."""
    stage = Stage()
    stage.frame("q", "h", "f")
    stage.track.layers_changed(stage.now)
    stage.now += 30
    stage.frame(only="q")
    assert not stage.track.layers_changed(stage.now)
    stage.frame()
    assert not stage.track.layers_changed(stage.now)


def test_other_layers_in_a_later_offer_begin_anew() -> None:
    stage = Stage()
    stage.frame("q")
    stage.track.bind([VP8], fresh=False, rids=["q"])
    assert stage.track.layers[0].lines == [stage.line]
    stage.frame(only="q")
    assert len(stage.sent) == 1
    stage.frame("q", only="q")
    assert len(stage.sent) == 2


def test_layers_are_asked_for_key_frames_one_after_the_other() -> None:
    stage = Stage()
    q, h, f = stage.track.layers
    for layer in (q, h, f):
        layer.want_keyframe()
    asked = []
    for step in range(8):
        for layer in (q, h, f):
            if layer.keyframes.wanted and layer.keyframe_is_due(step * KEYFRAME_INTERVAL_S / 2):
                asked.append((layer.rid, step))
    assert asked == [("q", 0), ("h", 2), ("f", 4)]


def _mended_at(stage: Stage, rid: str, lose_at: set[int], pictures: int) -> list[int]:
    """At which pictures a key frame is wanted, where the packets before some of them are lost for good."""
    layer = stage.track.layer(rid)
    assert layer is not None
    wanted = []
    stage.frame("q", "h", "f")
    for number in range(pictures):
        stage.numbers[rid] += number in lose_at
        stage.frame()
        layer.log.nacks_to_send(stage.now)
        layer.mend_picture(stage.now)
        if layer.keyframes.wanted:
            wanted.append(number)
            layer.keyframes.is_due(stage.now, waiting=False)
    return wanted


def test_of_a_picture_that_somebody_sees_a_packet_that_does_not_come_has_a_key_frame_asked_for() -> None:
    assert _mended_at(Stage(), "q", {5}, 60) == [5 + math.ceil(LATE_S * 15)]
    assert _mended_at(Stage(), "f", {5}, 60) == [], "nobody sees it"


def test_a_line_that_loses_much_is_not_filled_with_key_frames() -> None:
    wanted = _mended_at(Stage(), "q", set(range(0, 150, 3)), 150)
    assert 4 <= len(wanted) <= 150 / 15 / MEND_INTERVAL_S


def test_what_is_late_soon_after_a_mended_picture_is_mended_too_a_little_later() -> None:
    first = 5 + math.ceil(LATE_S * 15)
    wanted = _mended_at(Stage(), "q", {5, 12}, 60)
    assert wanted[0] == first
    assert len(wanted) == 2
    assert 0 <= wanted[1] - first - MEND_INTERVAL_S * 15 <= 1


def test_layers_are_ordered_by_their_pictures_whatever_the_offer_said() -> None:
    stage = Stage()
    stage.track.layers[0].size, stage.track.layers[1].size = (1_280, 720), (640, 360)
    stage.track.order_layers()
    assert [layer.rid for layer in stage.track.layers] == ["q", "h", "f"], "not all are known"
    stage.track.layers[2].size = (320, 180)
    stage.track.order_layers()
    assert [layer.rid for layer in stage.track.layers] == ["f", "h", "q"]
    stage.track.bind([VP8], fresh=False, rids=["q", "h", "f"])
    assert stage.line in stage.track.lines
    stage.frame("q")
    assert len(stage.sent) == 1, "the same layers in the same offer go on"


def test_a_layer_that_nobody_looks_at_is_given_up_and_counts_at_once_when_it_comes_back() -> None:
    stage = Stage()
    stage.frame("q", "h", "f")
    stage.line.asked = 1

    def told_within(seconds: float, only: str) -> list[int]:
        told = []
        for _ in range(int(seconds * 15)):
            stage.frame(only=only)
            stage.track.layers_changed(stage.now)
            layers = stage.track.layers_to_tell(stage.now)
            if layers is not None:
                told.append(layers)
        return told

    assert told_within(UNWATCHED_S + 0.2, "qhf") == [1]
    assert told_within(2.0, "q") == []
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q"]
    stage.line.asked = 3
    assert told_within(0.2, "q") == [3]
    assert told_within(0.2, "qhf") == []
    assert [layer.rid for layer in stage.track.live_layers(stage.now)] == ["q", "h", "f"]
    assert stage.track.layers[2].rate_bps is None, "what it cost before the silence is measured anew"


def test_a_publisher_on_another_line_is_taken_to_send_all_layers() -> None:
    stage = Stage()
    for seconds in range(int(UNWATCHED_S) + 2):
        stage.track.layers_to_tell(stage.now + seconds)
    assert stage.track.demand.told == 0
    stage.track.bind([VP8], fresh=False, rids=["q", "h", "f"])
    assert stage.track.demand.told == 0, "the same line"
    stage.track.bind([VP8], fresh=True, rids=["q", "h", "f"])
    assert stage.track.demand.told == 3


def test_of_sound_nothing_is_told() -> None:
    described = Track(id="m", participant_id="p", session_id="s", source="microphone", kind="audio", muted=False)
    track = PublishedTrack(described, "stream", heard=lambda *_: None, hurry=lambda: None)
    assert [track.layers_to_tell(float(second)) for second in range(20)] == [None] * 20
