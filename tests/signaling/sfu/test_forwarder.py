"""From one publisher's packets to each subscriber's, without sockets."""

from collections.abc import Callable

import pytest

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import ABS_SEND_TIME, AUDIO_LEVEL, MID, NegotiatedCodec
from signaling.engines.sfu.forwarder import KEYFRAMES_BURST, MAX_KEYFRAMES_PER_S, RESENT_BURST, OutgoingLine
from signaling.engines.sfu.keyframes import KEYFRAME_RETRY_S
from signaling.engines.sfu.published import PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket, find_extension, parse_rtp, unwrap_rtx
from signaling.messages import Track, TrackSource

KEY, DELTA = b"\x10\x00key", b"\x10\x01delta"
VP8 = NegotiatedCodec("VP8", 96, 97)
H264 = NegotiatedCodec("H264/constrained-baseline", 102, 103)
EXTENSIONS = {MID: 4, ABS_SEND_TIME: 5, AUDIO_LEVEL: 6}


class Sink:
    """A subscriber's transport: keeps what was sent."""

    def __init__(self) -> None:
        self.bytes = bytearray(2_048)
        self.out = self.way = self
        self.connected = True
        self.sent: list[RtpPacket] = []

    def send_rtp(self, _way: object, size: int) -> None:
        self.sent.append(parse_rtp(bytes(self.bytes[:size])))


def _track(source: TrackSource = "camera", heard: Callable[..., None] = lambda *_: None) -> PublishedTrack:
    kind = "video" if source in ("camera", "screen") else "audio"
    track = Track(id="t", participant_id="p", session_id="s", source=source, kind=kind, muted=False)
    published = PublishedTrack(track, "stream", heard=heard, hurry=lambda: None)
    published.bind([VP8] if kind == "video" else [NegotiatedCodec("opus", 111, None)], fresh=True)
    return published


def _line(track: PublishedTrack, sink: Sink, *codecs: NegotiatedCodec, mid: str = "7") -> OutgoingLine:
    line = OutgoingLine(track.track.kind, mid, sink, set())
    line.set_codecs(codecs or [NegotiatedCodec("VP8", 120, 121)], EXTENSIONS)
    line.attach(track, track.layers[0])
    return line


def _feed(track: PublishedTrack, start: int, *payloads: bytes, pt: int = 96, now: float = 0.0) -> None:
    for number, payload in enumerate(payloads, start):
        track.layers[0].receive(RtpPacket(pt, 1, number & 0xFFFF, number * 3_000, 555, b"", payload), None, now)


def test_payload_passes_untouched_in_the_subscribers_numbers() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1_000, KEY, DELTA, now=3.0)
    first, second = sink.sent
    assert [packet.payload for packet in sink.sent] == [KEY, DELTA]
    assert {packet.payload_type for packet in sink.sent} == {120}
    assert {packet.ssrc for packet in sink.sent} == {line.ssrc}
    assert second.sequence_number == first.sequence_number + 1
    assert second.timestamp - first.timestamp == 3_000
    assert first.marker == 1
    assert find_extension(first.extensions, 4) == b"7"
    assert find_extension(first.extensions, 5) == (3 << 18).to_bytes(3, "big")


def test_picture_begins_with_a_key_frame_which_is_asked_for() -> None:
    track, sink = _track(), Sink()
    _line(track, sink)
    assert track.layers[0].keyframe_is_due(0.0)
    _feed(track, 10, DELTA, DELTA)
    assert sink.sent == []
    assert not track.layers[0].keyframe_is_due(KEYFRAME_RETRY_S / 2)
    assert track.layers[0].keyframe_is_due(KEYFRAME_RETRY_S), "it did not come"
    _feed(track, 12, KEY, DELTA)
    assert [packet.payload for packet in sink.sent] == [KEY, DELTA]
    assert not track.layers[0].keyframe_is_due(9.0)


def test_codecs_are_mapped_by_name() -> None:
    """The publisher's 96 is VP8; this subscriber calls H264 96 and VP8 101."""
    track, sink = _track(), Sink()
    _line(track, sink, NegotiatedCodec("H264/constrained-baseline", 96, None), NegotiatedCodec("VP8", 101, None))
    _feed(track, 1, KEY)
    assert sink.sent[0].payload_type == 101


def test_who_cannot_decode_a_codec_gets_nothing_of_it() -> None:
    track, sink = _track(), Sink()
    _line(track, sink, H264)
    _feed(track, 1, KEY, DELTA)
    assert sink.sent == []


