"""The packets of voice that goes by the room's own connection (docs/protocol.md, `media_voice`). Pure."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

VERSION = 1
CLOCK_RATE = 48_000
"""Of timestamps."""
FRAME_TICKS = 960
"""20 ms: what a microphone's frames last."""
MAX_PACKET_BYTES = 16 * 1024
MAX_FRAMES = 64
MAX_FRAME_BYTES = 1_275
MAX_UNHEARD = 25
"""Packets under way that the server has not heard, about a second; what is beyond waits, and then is dropped."""
MAX_WAITING = 6
_HEADER = struct.Struct(">BII")
_RUN = struct.Struct(">IB")
_FRAME = struct.Struct(">HBH")


@dataclass(frozen=True, slots=True)
class VoiceFrame:
    timestamp: int
    """Ticks of 48 kHz, modulo 2^32."""
    level: int
    """RFC 6464: minus dBov in the lower 7 bits, voice activity above them."""
    payload: bytes
    """One Opus packet."""


@dataclass(frozen=True, slots=True)
class VoiceRun:
    track_id: str
    frames: Sequence[VoiceFrame]


def encode_packet(number: int, heard: int, runs: Sequence[VoiceRun]) -> bytes:
    parts = [_HEADER.pack(VERSION, number, heard)]
    for run in runs:
        name = run.track_id.encode("ascii")
        first = run.frames[0].timestamp
        parts += (bytes((len(name),)), name, _RUN.pack(first, len(run.frames)))
        for frame in run.frames:
            offset = (frame.timestamp - first) & 0xFFFFFFFF
            parts += (_FRAME.pack(offset, frame.level, len(frame.payload)), frame.payload)
    return b"".join(parts)


def parse_packet(data: bytes) -> tuple[int, int, list[VoiceRun]]:
    """(number, heard, runs). Raises: ValueError."""
    if not _HEADER.size <= len(data) <= MAX_PACKET_BYTES:
        raise ValueError("a packet of this size cannot be")
    version, number, heard = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError("another version")
    runs: list[VoiceRun] = []
    position = _HEADER.size
    try:
        while position < len(data):
            run, position = _parse_run(data, position)
            runs.append(run)
    except (struct.error, IndexError):
        raise ValueError("cut off") from None
    return number, heard, runs


def _parse_run(data: bytes, position: int) -> tuple[VoiceRun, int]:
    name_end = position + 1 + data[position]
    first, count = _RUN.unpack_from(data, name_end)
    name = data[position + 1 : name_end].decode("ascii")
    position = name_end + _RUN.size
    frames: list[VoiceFrame] = []
    for _ in range(count):
        offset, level, length = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        position = start + length
        if position > len(data):
            raise ValueError("cut off")
        frames.append(VoiceFrame((first + offset) & 0xFFFFFFFF, level, data[start:position]))
    return VoiceRun(name, frames), position


class VoiceNumbers:
    """Numbers of the packets of one connection, both ways, and what is under way."""

    def __init__(self) -> None:
        self.dropped = 0
        self._sent = 0
        self._answered = 0
        self._heard = 0
        self._said_heard = 0
        self._waiting: list[VoiceRun] = []

    def receive(self, data: bytes) -> list[VoiceRun]:
        """The runs of a packet. Afterwards ask for `packets_to_send`. Raises: ValueError."""
        number, heard, runs = parse_packet(data)
        if self._answered < heard <= self._sent:
            self._answered = heard
        if number <= self._heard:
            return []
        self._heard = number
        return runs

    def put(self, run: VoiceRun) -> None:
        self._waiting.append(run)
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[0]
            self.dropped += 1

    def packets_to_send(self) -> list[bytes]:
        packets = []
        while self._waiting and self._sent - self._answered < MAX_UNHEARD:
            self._sent += 1
            self._said_heard = self._heard
            packets.append(encode_packet(self._sent, self._heard, [self._waiting.pop(0)]))
        return packets

    def acknowledgement_to_send(self) -> bytes | None:
        """That we have heard, where nothing else has said so: to be asked for a few times a second."""
        if self._said_heard == self._heard:
            return None
        self._said_heard = self._heard
        return encode_packet(0, self._heard, [])
