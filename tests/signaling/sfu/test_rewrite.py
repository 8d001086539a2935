"""One outgoing SSRC stays continuous, and never uses a number for two packets."""

from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.loss import ReceiveLog
from signaling.engines.sfu.rewrite import StreamRewriter


def _send(rewriter: StreamRewriter, sequence: int, timestamp: int, now: float) -> int | None:
    return rewriter.advance(sequence, timestamp, now)


def test_a_switch_continues_the_numbers() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin(70_000, 1_000_000, 0.0, same_clock=False)
    assert [_send(rewriter, 70_000 + n, 1_000_000 + n * 3_000, n / 30) for n in range(4)] == [100, 101, 102, 103]
    rewriter.begin(9, 77, 1.1, same_clock=False)
    assert _send(rewriter, 9, 77, 1.1) == 104


def test_time_passes_across_a_switch_as_it_did() -> None:
    rewriter = StreamRewriter(90_000, 100, 5_000)
    rewriter.begin(1, 1_000, 10.0, same_clock=False)
    _send(rewriter, 1, 1_000, 10.0)
    assert rewriter.timestamp(1_000) == 5_000
    rewriter.begin(500, 4_000_000_000, 12.0, same_clock=False)
    assert rewriter.timestamp(4_000_000_000) == 5_000 + 2 * 90_000


def test_one_publisher_keeps_its_clock_over_a_mute() -> None:
    rewriter = StreamRewriter(48_000, 100, 5_000)
    rewriter.begin(1, 1_000, 0.0, same_clock=False)
    _send(rewriter, 1, 1_000, 0.0)
    rewriter.end()
    rewriter.begin(900, 1_000 + 480_000, 10.3, same_clock=True)
    assert rewriter.timestamp(1_000 + 480_000) == 5_000 + 480_000
    assert _send(rewriter, 900, 481_000, 10.3) == 101


def test_what_belongs_before_a_segment_is_refused() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    rewriter.begin(50, 0, 0.0, same_clock=False)
    _send(rewriter, 50, 0, 0.0)
    rewriter.begin(60, 0, 0.0, same_clock=True)
    assert rewriter.advance(59, 0, 0.0) is None
    assert rewriter.advance(60, 0, 0.0) == 101


def test_nothing_leaves_between_segments() -> None:
    rewriter = StreamRewriter(90_000, 100, 0)
    assert rewriter.advance(50, 0, 0.0) is None
    rewriter.begin(50, 0, 0.0, same_clock=False)
    _send(rewriter, 50, 0, 0.0)
    rewriter.end()
    assert rewriter.advance(51, 0, 0.0) is None
    assert rewriter.original(100) is None


def test_a_nack_finds_the_original_across_the_wrap() -> None:
    rewriter = StreamRewriter(90_000, 65_530, 0)
    rewriter.begin(7, 0, 0.0, same_clock=False)
    for n in range(20):
        _send(rewriter, 7 + n, 0, 0.0)
    assert rewriter.original(65_531) == (8, 65_531)
    assert rewriter.original(3) == (7 + 65_539 - 65_530, 65_539)
    assert rewriter.original(65_529) is None


_actions = st.lists(
    st.one_of(
        st.tuples(st.just("packet"), st.integers(0, 2), st.integers(0, 0xFFFF)),
        st.tuples(st.just("switch"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("mute"), st.just(0), st.just(0)),
    ),
    max_size=200,
)


@given(_actions)
def test_no_number_ever_stands_for_two_packets(actions: list[tuple[str, int, int]]) -> None:
    """Any publishers, any switching, losses, repeats and jumps: each (SSRC, number) has one packet."""
    rewriter = StreamRewriter(90_000, 1_000, 0)
    logs = [ReceiveLog(90_000) for _ in range(3)]
    sent: dict[int, tuple[int, int, int]] = {}
    source = 0
    opened: tuple[int, int] | None = None
    for step, (action, which, number) in enumerate(actions):
        if action == "switch":
            source, opened = which, None
        elif action == "mute":
            rewriter.end()
            opened = None
        elif (sequence := logs[which].accept(number, step / 50)) is not None and which == source:
            segment = (which, logs[which].epoch)
            if opened != segment:
                rewriter.begin(sequence, 0, step / 50, same_clock=False)
                opened = segment
            outgoing = _send(rewriter, sequence, 0, step / 50)
            if outgoing is not None:
                assert outgoing not in sent
                sent[outgoing] = (*segment, sequence)
