"""One listener's place on the voice that goes over the signaling connection: what is under way to it is bounded.

Pure. A slow line holds packets back somewhere between us and the listener (in the kernel, in a proxy), where they
would grow old and stay old; so both sides say what they have heard, and who has not heard a second's worth is sent no
more. What waits then is short, and the oldest of it is dropped: late speech is worth less than none.
"""

from collections import deque

from signaling.allowance import Allowance
from signaling.voice_packet import VoicePacket, VoiceRun, encode_packet, parse_packet

MAX_UNHEARD = 25
"""Packets under way: a second, at 40 ms a packet; a line with a round trip longer than that carries no talk."""
MAX_WAITING = 6
"""Packets that wait because so many are under way: a quarter of a second, the oldest of which is dropped."""
FRAMES_PER_S = 60.0
FRAMES_AT_ONCE = 120.0
"""What one participant may send: a microphone makes 50 frames a second, and a line that was stuck for two
seconds brings them at once."""
BYTES_PER_S = 16_000.0
BYTES_AT_ONCE = 48_000.0
"""128 kbit/s; a voice takes a quarter of it."""


class VoiceChannel:
    """`receive` what comes; `put` what is to go out and send what `packets_to_send` gives."""

    def __init__(self, now: float) -> None:
        self.dropped = 0
        """Packets that waited too long."""
        self._sent = 0
        self._answered = 0
        """What the other side has heard."""
        self._heard = 0
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._frames = Allowance(FRAMES_AT_ONCE, FRAMES_PER_S, now)
        self._bytes = Allowance(BYTES_AT_ONCE, BYTES_PER_S, now)

    def receive(self, data: bytes, now: float) -> list[VoiceRun]:
        """The runs of a packet; empty for one that was heard before, or is more than its sender may send.
        Afterwards ask for `packets_to_send`. Raises: ValueError."""
        packet = parse_packet(data)
        if self._answered < packet.heard <= self._sent:
            self._answered = packet.heard
        if packet.number <= self._heard:
            return []
        self._heard = packet.number
        return list(packet.runs) if self._is_allowed(packet, len(data), now) else []

    def _is_allowed(self, packet: VoicePacket, size_bytes: int, now: float) -> bool:
        count = sum(len(run.frames) for run in packet.runs)
        return self._bytes.take(size_bytes, now) and self._frames.take(count, now)

    def put(self, runs: bytes) -> None:
        """What a packet is to carry."""
        self.dropped += len(self._waiting) == MAX_WAITING
        self._waiting.append(runs)

    def packets_to_send(self) -> list[bytes]:
        packets: list[bytes] = []
        while self._waiting and self._sent - self._answered < MAX_UNHEARD:
            self._sent += 1
            packets.append(encode_packet(self._sent, self._heard, self._waiting.popleft()))
        return packets
