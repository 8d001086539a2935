"""H.264 payloads: where a decoder can begin, and how large the picture is (RFC 6184, ITU-T H.264).

Pure. A hostile parameter set reads as no size at all.
"""

from collections.abc import Iterator

_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128)
"""Profiles whose parameter set tells the chroma format (section 7.3.2.1.1)."""
_MAX_EXP_GOLOMB_BITS = 16
_MAX_SIDE = 8_192


def starts_h264_keyframe(payload: bytes) -> bool:
    """A sequence parameter set, alone or in an aggregate, or an IDR picture's first slice.

    Browsers send the parameter sets before each IDR picture, so the set is the better beginning; an
    IDR picture alone is one too, for encoders that send the sets out of band."""
    if not payload:
        return False
    unit = payload[0] & 0x1F
    if unit == _STAP_A:
        return any(each[0] & 0x1F in (_SPS, _IDR) for each in _aggregated(payload))
    if unit == _FU_A:
        return len(payload) > 1 and payload[1] & 0x80 != 0 and payload[1] & 0x1F == _IDR
    return unit in (_SPS, _IDR)


def _aggregated(payload: bytes) -> Iterator[bytes]:
    position = 1
    while position + 3 <= len(payload):
        end = position + 2 + int.from_bytes(payload[position : position + 2], "big")
        yield payload[position + 2 : max(end, position + 3)]
        position = end


def h264_size(payload: bytes) -> tuple[int, int] | None:
    """Width and height by the payload's sequence parameter set; None: it has none that can be read."""
    units = _aggregated(payload) if payload and payload[0] & 0x1F == _STAP_A else (payload,)
    for unit in units:
        if unit and unit[0] & 0x1F == _SPS:
            try:
                return _size_of_parameter_set(unit)
            except (IndexError, ValueError):
                return None
    return None


class _Bits:
    """Bits of a NAL unit, without its emulation prevention (section 7.4.1)."""

    def __init__(self, unit: bytes) -> None:
        data = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        """Raises: IndexError at the end."""
        self._left -= count
        if self._left < 0:
            raise IndexError("end of the parameter set")
        return self._value >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """Exp-Golomb (section 9.1). Raises: IndexError; ValueError for what no size needs."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _MAX_EXP_GOLOMB_BITS:
                raise ValueError("number too long")
        return (1 << zeros) - 1 + self.read(zeros)


def _size_of_parameter_set(unit: bytes) -> tuple[int, int]:
    """Section 7.3.2.1.1, up to the cropping."""
    bits = _Bits(unit[:128])
    bits.read(8)
    profile = bits.read(8)
    bits.read(16)
    bits.unsigned()
    chroma = _read_high_profile(bits) if profile in _HIGH_PROFILES else 1
    bits.unsigned()
    _skip_picture_order(bits)
    bits.unsigned()
    bits.read(1)
    width, height_units = (bits.unsigned() + 1) * 16, bits.unsigned() + 1
    frames_only = bits.read(1)
    height = height_units * 16 * (2 - frames_only)
    if not frames_only:
        bits.read(1)
    bits.read(1)
    if bits.read(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1) * (2 - frames_only)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError("no picture has this size")
    return width, height


def _read_high_profile(bits: _Bits) -> int:
    """The chroma format. Raises: ValueError for scaling matrices, which no browser sends."""
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)
    bits.unsigned()
    bits.unsigned()
    bits.read(1)
    if bits.read(1):
        raise ValueError("scaling matrices")
    return chroma


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.read(1)
        bits.unsigned()
        bits.unsigned()
        for _ in range(min(bits.unsigned(), 255)):
            bits.unsigned()
