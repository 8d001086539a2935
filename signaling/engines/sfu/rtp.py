"""RTP headers: reading a publisher's packet, writing a subscriber's (RFC 3550, RFC 8285).

Pure. A payload is never touched; header and extension block are written anew per subscriber.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

HEADER_SIZE = 12
_HEADER = struct.Struct(">BBHII")
pack_numbers = struct.Struct(">HII").pack_into
"""(buffer, NUMBERS_AT, sequence number, timestamp, SSRC), each within its bits: what of a packet differs between
subscribers with the same `PacketForm`."""
NUMBERS_AT = 2
_PLAIN, _EXTENDED = 0x80, 0x90
"""First bytes: version 2, without and with an extension block."""
_ONE_BYTE_PROFILE = 0xBEDE
_MAX_CSRC_AND_EXTENSIONS = 15 * 4 + 4 + 256
"""A header longer than this leaves no room for a payload; nobody sends one."""


@dataclass(slots=True)
class RtpPacket:
    """A packet as a publisher sent it, decrypted."""

    payload_type: int
    marker: int
    """0 or 1."""
    sequence_number: int
    timestamp: int
    ssrc: int
    extensions: bytes
    """One-byte header extensions, without profile and length; empty when there are none."""
    payload: bytes
    """Without padding. Empty: padding only (a bandwidth probe)."""


def parse_rtp(data: bytes) -> RtpPacket:
    """Raises: ValueError when the lengths inside contradict the packet's own."""
    if len(data) < HEADER_SIZE:
        raise ValueError("shorter than an RTP header")
    first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise ValueError("not RTP version 2")
    start = HEADER_SIZE + (first & 0x0F) * 4
    extensions = b""
    if first & 0x10:
        if len(data) < start + 4:
            raise ValueError("extension header cut off")
        profile, words = struct.unpack_from(">HH", data, start)
        start += 4
        if profile == _ONE_BYTE_PROFILE:
            extensions = data[start : start + words * 4]
        start += words * 4
    end = len(data)
    if first & 0x20:
        end -= data[-1]
    if end < start or start > HEADER_SIZE + _MAX_CSRC_AND_EXTENSIONS:
        raise ValueError("header or padding longer than the packet")
    return RtpPacket(second & 0x7F, second >> 7, sequence_number, timestamp, ssrc, extensions, data[start:end])


def read_extensions(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, value) of each one-byte extension; stops at what cannot be read (RFC 8285 section 4.2)."""
    position = 0
    while position < len(block):
        head = block[position]
        if head == 0:
            position += 1
            continue
        if head >> 4 == 15:
            return
        end = position + 2 + (head & 0x0F)
        if end > len(block):
            return
        yield head >> 4, block[position + 1 : end]
        position = end


def find_extension(block: bytes, extension_id: int) -> bytes | None:
    for found_id, value in read_extensions(block):
        if found_id == extension_id:
            return value
    return None


def write_rtp(
    buffer: bytearray,
    payload_type_and_marker: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    extension_block: bytes,
    payload: bytes,
) -> int:
    """Write a packet at the start of `buffer`; its length.

    `extension_block` is whole (profile and length included) or empty. The caller has checked that
    the buffer is large enough: a bytearray would grow and lose its place in memory."""
    first = _EXTENDED if extension_block else _PLAIN
    _HEADER.pack_into(buffer, 0, first, payload_type_and_marker, sequence_number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    middle = HEADER_SIZE + len(extension_block)
    end = middle + len(payload)
    buffer[HEADER_SIZE:middle] = extension_block
    buffer[middle:end] = payload
    return end


class ExtensionWriter:
    """Writes the extension block of one subscriber's m-line.

    An extension whose id is None was not negotiated and is left out. A given abs-send-time and
    level give the same bytes every time: a packet sent again under its own sequence number must
    be the same packet (SRTP would otherwise reuse a nonce with another text)."""

    __slots__ = ("_after", "_before", "_has_time", "_level_head", "_plain")

    def __init__(self, mid: str, mid_id: int | None, abs_send_time_id: int | None, audio_level_id: int | None) -> None:
        elements = b""
        encoded_mid = mid.encode("ascii")
        # Longer mids do not fit a one-byte extension; ours are short and WHEP clients' are digits.
        if mid_id is not None and 1 <= len(encoded_mid) <= 16:
            elements += bytes((mid_id << 4 | (len(encoded_mid) - 1),)) + encoded_mid
        self._has_time = abs_send_time_id is not None
        if abs_send_time_id is not None:
            elements += bytes((abs_send_time_id << 4 | 2,))
        self._level_head = None if audio_level_id is None else bytes((audio_level_id << 4,))
        size = len(elements) + (3 if self._has_time else 0)
        self._before, self._after = _frame(elements, size)
        self._plain = self._before if size else b""

    def block(self, abs_send_time: bytes, audio_level: int | None) -> bytes:
        """`abs_send_time`: see the function of that name. `audio_level`: RFC 6464's byte."""
        if audio_level is not None and self._level_head is not None:
            elements = self._before[4:]
            if self._has_time:
                elements += abs_send_time
            elements += self._level_head + bytes((audio_level,))
            before, after = _frame(elements, len(elements))
            return before + after
        if self._has_time:
            return self._before + abs_send_time + self._after
        return self._plain + self._after if self._plain else b""


class PacketForm:
    """What the packets of one codec have in common for all subscribers' m-lines that are described alike."""

    __slots__ = ("_payload_type", "extensions")

    def __init__(self, payload_type: int, extensions: ExtensionWriter) -> None:
        """`payload_type`: the subscribers'."""
        self._payload_type = payload_type
        self.extensions = extensions

    def template(self, marker: int, abs_send_time: bytes, audio_level: int | None, payload: bytes) -> bytes:
        """A whole packet, but for its numbers."""
        block = self.extensions.block(abs_send_time, audio_level)
        first = _EXTENDED if block else _PLAIN
        return bytes((first, marker << 7 | self._payload_type)) + bytes(HEADER_SIZE - 2) + block + payload


@lru_cache(maxsize=512)
def extension_writer(
    mid: str, mid_id: int | None, abs_send_time_id: int | None, audio_level_id: int | None
) -> ExtensionWriter:
    """One writer for all m-lines that are described alike, so that what it writes can be kept for all of them."""
    return ExtensionWriter(mid, mid_id, abs_send_time_id, audio_level_id)


@lru_cache(maxsize=512)
def packet_form(payload_type: int, extensions: ExtensionWriter) -> PacketForm:
    """One form for each pair, likewise."""
    return PacketForm(payload_type, extensions)


def _frame(elements: bytes, size: int) -> tuple[bytes, bytes]:
    """Profile, length and the elements; and the padding that follows once `size` bytes are there."""
    padding = -size % 4
    return struct.pack(">HH", _ONE_BYTE_PROFILE, (size + padding) // 4) + elements, bytes(padding)


def unwrap_rtx(payload: bytes) -> tuple[int, bytes]:
    """(original sequence number, original payload) of a retransmission (RFC 4588 section 4).

    Raises: ValueError when there is no original sequence number (padding in the RTX stream)."""
    if len(payload) < 2:
        raise ValueError("no original sequence number")
    return int.from_bytes(payload[:2], "big"), payload[2:]


def abs_send_time(now: float) -> bytes:
    """24 bits of 6.18 fixed point seconds."""
    return (int(now * 262_144) & 0xFFFFFF).to_bytes(3, "big")
