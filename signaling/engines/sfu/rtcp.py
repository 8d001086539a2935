"""RTCP: what publishers and subscribers report, and what we tell them (RFC 3550, RFC 4585).

Pure. Compound packets are bounded by the datagram; what is unknown or malformed is passed over.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SR, _RR, _SDES, _BYE, _RTPFB, _PSFB = 200, 201, 202, 203, 205, 206
_MAX_LOST_PER_NACK = 512
"""Sequence numbers read from one NACK: 30 entries of 17 fill a datagram's worth of loss."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    ssrc: int
    ntp: int
    """64 bits, 32.32 fixed point seconds since 1900."""
    rtp_timestamp: int


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """One source's reception as the other side sees it, or as we report it."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    packets_lost: int
    highest_sequence: int
    jitter: int
    """In timestamp units."""
    last_sr: int
    delay_since_last_sr: int
    """1/65536 seconds."""


@dataclass(frozen=True, slots=True)
class Nack:
    ssrc: int
    lost: Sequence[int]


@dataclass(frozen=True, slots=True)
class PictureLost:
    """PLI or FIR: the receiver of `ssrc` needs a key frame."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class MaxBitrate:
    """REMB (draft-alvestrand-rmcat-remb)."""

    bitrate_bps: int
    ssrcs: Sequence[int]


Feedback = SenderReport | ReportBlock | Nack | PictureLost | MaxBitrate


def is_rtcp(second_byte: int) -> bool:
    """RFC 5761 section 4, by the second byte of a packet from a multiplexed port."""
    return 192 <= second_byte <= 223


def parse_rtcp(data: bytes) -> list[Feedback]:
    """Everything of interest in a compound packet, in order. Raises: ValueError when cut off."""
    found: list[Feedback] = []
    position = 0
    while position + 4 <= len(data):
        first, kind, words = struct.unpack_from(">BBH", data, position)
        end = position + 4 + words * 4
        if first >> 6 != 2 or end > len(data):
            raise ValueError("RTCP packet cut off")
        found.extend(_parse_one(kind, first & 0x1F, data[position + 4 : end]))
        position = end
    return found


def _parse_one(kind: int, count: int, body: bytes) -> Iterable[Feedback]:
    if kind == _SR and len(body) >= 24:
        ssrc, ntp, rtp_timestamp = struct.unpack_from(">IQI", body)
        return [SenderReport(ssrc, ntp, rtp_timestamp), *_report_blocks(body[24:], count)]
    if kind == _RR and len(body) >= 4:
        return _report_blocks(body[4:], count)
    if kind == _RTPFB and count == 1 and len(body) >= 12:
        return [Nack(int.from_bytes(body[4:8], "big"), _lost(body[8:]))]
    if kind == _PSFB and len(body) >= 8:
        return _payload_feedback(count, body)
    return ()


def _report_blocks(body: bytes, count: int) -> list[Feedback]:
    blocks: list[Feedback] = []
    for position in range(0, min(count * 24, len(body) - len(body) % 24), 24):
        ssrc, loss, highest, jitter, last_sr, delay = struct.unpack_from(">IIIIII", body, position)
        lost = loss & 0xFFFFFF
        signed = lost - (1 << 24) if lost & 0x800000 else lost
        blocks.append(ReportBlock(ssrc, loss >> 24, signed, highest, jitter, last_sr, delay))
    return blocks


def _lost(body: bytes) -> list[int]:
    lost: list[int] = []
    for position in range(0, len(body) - 3, 4):
        first, mask = struct.unpack_from(">HH", body, position)
        lost.append(first)
        lost.extend((first + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1)
        if len(lost) >= _MAX_LOST_PER_NACK:
            break
    return lost[:_MAX_LOST_PER_NACK]


def _payload_feedback(kind: int, body: bytes) -> list[Feedback]:
    if kind == 1:
        return [PictureLost(int.from_bytes(body[4:8], "big"))]
    if kind == 4:
        return [PictureLost(int.from_bytes(body[at : at + 4], "big")) for at in range(8, len(body) - 7, 8)]
    if kind == 15 and body[8:12] == b"REMB" and len(body) >= 16:
        count, exponent, mantissa = body[12], body[13] >> 2, (body[13] & 3) << 16 | body[14] << 8 | body[15]
        ssrcs = [int.from_bytes(body[at : at + 4], "big") for at in range(16, min(len(body) - 3, 16 + count * 4), 4)]
        return [MaxBitrate(mantissa << exponent, ssrcs)]
    return []


def _pack(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body


def receiver_report(sender_ssrc: int, blocks: Sequence[ReportBlock]) -> bytes:
    """At most 31 blocks. Without blocks: what a compound packet must begin with (RFC 3550 section 6.1)."""
    body = struct.pack(">I", sender_ssrc)
    for block in blocks[:31]:
        lost = max(-0x800000, min(0x7FFFFF, block.packets_lost)) & 0xFFFFFF
        body += struct.pack(
            ">IIIIII",
            block.ssrc,
            block.fraction_lost << 24 | lost,
            block.highest_sequence & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF,
            block.last_sr,
            block.delay_since_last_sr & 0xFFFFFFFF,
        )
    return _pack(_RR, min(len(blocks), 31), body)


def sender_report(report: SenderReport, packets: int, octets: int, cname: str) -> bytes:
    """SR and the SDES that belongs to it."""
    body = struct.pack(
        ">IQIII",
        report.ssrc,
        report.ntp & 0xFFFFFFFFFFFFFFFF,
        report.rtp_timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    name = cname.encode("ascii")[:255]
    chunk = struct.pack(">IBB", report.ssrc, 1, len(name)) + name + b"\0"
    return _pack(_SR, 0, body) + _pack(_SDES, 1, chunk + bytes(-len(chunk) % 4))


def nack(sender_ssrc: int, media_ssrc: int, lost: Sequence[int]) -> bytes:
    """`lost` in rising order (modulo 2^16)."""
    body = struct.pack(">II", sender_ssrc, media_ssrc)
    position = 0
    while position < len(lost):
        first, mask = lost[position], 0
        position += 1
        while position < len(lost) and 1 <= (lost[position] - first) & 0xFFFF <= 16:
            mask |= 1 << (((lost[position] - first) & 0xFFFF) - 1)
            position += 1
        body += struct.pack(">HH", first, mask)
    return _pack(_RTPFB, 1, body)


def picture_loss_indication(sender_ssrc: int, media_ssrc: int) -> bytes:
    return _pack(_PSFB, 1, struct.pack(">II", sender_ssrc, media_ssrc))


def max_bitrate(sender_ssrc: int, bitrate_bps: int, ssrcs: Sequence[int]) -> bytes:
    exponent = max(0, bitrate_bps.bit_length() - 18)
    mantissa = bitrate_bps >> exponent
    head = bytes((len(ssrcs), exponent << 2 | mantissa >> 16, mantissa >> 8 & 0xFF, mantissa & 0xFF))
    body = struct.pack(">II", sender_ssrc, 0) + b"REMB" + head + b"".join(struct.pack(">I", ssrc) for ssrc in ssrcs)
    return _pack(_PSFB, 15, body)


def goodbye(ssrcs: Sequence[int]) -> bytes:
    return _pack(_BYE, len(ssrcs), b"".join(struct.pack(">I", ssrc) for ssrc in ssrcs))
