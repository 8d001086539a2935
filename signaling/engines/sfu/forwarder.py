"""From one publisher's packets to each subscriber's: tracks, and the lines that carry them.

No loop and no socket: a line writes into its sink, times are arguments. A `PublishedTrack` is what
everyone in the room knows as a track; an `OutgoingLine` is one m-line of one subscriber, with its
own SSRC for as long as its peer connection lives.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import ABS_SEND_TIME, AUDIO_LEVEL, CLOCK_RATES, MID, NegotiatedCodec, codec_for
from signaling.engines.sfu.keyframes import KeyframeRequests, starts_keyframe
from signaling.engines.sfu.loss import ReceiveLog
from signaling.engines.sfu.packet_cache import AUDIO_PACKETS, VIDEO_PACKETS, CachedPacket, PacketCache
from signaling.engines.sfu.rewrite import StreamRewriter
from signaling.engines.sfu.rtp import ExtensionWriter, RtpPacket, abs_send_time, write_rtp
from signaling.messages import Track

MAX_RESENT_PER_S = 400.0
"""Packets sent again per line: more than a 2 Mbit/s stream has in all, less than a flood of NACKs wants."""
RESENT_BURST = 300.0
MAX_PACKETS_PER_S = {"video": 1_500, "audio": 250}
"""What one track may send: four times a 4 Mbit/s picture, and Opus in 5 ms packets with repeats. A
publisher that floods is multiplied by its subscribers; what is above is dropped like any loss."""
_NONE = -1


class LineSink(Protocol):
    """Where a line's packets go: a peer connection's transport."""

    out_bytes: bytearray
    connected: bool

    def send_rtp(self, length: int) -> None: ...


@dataclass(slots=True)
class LineCounters:
    packets: int = 0
    octets: int = 0
    resent: int = 0
    nacked: int = 0
    """Sequence numbers that the subscriber asked for."""


class PublishedTrack:
    """One published flow, forwarded to its lines. It outlives the publisher's peer connection."""

    def __init__(
        self,
        track: Track,
        stream_id: str,
        *,
        heard: Callable[["PublishedTrack", int, float], None],
        hurry: Callable[[], None],
    ) -> None:
        """`stream_id` is equal for flows to be played in step. `heard` gets each audio level that is
        forwarded; `hurry` is called when the publisher is to be asked for something soon."""
        self.track = track
        self.stream_id = stream_id
        self.clock_rate = CLOCK_RATES[track.kind]
        self.is_video = track.kind == "video"
        self.log = ReceiveLog(self.clock_rate)
        self.cache = PacketCache(VIDEO_PACKETS if self.is_video else AUDIO_PACKETS)
        self.codec_keys: dict[int, str] = {}
        """The publisher's payload type → codec key."""
        self.keyframes = KeyframeRequests()
        self.lines: list[OutgoingLine] = []
        self.packets_received = 0
        self.epoch = 0
        """Rises when the publisher's numbering begins anew: equal numbers are other packets then."""
        self._heard = heard
        self._hurry = hurry
        self._second = 0
        self._in_second = 0
        self._report: tuple[rtcp.SenderReport, float] | None = None

    # --- from the publisher ---------------------------------------------------------------------

    def bind(self, codecs: Iterable[NegotiatedCodec], *, fresh: bool) -> None:
        """The publisher's numbers. `fresh`: on another peer connection than before."""
        codec_keys = {codec.payload_type: codec.key for codec in codecs}
        if codec_keys != self.codec_keys:
            # A number that means another codec now must not change a packet that is sent again.
            self.codec_keys = codec_keys
            self.cache.clear()
            for line in self.lines:
                line.codecs_changed()
        if fresh:
            self.log.restart()
            self._report = None

    def receive(self, packet: RtpPacket, level: int | None, now: float) -> None:
        """A packet of the track, or one recovered from its repair stream."""
        key = self.codec_keys.get(packet.payload_type)
        if key is None:
            return
        if self._is_flooding(now):
            return
        sequence = self.log.accept(packet.sequence_number, now)
        if sequence is None:
            return
        if self.log.epoch != self.epoch:
            # Equal numbers now mean other packets: nothing old may be found under a new number.
            self.epoch = self.log.epoch
            self.cache.clear()
        self.packets_received += 1
        if self.log.has_missing and self.is_video:
            self._hurry()
        if self.track.muted:
            return
        cached = CachedPacket(
            sequence,
            self.epoch,
            packet.timestamp,
            packet.marker,
            packet.payload_type,
            packet.payload,
            level,
            abs_send_time(now),
            now,
            self.is_video and starts_keyframe(key.partition("/")[0], packet.payload),
        )
        self.cache.put(cached)
        if cached.starts_keyframe:
            self.keyframes.arrived()
        for line in self.lines:
            line.forward(cached, now)
        if level is not None:
            self._heard(self, level, now)

    def _is_flooding(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > MAX_PACKETS_PER_S[self.track.kind]

    def receive_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._report = (report, now)

    def reception(self, ssrc: int, now: float) -> rtcp.ReportBlock | None:
        """The block about this track for the publisher's receiver report."""
        reception = self.log.reception()
        if reception is None:
            return None
        last_sr, delay = 0, 0
        if self._report is not None:
            report, arrived_at = self._report
            last_sr, delay = report.ntp >> 16 & 0xFFFFFFFF, int((now - arrived_at) * 65_536)
        return rtcp.ReportBlock(
            ssrc,
            reception.fraction_lost,
            reception.packets_lost,
            reception.highest_sequence,
            reception.jitter,
            last_sr,
            delay,
        )

    # --- for the lines --------------------------------------------------------------------------

    def want_keyframe(self) -> None:
        if self.is_video:
            self.keyframes.want()
            self._hurry()

    def needs_keyframe(self) -> bool:
        return self.is_video and not self.track.muted and any(line.waits_for_keyframe for line in self.lines)

    def report_at(self, now: float) -> tuple[int, int] | None:
        """(NTP time, the publisher's timestamp) at `now`, on the publisher's clock, so that sound and
        picture of one publisher stay in step; None until its first sender report."""
        if self._report is None:
            return None
        report, arrived_at = self._report
        elapsed = now - arrived_at
        return report.ntp + int(elapsed * (1 << 32)), report.rtp_timestamp + int(elapsed * self.clock_rate)

    def set_muted(self, muted: bool) -> None:
        """From now on no packet leaves; what was cached before a mute is not sent again either."""
        self.track.muted = muted
        self.cache.clear()
        for line in self.lines:
            line.pause()
        if not muted:
            self.want_keyframe()


class OutgoingLine:
    """One m-line towards a subscriber: at most one track at a time.

    `attach`, then `set_codecs` once the subscriber's description is known, lets packets flow;
    `detach` stops them. A video line begins with a key frame."""

    def __init__(self, kind: str, mid: str, sink: LineSink, taken_ssrcs: set[int]) -> None:
        """`taken_ssrcs`: those of the sink's other lines; this line's are added."""
        self.kind = kind
        self.mid = mid
        self.ssrc = _new_ssrc(taken_ssrcs)
        self.rtx_ssrc = _new_ssrc(taken_ssrcs) if kind == "video" else None
        self.track: PublishedTrack | None = None
        self.counters = LineCounters()
        self._sink = sink
        self._codecs: dict[str, NegotiatedCodec] = {}
        self._payload_types: dict[int, int] = {}
        """The track's payload type → the subscriber's, found as they come."""
        self._extensions = ExtensionWriter(mid, None, None, None)
        self._described: object = None
        self._enabled = False
        self._shown = True
        self._rewriter = StreamRewriter(CLOCK_RATES[kind], 1 + secrets.randbelow(1 << 14), secrets.randbits(32))
        self._rtx_sequence = secrets.randbelow(1 << 14)
        self._open_epoch = _NONE
        """The track's epoch that the open segment belongs to; _NONE: the next packet begins one."""
        self._last_source: tuple[PublishedTrack, int] | None = None
        self._resends_left = RESENT_BURST
        self._resends_at = 0.0

    @property
    def waits_for_keyframe(self) -> bool:
        is_idle = self._open_epoch == _NONE and self.track is not None
        return is_idle and self.kind == "video" and self._enabled and self._shown and self._sink.connected

    def set_codecs(self, codecs: Iterable[NegotiatedCodec], extensions: dict[str, int]) -> None:
        """What the subscriber's description says about this m-line; now packets may flow."""
        by_key = {codec.key: codec for codec in codecs}
        described = (by_key, extensions)
        if described != self._described:
            # Other numbers for a packet sent before would be another packet under its number.
            self._described, self._codecs = described, by_key
            self.codecs_changed()
            self._extensions = ExtensionWriter(
                self.mid, extensions.get(MID), extensions.get(ABS_SEND_TIME), extensions.get(AUDIO_LEVEL)
            )
        self._enabled = True
        self._want_keyframe()

    def disable(self) -> None:
        """The subscriber refused the m-line."""
        self._enabled = False
        self.pause()

    def show(self, shown: bool) -> None:
        """Whether the subscriber has its picture on the page; without, nothing is sent."""
        if shown == self._shown:
            return
        self._shown = shown
        if shown:
            self._want_keyframe()
        else:
            self.pause()

    def attach(self, track: PublishedTrack) -> None:
        if self.track is track:
            return
        self.detach()
        self.track = track
        self.codecs_changed()
        track.lines.append(self)
        self._want_keyframe()

    def detach(self) -> None:
        if self.track is not None:
            self.track.lines.remove(self)
            self.track = None
        self.pause()

    def codecs_changed(self) -> None:
        """Of the track or of the subscriber: begin anew."""
        self._payload_types = {}
        self.pause()

    def pause(self) -> None:
        """The open segment ends: nothing of it is sent (again)."""
        self._open_epoch = _NONE
        self._rewriter.end()

    def _want_keyframe(self) -> None:
        if self.track is not None and self.waits_for_keyframe:
            self.track.want_keyframe()

    # --- packets --------------------------------------------------------------------------------

    def forward(self, packet: CachedPacket, now: float) -> None:
        """The hot path: everything that is the same for many packets was decided before."""
        payload_type = self._payload_types.get(packet.payload_type)
        if payload_type is None or self._open_epoch != packet.epoch:
            if not self._begin(packet, now):
                return
            payload_type = self._payload_types[packet.payload_type]
        outgoing = self._rewriter.advance(packet.sequence, packet.timestamp, now)
        if outgoing is None:
            return
        self._write(packet, payload_type, outgoing)
        counters = self.counters
        counters.packets += 1
        counters.octets += len(packet.payload)

    def _begin(self, packet: CachedPacket, now: float) -> bool:
        """Open a segment with this packet, if the subscriber knows its codec and can begin there."""
        track = self.track
        if track is None or not self._enabled or not self._shown or not self._sink.connected:
            return False
        codec = codec_for(track.codec_keys[packet.payload_type], self._codecs)
        if codec is None:
            return False
        self._payload_types[packet.payload_type] = codec.payload_type
        if self._open_epoch == packet.epoch:
            return True
        if track.is_video and not packet.starts_keyframe:
            if self._open_epoch != _NONE:
                self.pause()
                self._want_keyframe()
            return False
        source = (track, packet.epoch)
        self._rewriter.begin(packet.sequence, packet.timestamp, now, same_clock=source == self._last_source)
        self._last_source = source
        self._open_epoch = packet.epoch
        return True

    def _write(self, packet: CachedPacket, payload_type: int, outgoing: int) -> None:
        sink = self._sink
        sink.send_rtp(
            write_rtp(
                sink.out_bytes,
                packet.marker << 7 | payload_type,
                outgoing,
                packet.timestamp + self._rewriter.timestamp_shift,
                self.ssrc,
                self._extensions.block(packet.abs_send_time, packet.audio_level),
                packet.payload,
            )
        )

    def resend(self, lost: Iterable[int], now: float) -> None:
        """Answer a NACK from the track's cache: by RTX when negotiated, else the same packet again."""
        track = self.track
        # Another epoch: the cache no longer holds what was sent under these numbers.
        if track is None or track.track.muted or self._open_epoch != track.epoch:
            return
        self._resends_left = min(RESENT_BURST, self._resends_left + (now - self._resends_at) * MAX_RESENT_PER_S)
        self._resends_at = now
        for number in lost:
            self.counters.nacked += 1
            original = self._rewriter.original(number)
            if original is None or self._resends_left < 1:
                continue
            packet = track.cache.get(original[0], now)
            if packet is not None:
                self._resends_left -= 1
                self._resend_one(track, packet, original[1])

    def _resend_one(self, track: PublishedTrack, packet: CachedPacket, outgoing: int) -> None:
        codec = codec_for(track.codec_keys.get(packet.payload_type, ""), self._codecs)
        if codec is None:
            return
        self.counters.resent += 1
        if codec.rtx_payload_type is None or self.rtx_ssrc is None:
            self._write(packet, codec.payload_type, outgoing)
            return
        self._rtx_sequence += 1
        self._sink.send_rtp(
            write_rtp(
                self._sink.out_bytes,
                packet.marker << 7 | codec.rtx_payload_type,
                self._rtx_sequence,
                packet.timestamp + self._rewriter.timestamp_shift,
                self.rtx_ssrc,
                self._extensions.block(packet.abs_send_time, None),
                (outgoing & 0xFFFF).to_bytes(2, "big") + packet.payload,
            )
        )

    def picture_lost(self) -> None:
        if self.track is not None and self._enabled:
            self.track.want_keyframe()

    def sender_report(self, now: float) -> bytes | None:
        """SR of this line on the publisher's clock; None while nothing flows or nothing is known."""
        if self.track is None or self._open_epoch != self.track.epoch:
            return None
        known = self.track.report_at(now)
        if known is None:
            return None
        ntp, timestamp = known
        report = rtcp.SenderReport(self.ssrc, ntp, self._rewriter.timestamp(timestamp))
        return rtcp.sender_report(report, self.counters.packets, self.counters.octets, self.track.stream_id)


def _new_ssrc(taken: set[int]) -> int:
    while (ssrc := 1 + secrets.randbelow((1 << 32) - 1)) in taken:
        pass
    taken.add(ssrc)
    return ssrc
