"""Voice that goes by the signaling connection: into a room's tracks, and out of them. Nothing is decoded.

No socket: a `VoiceSource` makes packets of a microphone's frames, as if they had come by RTP; a `VoiceListener`
gathers what its lines are given, for as long as one packet is to last.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from signaling.engines.sfu.codecs import NegotiatedCodec
from signaling.engines.sfu.packet_cache import CachedPacket
from signaling.engines.sfu.published import LineCounters, PublishedLayer, PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket
from signaling.voice_packet import MAX_FRAME_BYTES, MAX_FRAMES, MAX_PACKET_BYTES, VoiceFrame, VoiceRun, encode_runs

OPUS = NegotiatedCodec("opus", 111, None)
FRAME_TICKS = 960
"""20 ms of 48 kHz: what follows later than this begins a new stretch of speech (RFC 3551 section 4.1)."""
SILENCE_LEVEL = 127
"""RFC 6464: as quiet as can be said; of packets that say nothing."""
_FULL_BYTES = MAX_PACKET_BYTES - 4 * MAX_FRAME_BYTES
"""A packet that has grown so far leaves at once."""
_FULL_FRAMES = MAX_FRAMES - 8


class VoiceSource:
    """One microphone. Its track takes frames from here until packets of it come by a peer connection."""

    def __init__(self, track: PublishedTrack) -> None:
        self.track = track
        self._sequence = 0
        self._expected: int | None = None
        track.bind([OPUS], fresh=True)
        track.voice = self

    @property
    def is_on(self) -> bool:
        """Whether the track still takes from here: a peer connection may have brought it since."""
        return self.track.voice is self

    def receive(self, frames: Sequence[VoiceFrame], now: float) -> None:
        if not self.is_on:
            return
        for frame in frames:
            self._sequence = (self._sequence + 1) & 0xFFFF
            marker = int(frame.timestamp != self._expected)
            self._expected = (frame.timestamp + FRAME_TICKS) & 0xFFFFFFFF
            packet = RtpPacket(OPUS.payload_type, marker, self._sequence, frame.timestamp, 0, b"", frame.payload)
            self.track.layers[0].receive(packet, frame.level, now)


class VoiceLine:
    """One sound for one listener: what `PublishedTrack` knows as a line."""

    def __init__(self, track: PublishedTrack, take: Callable[[PublishedTrack, CachedPacket], None]) -> None:
        self.track: PublishedTrack | None = track
        self.target: PublishedLayer | None = None
        self.counters = LineCounters()
        self.reported_loss = 0.0
        """Its connection repeats what is lost."""
        self.asked = 0
        self._take = take
        track.lines.append(self)
        self.aim(track.layers[0])

    def waits_for(self, layer: PublishedLayer) -> bool:
        return False

    def codecs_changed(self) -> None:
        """Opus is all that there is."""

    def pause(self) -> None:
        """Nothing is numbered here."""

    def aim(self, layer: PublishedLayer | None) -> None:
        if self.target is not None:
            self.target.lines.remove(self)
        self.target = layer
        if layer is not None:
            layer.lines.append(self)

    def detach(self) -> None:
        self.aim(None)
        if self.track is not None:
            self.track.lines.remove(self)
            self.track = None

    def forward(self, packet: CachedPacket, now: float) -> None:
        track = self.track
        if (
            track is None
            or len(packet.payload) > MAX_FRAME_BYTES
            or track.codec_keys.get(packet.payload_type) != "opus"
        ):
            return
        self.counters.packets += 1
        self.counters.octets += len(packet.payload)
        self._take(track, packet)


class Later(Protocol):
    def __call__(self, delay_s: float, callback: Callable[[], None], /) -> object: ...


class VoiceListener:
    """Everything that one session hears by its signaling connection."""

    def __init__(self, send: Callable[[bytes], None], later: Later, interval_s: float) -> None:
        """`send` gets the runs of each packet; `later` calls back after so many seconds."""
        self.interval_s = interval_s
        self._send = send
        self._later = later
        self._lines: dict[str, VoiceLine] = {}
        self._runs: dict[str, list[VoiceFrame]] = {}
        self._frames = 0
        self._bytes = 0
        self._is_due = False

    def set_tracks(self, tracks: Sequence[PublishedTrack]) -> None:
        """The sounds to send, all of them."""
        wanted = {track.track.id: track for track in tracks}
        for track_id, line in list(self._lines.items()):
            if line.track is not wanted.get(track_id):
                line.detach()
                del self._lines[track_id]
        for track_id, track in wanted.items():
            if track_id not in self._lines:
                self._lines[track_id] = VoiceLine(track, self._take)

    def close(self) -> None:
        self.set_tracks(())
        self._runs.clear()

    def _take(self, track: PublishedTrack, packet: CachedPacket) -> None:
        level = SILENCE_LEVEL if packet.audio_level is None else packet.audio_level
        frame = VoiceFrame(packet.timestamp, level, packet.payload)
        run = self._runs.setdefault(track.track.id, [])
        if run and (frame.timestamp - run[0].timestamp) & 0xFFFFFFFF > 0xFFFF:
            # Its clock began anew, or packets overtook each other: offsets count forward only.
            self._flush()
            run = self._runs.setdefault(track.track.id, [])
        run.append(frame)
        self._frames += 1
        self._bytes += len(packet.payload)
        if self._frames >= _FULL_FRAMES or self._bytes >= _FULL_BYTES:
            self._flush()
        elif not self._is_due:
            self._is_due = True
            self._later(self.interval_s, self._due)

    def _due(self) -> None:
        self._is_due = False
        self._flush()

    def _flush(self) -> None:
        runs, self._runs = self._runs, {}
        self._frames = self._bytes = 0
        if runs:
            self._send(encode_runs(VoiceRun(track_id, frames) for track_id, frames in runs.items()))