def test_baseline_goes_to_who_knows_constrained_baseline() -> None:
    track, sink = _track(), Sink()
    track.bind([NegotiatedCodec("H264/baseline", 104, None)], fresh=False)
    _line(track, sink, H264)
    _feed(track, 1, b"\x67sps", pt=104)
    assert sink.sent[0].payload_type == 102


def test_nothing_flows_before_the_transport_is_there() -> None:
    track, sink = _track(), Sink()
    sink.connected = False
    _line(track, sink)
    _feed(track, 1, KEY)
    sink.connected = True
    _feed(track, 2, DELTA, KEY)
    assert [packet.payload for packet in sink.sent] == [KEY]


def test_a_nack_is_answered_by_a_retransmission() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 65_534, KEY, DELTA, b"\x10\x01lost", DELTA)
    lost = sink.sent[2]
    sink.sent.clear()
    line.resend([lost.sequence_number], 0.1)
    (again,) = sink.sent
    assert (again.ssrc, again.payload_type, again.timestamp) == (line.rtx_ssrc, 121, lost.timestamp)
    assert unwrap_rtx(again.payload) == (lost.sequence_number, lost.payload)


def test_without_rtx_the_very_same_packet_is_sent_again() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink, NegotiatedCodec("VP8", 120, None))
    _feed(track, 1, KEY, DELTA, now=1.0)
    original = sink.sent[1]
    line.resend([original.sequence_number], 1.9)
    assert sink.sent[2] == original


def test_every_retransmission_has_a_number_of_its_own() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY, DELTA)
    numbers = [packet.sequence_number for packet in sink.sent]
    sink.sent.clear()
    for _ in range(3):
        line.resend(numbers, 0.1)
    resent = [packet.sequence_number for packet in sink.sent]
    assert len(set(resent)) == 6


def test_a_flood_of_nacks_is_answered_within_a_budget() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY, *[DELTA] * 50)
    numbers = [packet.sequence_number for packet in sink.sent]
    sink.sent.clear()
    for _ in range(100):
        line.resend(numbers, 0.0)
    assert len(sink.sent) <= RESENT_BURST


def test_a_packet_recovered_late_keeps_its_place() -> None:
    track, sink = _track(), Sink()
    _line(track, sink)
    _feed(track, 1, KEY)
    _feed(track, 3, b"\x10\x01third")
    _feed(track, 2, b"\x10\x01second")
    by_number = sorted(sink.sent, key=lambda packet: packet.sequence_number)
    assert [packet.payload for packet in by_number] == [KEY, b"\x10\x01second", b"\x10\x01third"]
    assert by_number[2].sequence_number - by_number[0].sequence_number == 2


def test_a_packet_that_comes_twice_leaves_once() -> None:
    track, sink = _track(), Sink()
    _line(track, sink)
    _feed(track, 1, KEY, DELTA)
    _feed(track, 2, b"\x10\x01other text under an old number")
    assert len(sink.sent) == 2


def test_a_mute_lets_nothing_out_not_even_again() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY, DELTA)
    number = sink.sent[-1].sequence_number
    sink.sent.clear()
    track.set_muted(True)
    _feed(track, 3, KEY, DELTA)
    line.resend([number], 0.1)
    assert sink.sent == []
    assert line.sender_report(0.1) is None
    track.set_muted(False)
    assert track.layers[0].keyframes.wanted
    _feed(track, 100, KEY)
    assert sink.sent[0].sequence_number == number + 1, "no gap to be asked for"


def test_what_is_not_shown_is_not_sent_and_begins_anew_with_a_key_frame() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY, DELTA)
    last = sink.sent[-1].sequence_number
    line.aim(None)
    assert track.layers[0].keyframes.is_due(0.0, waiting=True)
    _feed(track, 3, KEY, DELTA)
    line.resend([last], 0.1)
    assert len(sink.sent) == 2
    assert not track.layers[0].keyframe_is_due(9.0)
    line.aim(track.layers[0])
    assert track.layers[0].keyframes.wanted
    _feed(track, 5, DELTA, KEY)
    assert [packet.sequence_number for packet in sink.sent[2:]] == [last + 1]


def test_a_publisher_that_comes_back_continues_the_same_line() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1_000, KEY, DELTA, now=1.0)
    last = sink.sent[-1]
    track.bind([NegotiatedCodec("VP8", 99, None)], fresh=True)
    _feed(track, 5, DELTA, pt=99, now=2.0)
    assert len(sink.sent) == 2
    _feed(track, 6, KEY, pt=99, now=2.0)
    again = sink.sent[-1]
    assert again.ssrc == last.ssrc == line.ssrc
    assert again.sequence_number == last.sequence_number + 1
    assert again.timestamp - last.timestamp == 90_000


