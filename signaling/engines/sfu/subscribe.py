"""The subscribe peer connection: we offer what the client receives, and send it.

M-lines come from a pool: one that carries nothing is first offered inactive, and only when that is
answered may it carry another track; browsers then forget whose sound its picture was played with,
and clients built on aiortc, which know an m-line's SSRC for ever, go on with the same one.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.audible import MAX_AUDIBLE
from signaling.engines.sfu.bandwidth import LineBandwidth, LossCounter
from signaling.engines.sfu.codecs import (
    OPUS_FMTP,
    SCREEN_SOUND_OFFER,
    negotiated_codecs,
    negotiated_extensions,
    offered_codecs,
    offered_extensions,
    written_answer_codecs,
)
from signaling.engines.sfu.forwarder import OutgoingLine
from signaling.engines.sfu.layers import Allocation, Size, Wish, allocate, assumed_rate, layer_for_tile
from signaling.engines.sfu.published import PublishedLayer, PublishedTrack
from signaling.engines.sfu.sdp import (
    MediaSection,
    ParsedDescription,
    SdpError,
    SentStream,
    WrittenSection,
    write_description,
)
from signaling.engines.sfu.transport import MediaNetwork, PeerTransport
from signaling.messages import MAX_PICTURE_PIXELS, SubscribedMedia

MAX_LINES = 64
"""Thirty classes with camera and microphone; a browser's answer to more would pass 64 kB."""
SOUND_BPS = 40_000.0
"""What one voice is taken to cost at least, which comes before every picture: who pauses speaks again. A detailed one
(« Son détaillé ») costs what is measured, 100 kbit/s and more."""
SOUND_STEP_BPS = 20_000.0
"""When what all sounds cost has changed by so much, pictures are chosen anew."""
_MAX_REPORT_BYTES = 1_200
"""Of one compound packet; the rest goes into the next."""


UNTOLD_TILES = {"camera": (1_280, 720), "screen": (1_920, 1_080)}
"""Of a page that tells nothing."""


@dataclass(frozen=True, slots=True)
class SubscriberView:
    """What the subscriber looks at."""

    layout: Mapping[str, Size] | None = None
    """Track id → its tile, in device pixels; None: everything is shown, as large as it comes."""
    heights: Mapping[str, int | None] = field(default_factory=dict)
    """Track id → pictures much higher than this are not wanted."""

    def asked_of(self, track: PublishedTrack) -> int:
        """How many of its layers may be sent, counted from the smallest; 0: its picture is not shown."""
        tile = None if self.layout is None else self.layout.get(track.track.id)
        if self.layout is not None and tile is None:
            return 0
        sizes = [layer.size for layer in track.layers]
        most = layer_for_tile(sizes, tile)
        height = self.heights.get(track.track.id)
        if height is not None:
            most = min(most, layer_for_tile(sizes, (MAX_PICTURE_PIXELS, height)))
        return most + 1

    def layers_of(self, track: PublishedTrack, now: float) -> list[PublishedLayer]:
        """Those that may be sent, and come, smallest first; none: its picture is not shown."""
        asked = self.asked_of(track)
        if asked == 0:
            return []
        live = track.live_layers(now)
        wanted = [layer for layer in live if track.layers.index(layer) < asked]
        return wanted or live[:1] or track.layers[:1]

    def area_of(self, track: PublishedTrack) -> int:
        width, height = (self.layout or {}).get(track.track.id, UNTOLD_TILES[track.track.source])
        return width * height


def _rate(layer: PublishedLayer) -> float:
    if layer.track.track.muted:
        return 0.0
    layers = layer.track.layers
    return layer.rate_bps or assumed_rate(layers.index(layer), len(layers))


def _sound_bps(tracks: Iterable[PublishedTrack]) -> float:
    """What they cost together: of microphones no more than the loudest few are forwarded, whichever they are."""
    voices: list[float] = []
    others = 0.0
    for track in tracks:
        rate = max(SOUND_BPS, track.layers[0].rate_bps or 0.0)
        if track.track.source == "microphone":
            voices.append(rate)
        else:
            others += rate
    return others + sum(sorted(voices, reverse=True)[:MAX_AUDIBLE])


