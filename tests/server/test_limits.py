"""Limits by identity; a brake for guessing that a whole school at one address never feels."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import limits
from server.limits import (
    FAILED_ATTEMPT,
    JOIN,
    MAX_GUESS_WAIT_S,
    MAX_HOLD_S,
    FailureBrake,
    Limit,
    Limiter,
    address_key,
    caller_address,
)

SCHOOL = "203.0.113.7"

# --- buckets ---------------------------------------------------------------------------------------


def test_a_burst_goes_through_then_the_pace_counts() -> None:
    limiter = Limiter(Limit("test", burst=3, per_second=2))
    assert [limiter.take("p1", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limiter.take("p1", 100.5) == 0.0
    assert limiter.take("p1", 100.5) == 0.5
    assert [limiter.take("p1", 200.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_each_key_has_its_own() -> None:
    limiter = Limiter(Limit("test", burst=1, per_second=1))
    assert limiter.take("p1", 0.0) == 0.0
    assert limiter.take("p2", 0.0) == 0.0
    assert limiter.take("p1", 0.0) > 0.0


def test_a_refused_cost_is_not_taken() -> None:
    limiter = Limiter(Limit("bytes", burst=100, per_second=10))
    assert limiter.take("p1", 0.0, cost=60) == 0.0
    assert limiter.take("p1", 0.0, cost=60) == pytest.approx(2.0)
    assert limiter.take("p1", 0.0, cost=40) == 0.0


def test_what_costs_more_than_a_bucket_waits_for_a_full_one() -> None:
    limiter = Limiter(Limit("bytes", burst=100, per_second=10))
    assert limiter.take("p1", 0.0, cost=1_000) == 0.0
    assert limiter.take("p1", 5.0, cost=1_000) == pytest.approx(5.0)
    assert limiter.take("p1", 10.0, cost=1_000) == 0.0


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    limiter = Limiter(Limit("test", burst=1, per_second=1))
    assert limiter.take("p1", 100.0) == 0.0
    assert limiter.take("p1", 50.0) == 1.0
    assert limiter.take("p1", 100.5) == 0.5
    assert limiter.take("p1", 101.0) == 0.0


def test_the_number_of_keys_is_bounded_and_the_oldest_goes_first() -> None:
    limiter = Limiter(Limit("test", burst=1, per_second=0.001), max_keys=100)
    limiter.take("busy", 0.0)
    for number in range(1_000):
        limiter.take(f"key {number}", 0.0)
        assert limiter.take("busy", 0.0) > 0.0
    assert len(limiter) == 100


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), max_size=60))
def test_never_more_than_burst_and_pace_allow(takes: list[tuple[float, float]]) -> None:
    limiter = Limiter(Limit("test", burst=4, per_second=1.5))
    now = taken = 0.0
    for pause, cost in takes:
        now += pause
        if limiter.take("p1", now, cost) == 0.0:
            taken += min(cost, 4)
        assert taken <= 4 + 1.5 * now + 1e-6


def test_every_limit_has_a_reason_and_can_be_used() -> None:
    text = Path(limits.__file__).read_text("utf-8")
    for name, value in vars(limits).items():
        if isinstance(value, Limit):
            assert value.burst >= 1, name
            assert value.per_second > 0, name
            after = text.split(f"\n{name} = ", 1)[1].split("\n", 2)[1]
            assert after.startswith('"""'), name


# --- a school at one address (NET-1) -----------------------------------------------------------------


@pytest.mark.parametrize(("joins", "seconds"), [(35, 10), (120, 30), (600, 300)])
def test_a_school_joins_with_one_code_from_one_address(joins: int, seconds: int) -> None:
    """Nobody is refused or made to wait, though one pupil in six mistypes the code first."""
    limiter, brake = Limiter(JOIN), FailureBrake()
    for number in range(joins):
        now = number * seconds / joins
        if number % 6 == 0:
            assert brake.wait_before_guess(SCHOOL, now) == 0.0
            brake.record_failure(SCHOOL, now)
        assert brake.wait_before_guess(SCHOOL, now) == 0.0
        assert limiter.take("invitation", now) == 0.0


def test_all_of_them_in_the_same_second_as_well() -> None:
    limiter = Limiter(JOIN)
    assert all(limiter.take("invitation", 0.0) == 0.0 for _ in range(250))


def test_a_typing_error_costs_nothing() -> None:
    brake = FailureBrake()
    assert [brake.record_failure(SCHOOL, 0.0) for _ in range(5)] == [0.0] * 5


def test_who_goes_on_failing_waits_longer_and_longer() -> None:
    brake = FailureBrake()
    holds = [brake.record_failure(SCHOOL, 0.0) for _ in range(200)]
    assert holds == sorted(holds)
    assert holds[-1] == MAX_HOLD_S


def test_failing_with_tokens_never_delays_who_does_not_fail() -> None:
    """Tokens and links are not looked up by `wait_before_guess`; a bad caller's neighbour is told
    nothing of it, and a neighbour's bucket is another one."""
    brake, joins = FailureBrake(), Limiter(JOIN)
    for _ in range(500):
        brake.record_failure(SCHOOL, 0.0)
    assert joins.take("invitation", 0.0) == 0.0
    assert brake.wait_before_guess("198.51.100.1", 0.0) == 0.0


def test_guessing_codes_is_slowed_before_the_answer_is_known() -> None:
    """However many guesses are sent at once: the right one would be answered no sooner."""
    brake = FailureBrake()
    for _ in range(int(FAILED_ATTEMPT.burst)):
        assert brake.wait_before_guess(SCHOOL, 0.0) == 0.0
        brake.record_failure(SCHOOL, 0.0)
    waits = [brake.wait_before_guess(SCHOOL, 0.0) for _ in range(1_000)]
    allowed = [wait for wait in waits if wait is not None]
    assert len(allowed) <= MAX_GUESS_WAIT_S / limits.GUESS_INTERVAL_S + 1
    assert allowed == sorted(allowed)
    assert waits[-1] is None


def test_an_address_is_forgiven_in_time() -> None:
    brake = FailureBrake()
    for _ in range(500):
        brake.record_failure(SCHOOL, 0.0)
    assert brake.wait_before_guess(SCHOOL, 1_000.0) == 0.0
    assert brake.record_failure(SCHOOL, 1_000.0) == 0.0


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    brake = FailureBrake(Limit("test", burst=1, per_second=0.001), max_keys=50)
    for number in range(1_000):
        address = f"10.0.{number // 250}.{number % 250}"
        for _ in range(3):
            brake.record_failure(address, 0.0)
            brake.wait_before_guess(address, 0.0)
    assert len(brake._failures) == len(brake._next_guess_at) == 50


# --- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_a_household_of_ipv6_is_one_address(address: str, key: str) -> None:
    assert address_key(address) == key


PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"))


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["<script>, 10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.9, " * 50_000 + "10.0.0.2"], "10.0.0.9"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_only_what_a_trusted_proxy_wrote_is_believed(peer: str, headers: list[str], address: str) -> None:
    assert caller_address(peer, headers, PROXIES) == address


def test_without_trusted_proxies_no_header_is_believed() -> None:
    assert caller_address("127.0.0.1", ["198.51.100.1"], ()) == "127.0.0.1"
