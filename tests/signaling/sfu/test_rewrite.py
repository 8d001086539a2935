"""One outgoing SSRC stays continuous, and never uses a number for two packets."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.loss import ReceiveLog
from signaling.engines.sfu.rewrite import MAX_CLOCK_ERROR_S, StreamRewriter
from signaling.engines.sfu.vp8 import PictureNumbers, read_vp8, renumber


@dataclass(frozen=True)
class Packet:
    sequence: int
    timestamp: int
    received_at: float
    numbers: PictureNumbers | None = None


def advance(
    rewriter: StreamRewriter, sequence: int, timestamp: int, now: float, numbers: PictureNumbers | None = None
) -> int | None:
    """The number of a packet of the open segment; None: it has none."""
    segment = rewriter.segment
    return None if segment is None else segment.advance(Packet(sequence, timestamp, now, numbers))


def test_a_switch_continues_the_numbers() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin("a", Packet(70_000, 1_000_000, 0.0), clock_offset=0)
    assert [advance(rewriter, 70_000 + n, 1_000_000 + n * 3_000, n / 30) for n in range(4)] == [100, 101, 102, 103]
    rewriter.begin("b", Packet(9, 77, 1.1), clock_offset=None)
    assert advance(rewriter, 9, 77, 1.1) == 104


def test_time_passes_across_a_switch_as_it_did() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    segment = rewriter.begin("a", Packet(1, 1_000, 10.0), clock_offset=0)
    advance(rewriter, 1, 1_000, 10.0)
    assert 1_000 + segment.timestamp_shift == 5_000
    segment = rewriter.begin("b", Packet(500, 4_000_000_000, 12.0), clock_offset=None)
    assert (4_000_000_000 + segment.timestamp_shift) & 0xFFFFFFFF == 5_000 + 2 * 90_000


def test_one_publisher_keeps_its_clock_over_a_mute() -> None:
    rewriter = StreamRewriter(48_000, 100, 5_000)
    rewriter.begin("a", Packet(1, 1_000, 0.0), clock_offset=0)
    advance(rewriter, 1, 1_000, 0.0)
    rewriter.end()
    segment = rewriter.begin("a", Packet(900, 1_000 + 480_000, 10.3), clock_offset=0)
    assert (1_000 + 480_000 + segment.timestamp_shift) & 0xFFFFFFFF == 5_000 + 480_000
    assert advance(rewriter, 900, 481_000, 10.3) == 101


def test_layers_of_one_picture_share_its_clock() -> None:
    """The next layer's key frame arrives late: its place in time is the publisher's, not the arrival's."""
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin("small", Packet(1, 1_000, 0.0), clock_offset=0)
    advance(rewriter, 1, 1_000, 0.0)
    # 500_000 of the other layer's clock is 1_000 of this one's.
    segment = rewriter.begin("large", Packet(7, 500_000 + 3_000, 0.25), clock_offset=1_000 - 500_000)
    assert (503_000 + segment.timestamp_shift) & 0xFFFFFFFF == 5_000 + 3_000


def test_a_layer_never_goes_back_in_time() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin("large", Packet(1, 9_000, 0.0), clock_offset=0)
    advance(rewriter, 1, 9_000, 0.0)
    segment = rewriter.begin("small", Packet(7, 9_000, 0.01), clock_offset=0)
    assert (9_000 + segment.timestamp_shift) & 0xFFFFFFFF == 5_001


def test_reports_that_contradict_the_time_are_not_believed() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin("a", Packet(1, 0, 0.0), clock_offset=0)
    advance(rewriter, 1, 0, 0.0)
    lie = int((MAX_CLOCK_ERROR_S + 1) * 90_000)
    segment = rewriter.begin("b", Packet(1, 3_000, 0.5), clock_offset=lie)
    assert (3_000 + segment.timestamp_shift) & 0xFFFFFFFF == 5_000 + 45_000


def test_what_belongs_before_a_segment_is_refused() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    rewriter.begin("a", Packet(50, 0, 0.0), clock_offset=0)
    advance(rewriter, 50, 0, 0.0)
    rewriter.begin("a", Packet(60, 0, 0.0), clock_offset=0)
    assert advance(rewriter, 59, 0, 0.0) is None
    assert advance(rewriter, 60, 0, 0.0) == 101


def test_nothing_leaves_between_segments() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    assert advance(rewriter, 50, 0, 0.0) is None
    rewriter.begin("a", Packet(50, 0, 0.0), clock_offset=0)
    advance(rewriter, 50, 0, 0.0)
    rewriter.end()
    assert advance(rewriter, 51, 0, 0.0) is None
    assert rewriter.find(100) is None