class SubscribeOwner(Protocol):
    def subscribe_connected(self) -> None: ...
    def subscribe_lost(self) -> None: ...


class SendingConnection:
    """What subscribers of both kinds share: lines on a transport, and their RTCP."""

    def __init__(self, network: MediaNetwork, owner: SubscribeOwner) -> None:
        self._clock = network.clock
        self._owner = owner
        self.transport = PeerTransport(network, self)
        self._ssrcs: set[int] = set()
        self._by_ssrc: dict[int, OutgoingLine] = {}
        self._view = SubscriberView()
        self._bandwidth = LineBandwidth()
        self._allocation: Allocation | None = None
        self._used_bps = 0.0
        self._counted_sound_bps = 0.0
        """As pictures were chosen beside it."""
        self._sent_bps = 0.0
        self._octets = (0, 0.0)
        self._losses = LossCounter()
        self._session_number = secrets.randbits(62)
        self._version = 0

    # --- what of each track is sent -------------------------------------------------------------

    def set_view(self, view: "SubscriberView") -> None:
        self._view = view
        self.allocate()

    def allocate(self) -> None:
        """Decide anew which layer of each picture is sent: the page, the line or the layers have changed."""
        now = self._clock()
        lines: list[OutgoingLine] = []
        choices: list[list[PublishedLayer]] = []
        wishes: list[Wish] = []
        for line in self.lines:
            if line.track is None or not line.track.is_video:
                continue
            line.asked = self._view.asked_of(line.track)
            layers = self._view.layers_of(line.track, now)
            if not layers:
                line.aim(None)
                continue
            lines.append(line)
            choices.append(layers)
            wishes.append(Wish([_rate(layer) for layer in layers], self._view.area_of(line.track)))
        self._counted_sound_bps = sound = self._sound_bps()
        self._allocation = allocation = allocate(wishes, self._bandwidth.room_bps - sound)
        self._used_bps = allocation.cost_bps + sound
        for line, layers, level in zip(lines, choices, allocation.levels, strict=True):
            line.aim(None if level is None else layers[level])

    def _sound_bps(self) -> float:
        return _sound_bps(line.track for line in self.lines if line.track is not None and not line.track.is_video)

    def carries(self, track: PublishedTrack) -> bool:
        return any(line.track is track for line in self.lines)

    def _attach(self, line: OutgoingLine, track: PublishedTrack) -> None:
        # A picture's layer is chosen together with all others'.
        line.attach(track, None if track.is_video else track.layers[0])

    def _new_line(self, kind: str, mid: str) -> OutgoingLine:
        line = OutgoingLine(kind, mid, self.transport, self._ssrcs)
        self._by_ssrc[line.ssrc] = line
        if line.rtx_ssrc is not None:
            self._by_ssrc[line.rtx_ssrc] = line
        return line

    @property
    def lines(self) -> list[OutgoingLine]:
        return [line for ssrc, line in self._by_ssrc.items() if line.ssrc == ssrc]

    def transport_connected(self) -> None:
        now = self._clock()
        for line in self.lines:
            line.picture_lost(now)
        self._owner.subscribe_connected()

    def transport_lost(self) -> None:
        self._owner.subscribe_lost()

    def receive_rtp(self, data: bytes) -> None:
        """Subscribers send nothing that anyone wants."""

    def receive_rtcp(self, data: bytes) -> None:
        try:
            found = rtcp.parse_rtcp(data)
        except ValueError:
            return
        now = self._clock()
        for item in found:
            if isinstance(item, rtcp.ReportBlock):
                line = self._by_ssrc.get(item.ssrc)
                # Of sound also the publisher's own losses are missing here; those of pictures were repaired.
                if line is not None and line.ssrc == item.ssrc:
                    line.reported_loss = item.fraction_lost / 256
                    if line.kind == "video":
                        self._losses.add(item)
            elif isinstance(item, rtcp.MaxBitrate):
                if self._bandwidth.estimate(item.bitrate_bps, self._sent_bps, now):
                    self.allocate()
            elif isinstance(item, rtcp.Nack):
                line = self._by_ssrc.get(item.ssrc)
                if line is not None:
                    line.resend(item.lost, now)
            elif isinstance(item, rtcp.PictureLost):
                line = self._by_ssrc.get(item.ssrc)
                if line is not None:
                    line.picture_lost(now)

    def handle_second(self, now: float) -> None:
        """Every second: sender reports, what the line carries, whether the client still lives."""
        self.transport.handle_timer(now)
        self._judge_bandwidth(now)
        self._send_reports(now)

    def _judge_bandwidth(self, now: float) -> None:
        octets, at = sum(line.counters.octets for line in self.lines), self._octets[1]
        if at and now > at:
            self._sent_bps = (octets - self._octets[0]) * 8 / (now - at)
        self._octets = (octets, now)
        loss = self._losses.take()
        lower = loss is not None and self._bandwidth.loss(loss, self._sent_bps, now)
        further = None if self._allocation is None else self._allocation.next_step_bps
        steps = self._bandwidth.tick(self._used_bps, further, now)
        if steps or lower or abs(self._sound_bps() - self._counted_sound_bps) > SOUND_STEP_BPS:
            self.allocate()

    def _send_reports(self, now: float) -> None:
        compound = b""
        for line in self.lines:
            report = line.sender_report(now)
            if report is None:
                continue
            if len(compound) + len(report) > _MAX_REPORT_BYTES:
                self.transport.send_rtcp(compound)
                compound = b""
            compound += report
        if compound:
            self.transport.send_rtcp(compound)

    def close(self) -> None:
        for line in self.lines:
            line.detach()
        self.transport.close()


