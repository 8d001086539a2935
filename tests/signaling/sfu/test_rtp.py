"""RTP headers read and written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.rtp import (
    ExtensionWriter,
    abs_send_time,
    find_extension,
    parse_rtp,
    read_extensions,
    unwrap_rtx,
    write_rtp,
)


def _packet(payload: bytes = b"payload", block: bytes = b"", *, marker: int = 0, sequence: int = 7) -> bytes:
    buffer = bytearray(2_048)
    return bytes(buffer[: write_rtp(buffer, marker << 7 | 96, sequence, 1_000, 42, block, payload)])


def test_a_written_packet_is_read_again() -> None:
    block = ExtensionWriter("12", 1, 3, 2).block(b"\xab\xcd\xef", 0x85)
    packet = parse_rtp(_packet(block=block, marker=1, sequence=65_535))
    assert (packet.payload_type, packet.marker, packet.sequence_number) == (96, 1, 65_535)
    assert (packet.timestamp, packet.ssrc, packet.payload) == (1_000, 42, b"payload")
    assert dict(read_extensions(packet.extensions)) == {1: b"12", 3: b"\xab\xcd\xef", 2: b"\x85"}


def test_extensions_not_negotiated_are_left_out() -> None:
    assert ExtensionWriter("0", None, None, None).block(b"\0\0\1", 20) == b""
    video = ExtensionWriter("0", 4, 5, None).block(b"\0\0\1", 20)
    assert dict(read_extensions(video[4:])) == {4: b"0", 5: b"\x00\x00\x01"}
    assert len(video) % 4 == 0
    only_level = ExtensionWriter("0", None, None, 9)
    assert dict(read_extensions(only_level.block(b"\0\0\1", 20)[4:])) == {9: b"\x14"}
    assert only_level.block(b"\0\0\1", None) == b""


def test_one_packet_gives_the_same_bytes_every_time() -> None:
    """SRTP reuses the nonce of a packet sent again: it must be the same packet."""
    writer = ExtensionWriter("3", 1, 3, 2)
    assert writer.block(b"\1\2\3", 0x90) == writer.block(b"\1\2\3", 0x90)


def test_padding_and_csrc_are_not_payload() -> None:
    data = struct.pack(">BBHII", 0xA0 | 1, 96, 1, 2, 3) + bytes(4) + b"body" + b"\0\0\x03"
    assert parse_rtp(data).payload == b"body"


def test_a_packet_of_padding_alone_is_empty() -> None:
    data = struct.pack(">BBHII", 0xA0, 96, 1, 2, 3) + bytes(9) + b"\x0a"
    assert parse_rtp(data).payload == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(12),
        struct.pack(">BBHII", 0x8F, 96, 1, 2, 3),
        struct.pack(">BBHII", 0x90, 96, 1, 2, 3),
        struct.pack(">BBHII", 0x90, 96, 1, 2, 3) + struct.pack(">HH", 0xBEDE, 9),
        struct.pack(">BBHII", 0xA0, 96, 1, 2, 3) + b"\xff",
    ],
)
def test_lengths_that_contradict_each_other_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_rtp(data)


def test_two_byte_extensions_are_passed_over() -> None:
    data = struct.pack(">BBHII", 0x90, 96, 1, 2, 3) + struct.pack(">HH", 0x1000, 1) + b"\x01\x02ab" + b"body"
    packet = parse_rtp(data)
    assert (packet.extensions, packet.payload) == (b"", b"body")


@given(st.binary(max_size=200))
def test_nothing_but_value_error_comes_of_any_bytes(data: bytes) -> None:
    try:
        packet = parse_rtp(data)
    except ValueError:
        return
    list(read_extensions(packet.extensions))
    find_extension(packet.extensions, 1)


def test_a_retransmission_gives_its_original() -> None:
    assert unwrap_rtx(b"\x01\x02rest") == (0x0102, b"rest")
    with pytest.raises(ValueError):
        unwrap_rtx(b"\x01")


def test_abs_send_time_wraps_after_64_seconds() -> None:
    assert abs_send_time(65.0) == abs_send_time(1.0) == b"\4\0\0"
