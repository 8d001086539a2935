"""What is read of VP8 and H.264 payloads; anything may arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.engines.sfu.h264 import h264_size, starts_h264_keyframe
from signaling.engines.sfu.vp8 import PictureNumbers, read_vp8, renumber, vp8_size

KEY_TAG = b"\x10\x02\x00"  # RFC 6386 section 9.1: P bit clear
SIZE = b"\x9d\x01\x2a" + (640).to_bytes(2, "little") + (0x4000 | 360).to_bytes(2, "little")
# Recorded from Chromium 156 (OpenH264, constrained baseline) at these sizes.
SPS = {
    (480, 270): "6742c01e8c8d40f047f500f08846a0",
    (240, 134): "6742c00d8c8d41e26f3403c2211a80",
    (960, 540): "6742c0208c8d407808bf700f08846a",
}


def test_a_key_frame_tells_its_size() -> None:
    assert vp8_size(b"\x10" + KEY_TAG + SIZE) == (640, 360)
    assert vp8_size(b"\x90\xe0\x85\x05\x01\x20" + KEY_TAG + SIZE) == (640, 360)
    assert vp8_size(b"\x10" + KEY_TAG + SIZE[:-1]) is None
    assert vp8_size(b"\x10" + KEY_TAG) is None


@pytest.mark.parametrize(
    ("payload", "numbers"),
    [
        (b"\x10\x00", None),
        (b"\x90\x80\x05\x00", PictureNumbers(2, 5, False, 0, 0)),
        (b"\x90\x80\x85\x05\x00", PictureNumbers(2, 0x505, True, 0, 0)),
        (b"\x90\xe0\x85\x05\x07\x20\x00", PictureNumbers(2, 0x505, True, 4, 7)),
        (b"\x90\x40\x07\x00", None),
        (b"\x90\xe0\x85", None),
    ],
)
def test_picture_numbers_are_found(payload: bytes, numbers: PictureNumbers | None) -> None:
    assert read_vp8(payload)[1] == numbers


@given(st.binary(max_size=40), st.integers(-(1 << 16), 1 << 16), st.integers(-300, 300))
def test_renumbering_changes_the_numbers_and_nothing_else(payload: bytes, id_shift: int, tl0_shift: int) -> None:
    starts, numbers = read_vp8(payload)
    if numbers is None:
        return
    buffer = bytearray(b"head" + payload)
    renumber(buffer, 4, numbers, id_shift, tl0_shift)
    starts_again, renumbered = read_vp8(bytes(buffer[4:]))
    assert renumbered is not None
    assert starts_again is starts
    assert renumbered.id == (numbers.id + id_shift) % (1 << (15 if numbers.is_long else 7))
    renumber(buffer, 4, renumbered, -id_shift, -tl0_shift)
    assert buffer == b"head" + payload


def test_a_parameter_set_tells_the_size() -> None:
    for size, sps in SPS.items():
        unit = bytes.fromhex(sps)
        assert h264_size(unit) == size
        aggregate = b"\x78" + len(unit).to_bytes(2, "big") + unit + b"\x00\x02\x68\xce"
        assert starts_h264_keyframe(aggregate)
        assert h264_size(aggregate) == size
        for length in range(len(unit)):
            h264_size(unit[:length])


@given(st.binary(max_size=60))
def test_any_payload_is_read_without_harm(payload: bytes) -> None:
    read_vp8(payload)
    vp8_size(payload)
    for data in (payload, b"\x67" + payload, b"\x67\x64" + payload, b"\x78" + payload):
        starts_h264_keyframe(data)
        size = h264_size(data)
        assert size is None or (0 < size[0] <= 8_192 and 0 < size[1] <= 8_192)
