"""The packets in which voice travels over the signaling connection, where no path of ICE leads anywhere.

Pure. Both ways the same: a number of the packet, the last one heard from the other side, and for each track a run of
Opus packets as they were encoded; docs/protocol.md, `media_voice`, has the layout. Every length is checked here, once.
"""

import struct
from collections.abc import Iterable, Sequence

import msgspec

VERSION = 1
CLOCK_RATE = 48_000
"""Of timestamps, whatever the sampling rate (RFC 7587 section 4.1)."""
MAX_PACKET_BYTES = 16 * 1024
"""Of one packet: four voices and a screen's music for a tenth of a second are 6 kB."""
MAX_FRAMES = 64
"""Of all runs in a packet: a second of one voice, a quarter of a second of four."""
MAX_FRAME_BYTES = 1_275
"""The longest Opus frame (RFC 6716 section 3.4)."""
MAX_SPREAD = 0xFFFF
"""From a run's first timestamp to its last, in ticks: 1.4 s."""
_HEADER = struct.Struct(">BII")
_RUN = struct.Struct(">IB")
_FRAME = struct.Struct(">HBH")


class VoiceFrame(msgspec.Struct, array_like=True, frozen=True):
    """One Opus packet of a microphone."""

    timestamp: int
    """Ticks of 48 kHz, modulo 2^32."""
    level: int
    """As RFC 6464's byte: voice activity, and minus dBov."""
    payload: bytes


class VoiceRun(msgspec.Struct, array_like=True, frozen=True):
    """Some packets of one track, in their order."""

    track_id: str
    frames: Sequence[VoiceFrame]


class VoicePacket(msgspec.Struct, frozen=True):
    number: int
    """Rises by one, from 1; 0: it carries nothing but `heard`."""
    heard: int
    """The last number that its sender had from the other side; 0: none yet."""
    runs: Sequence[VoiceRun]


def encode_runs(runs: Iterable[VoiceRun]) -> bytes:
    """The part of a packet after its header. The caller keeps to the bounds."""
    parts: list[bytes] = []
    for run in runs:
        name = run.track_id.encode("ascii")
        first = run.frames[0].timestamp
        parts += (bytes((len(name),)), name, _RUN.pack(first, len(run.frames)))
        for frame in run.frames:
            offset = (frame.timestamp - first) & 0xFFFFFFFF
            parts += (_FRAME.pack(offset, frame.level, len(frame.payload)), frame.payload)
    return b"".join(parts)


def encode_packet(number: int, heard: int, runs: bytes) -> bytes:
    return _HEADER.pack(VERSION, number, heard) + runs


def parse_packet(data: bytes) -> VoicePacket:
    """Raises: ValueError for anything that is not such a packet, whole."""
    if not _HEADER.size <= len(data) <= MAX_PACKET_BYTES:
        raise ValueError("a packet of this size cannot be")
    version, number, heard = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError("another version")
    runs: list[VoiceRun] = []
    position, frames = _HEADER.size, 0
    try:
        while position < len(data):
            run, position = _parse_run(data, position)
            runs.append(run)
            frames += len(run.frames)
            if frames > MAX_FRAMES:
                raise ValueError("too many frames")
    except (struct.error, IndexError):
        raise ValueError("cut off") from None
    return VoicePacket(number, heard, runs)


def _parse_run(data: bytes, position: int) -> tuple[VoiceRun, int]:
    name_end = position + 1 + data[position]
    name = data[position + 1 : name_end]
    if not 1 <= len(name) <= 64 or not name.isascii():
        raise ValueError("not the id of a track")
    first, count = _RUN.unpack_from(data, name_end)
    if not 1 <= count <= MAX_FRAMES:
        raise ValueError("a run without frames, or with too many")
    position = name_end + _RUN.size
    frames: list[VoiceFrame] = []
    for _ in range(count):
        offset, level, length = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        position = start + length
        if not 1 <= length <= MAX_FRAME_BYTES or position > len(data):
            raise ValueError("not the length of a frame")
        frames.append(VoiceFrame((first + offset) & 0xFFFFFFFF, level, data[start:position]))
    return VoiceRun(name.decode("ascii"), frames), position