@dataclass(slots=True)
class _Slot:
    """One m-line of the pool."""

    line: OutgoingLine
    track: PublishedTrack | None
    """What it shall carry; it does from the answer on."""
    offered: PublishedTrack | None = None
    """What the last offer said."""
    is_free: bool = False
    """The client has answered it as inactive."""


@dataclass(frozen=True, slots=True)
class Offer:
    sdp: str
    media: Sequence[SubscribedMedia]


class SubscribeConnection(SendingConnection):
    def __init__(self, network: MediaNetwork, owner: SubscribeOwner) -> None:
        super().__init__(network, owner)
        self._slots: list[_Slot] = []

    def set_tracks(self, tracks: Sequence[PublishedTrack]) -> bool:
        """The whole set to send; whether an offer is needed. What is left out stops at once; of
        more than MAX_LINES the first come."""
        changed = False
        wanted = dict.fromkeys(tracks)
        for slot in self._slots:
            if slot.track is not None and slot.track not in wanted:
                slot.line.detach()
                slot.track = None
                slot.is_free = False
                changed = True
        carried = {slot.track for slot in self._slots}
        for track in wanted:
            if track not in carried:
                changed = self._assign(track) or changed
        return changed

    def _assign(self, track: PublishedTrack) -> bool:
        kind = track.track.kind
        for slot in self._slots:
            if slot.is_free and slot.line.kind == kind:
                slot.track, slot.is_free = track, False
                return True
        if len(self._slots) >= MAX_LINES:
            return False
        self._slots.append(_Slot(self._new_line(kind, str(len(self._slots))), track))
        return True

    @property
    def has_lines(self) -> bool:
        return bool(self._slots)

    def offer(self) -> Offer:
        self._version += 1
        for slot in self._slots:
            slot.offered = slot.track
        described = self.transport.describe("actpass")
        written = [self._offer_section(slot) for slot in self._slots]
        media = [
            SubscribedMedia(
                mid=slot.line.mid, track_id=slot.track.track.id, participant_id=slot.track.track.participant_id
            )
            for slot in self._slots
            if slot.track is not None
        ]
        return Offer(write_description(self._session_number, self._version, described, written), media)

    def _offer_section(self, slot: _Slot) -> WrittenSection:
        line, track = slot.line, slot.track
        is_screen_sound = track is not None and track.track.source == "screen_audio"
        return WrittenSection(
            line.kind,
            line.mid,
            "inactive" if track is None else "sendonly",
            offered_codecs(line.kind, SCREEN_SOUND_OFFER if is_screen_sound else OPUS_FMTP),
            offered_extensions(line.kind),
            ssrc=line.ssrc,
            rtx_ssrc=line.rtx_ssrc,
            stream=None if track is None else SentStream(track.stream_id, track.track.id, track.stream_id),
        )

    def receive_answer(self, answer: ParsedDescription) -> None:
        """Raises: SdpError, and then nothing has changed."""
        sections = {section.mid: section for section in answer.sections}
        if not all(slot.line.mid in sections for slot in self._slots[: len(sections)]):
            raise SdpError("the answer's m-lines are not those of the offer")
        setup = next((section.setup for section in answer.sections if section.setup), "active")
        if setup not in ("active", "passive"):
            raise SdpError("the answer leaves the DTLS role open")
        self.transport.start(answer, "server" if setup == "active" else "client")
        for slot in self._slots:
            section = sections.get(slot.line.mid)
            if section is not None:
                self._apply_answer(slot, section)
        self.allocate()

    def _apply_answer(self, slot: _Slot, section: MediaSection) -> None:
        if slot.track is None:
            slot.is_free = slot.offered is None
            return
        if slot.offered is not slot.track:
            return
        if not section.is_media or not section.receives:
            slot.line.disable()
            return
        slot.line.set_codecs(negotiated_codecs(section), negotiated_extensions(section))
        self._attach(slot.line, slot.track)


