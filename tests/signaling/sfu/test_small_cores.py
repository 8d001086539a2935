"""The smaller pure parts: cache, key frames, pacing, placement, offers, addresses."""

import pytest

from signaling.engines.sfu.addresses import usable_addresses
from signaling.engines.sfu.h264 import starts_h264_keyframe
from signaling.engines.sfu.keyframes import (
    KEYFRAME_INTERVAL_S,
    KEYFRAME_RETRY_S,
    KeyframeRequests,
)
from signaling.engines.sfu.pacing import BURST, JOINS_PER_SECOND, JoinPacer
from signaling.engines.sfu.packet_cache import KEEP_S, MAX_PACKETS, CachedPacket, PacketCache
from signaling.engines.sfu.placement import SESSION_LOAD, Placement, worker_load
from signaling.engines.sfu.vp8 import read_vp8
from signaling.negotiation import MAX_TRIES, RESEND_AFTER_S, OfferNegotiation


def _cached(sequence: int, now: float = 0.0) -> CachedPacket:
    return CachedPacket(sequence, 0, 0, 0, 96, b"x", None, b"", now, False)


def test_the_cache_holds_a_second_however_many_packets_that_are() -> None:
    cache = PacketCache()
    for sequence in range(10, 1_010):
        cache.put(_cached(sequence, sequence / 1_000))
    assert cache.get(10, 1.009) is not None
    assert cache.get(10, 1.2) is None
    cache.put(_cached(1_010, 1.51))
    assert len(cache) == 501
    cache.clear()
    assert cache.get(1_010, 1.51) is None


def test_the_cache_is_bounded_while_the_clock_stands_still() -> None:
    cache = PacketCache()
    for sequence in range(MAX_PACKETS + 5):
        cache.put(_cached(sequence))
    assert len(cache) == MAX_PACKETS
    assert cache.get(4, KEEP_S) is None
    assert cache.get(5, KEEP_S) is not None


@pytest.mark.parametrize(
    ("payload", "starts"),
    [
        (b"\x10\x00rest", True),
        (b"\x10\x01rest", False),
        (b"\x00\x00rest", False),
        (b"\x11\x00rest", False),
        (b"\x90\x80\x05\x00rest", True),
        (b"\x90\x80\x85\x05\x00rest", True),
        (b"\x90\xe0\x85\x05\x01\x20\x00rest", True),
        (b"\x90\xe0\x85\x05\x01\x20\x01rest", False),
        (b"\x90", False),
        (b"\x90\x80\x85", False),
        (b"", False),
    ],
)
def test_vp8_key_frames_are_found(payload: bytes, starts: bool) -> None:
    assert read_vp8(payload)[0] is starts


@pytest.mark.parametrize(
    ("payload", "starts"),
    [
        (b"\x67sps", True),
        (b"\x65idr", True),
        (b"\x61slice", False),
        (b"\x78\x00\x02\x67a\x00\x02\x68b", True),
        (b"\x78\x00\x02\x68a\x00\x02\x65b", True),
        (b"\x78\x00\x02\x61a\x00\x02\x68b", False),
        (b"\x78\xff\xff", False),
        (b"\x7c\x85first", True),
        (b"\x7c\x05later", False),
        (b"\x7c\x81first", False),
        (b"\x7c", False),
        (b"", False),
    ],
)
def test_h264_key_frames_are_found(payload: bytes, starts: bool) -> None:
    assert starts_h264_keyframe(payload) is starts


def test_many_wishes_make_one_key_frame_request() -> None:
    requests = KeyframeRequests()
    for _ in range(30):
        requests.want()
    assert requests.is_due(1.0, waiting=False)
    requests.want()
    assert not requests.is_due(1.0 + KEYFRAME_INTERVAL_S / 2, waiting=False)
    assert requests.is_due(1.0 + KEYFRAME_INTERVAL_S, waiting=False), "put off, not forgotten"
    assert not requests.is_due(9.0, waiting=False)


