"""From a track's packets to one subscriber's: the lines that carry them.

No loop and no socket: a line writes into its sink, times are arguments. An `OutgoingLine` is one
m-line of one subscriber, with its own SSRC for as long as its peer connection lives, whatever track
it carries, and whichever of the track's layers.
"""

import secrets
from collections.abc import Iterable
from typing import Any, Protocol

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import ABS_SEND_TIME, AUDIO_LEVEL, CLOCK_RATES, MID, NegotiatedCodec, codec_for
from signaling.engines.sfu.packet_cache import CachedPacket
from signaling.engines.sfu.published import LineCounters, PublishedLayer, PublishedTrack, Run
from signaling.engines.sfu.rewrite import Segment, StreamRewriter
from signaling.engines.sfu.rtp import NUMBERS_AT, abs_send_time, extension_writer, pack_numbers, packet_form, write_rtp
from signaling.engines.sfu.vp8 import renumber

MAX_RESENT_PER_S = 400.0
"""Packets sent again per line: more than a 2 Mbit/s stream has in all, less than a flood of NACKs wants."""
RESENT_BURST = 300.0
MAX_KEYFRAMES_PER_S = 0.5
"""For one subscriber who has a picture and says that it is lost. A key frame goes to everybody: a line on which nothing
arrives whole would ask for one after the other, and have all others see less of what moves."""
KEYFRAMES_BURST = 3.0


class PacketsOut(Protocol):
    """What a worker's packets leave by."""

    @property
    def bytes(self) -> bytearray:
        """Where the next packet is written; another place for each."""

    def send_rtp(self, way: Any, size: int) -> None:
        """Send the packet of `size` bytes that stands at the start of `bytes`."""


class LineSink(Protocol):
    """Where a line's packets go: a peer connection's transport."""

    connected: bool

    @property
    def out(self) -> PacketsOut: ...
    @property
    def way(self) -> Any:
        """To the subscriber, for `out`; None: there is none."""


