"""What a publisher sends: tracks, and the streams that carry them.

No loop and no socket; times are arguments. A `PublishedTrack` is what everyone in the room knows as a
track. It comes in one stream, or, sent as simulcast, in one for each of its *layers*: the same picture
in several sizes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from signaling.engines.layer_demand import LayerDemand
from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import CLOCK_RATES, NegotiatedCodec
from signaling.engines.sfu.h264 import h264_size, starts_h264_keyframe
from signaling.engines.sfu.keyframes import KEYFRAME_INTERVAL_S, KeyframeRequests
from signaling.engines.sfu.loss import ReceiveLog
from signaling.engines.sfu.packet_cache import CachedPacket, PacketCache
from signaling.engines.sfu.rtp import RtpPacket, abs_send_time
from signaling.engines.sfu.vp8 import PictureNumbers, read_vp8, vp8_size
from signaling.messages import Track

if TYPE_CHECKING:
    from signaling.engines.sfu.voice import VoiceSource

MAX_PACKETS_PER_S = {"video": 1_500, "audio": 250}
"""What one track may send: four times a 4 Mbit/s picture, and Opus in 5 ms packets with repeats. A
publisher that floods is multiplied by its subscribers; what is above is dropped like any loss."""
LAYER_SILENT_S = 0.3
"""A layer that is so far behind the others is not sent any more (the publisher's line has become too
thin, or its processor too slow): at 15 pictures a second four are missing."""
MOST_TOLD_LOSS = 0.15
"""Opus gives more of its bits to what repairs the packet before, the more loss it is told of: beyond this the sound
would be worse for those who hear it well."""
LAYER_BACK_S = 1.0
"""A layer that fell silent counts again when it has come for so long: an encoder that wavers must not
make every tile waver with it."""
MEND_INTERVAL_S = 2.0
"""Between two key frames for packets that do not come: on a line that loses a fifth of all, more of them would take
what is left of it."""
_RATE_WEIGHT = 0.5
"""Of a new second in a layer's measured rate: key frames are ten times an ordinary frame."""
_NEVER = float("-inf")


@dataclass(slots=True)
class LineCounters:
    packets: int = 0
    octets: int = 0
    resent: int = 0
    nacked: int = 0
    """Sequence numbers that the subscriber asked for."""


class TrackLine(Protocol):
    """A subscriber's end of a track, whatever it is sent by."""

    target: "PublishedLayer | None"
    """The layer to be sent; None: nothing."""
    reported_loss: float
    """Share of its packets that the subscriber missed lately, as it said."""
    asked: int
    """How many layers of a picture its page asks for, counted from the smallest; its line may carry fewer."""

    @property
    def counters(self) -> LineCounters: ...
    def waits_for(self, layer: "PublishedLayer") -> bool: ...
    def codecs_changed(self) -> None: ...
    def pause(self) -> None: ...
    def aim(self, layer: "PublishedLayer | None") -> None: ...
    def detach(self) -> None: ...
    def forward(self, packet: CachedPacket, now: float) -> None: ...


class Run:
    """The packets of a stream between two beginnings of its numbering: equal numbers of two runs are
    different packets. Compared by identity."""

    __slots__ = ("layer",)

    def __init__(self, layer: "PublishedLayer") -> None:
        self.layer = layer