def test_old_packets_are_not_found_under_new_numbers() -> None:
    """After the publisher's numbering began anew, equal numbers are other packets."""
    track, sink = _track(), Sink()
    line = _line(track, sink, NegotiatedCodec("VP8", 120, None))
    _feed(track, 100, KEY, DELTA, DELTA, DELTA)
    old = [packet.sequence_number for packet in sink.sent]
    track.bind([VP8], fresh=True)
    _feed(track, 100, KEY)
    _feed(track, 102, DELTA)
    sink.sent.clear()
    line.resend([*old, (old[-1] + 2) & 0xFFFF], 0.0)
    assert sink.sent == []


def test_other_numbers_in_a_later_answer_begin_a_new_segment() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY, DELTA)
    number = sink.sent[-1].sequence_number
    line.set_codecs([NegotiatedCodec("VP8", 33, None)], EXTENSIONS)
    line.resend([number], 0.0)
    _feed(track, 3, DELTA)
    assert len(sink.sent) == 2
    _feed(track, 4, KEY)
    assert (sink.sent[-1].payload_type, sink.sent[-1].sequence_number) == (33, number + 1)


def test_other_numbers_of_the_publisher_begin_a_new_segment() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink, NegotiatedCodec("VP8", 120, None), H264)
    _feed(track, 1, KEY, DELTA)
    number = sink.sent[-1].sequence_number
    track.bind([NegotiatedCodec("H264/constrained-baseline", 96, None), NegotiatedCodec("VP8", 98, None)], fresh=False)
    line.resend([number], 0.0)
    _feed(track, 3, DELTA, pt=98)
    assert len(sink.sent) == 2
    _feed(track, 4, KEY, pt=98)
    assert (sink.sent[-1].payload_type, sink.sent[-1].sequence_number) == (120, number + 1)


def test_the_same_answer_again_interrupts_nothing() -> None:
    track, sink = _track(), Sink()
    line = _line(track, sink)
    _feed(track, 1, KEY)
    line.set_codecs([NegotiatedCodec("VP8", 120, 121)], dict(EXTENSIONS))
    _feed(track, 2, DELTA)
    assert len(sink.sent) == 2


def test_a_line_takes_another_track() -> None:
    one, other, sink = _track(), _track(), Sink()
    line = _line(one, sink)
    _feed(one, 1, KEY)
    line.attach(other, other.layers[0])
    _feed(one, 2, DELTA, KEY)
    _feed(other, 40_000, KEY)
    assert [packet.sequence_number - sink.sent[0].sequence_number for packet in sink.sent] == [0, 1]
    assert one.lines == []


def test_lips_stay_in_sync() -> None:
    """Picture and sound of one publisher keep the relation of their clocks in our reports."""
    video, audio = _track(), _track("microphone")
    video_sink, audio_sink = Sink(), Sink()
    video_line = _line(video, video_sink)
    audio_line = _line(audio, audio_sink, NegotiatedCodec("opus", 111, None))
    _feed(video, 1, KEY, now=10.0)
    audio.layers[0].receive(RtpPacket(111, 0, 1, 48_000, 1, b"", b"opus"), None, 10.0)
    video.layers[0].receive_report(rtcp.SenderReport(555, 1_000 << 32, 3_000), 10.0)
    audio.layers[0].receive_report(rtcp.SenderReport(556, 1_000 << 32, 48_000), 10.0)
    reports = []
    for line in (video_line, audio_line):
        encoded = line.sender_report(10.5)
        assert encoded is not None
        (report,) = rtcp.parse_rtcp(encoded)
        assert isinstance(report, rtcp.SenderReport)
        assert report.ssrc == line.ssrc
        reports.append(report)
    assert reports[0].ntp == reports[1].ntp == (1_000 << 32) + (1 << 31)
    assert reports[0].rtp_timestamp == (video_sink.sent[0].timestamp + 45_000) & 0xFFFFFFFF
    assert reports[1].rtp_timestamp == (audio_sink.sent[0].timestamp + 24_000) & 0xFFFFFFFF


def test_levels_are_heard_and_passed_on() -> None:
    heard: list[int] = []
    track, sink = _track("microphone", lambda _track, level, _now: heard.append(level)), Sink()
    _line(track, sink, NegotiatedCodec("opus", 111, None))
    track.layers[0].receive(RtpPacket(111, 0, 1, 960, 1, b"", b"opus"), 0x85, 0.0)
    assert heard == [0x85]
    assert find_extension(sink.sent[0].extensions, 6) == b"\x85"
    track.set_muted(True)
    track.layers[0].receive(RtpPacket(111, 0, 2, 1_920, 1, b"", b"opus"), 0x85, 0.0)
    assert heard == [0x85]