class OutgoingLine:
    """One m-line towards a subscriber: at most one track at a time.

    `attach`, then `set_codecs` once the subscriber's description is known, lets packets flow;
    `aim` says which layer is to be sent; `detach` stops them. A picture begins, and changes its layer,
    with a key frame."""

    def __init__(self, kind: str, mid: str, sink: LineSink, taken_ssrcs: set[int]) -> None:
        """`taken_ssrcs`: those of the sink's other lines; this line's are added."""
        self.kind = kind
        self.mid = mid
        self.ssrc = _new_ssrc(taken_ssrcs)
        self.rtx_ssrc = _new_ssrc(taken_ssrcs) if kind == "video" else None
        self.track: PublishedTrack | None = None
        self.target: PublishedLayer | None = None
        """The layer to be sent; None: nothing."""
        self.counters = LineCounters()
        self.reported_loss = 0.0
        """Share of its packets that the subscriber missed lately, as it said."""
        self.asked = 0
        """How many layers of the picture the subscriber's page asks for, counted from the smallest."""
        self._sink = sink
        self._codecs: dict[str, NegotiatedCodec] = {}
        self._extensions = extension_writer(mid, None, None, None)
        self._payload_type: int | None = None
        """The track's, of the packets that `_form` is for."""
        self._form = packet_form(0, self._extensions)
        self._decodes = True
        """Whether the subscriber knows the codec of what comes, as far as anything came."""
        self._described: object = None
        self._enabled = False
        self._rewriter = StreamRewriter(CLOCK_RATES[kind], 1 + secrets.randbelow(1 << 14), secrets.randbits(32))
        self._rtx_sequence = secrets.randbelow(1 << 14)
        self._current: PublishedLayer | None = None
        """Whose packets the open segment has."""
        self._last_run: Run | None = None
        self._resends_left = RESENT_BURST
        self._resends_at = 0.0
        self._keyframes_left = KEYFRAMES_BURST
        self._keyframes_at = 0.0
        self._keyframe_asked_after: tuple[PublishedLayer, int] | None = None

    @property
    def current(self) -> PublishedLayer | None:
        """The layer that is being sent."""
        return self._current

    @property
    def is_enabled(self) -> bool:
        """Whether the subscriber takes the m-line and is connected."""
        return self._enabled and self._sink.connected

    def waits_for(self, layer: PublishedLayer) -> bool:
        """Whether it begins with that layer's next key frame."""
        return self.target is layer and self._current is not layer and self.is_enabled and self._decodes

    def set_codecs(self, codecs: Iterable[NegotiatedCodec], extensions: dict[str, int]) -> None:
        """What the subscriber's description says about this m-line; now packets may flow."""
        by_key = {codec.key: codec for codec in codecs}
        described = (by_key, extensions)
        if described != self._described:
            # Other numbers for a packet sent before would be another packet under its number.
            self._described, self._codecs = described, by_key
            self.codecs_changed()
            self._extensions = extension_writer(
                self.mid, extensions.get(MID), extensions.get(ABS_SEND_TIME), extensions.get(AUDIO_LEVEL)
            )
        self._enabled = True
        self._want_keyframe()

    def disable(self) -> None:
        """The subscriber refused the m-line."""
        self._enabled = False
        self.pause()

    def attach(self, track: PublishedTrack, layer: PublishedLayer | None) -> None:
        """Carry this track, from the next key frame of its layer on; None: nothing of it yet."""
        if self.track is track:
            return
        self.detach()
        self.track = track
        self.reported_loss = 0.0
        self.codecs_changed()
        track.lines.append(self)
        self.aim(layer)

    def detach(self) -> None:
        self.aim(None)
        if self.track is not None:
            self.track.lines.remove(self)
            self.track = None

    def aim(self, layer: PublishedLayer | None) -> None:
        """Send this layer of the track from its next key frame on, and until then what is sent now. None:
        nothing, from now on."""
        before = self.target
        if layer is before:
            return
        self.target = layer
        if before is not None and before is not self._current:
            before.lines.remove(self)
        if layer is None:
            self.pause()
            return
        if layer is not self._current:
            layer.lines.append(self)
        self._want_keyframe()

    def codecs_changed(self) -> None:
        """Of the track or of the subscriber: begin anew."""
        self._payload_type = None
        self._decodes = True
        self.pause()

    def pause(self) -> None:
        """The open segment ends: nothing of it is sent (again)."""
        self._rewriter.end()
        self._leave_current()

    def _leave_current(self) -> None:
        current, self._current = self._current, None
        if current is not None and current is not self.target:
            current.lines.remove(self)

    def _want_keyframe(self) -> None:
        if self.target is not None and self.waits_for(self.target):
            self.target.want_keyframe()

    # --- packets --------------------------------------------------------------------------------

    def forward(self, packet: CachedPacket, now: float) -> None:
        """The hot path, in one function on purpose: everything that is the same for many packets was decided
        before, and each call that is not made here is a fiftieth of what a packet costs."""
        segment = self._rewriter.segment
        if segment is None or segment.source is not packet.run or self._payload_type != packet.payload_type:
            segment = self._begin(packet)
            if segment is None:
                return
        outgoing = segment.advance(packet)
        sink, form = self._sink, self._form
        out, way = sink.out, sink.way
        if outgoing is None or way is None:
            return
        template = packet.templates.get(form) or packet.template(form)
        buffer, length = out.bytes, len(template)
        buffer[:length] = template
        timestamp = packet.timestamp + segment.timestamp_shift & 0xFFFFFFFF
        pack_numbers(buffer, NUMBERS_AT, outgoing & 0xFFFF, timestamp, self.ssrc)
        if segment.renumbers and packet.numbers is not None:
            start = length - len(packet.payload)
            renumber(buffer, start, packet.numbers, segment.picture_shift, segment.tl0_shift)
        out.send_rtp(way, length)
        counters = self.counters
        counters.packets += 1
        counters.octets += len(packet.payload)

    def _begin(self, packet: CachedPacket) -> Segment | None:
        """The segment for this packet, if the subscriber knows its codec and can begin there."""
        track, run = self.track, packet.run
        if track is None or not isinstance(run, Run) or not self.is_enabled:
            return None
        codec = codec_for(track.codec_keys[packet.payload_type], self._codecs)
        could, self._decodes = self._decodes, codec is not None
        if codec is None:
            return None
        if not could and not packet.starts_keyframe:
            self._want_keyframe()
        self._payload_type, self._form = packet.payload_type, packet_form(codec.payload_type, self._extensions)
        segment = self._rewriter.segment
        if segment is not None and segment.source is run:
            return segment
        if track.is_video and not packet.starts_keyframe:
            if self._current is run.layer:
                # Its numbering began anew, and what it sends now cannot be decoded.
                self.pause()
                self._want_keyframe()
            return None
        return self._open(packet, run) if run.layer is self.target else None

    def _open(self, packet: CachedPacket, run: Run) -> Segment:
        segment = self._rewriter.begin(run, packet, clock_offset=self._clock_offset(run))
        self._last_run = run
        if self._current is not run.layer:
            self._leave_current()
            self._current = run.layer
        return segment

    def _clock_offset(self, run: Run) -> int | None:
        last = self._last_run
        if last is None or last is run:
            return 0
        same_track = last.layer.track is run.layer.track
        return run.layer.clock_offset(last.layer) if same_track and last.layer is not run.layer else None

    def _send_again(self, packet: CachedPacket, payload_type: int, outgoing: int, segment: Segment) -> None:
        block = self._extensions.block(packet.abs_send_time, packet.audio_level)
        self._send(packet, payload_type, outgoing, self.ssrc, segment, block, packet.payload)

    def _send(
        self,
        packet: CachedPacket,
        payload_type: int,
        sequence: int,
        ssrc: int,
        segment: Segment,
        block: bytes,
        payload: bytes,
    ) -> None:
        """Of what was sent before. `payload` ends with the packet's own."""
        sink = self._sink
        if sink.way is None:
            return
        out, marked = sink.out, packet.marker << 7 | payload_type
        buffer = out.bytes
        length = write_rtp(buffer, marked, sequence, packet.timestamp + segment.timestamp_shift, ssrc, block, payload)
        if packet.numbers is not None and segment.renumbers:
            start = length - len(packet.payload)
            renumber(buffer, start, packet.numbers, segment.picture_shift, segment.tl0_shift)
        out.send_rtp(sink.way, length)

    def resend(self, lost: Iterable[int], now: float) -> None:
        """Answer a NACK from its layer's cache: by RTX when negotiated, else the same packet again."""
        if self.track is None or self.track.track.muted:
            return
        self._resends_left = min(RESENT_BURST, self._resends_left + (now - self._resends_at) * MAX_RESENT_PER_S)
        self._resends_at = now
        for number in lost:
            self.counters.nacked += 1
            found = self._rewriter.find(number)
            if found is None or self._resends_left < 1:
                continue
            segment, sequence, outgoing = found
            packet = _cached(segment, sequence, now)
            if packet is not None:
                self._resends_left -= 1
                self._resend_one(self.track, packet, outgoing, segment, now)

    def _resend_one(
        self, track: PublishedTrack, packet: CachedPacket, outgoing: int, segment: Segment, now: float
    ) -> None:
        codec = codec_for(track.codec_keys.get(packet.payload_type, ""), self._codecs)
        if codec is None:
            return
        self.counters.resent += 1
        if codec.rtx_payload_type is None or self.rtx_ssrc is None:
            self._send_again(packet, codec.payload_type, outgoing, segment)
            return
        self._rtx_sequence += 1
        # Of now, on numbers of its own: the receiver's estimate must not take it for a late packet.
        block = self._extensions.block(abs_send_time(now), None)
        payload = (outgoing & 0xFFFF).to_bytes(2, "big") + packet.payload
        self._send(packet, codec.rtx_payload_type, self._rtx_sequence, self.rtx_ssrc, segment, block, payload)

    def picture_lost(self, now: float) -> None:
        """The subscriber cannot go on without a key frame."""
        current = self._current
        if current is not None and self._enabled and self._may_have_keyframe(current, now):
            current.want_keyframe()
        self._want_keyframe()

    def _may_have_keyframe(self, layer: PublishedLayer, now: float) -> bool:
        last = (layer, layer.keyframes.arrivals)
        if layer.keyframes.wanted or last == self._keyframe_asked_after:
            return True  # the one that another has asked for, or that it has asked for itself and that did not come
        left = self._keyframes_left + (now - self._keyframes_at) * MAX_KEYFRAMES_PER_S
        self._keyframes_left, self._keyframes_at = min(KEYFRAMES_BURST, left), now
        if self._keyframes_left < 1:
            return False
        self._keyframes_left -= 1
        self._keyframe_asked_after = last
        return True

    def sender_report(self, now: float) -> bytes | None:
        """SR of this line on the publisher's clock; None while nothing flows or nothing is known."""
        segment, layer = self._rewriter.segment, self._current
        if self.track is None or segment is None or layer is None or segment.source is not layer.run:
            return None
        known = layer.report_at(now)
        if known is None:
            return None
        ntp, timestamp = known
        report = rtcp.SenderReport(self.ssrc, ntp, timestamp + segment.timestamp_shift & 0xFFFFFFFF)
        return rtcp.sender_report(report, self.counters.packets, self.counters.octets, self.track.stream_id)


def _cached(segment: Segment, sequence: int, now: float) -> CachedPacket | None:
    """The packet of a segment, while its stream still has it: of a later run an equal number is another."""
    run = segment.source
    packet = run.layer.cache.get(sequence, now) if isinstance(run, Run) else None
    return packet if packet is not None and packet.run is run else None


def _new_ssrc(taken: set[int]) -> int:
    while (ssrc := 1 + secrets.randbelow((1 << 32) - 1)) in taken:
        pass
    taken.add(ssrc)
    return ssrc
