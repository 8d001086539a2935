"""What has arrived of a stream, what is asked for again, what is reported."""

from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.loss import GIVE_UP_S, LATE_S, MAX_GAP, MAX_TRIES, REORDER_S, ReceiveLog


def _filled(*numbers: int, now: float = 0.0) -> ReceiveLog:
    log = ReceiveLog(90_000)
    for number in numbers:
        log.accept(number, now)
    return log


def test_numbers_go_on_beyond_the_16_bits() -> None:
    log = ReceiveLog(90_000)
    extended = [log.accept(number & 0xFFFF, 0.0) for number in range(65_530, 65_545)]
    assert None not in extended
    assert [each - extended[0] for each in extended if each is not None and extended[0] is not None] == list(range(15))


def test_a_packet_is_accepted_once() -> None:
    log = _filled(10, 12)
    first = log.accept(11, 0.01)
    assert first is not None
    assert log.accept(11, 0.02) is None
    assert log.accept(12, 0.02) is None
    assert log.accept(10, 0.02) is None


def test_a_gap_is_asked_for_after_a_moment_and_again_by_timer() -> None:
    log = _filled(10, 13)
    assert log.nacks_to_send(0.0) == []
    assert log.nacks_to_send(REORDER_S) == [11, 12]
    assert log.nacks_to_send(REORDER_S + 0.01) == []
    assert log.nacks_to_send(REORDER_S + 0.07) == [11, 12]
    log.accept(11, 0.1)
    assert log.nacks_to_send(0.3) == [12]


def test_a_packet_that_overtook_another_is_not_asked_for() -> None:
    log = _filled(10, 12)
    log.accept(11, 0.005)
    assert log.nacks_to_send(0.1) == []
    assert not log.has_missing


def test_what_never_comes_is_given_up() -> None:
    log = _filled(10, 12)
    asked = 0
    now = 0.0
    while log.has_missing:
        asked += len(log.nacks_to_send(now))
        now += 0.02
        assert now < GIVE_UP_S + 0.2
    assert 2 <= asked <= MAX_TRIES


def test_what_is_missing_for_too_long_is_told_once() -> None:
    log = _filled(10, 13)
    log.nacks_to_send(LATE_S)
    assert not log.take_late()
    log.nacks_to_send(LATE_S + 0.02)
    assert log.take_late()
    log.nacks_to_send(LATE_S + 0.04)
    assert not log.take_late(), "both were missing from the same moment on"
    log.accept(16, LATE_S + 0.1)
    log.nacks_to_send(2 * LATE_S + 0.12)
    assert log.take_late()


def test_what_a_key_frame_makes_needless_is_not_missed() -> None:
    log = _filled(10, 12)
    keyframe = log.accept(14, 0.3)
    assert keyframe is not None
    log.note_keyframe(keyframe)
    log.accept(16, 0.3)
    log.nacks_to_send(LATE_S + 0.02)
    assert not log.take_late()
    log.nacks_to_send(0.3 + LATE_S + 0.02)
    assert log.take_late(), "15 is behind its beginning"


def test_a_pause_of_many_packets_is_not_asked_for() -> None:
    log = _filled(10, 10 + MAX_GAP + 2)
    assert not log.has_missing
    assert log.accept(11, 0.0) is None


def test_numbers_that_begin_anew_begin_an_epoch() -> None:
    log = _filled(*range(40_000, 40_010))
    assert log.accept(20_000, 1.0) is None
    assert log.epoch == 0
    assert log.accept(20_001, 1.0) is not None
    assert log.epoch == 1


def test_a_far_jump_begins_an_epoch() -> None:
    log = _filled(100, 101)
    assert log.accept(101 + 5_000, 1.0) is not None
    assert log.epoch == 1


def test_a_stray_old_number_begins_nothing() -> None:
    log = _filled(*range(40_000, 40_010))
    assert log.accept(30_000, 1.0) is None
    assert log.accept(40_010, 1.0) is not None
    assert log.epoch == 0


def test_reception_counts_loss_by_interval() -> None:
    log = _filled(*[number for number in range(100, 200) if number % 4])
    first = log.reception()
    assert first is not None
    assert first.packets_lost == 24
    assert first.highest_sequence == 199
    assert 60 <= first.fraction_lost <= 64
    for number in range(200, 300):
        log.accept(number, 1.0)
    second = log.reception()
    assert second is not None
    assert second.fraction_lost == 0
    assert second.packets_lost == 24


def test_jitter_follows_arrival_times() -> None:
    steady, shaky = ReceiveLog(90_000), ReceiveLog(90_000)
    for number in range(200):
        steady.note_arrival(number * 3_000, number / 30)
        shaky.note_arrival(number * 3_000, number / 30 + (number % 2) * 0.02)
    steady.accept(1, 0)
    shaky.accept(1, 0)
    calm, busy = steady.reception(), shaky.reception()
    assert calm is not None
    assert busy is not None
    assert calm.jitter < 10
    assert 1_500 < busy.jitter < 1_900


@given(st.lists(st.integers(0, 0xFFFF), max_size=300))
def test_no_extended_number_is_ever_given_out_twice_in_an_epoch(numbers: list[int]) -> None:
    """Whatever a hostile publisher sends: this is what SRTP's nonces stand on."""
    log = ReceiveLog(90_000)
    seen: set[tuple[int, int]] = set()
    for step, number in enumerate(numbers):
        sequence = log.accept(number, step / 100)
        if sequence is not None:
            assert sequence >= 0
            assert (log.epoch, sequence) not in seen
            seen.add((log.epoch, sequence))


@given(st.permutations(range(60)), st.integers(0, 0xFFFF))
def test_reordered_packets_all_arrive_under_their_own_number(order: list[int], start: int) -> None:
    log = ReceiveLog(90_000)
    log.accept((start - 1) & 0xFFFF, 0.0)
    found = {number: log.accept((start + number) & 0xFFFF, 0.0) for number in order}
    base = found[0]
    assert base is not None
    assert all(sequence == base + number for number, sequence in found.items())
