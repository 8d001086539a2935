"""Packets of voice: what is written is read, and nothing else is."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.voice_packet import (
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_PACKET_BYTES,
    VoiceFrame,
    VoicePacket,
    VoiceRun,
    encode_packet,
    encode_runs,
    parse_packet,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=64)


@st.composite
def runs(draw: st.DrawFn) -> VoiceRun:
    first = draw(st.integers(0, 2**32 - 1))
    offsets = sorted(draw(st.lists(st.integers(1, 0xFFFF), max_size=5)))
    frames = [
        VoiceFrame((first + offset) % 2**32, draw(st.integers(0, 255)), draw(st.binary(min_size=1, max_size=100)))
        for offset in (0, *offsets)
    ]
    return VoiceRun(draw(NAMES), frames)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.lists(runs(), max_size=4))
def test_what_is_written_is_read(number: int, heard: int, written: list[VoiceRun]) -> None:
    data = encode_packet(number, heard, encode_runs(written))
    assert parse_packet(data) == VoicePacket(number, heard, written)


@given(st.lists(runs(), min_size=1, max_size=3), st.data())
def test_a_packet_cut_off_is_refused_or_ends_after_a_run(written: list[VoiceRun], data: st.DataObject) -> None:
    whole = encode_packet(1, 0, encode_runs(written))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        packet = parse_packet(cut)
    except ValueError:
        return
    assert list(packet.runs) == written[: len(packet.runs)]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, b"\x01" + data):
        try:
            packet = parse_packet(candidate)
        except ValueError:
            continue
        assert sum(len(run.frames) for run in packet.runs) <= MAX_FRAMES


def _packet(track_id: bytes = b"t", frames: int = 1, size: int = 10) -> bytes:
    body = bytes((len(track_id),)) + track_id + struct.pack(">IB", 0, frames)
    body += b"".join(struct.pack(">HBH", 0, 30, size) + bytes(size) for _ in range(frames))
    return encode_packet(1, 0, body)


def test_bounds_are_kept() -> None:
    assert len(parse_packet(_packet(frames=MAX_FRAMES)).runs[0].frames) == MAX_FRAMES
    assert parse_packet(_packet(size=MAX_FRAME_BYTES)).runs[0].frames[0].payload == bytes(MAX_FRAME_BYTES)
    for wrong in (
        _packet(frames=0),
        _packet(frames=MAX_FRAMES + 1),
        _packet(size=0),
        _packet(size=MAX_FRAME_BYTES + 1),
        _packet(track_id=b""),
        _packet(track_id=b"x" * 65),
        _packet(track_id="é".encode()),
        b"\x02" + _packet()[1:],
        _packet() + bytes(MAX_PACKET_BYTES),
    ):
        with pytest.raises(ValueError):
            parse_packet(wrong)
