"""The VP8 payload descriptor: where a decoder can begin, how large the picture is, and the picture
numbers, which must stay continuous when one stream goes on with another source (RFC 7741).

Pure. Nothing is decoded; a payload that is cut off has no numbers and begins nothing.
"""

from dataclasses import dataclass

_KEY_FRAME_START = b"\x9d\x01\x2a"
"""RFC 6386 section 9.1; before it a tag of three bytes, after it width and height."""


@dataclass(slots=True)
class PictureNumbers:
    """What a payload says of its place among the pictures."""

    id_at: int
    """Where in the payload the picture id begins."""
    id: int
    is_long: bool
    """15 bits in two bytes; else 7 in one."""
    tl0_at: int
    """Where TL0PICIDX is; 0: it has none."""
    tl0: int


def read_vp8(payload: bytes) -> tuple[bool, PictureNumbers | None]:
    """Whether a key frame starts with this packet, and its numbers (None: it has no picture id)."""
    if not payload:
        return False, None
    first = payload[0]
    if not first & 0x80:
        return _is_key(payload, 1), None
    if len(payload) < 2:
        return False, None
    flags, start = payload[1], 2
    numbers: PictureNumbers | None = None
    try:
        if flags & 0x80:
            is_long = bool(payload[2] & 0x80)
            picture_id = (payload[2] & 0x7F) << 8 | payload[3] if is_long else payload[2]
            start = 4 if is_long else 3
            numbers = PictureNumbers(2, picture_id, is_long, 0, 0)
        if flags & 0x40:
            if numbers is not None:
                numbers.tl0_at, numbers.tl0 = start, payload[start]
            start += 1
    except IndexError:
        return False, None
    if flags & 0x30:
        start += 1
    return _is_key(payload, start), numbers


def _is_key(payload: bytes, start: int) -> bool:
    """First packet of partition 0, and the P bit is clear (RFC 7741 sections 4.2 and 4.3)."""
    return payload[0] & 0x17 == 0x10 and len(payload) > start and payload[start] & 1 == 0


def vp8_size(payload: bytes) -> tuple[int, int] | None:
    """Width and height of a key frame, of its first packet."""
    at = payload.find(_KEY_FRAME_START, 4, 16)
    if at < 0 or len(payload) < at + 7:
        return None
    width = int.from_bytes(payload[at + 3 : at + 5], "little") & 0x3FFF
    height = int.from_bytes(payload[at + 5 : at + 7], "little") & 0x3FFF
    return (width, height) if width and height else None


def renumber(buffer: bytearray, start: int, numbers: PictureNumbers, id_shift: int, tl0_shift: int) -> None:
    """Write the shifted numbers into the payload that stands at `start` of `buffer`."""
    at = start + numbers.id_at
    picture_id = numbers.id + id_shift
    if numbers.is_long:
        buffer[at] = 0x80 | picture_id >> 8 & 0x7F
        buffer[at + 1] = picture_id & 0xFF
    else:
        buffer[at] = picture_id & 0x7F
    if numbers.tl0_at:
        buffer[start + numbers.tl0_at] = numbers.tl0 + tl0_shift & 0xFF