class PublishedLayer:
    """One stream of a track, with everything that belongs to its numbers."""

    def __init__(self, track: "PublishedTrack", rid: str | None) -> None:
        self.track = track
        self.rid = rid
        """Its name in the publisher's descriptions (RFC 8851); None: the track's only stream."""
        self.log = ReceiveLog(track.clock_rate)
        self.cache = PacketCache()
        self.keyframes = KeyframeRequests()
        self.lines: list[TrackLine] = []
        """Lines that send it, and those that begin to with its next key frame."""
        self.run = Run(self)
        self.size: tuple[int, int] | None = None
        """Width and height, as its last key frame said."""
        self.packets_received = 0
        self.octets = 0
        self.rate_bps: float | None = None
        """None: not measured yet."""
        self.heard_at: float | None = None
        self.back_since = _NEVER
        """When it came back after a silence; infinite: it is silent."""
        self.is_called_back = False
        """It is silent because nobody wanted it, and now somebody does: it counts as soon as it comes."""
        self._epoch = 0
        self._measured = (0, 0.0)
        self._mended_at = _NEVER
        self._report: tuple[rtcp.SenderReport, float] | None = None

    def restart(self) -> None:
        """The publisher comes back on another connection or with another stream."""
        self.log.restart()
        self._report = None

    def receive(self, packet: RtpPacket, level: int | None, now: float) -> None:
        """A packet of the stream, or one recovered from its repair stream."""
        track = self.track
        key = track.codec_keys.get(packet.payload_type)
        if key is None or track.is_flooding(now):
            return
        sequence = self.log.accept(packet.sequence_number, now)
        if sequence is None:
            return
        if self.log.epoch != self._epoch:
            # Equal numbers now mean other packets: nothing old may be found under a new number.
            self._epoch = self.log.epoch
            self.run = Run(self)
            self.cache.clear()
        self._note(packet, now)
        if track.track.muted:
            return
        cached = self._cached(packet, sequence, key, level, now)
        self.cache.put(cached)
        if level is not None:
            track.heard(track, level, now)
        if track.is_held_back:
            return
        # A copy: a line whose source began anew may leave.
        for line in tuple(self.lines):
            line.forward(cached, now)
        # Sent again it is made anew: a second's packets in the form of each of thirty subscribers would be memory.
        cached.templates.clear()

    def _note(self, packet: RtpPacket, now: float) -> None:
        self.packets_received += 1
        self.octets += len(packet.payload)
        self.heard_at = now
        self.track.note_arrival(now)
        if self.log.has_missing and self.track.is_video:
            self.track.hurry()

    def _cached(self, packet: RtpPacket, sequence: int, key: str, level: int | None, now: float) -> CachedPacket:
        starts, numbers = self._look(key, packet.payload) if self.track.is_video else (False, None)
        if starts:
            self.log.note_keyframe(sequence)
        return CachedPacket(
            sequence,
            self.run,
            packet.timestamp,
            packet.marker,
            packet.payload_type,
            packet.payload,
            level,
            abs_send_time(now),
            now,
            starts,
            numbers,
        )

    def _look(self, key: str, payload: bytes) -> tuple[bool, PictureNumbers | None]:
        if key == "VP8":
            starts, numbers = read_vp8(payload)
            size = vp8_size(payload) if starts else None
        else:
            starts, numbers = starts_h264_keyframe(payload), None
            size = h264_size(payload) if starts else None
        if starts:
            self.keyframes.arrived()
            if size is not None and size != self.size:
                self.size = size
                self.track.order_layers()
        return starts, numbers

    # --- what is known of it ------------------------------------------------------------------------

    def receive_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._report = (report, now)

    def report_at(self, now: float) -> tuple[int, int] | None:
        """(NTP time, the publisher's timestamp) at `now`, on the publisher's clock, so that sound and
        picture of one publisher stay in step; None until its first sender report."""
        if self._report is None:
            return None
        report, arrived_at = self._report
        elapsed = now - arrived_at
        return report.ntp + int(elapsed * (1 << 32)), report.rtp_timestamp + int(elapsed * self.track.clock_rate)

    def clock_offset(self, other: "PublishedLayer") -> int | None:
        """What to add to this layer's timestamps to have the other's of the same moment: each stream
        begins at a random one. None: not both have told."""
        if self._report is None or other._report is None:
            return None
        ours, theirs = self._report[0], other._report[0]
        ticks = (ours.ntp - theirs.ntp) * self.track.clock_rate >> 32
        return theirs.rtp_timestamp - ours.rtp_timestamp + ticks

    def reception(self, ssrc: int, now: float) -> rtcp.ReportBlock | None:
        """The block about this stream for the publisher's receiver report."""
        reception = self.log.reception()
        if reception is None:
            return None
        last_sr, delay = 0, 0
        if self._report is not None:
            report, arrived_at = self._report
            last_sr, delay = report.ntp >> 16 & 0xFFFFFFFF, int((now - arrived_at) * 65_536)
        return rtcp.ReportBlock(
            ssrc,
            max(reception.fraction_lost, self._loss_of_listeners()),
            reception.packets_lost,
            reception.highest_sequence,
            reception.jitter,
            last_sr,
            delay,
        )

    def _loss_of_listeners(self) -> int:
        """Of 256: what the worst line to a listener loses. Of sound nothing is sent again, but its encoder puts each
        packet once more into the next one (in-band FEC) when it is told of loss, and it hears of none but from us."""
        if self.track.is_video:
            return 0
        worst = max((line.reported_loss for line in self.track.lines), default=0.0)
        return int(min(worst, MOST_TOLD_LOSS) * 256)

    def come_back(self, now: float) -> None:
        """It comes again after a silence, in which its rate sank to nothing."""
        self.back_since = _NEVER if self.is_called_back else now
        self.is_called_back = False
        self.rate_bps = None

    def measure(self, now: float) -> None:
        """Every second."""
        octets, at = self._measured
        self._measured = (self.octets, now)
        if at and now > at:
            rate = (self.octets - octets) * 8 / (now - at)
            self.rate_bps = rate if self.rate_bps is None else self.rate_bps + (rate - self.rate_bps) * _RATE_WEIGHT

    # --- for the lines --------------------------------------------------------------------------

    def want_keyframe(self) -> None:
        if self.track.is_video:
            self.keyframes.want()
            self.track.hurry()

    def mend_picture(self, now: float) -> None:
        """A packet of it does not come: for whoever sees it a key frame is wanted."""
        # What is late before the interval is over is not forgotten: unless a key frame comes, it counts after it.
        if now - self._mended_at >= MEND_INTERVAL_S and self.log.take_late() and self.lines:
            self._mended_at = now
            self.keyframes.want()

    def keyframe_is_due(self, now: float) -> bool:
        """Whether to ask for one now, which is noted: someone wants it, or waits for it and it does not come.

        Layers are asked one after the other: of requests that come closer together Chromium hears one."""
        track = self.track
        if now - track.keyframe_asked_at < KEYFRAME_INTERVAL_S:
            return False
        if not self.keyframes.is_due(now, waiting=self._is_waited_for()):
            return False
        track.keyframe_asked_at = now
        return True

    def _is_waited_for(self) -> bool:
        return self.track.is_video and not self.track.track.muted and any(line.waits_for(self) for line in self.lines)


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
        """`stream_id` is equal for flows to be played in step. `heard` gets each audio level while it is
        not muted; `hurry` is called when the publisher is to be asked for something soon."""
        self.track = track
        self.stream_id = stream_id
        self.clock_rate = CLOCK_RATES[track.kind]
        self.is_video = track.kind == "video"
        self.is_held_back = False
        """One of many microphones, and not among the loudest: its packets go to nobody."""
        self.voice: VoiceSource | None = None
        """A microphone whose sound comes by the signaling connection: from there."""
        self.keyframe_asked_at = _NEVER
        """Of any of its layers."""
        self.codec_keys: dict[int, str] = {}
        """The publisher's payload type → codec key."""
        self.layers: list[PublishedLayer] = [PublishedLayer(self, None)]
        """Smallest picture first."""
        self._rids: list[str | None] = [None]
        """As they were offered."""
        self.demand = LayerDemand(1)
        self.has_begun_anew = False
        """Its publisher's line begins with all layers, which nobody has said yet."""
        self._is_resized = False
        """A layer's size was heard of since `layers_changed`."""
        self.lines: list[TrackLine] = []
        """Every line it is attached to."""
        self.heard = heard
        self.hurry = hurry
        self._heard_at = _NEVER
        self._resumed_at = _NEVER
        self._live: list[PublishedLayer] = []
        self._second = 0
        self._in_second = 0

    @property
    def packets_received(self) -> int:
        return sum(layer.packets_received for layer in self.layers)

    def bind(self, codecs: Iterable[NegotiatedCodec], *, fresh: bool, rids: Sequence[str] = ()) -> None:
        """The publisher's numbers. `fresh`: on another peer connection than before. `rids`: its layers,
        smallest picture first; none: one stream."""
        codec_keys = {codec.payload_type: codec.key for codec in codecs}
        names: list[str | None] = list(rids) or [None]
        if fresh or len(names) != len(self._rids):
            self.demand.begin_anew(len(names))
            self.has_begun_anew = True
        if codec_keys != self.codec_keys or names != self._rids:
            # A number that means another codec now must not change a packet that is sent again.
            self.codec_keys, self._rids = codec_keys, names
            self._begin_anew(names)
        elif fresh:
            for layer in self.layers:
                layer.restart()

    def _begin_anew(self, names: Sequence[str | None]) -> None:
        aimed = [line for line in self.lines if line.target is not None]
        for line in self.lines:
            line.aim(None)
            line.codecs_changed()
        self.layers = [PublishedLayer(self, name) for name in names]
        self._live = []
        for line in aimed:
            line.aim(self.layers[0])

    def order_layers(self) -> None:
        """A layer has another size. As their pictures are, once all are known: some publishers (OBS by WHIP) name the
        largest first."""
        self._is_resized = True
        sizes = {layer: layer.size for layer in self.layers}
        if None not in sizes.values():
            self.layers.sort(key=lambda layer: (sizes[layer] or (0, 0))[0] * (sizes[layer] or (0, 0))[1])

    def end_voice(self) -> None:
        """Its packets come by a peer connection from now on, with numbers of their own."""
        self.voice = None
        for layer in self.layers:
            layer.restart()

    def layer(self, rid: str | None) -> PublishedLayer | None:
        return next((layer for layer in self.layers if layer.rid == rid), None)

    def is_flooding(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > MAX_PACKETS_PER_S[self.track.kind]

    def note_arrival(self, now: float) -> None:
        if now - self._heard_at > LAYER_SILENT_S:
            self._resumed_at = now
        self._heard_at = now

    def live_layers(self, now: float) -> list[PublishedLayer]:
        """Those that come now, smallest first; a single stream always is."""
        if len(self.layers) == 1:
            return self.layers
        return [each for each in self.layers if each.heard_at is not None and now - each.back_since >= LAYER_BACK_S]

    def layers_changed(self, now: float) -> bool:
        """Every tenth of a second: whether other layers come than when this was asked last, or in other sizes."""
        if len(self.layers) == 1:
            return False
        for layer in self.layers:
            last = max(layer.heard_at or _NEVER, self._resumed_at)
            if self._heard_at - last > LAYER_SILENT_S:
                layer.back_since = float("inf")
            elif layer.back_since == float("inf"):
                layer.come_back(now)
        live = self.live_layers(now)
        changed = live != self._live or self._is_resized
        self._live, self._is_resized = live, False
        return changed

    def layers_to_tell(self, now: float) -> int | None:
        """Every tenth of a second: what its publisher is to be told of the layers that are looked at; None: nothing
        new."""
        if not self.is_video:
            return None
        before = self.demand.told
        told = self.demand.look(max((line.asked for line in self.lines), default=0), now)
        if told is not None:
            for index, layer in enumerate(self.layers):
                layer.is_called_back = before <= index < told
        return told

    def set_muted(self, muted: bool) -> None:
        """From now on no packet leaves; what was cached before a mute is not sent again either."""
        self.track.muted = muted
        for layer in self.layers:
            layer.cache.clear()
        for line in self.lines:
            line.pause()
        if not muted:
            for layer in self.layers:
                if layer.lines:
                    layer.want_keyframe()

    def hold_back(self, held: bool) -> None:
        """A microphone among many: its packets stop, or go on."""
        if held == self.is_held_back:
            return
        self.is_held_back = held
        if held:
            for line in self.lines:
                line.pause()
