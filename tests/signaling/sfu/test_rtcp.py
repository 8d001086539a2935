"""RTCP read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu import rtcp


def test_reports_are_read_as_written() -> None:
    block = rtcp.ReportBlock(9, 25, -3, 70_000, 12, 0xAABBCCDD, 65_536)
    assert rtcp.parse_rtcp(rtcp.receiver_report(1, [block])) == [block]
    report = rtcp.SenderReport(5, 0x0102030405060708, 0xFFFFFFF0)
    assert rtcp.parse_rtcp(rtcp.sender_report(report, 10, 1_000, "name")) == [report]


@pytest.mark.parametrize("lost", [[5], [5, 6, 21], [5, 22], [65_534, 65_535, 0, 14], list(range(100, 180, 3))])
def test_a_nack_names_each_lost_packet_once(lost: list[int]) -> None:
    (nack,) = rtcp.parse_rtcp(rtcp.nack(1, 77, lost))
    assert nack == rtcp.Nack(77, lost)


def test_a_key_frame_is_asked_for() -> None:
    assert rtcp.parse_rtcp(rtcp.picture_loss_indication(1, 8)) == [rtcp.PictureLost(8)]
    fir = b"\x84\xce\x00\x04" + bytes(8) + (8).to_bytes(4, "big") + b"\x01\0\0\0"
    assert rtcp.parse_rtcp(fir) == [rtcp.PictureLost(8)]


@pytest.mark.parametrize("bitrate", [0, 1, 262_143, 262_144, 4_000_000, 2_000_000_000])
def test_remb_carries_the_bitrate_to_18_bits(bitrate: int) -> None:
    (read,) = rtcp.parse_rtcp(rtcp.max_bitrate(1, bitrate, [3, 4]))
    assert isinstance(read, rtcp.MaxBitrate)
    assert list(read.ssrcs) == [3, 4]
    assert read.bitrate_bps <= bitrate <= read.bitrate_bps * 1.00001 + 1


def test_a_compound_packet_is_read_whole() -> None:
    compound = rtcp.receiver_report(1, ()) + rtcp.nack(1, 2, [3]) + rtcp.picture_loss_indication(1, 2)
    assert rtcp.parse_rtcp(compound) == [rtcp.Nack(2, [3]), rtcp.PictureLost(2)]


def test_a_flood_of_nacks_is_bounded() -> None:
    entries = b"\x00\x05\xff\xff" * 350
    packet = b"\x81\xcd" + (2 + 350).to_bytes(2, "big") + bytes(8) + entries
    (nack,) = rtcp.parse_rtcp(packet)
    assert isinstance(nack, rtcp.Nack)
    assert len(nack.lost) == 512


def test_a_cut_packet_is_refused() -> None:
    with pytest.raises(ValueError):
        rtcp.parse_rtcp(rtcp.nack(1, 2, [3])[:-1] + b"")


@given(st.binary(max_size=120))
def test_nothing_but_value_error_comes_of_any_bytes(data: bytes) -> None:
    try:
        rtcp.parse_rtcp(data)
    except ValueError:
        pass


@given(st.sampled_from([200, 201, 205, 206]), st.integers(0, 31), st.binary(max_size=80))
def test_any_body_of_a_known_kind_is_survived(kind: int, count: int, body: bytes) -> None:
    body += bytes(-len(body) % 4)
    rtcp.parse_rtcp(bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big") + body)


def test_rtp_and_rtcp_are_told_apart() -> None:
    assert rtcp.is_rtcp(200)
    assert rtcp.is_rtcp(206)
    assert not rtcp.is_rtcp(96)
    assert not rtcp.is_rtcp(0x80 | 111)
