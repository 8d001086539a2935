"""The last packets of one track, kept once for all its subscribers, to answer their NACKs.

Pure. Packets are found by the publisher's extended sequence number.
"""

from dataclasses import dataclass

VIDEO_PACKETS = 1_024
"""At least one second up to 1,000 packets/s (9 Mbit/s), twice what a publisher may send."""
AUDIO_PACKETS = 128
"""Two and a half seconds of Opus in 20 ms packets."""
MAX_AGE_S = 3.0
"""Older packets come too late for any jitter buffer; a slow screen share would keep them for long."""


@dataclass(slots=True)
class CachedPacket:
    """A publisher's packet with all that is equal for every subscriber."""

    sequence: int
    """Extended: rises beyond 2^16, unique within the track's epoch."""
    epoch: int
    timestamp: int
    """The publisher's 32 bits."""
    marker: int
    payload_type: int
    """The publisher's."""
    payload: bytes
    audio_level: int | None
    abs_send_time: bytes
    """Of the moment it arrived here; sent again with the same value (see ExtensionWriter)."""
    received_at: float
    starts_keyframe: bool


class PacketCache:
    __slots__ = ("_ring", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring: list[CachedPacket | None] = [None] * size

    def put(self, packet: CachedPacket) -> None:
        self._ring[packet.sequence % self._size] = packet

    def get(self, sequence: int, now: float) -> CachedPacket | None:
        packet = self._ring[sequence % self._size]
        if packet is None or packet.sequence != sequence or now - packet.received_at > MAX_AGE_S:
            return None
        return packet

    def clear(self) -> None:
        self._ring = [None] * self._size