def test_a_nack_finds_the_original_across_the_wrap() -> None:
    rewriter = StreamRewriter(90_000, 65_530, 0)
    segment = rewriter.begin("a", Packet(7, 0, 0.0), clock_offset=0)
    for n in range(20):
        advance(rewriter, 7 + n, 0, 0.0)
    assert rewriter.find(65_531) == (segment, 8, 65_531)
    assert rewriter.find(3) == (segment, 7 + 65_539 - 65_530, 65_539)
    assert rewriter.find(65_529) is None


def test_a_nack_after_a_switch_finds_what_was_sent_before_it() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    small = rewriter.begin("small", Packet(7, 0, 0.0), clock_offset=0)
    for n in range(3):
        advance(rewriter, 7 + n, 0, 0.0)
    large = rewriter.begin("large", Packet(900, 0, 0.0), clock_offset=0)
    advance(rewriter, 900, 0, 0.0)
    assert rewriter.find(102) == (small, 9, 102)
    assert rewriter.find(103) == (large, 900, 103)


def test_picture_numbers_go_on_where_the_last_source_left_them() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    first = PictureNumbers(2, 32_766, True, 4, 254)
    segment = rewriter.begin("a", Packet(1, 0, 0.0, first), clock_offset=0)
    assert not segment.renumbers, "the first source keeps its own"
    advance(rewriter, 1, 0, 0.0, first)
    advance(rewriter, 2, 3_000, 0.0, PictureNumbers(2, 32_767, True, 4, 255))
    other = PictureNumbers(2, 5, True, 4, 9)
    segment = rewriter.begin("b", Packet(1, 0, 0.1, other), clock_offset=None)
    payload = bytearray(b"\x90\xe0\x80\x05\x09\x20\x00key")
    assert read_vp8(bytes(payload)) == (True, other)
    renumber(payload, 0, other, segment.picture_shift, segment.tl0_shift)
    assert read_vp8(bytes(payload)) == (True, PictureNumbers(2, 0, True, 4, 0))
    assert payload[5:] == b"\x20\x00key"


# --- whatever happens ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Original:
    """What makes a packet that packet: which source, which of its runs, which number."""

    source: int
    epoch: int
    sequence: int


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("packet"), st.integers(0, 2), st.integers(0, 0xFFFF)),
        st.tuples(st.just("next"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("switch"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("mute"), st.just(0), st.just(0)),
        st.tuples(st.just("nack"), st.just(0), st.integers(0, 30)),
    ),
    max_size=300,
)


@given(_actions)
def test_no_number_ever_stands_for_two_packets(actions: list[tuple[str, int, int]]) -> None:
    """Any layers and publishers, any switching, losses, repeats, jumps and NACKs: each (SSRC, number)
    has one packet with one set of rewritten fields; that is all SRTP's nonces ask for."""
    rewriter = StreamRewriter(90_000, 1_000, 0)
    logs = [ReceiveLog(90_000) for _ in range(3)]
    last = [0, 0, 0]
    sent: dict[int, tuple[Original, int, int, int]] = {}
    source, highest = 0, 1_000

    def check(outgoing: int, original: Original, segment: object) -> None:
        assert segment is not None
        fields = (original, segment.timestamp_shift, segment.picture_shift, segment.tl0_shift)  # type: ignore[attr-defined]
        assert sent.setdefault(outgoing, fields) == fields

    for step, (action, which, number) in enumerate(actions):
        now = step / 50
        if action == "switch":
            source = which
        elif action == "mute":
            rewriter.end()
        elif action == "nack":
            found = rewriter.find((highest - number) & 0xFFFF)
            if found is not None:
                segment, sequence, outgoing = found
                which, epoch = segment.source  # type: ignore[misc]
                check(outgoing, Original(which, epoch, sequence), segment)
        else:
            last[which] = number if action == "packet" else (last[which] + number) & 0xFFFF
            sequence_or_none = logs[which].accept(last[which], now)
            if sequence_or_none is None or which != source:
                continue
            run = (which, logs[which].epoch)
            numbers = PictureNumbers(2, last[which] & 0x7FFF, True, 4, last[which] & 0xFF)
            if rewriter.segment is None or rewriter.segment.source != run:
                rewriter.begin(run, Packet(sequence_or_none, step, now, numbers), clock_offset=step % 3 or None)
            outgoing_or_none = advance(rewriter, sequence_or_none, step, now, numbers)
            if outgoing_or_none is not None:
                highest = max(highest, outgoing_or_none)
                check(outgoing_or_none, Original(*run, sequence_or_none), rewriter.segment)