@pytest.mark.parametrize(("source", "told"), [("microphone", [0, 25, 38]), ("camera", [0, 0, 0])])
def test_a_voices_encoder_is_told_what_its_listeners_lose(source: TrackSource, told: list[int]) -> None:
    """So that it repeats itself (in-band FEC); of a picture each loses for itself, and is sent it again."""
    track = _track(source)
    lines = [_line(track, Sink(), VP8 if source == "camera" else NegotiatedCodec("opus", 111, None)) for _ in range(2)]
    _feed(track, 1, KEY, DELTA, pt=96 if source == "camera" else 111)
    found: list[int] = []
    for loss in (0.0, 0.1, 0.6):
        lines[1].reported_loss = loss
        block = track.layers[0].reception(555, 1.0)
        assert block is not None
        found.append(block.fraction_lost)
    assert found == told
    lines[1].detach()
    after = track.layers[0].reception(555, 2.0)
    assert after is not None
    assert after.fraction_lost == 0


def test_lines_of_one_connection_have_different_ssrcs() -> None:
    taken: set[int] = set()
    lines = [OutgoingLine("video", str(number), Sink(), taken) for number in range(64)]
    assert len(taken) == 128
    assert len({line.ssrc for line in lines} | {line.rtx_ssrc for line in lines}) == 128


@pytest.mark.parametrize("jump", [5_000, 30_000])
def test_a_publisher_that_skips_far_goes_on_without_a_gap(jump: int) -> None:
    track, sink = _track(), Sink()
    _line(track, sink)
    _feed(track, 1, KEY)
    _feed(track, 1 + jump, KEY)
    assert sink.sent[1].sequence_number == sink.sent[0].sequence_number + 1


def test_a_publisher_that_floods_is_cut() -> None:
    track, sink = _track("microphone"), Sink()
    _line(track, sink, NegotiatedCodec("opus", 111, None))
    _feed(track, 1, *[b"opus"] * 1_000, pt=111, now=5.0)
    assert len(sink.sent) == 250
    _feed(track, 2_000, b"opus", pt=111, now=6.0)
    assert len(sink.sent) == 251


def test_one_whose_pictures_never_arrive_does_not_fill_everybodys_line_with_key_frames() -> None:
    track, sink, other_sink = _track(), Sink(), Sink()
    unlucky, other = _line(track, sink), _line(track, other_sink)
    layer = track.layers[0]
    assert layer.keyframe_is_due(0.0), "both begin with one"
    _feed(track, 0, KEY)
    asked = 0
    for step in range(1, 201):  # twenty seconds, a tenth each
        now = step / 10
        unlucky.picture_lost(now)
        if layer.keyframe_is_due(now):
            asked += 1
            _feed(track, step, KEY, now=now)
    assert KEYFRAMES_BURST < asked <= KEYFRAMES_BURST + 20 * MAX_KEYFRAMES_PER_S
    assert not layer.keyframes.wanted
    other.picture_lost(20.1)
    assert layer.keyframe_is_due(20.5), "another is heard at once"


def test_one_whose_key_frame_does_not_come_may_ask_for_it_until_it_does() -> None:
    track, sink = _track(), Sink()
    unlucky = _line(track, sink)
    layer = track.layers[0]
    assert layer.keyframe_is_due(0.0)
    _feed(track, 0, KEY)
    asked = 0
    for step in range(1, 101):
        unlucky.picture_lost(step / 10)
        asked += layer.keyframe_is_due(step / 10)
    assert asked > KEYFRAMES_BURST + 10 * MAX_KEYFRAMES_PER_S


def test_one_who_cannot_decode_a_picture_costs_the_others_no_key_frames() -> None:
    track, sink = _track(), Sink()
    track.bind([VP8, H264], fresh=False)
    _line(track, sink, H264)
    layer = track.layers[0]
    assert layer.keyframe_is_due(0.0), "what will come is not known yet"
    _feed(track, 0, KEY, DELTA)
    assert not any(layer.keyframe_is_due(second) for second in range(1, 20))
    # Its publisher changes to what it knows.
    _feed(track, 2, b"\x61delta", pt=102, now=20.0)
    assert layer.keyframe_is_due(20.0)
    _feed(track, 3, b"\x67sps", pt=102, now=20.1)
    assert [packet.payload_type for packet in sink.sent] == [102]
