"""The publish peer connection: the client offers what it sends, we answer and receive it.

An m-line brings one stream, or, sent as simulcast, one for each layer, told apart by their rids (RFC 8852).
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.codecs import (
    AUDIO_LEVEL,
    MID,
    OPUS_FMTP,
    REPAIRED_RID,
    RID,
    SCREEN_SOUND_ANSWER,
    NegotiatedCodec,
    negotiated_codecs,
    negotiated_extensions,
    written_answer_codecs,
)
from signaling.engines.sfu.published import PublishedLayer, PublishedTrack
from signaling.engines.sfu.rtp import RtpPacket, find_extension, parse_rtp, unwrap_rtx
from signaling.engines.sfu.sdp import MediaSection, ParsedDescription, WrittenSection, write_description
from signaling.engines.sfu.transport import MediaNetwork, PeerTransport

BITRATE_CAP_BPS = {"camera": 4_000_000, "screen": 3_000_000}
"""REMB per source. Chromium reaches 720p within seconds below 4 Mbit/s, not below 1.5 (measured)."""
MAX_BOUND_SSRCS = 64
"""Streams one peer connection may send: 8 tracks, each with repair, and room for restarts."""
SSRC_CHANGE_SILENCE_S = 1.0
"""Another stream on an m-line takes over only when the first has been silent: a sender has one."""


class PublishOwner(Protocol):
    def publish_connected(self) -> None: ...
    def publish_lost(self) -> None: ...


@dataclass(slots=True)
class _IncomingStream:
    """One layer of an m-line, or all that it sends."""

    line: "_IncomingLine"
    layer: PublishedLayer | None
    """None: not allowed, or unpublished; its packets are dropped."""
    ssrc: int | None = None
    repair_ssrc: int | None = None
    heard_at: float = 0.0


@dataclass(slots=True)
class _IncomingLine:
    """One sending m-line of the client."""

    mid: str
    track: PublishedTrack | None
    repaired: dict[int, int] = field(default_factory=dict)
    """RTX payload type → the payload type it repairs."""
    payload_types: frozenset[int] = frozenset()
    mid_id: int | None = None
    level_id: int | None = None
    rid_id: int | None = None
    repaired_rid_id: int | None = None
    streams: dict[str | None, _IncomingStream] = field(default_factory=dict)
    """By rid; None: its only one."""

    def carry(self, track: PublishedTrack | None, rids: Sequence[str]) -> None:
        if track is None:
            # The line rests. Its next track may come in the same streams, whose layers Chromium names only until it has
            # been told of them once.
            self.drop()
            return
        if track is not self.track:
            for stream in self.streams.values():
                stream.ssrc = stream.repair_ssrc = None  # or in others, at once
        self.track = track
        names: list[str | None] = list(rids) or [None]
        kept = {name: self.streams.get(name) or _IncomingStream(self, None) for name in names}
        for name in self.streams.keys() - kept.keys():
            self.streams[name].layer = None
        self.streams = kept
        for name, stream in kept.items():
            stream.layer = track.layer(name)

    def drop(self) -> None:
        self.track = None
        for stream in self.streams.values():
            stream.layer = None


def _sound_format(track: PublishedTrack | None) -> str:
    return SCREEN_SOUND_ANSWER if track is not None and track.track.source == "screen_audio" else OPUS_FMTP


class PublishConnection:
    def __init__(self, network: MediaNetwork, owner: PublishOwner) -> None:
        self._clock: Callable[[], float] = network.clock
        self._owner = owner
        self.transport = PeerTransport(network, self)
        self._lines: dict[str, _IncomingLine] = {}
        self._by_ssrc: dict[int, _IncomingStream] = {}
        self._own_ssrc = 1 + secrets.randbelow(1 << 31)
        self._session_number = secrets.randbits(62)
        self._version = 0
        self.packets_received = 0

    # --- negotiation ----------------------------------------------------------------------------

    def answer(self, offer: ParsedDescription, tracks: Mapping[str, PublishedTrack]) -> str:
        """`tracks`: mid → the track that it carries; other m-lines are answered inactive.

        Raises: SdpError when the offer has no usable transport."""
        offered_setup = next((section.setup for section in offer.sections if section.setup), "actpass")
        # As DTLS server we choose the SRTP profile, and choose AES-GCM (measured: half the CPU).
        role, setup = ("client", "active") if offered_setup == "passive" else ("server", "passive")
        self.transport.start(offer, "client" if role == "client" else "server")
        described = self.transport.describe("active" if setup == "active" else "passive")
        written = [self._answer_section(section, tracks.get(section.mid)) for section in offer.sections]
        for mid in self._lines.keys() - {section.mid for section in offer.sections}:
            self._lines[mid].drop()
        self._version += 1
        return write_description(self._session_number, self._version, described, written)

    def _answer_section(self, section: MediaSection, track: PublishedTrack | None) -> WrittenSection:
        codecs = negotiated_codecs(section) if section.is_media else []
        if not codecs:
            return WrittenSection(
                section.kind, section.mid, "inactive", (), {}, section.protocol, rejected_formats=section.formats
            )
        extensions = negotiated_extensions(section)
        self._describe_line(section, track, codecs, extensions)
        return WrittenSection(
            section.kind,
            section.mid,
            "inactive" if track is None else "recvonly",
            written_answer_codecs(section, codecs, _sound_format(track)),
            extensions,
            section.protocol,
            received_layers=() if track is None else section.layers,
        )

    def _describe_line(
        self,
        section: MediaSection,
        track: PublishedTrack | None,
        codecs: Sequence[NegotiatedCodec],
        extensions: Mapping[str, int],
    ) -> None:
        line = self._lines.get(section.mid)
        if line is None:
            line = self._lines[section.mid] = _IncomingLine(section.mid, None)
        if track is not None:
            track.bind(codecs, fresh=track is not line.track, rids=section.layers)
        line.carry(track, section.layers)
        line.repaired = {
            each.rtx_payload_type: each.payload_type for each in codecs if each.rtx_payload_type is not None
        }
        line.payload_types = frozenset(each.payload_type for each in codecs)
        line.mid_id, line.level_id = extensions.get(MID), extensions.get(AUDIO_LEVEL)
        line.rid_id, line.repaired_rid_id = extensions.get(RID), extensions.get(REPAIRED_RID)
        self._by_ssrc = {ssrc: each for ssrc, each in self._by_ssrc.items() if each in each.line.streams.values()}
        only = line.streams.get(None)
        if section.layers or only is None:
            # Which of them is which layer only their packets tell.
            return
        for ssrc in section.ssrcs:
            self._know(ssrc, only)

    def _know(self, ssrc: int, stream: _IncomingStream) -> None:
        """Whose packets these are, from now on. Of too many the oldest that nothing comes by is forgotten: who turns a
        camera on and off all day may have new ones each time."""
        self._by_ssrc.pop(ssrc, None)
        if len(self._by_ssrc) >= MAX_BOUND_SSRCS:
            idle = next(
                (known for known, each in self._by_ssrc.items() if known not in (each.ssrc, each.repair_ssrc)), None
            )
            if idle is None:
                return
            del self._by_ssrc[idle]
        self._by_ssrc[ssrc] = stream

    def carries(self, track: PublishedTrack) -> bool:
        return any(line.track is track for line in self._lines.values())

    def drop_track(self, track: PublishedTrack) -> None:
        """Its packets are ignored from now on, whatever the client still sends."""
        for line in self._lines.values():
            if line.track is track:
                line.drop()

    # --- packets --------------------------------------------------------------------------------

    def transport_connected(self) -> None:
        self._owner.publish_connected()

    def transport_lost(self) -> None:
        self._owner.publish_lost()

    def receive_rtp(self, data: bytes) -> None:
        try:
            packet = parse_rtp(data)
        except ValueError:
            return
        self.packets_received += 1
        stream = self._by_ssrc.get(packet.ssrc) or self._bind(packet)
        if stream is None or stream.layer is None:
            return
        now = self._clock()
        repaired = stream.line.repaired.get(packet.payload_type)
        if repaired is not None:
            self._receive_repair(stream, packet, repaired, now)
        elif packet.payload_type in stream.line.payload_types:
            self._receive_stream(stream, stream.layer, packet, now)

    def _receive_repair(self, stream: _IncomingStream, packet: RtpPacket, payload_type: int, now: float) -> None:
        try:
            packet.sequence_number, packet.payload = unwrap_rtx(packet.payload)
        except ValueError:
            return
        stream.repair_ssrc = packet.ssrc
        packet.payload_type = payload_type
        if stream.layer is not None and stream.ssrc is not None:
            stream.layer.receive(packet, None, now)

    def _receive_stream(self, stream: _IncomingStream, layer: PublishedLayer, packet: RtpPacket, now: float) -> None:
        if layer.track.voice is not None:
            layer.track.end_voice()
        if packet.ssrc != stream.ssrc:
            if stream.ssrc is not None and now - stream.heard_at < SSRC_CHANGE_SILENCE_S:
                return
            if stream.ssrc is not None:
                layer.restart()
            stream.ssrc = packet.ssrc
        stream.heard_at = now
        level: int | None = None
        level_id = stream.line.level_id
        if level_id is not None and packet.extensions:
            value = find_extension(packet.extensions, level_id)
            level = value[0] if value else None
        layer.log.note_arrival(packet.timestamp, now)
        layer.receive(packet, level, now)

    def _bind(self, packet: RtpPacket) -> _IncomingStream | None:
        """A stream that no a=ssrc announced: by its mid extension, or the only m-line with its
        payload type (RFC 9143 section 9.2); its layer by its rid."""
        line = self._line_by_mid(packet)
        if line is None:
            number = packet.payload_type
            fitting = [each for each in self._lines.values() if number in each.payload_types or number in each.repaired]
            line = fitting[0] if len(fitting) == 1 else None
        stream = None if line is None else self._stream_by_rid(line, packet)
        if stream is not None:
            self._know(packet.ssrc, stream)
        return stream

    def _stream_by_rid(self, line: _IncomingLine, packet: RtpPacket) -> _IncomingStream | None:
        if None in line.streams:
            return line.streams[None]
        rid_id = line.repaired_rid_id if packet.payload_type in line.repaired else line.rid_id
        value = None if rid_id is None else find_extension(packet.extensions, rid_id)
        return None if value is None else line.streams.get(value.decode("ascii", "replace"))

    def _line_by_mid(self, packet: RtpPacket) -> _IncomingLine | None:
        mid_id = next((line.mid_id for line in self._lines.values() if line.mid_id is not None), None)
        value = None if mid_id is None else find_extension(packet.extensions, mid_id)
        return None if value is None else self._lines.get(value.decode("ascii", "replace"))

    # --- feedback -------------------------------------------------------------------------------

    def receive_rtcp(self, data: bytes) -> None:
        try:
            found = rtcp.parse_rtcp(data)
        except ValueError:
            return
        now = self._clock()
        for item in found:
            if isinstance(item, rtcp.SenderReport):
                stream = self._by_ssrc.get(item.ssrc)
                if stream is not None and stream.layer is not None and stream.ssrc == item.ssrc:
                    stream.layer.receive_report(item, now)

    def _streams(self) -> Iterator[tuple[PublishedLayer, int]]:
        """What comes now: each layer, and its SSRC."""
        for line in self._lines.values():
            for stream in line.streams.values():
                if stream.layer is not None and stream.ssrc is not None:
                    yield stream.layer, stream.ssrc

    def handle_tick(self, now: float) -> bool:
        """Ask for what is missing, and for key frames that are due; whether to be called again soon."""
        again = False
        for layer, ssrc in self._streams():
            if not layer.track.is_video:
                continue
            lost = layer.log.nacks_to_send(now) if layer.log.has_missing else []
            if lost:
                self._send_feedback(rtcp.nack(self._own_ssrc, ssrc, lost))
            layer.mend_picture(now)
            if layer.keyframes.wanted and layer.keyframe_is_due(now):
                self._ask_for_keyframe(ssrc)
            again = again or layer.log.has_missing or layer.log.has_late or layer.keyframes.wanted
        return again

    def ask_again(self, now: float) -> None:
        """Every tenth of a second: key frames that someone waits for and that did not come."""
        for layer, ssrc in self._streams():
            if layer.track.is_video and layer.keyframe_is_due(now):
                self._ask_for_keyframe(ssrc)

    def handle_second(self, now: float) -> None:
        """Every second: reports and the bitrate cap."""
        self.transport.handle_timer(now)
        blocks: list[rtcp.ReportBlock] = []
        capped: list[int] = []
        for layer, ssrc in self._streams():
            layer.measure(now)
            block = layer.reception(ssrc, now)
            if block is not None:
                blocks.append(block)
            if layer.track.is_video:
                capped.append(ssrc)
        if blocks:
            report = rtcp.receiver_report(self._own_ssrc, blocks)
            if capped:
                report += rtcp.max_bitrate(self._own_ssrc, self._bitrate_cap_bps(), capped)
            self.transport.send_rtcp(report)

    def _bitrate_cap_bps(self) -> int:
        tracks = {layer.track.track.id: layer.track.track for layer, _ in self._streams() if layer.track.is_video}
        return sum(BITRATE_CAP_BPS[track.source] for track in tracks.values())

    def _ask_for_keyframe(self, ssrc: int) -> None:
        self._send_feedback(rtcp.picture_loss_indication(self._own_ssrc, ssrc))

    def _send_feedback(self, feedback: bytes) -> None:
        # Compound (RFC 3550 section 6.1): rtcp-rsize is not answered.
        self.transport.send_rtcp(rtcp.receiver_report(self._own_ssrc, ()) + feedback)

    def close(self) -> None:
        self.transport.close()