def test_a_key_frame_that_does_not_come_is_asked_for_again() -> None:
    requests = KeyframeRequests()
    requests.want()
    assert requests.is_due(0.0, waiting=True)
    assert not requests.is_due(KEYFRAME_RETRY_S / 2, waiting=True)
    assert requests.is_due(KEYFRAME_RETRY_S, waiting=True)
    requests.want()
    requests.arrived()
    assert not requests.wanted


def test_a_hundred_joins_are_spread_out() -> None:
    pacer = JoinPacer()
    delays = [pacer.take_place(100.0) for _ in range(100)]
    assert delays[:BURST] == [0.0] * BURST
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx((100 - BURST) / JOINS_PER_SECOND)
    assert pacer.take_place(200.0) == 0.0


def test_a_room_stays_where_it_was_placed() -> None:
    placement = Placement()
    assert placement.place("a", {0: 0.0, 1: 0.0}) == 0
    assert placement.place("b", {0: 0.0, 1: 0.0}) == 1
    assert placement.place("a", {1: 0.9}) == 0
    assert placement.place("c", {}) is None
    assert placement.forget_worker(0) == ["a"]
    assert placement.place("a", {1: 0.9}) == 1
    placement.forget_room("b")
    assert placement.worker_of("b") is None
    assert len(placement) == 1


def test_one_offer_is_outstanding_and_changes_coalesce() -> None:
    offers = OfferNegotiation()
    assert offers.offer_to_send(0.0) is None
    offers.want_offer()
    assert offers.offer_to_send(0.0) == 1
    for _ in range(3):
        offers.want_offer()
        assert offers.offer_to_send(0.1) is None
    assert offers.receive_answer(1)
    assert offers.offer_to_send(0.2) == 2
    assert not offers.receive_answer(1), "an answer to an older offer"
    assert offers.receive_answer(2)
    assert offers.is_settled
    assert not offers.receive_answer(2), "answered twice"


def test_an_unanswered_offer_is_sent_again_and_then_given_up() -> None:
    offers = OfferNegotiation()
    offers.want_offer()
    offers.offer_to_send(0.0)
    outcomes = [offers.handle_timer(RESEND_AFTER_S * n) for n in range(1, MAX_TRIES + 1)]
    assert outcomes == ["resend"] * (MAX_TRIES - 1) + ["give_up"]
    assert offers.handle_timer(1_000.0) is None


def test_a_fresh_connection_gets_a_new_number() -> None:
    offers = OfferNegotiation()
    offers.want_offer()
    assert offers.offer_to_send(0.0) == 1
    offers.start_over()
    assert not offers.receive_answer(1), "it answers the old connection's offer"
    assert offers.offer_to_send(0.0) == 2


def test_media_addresses_are_checked() -> None:
    assert usable_addresses(["127.0.0.1"]) == ["127.0.0.1"]
    assert usable_addresses([" 192.0.2.7", "2001:db8::1", "192.0.2.7"]) == ["192.0.2.7", "2001:db8::1"]
    assert usable_addresses([])[-1] == "127.0.0.1"
    for wrong in ("0.0.0.0", "::", "224.0.0.1", "example.org", ""):
        with pytest.raises(ValueError):
            usable_addresses([wrong])


def test_a_new_room_goes_where_the_least_is_done() -> None:
    placement = Placement()
    assert placement.place("busy", {0: worker_load(0.0, 0), 1: worker_load(0.5, 2)}) == 0
    assert placement.place("b", {0: worker_load(0.6, 1), 1: worker_load(0.5, 2)}) == 1
    # Thirty who came to worker 1 since it was measured count as well.
    assert worker_load(0.5, 32) > worker_load(0.6, 1)
    assert placement.place("c", {0: worker_load(0.6, 1), 1: worker_load(0.5, 32)}) == 0
    assert SESSION_LOAD * 400 > 1
