"""The last second of one stream, kept once for all its subscribers, to answer their NACKs.

Pure. Packets are found by the publisher's extended sequence number.
"""

from collections import deque
from dataclasses import dataclass, field

from signaling.engines.sfu.rtp import PacketForm
from signaling.engines.sfu.vp8 import PictureNumbers

KEEP_S = 1.0
"""What is older no jitter buffer waits for; three round trips of 300 ms are within it."""
MAX_PACKETS = 1_600
"""A second of the most that a track may send, and a little: a clock that stands still fills no memory."""


@dataclass(slots=True)
class CachedPacket:
    """A publisher's packet with all that is equal for every subscriber."""

    sequence: int
    """Extended: rises beyond 2^16, unique within the run."""
    run: object
    """Which packets of the stream share one numbering; compared by identity."""
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
    numbers: PictureNumbers | None = None
    """VP8's, which are shifted where a line changes its source."""
    templates: dict[PacketForm, bytes] = field(default_factory=dict)
    """What `template` made; to be emptied when the packet has been forwarded."""

    def template(self, form: PacketForm) -> bytes:
        """The packet but for its numbers, to be made once for all lines of this form."""
        made = form.template(self.marker, self.abs_send_time, self.audio_level, self.payload)
        self.templates[form] = made
        return made


class PacketCache:
    __slots__ = ("_by_sequence", "_order")

    def __init__(self) -> None:
        self._by_sequence: dict[int, CachedPacket] = {}
        self._order: deque[CachedPacket] = deque()

    def put(self, packet: CachedPacket) -> None:
        """A packet that arrived now, with a number that was never put since the last `clear`."""
        order, known = self._order, self._by_sequence
        order.append(packet)
        known[packet.sequence] = packet
        oldest = packet.received_at - KEEP_S
        while order[0].received_at < oldest or len(order) > MAX_PACKETS:
            del known[order.popleft().sequence]

    def get(self, sequence: int, now: float) -> CachedPacket | None:
        packet = self._by_sequence.get(sequence)
        return None if packet is None or now - packet.received_at > KEEP_S else packet

    def clear(self) -> None:
        self._by_sequence.clear()
        self._order.clear()

    def __len__(self) -> int:
        return len(self._order)