class WhepConnection(SendingConnection):
    """One receive-only offer by HTTP: the room's tracks go into its m-lines as they come and go.

    Nothing is negotiated again, so an m-line takes the next track of its kind when its own ends."""

    def __init__(self, network: MediaNetwork, owner: SubscribeOwner) -> None:
        super().__init__(network, owner)
        self._wanted: list[PublishedTrack] = []

    def answer(self, offer: ParsedDescription) -> str:
        """Raises: SdpError."""
        offered_setup = next((section.setup for section in offer.sections if section.setup), "actpass")
        is_client = offered_setup == "passive"
        self.transport.start(offer, "client" if is_client else "server")
        described = self.transport.describe("active" if is_client else "passive")
        written = [self._answer_section(section) for section in offer.sections[:MAX_LINES]]
        if all(section.rejected_formats for section in written):
            raise SdpError("no m-line that could receive anything")
        self._version += 1
        return write_description(self._session_number, self._version, described, written)

    def _answer_section(self, section: MediaSection) -> WrittenSection:
        codecs = negotiated_codecs(section) if section.is_media and section.receives else []
        if not codecs:
            return WrittenSection(
                section.kind, section.mid, "inactive", (), {}, section.protocol, rejected_formats=section.formats
            )
        extensions = negotiated_extensions(section)
        line = self._new_line(section.kind, section.mid)
        line.set_codecs(codecs, extensions)
        stream = SentStream("room", f"{section.kind}-{section.mid}", "room")
        return WrittenSection(
            section.kind,
            section.mid,
            "sendonly",
            written_answer_codecs(section, codecs),
            extensions,
            section.protocol,
            line.ssrc,
            line.rtx_ssrc if any(codec.rtx_payload_type is not None for codec in codecs) else None,
            stream,
        )

    def set_tracks(self, tracks: Iterable[PublishedTrack]) -> bool:
        """Always False: no offer is ever needed."""
        wanted = list(tracks)
        for line in self.lines:
            if line.track is not None and line.track not in wanted:
                line.detach()
        carried = {line.track for line in self.lines}
        waiting = [track for track in wanted if track not in carried]
        for line in self.lines:
            track = next((each for each in waiting if each.track.kind == line.kind), None)
            if line.track is None and track is not None:
                waiting.remove(track)
                self._attach(line, track)
        self.allocate()
        return False
