"""The loudest few of many microphones are forwarded, and the rest costs nobody anything."""

from signaling.engines.sfu.audible import DECAY_DB_PER_S, HOLD_S, MARGIN_DB, MAX_AUDIBLE, AudibleVoices
from signaling.engines.sfu.codecs import AUDIO_LEVEL, NegotiatedCodec
from signaling.engines.sfu.forwarder import OutgoingLine
from signaling.engines.sfu.published import PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket, parse_rtp
from signaling.messages import Track

OPUS = NegotiatedCodec("opus", 111, None)
QUIET, SPEECH = 70, 30
"""Minus dBov."""


def _full(now: float = 0.0, most: int = 2) -> AudibleVoices[str]:
    voices: AudibleVoices[str] = AudibleVoices(most)
    for name in "ab":
        voices.heard(name, QUIET, now)
    return voices


def test_few_microphones_are_all_forwarded() -> None:
    voices: AudibleVoices[int] = AudibleVoices()
    for voice in range(MAX_AUDIBLE):
        assert voices.heard(voice, 127, 0.0) is None
        assert voices.is_audible(voice)


def test_who_begins_to_speak_is_heard_from_the_first_packet() -> None:
    voices = _full()
    for name in "ab":
        voices.heard(name, QUIET, HOLD_S)
    assert voices.heard("c", QUIET, HOLD_S) is None
    assert not voices.is_audible("c")
    assert voices.heard("c", SPEECH, HOLD_S) in ("a", "b")
    assert voices.is_audible("c")


def test_a_little_louder_moves_nobody() -> None:
    voices = _full()
    for step in range(100):
        now = HOLD_S + step / 50
        for name in "ab":
            voices.heard(name, SPEECH, now)
        assert voices.heard("c", SPEECH - int(MARGIN_DB) + 1, now) is None
    assert voices.heard("c", SPEECH - int(MARGIN_DB), now) is not None


def test_who_was_let_in_is_heard_for_a_few_words() -> None:
    voices = _full(most=2)
    voices.heard("a", SPEECH, HOLD_S)
    assert voices.heard("c", SPEECH, HOLD_S) == "b"
    # "c" falls silent at once, "d" speaks: "c" keeps its place for a moment.
    later = HOLD_S * 1.9
    voices.heard("a", SPEECH, later)
    assert voices.heard("d", 20, later) is None
    assert voices.heard("d", 20, HOLD_S * 2) == "c"


def test_a_pause_between_two_words_keeps_the_place() -> None:
    voices = _full()
    for name in "ab":
        voices.heard(name, SPEECH, 1.0)
    between_words, between_sentences = 1.2, 1.0 + 30 / DECAY_DB_PER_S
    assert voices.heard("c", SPEECH + 1, between_words) is None
    assert voices.heard("c", SPEECH + 1, between_sentences) is not None


def test_who_leaves_makes_room() -> None:
    voices = _full()
    voices.forget("a")
    assert voices.heard("c", 127, 0.1) is None
    assert voices.is_audible("c")
    voices.forget("nobody")


class _Sink:
    def __init__(self) -> None:
        self.bytes = bytearray(2_048)
        self.out = self.way = self
        self.connected = True
        self.sent: list[RtpPacket] = []

    def send_rtp(self, _way: object, size: int) -> None:
        self.sent.append(parse_rtp(bytes(self.bytes[:size])))


def test_a_voice_that_is_held_back_leaves_no_gap() -> None:
    described = Track(id="t", participant_id="p", session_id="s", source="microphone", kind="audio", muted=False)
    track = PublishedTrack(described, "stream", heard=lambda *_: None, hurry=lambda: None)
    track.bind([OPUS], fresh=True)
    sink = _Sink()
    line = OutgoingLine("audio", "1", sink, set())
    line.set_codecs([OPUS], {AUDIO_LEVEL: 1})
    line.attach(track, track.layers[0])

    def packet(number: int) -> None:
        track.layers[0].receive(RtpPacket(111, 0, number, number * 960, 1, b"", b"opus"), SPEECH, number * 0.02)

    packet(1)
    track.hold_back(True)
    for number in range(2, 52):
        packet(number)
    assert len(sink.sent) == 1
    track.hold_back(False)
    packet(52)
    first, second = sink.sent
    assert second.sequence_number == first.sequence_number + 1, "nothing to be asked for"
    assert second.timestamp - first.timestamp & 0xFFFFFFFF == 51 * 960, "and the time that passed, as in a pause"
