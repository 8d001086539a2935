"""One media session in a worker: a participant's two peer connections and its tracks.

A session decides nothing about rights: its grants were decided before it heard of them, and it
holds to them for every offer and every packet.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    Fallback,
    LayersWatched,
    MediaGrants,
    PeerConnectionLost,
    TrackAppeared,
    TrackDisappeared,
    VoiceToSend,
)
from signaling.engines.granted import KIND_OF_SOURCE, is_granted
from signaling.engines.offered_tracks import offered_tracks
from signaling.engines.sfu.layers import Size
from signaling.engines.sfu.publish import PublishConnection
from signaling.engines.sfu.published import PublishedTrack
from signaling.engines.sfu.sdp import ParsedDescription, SdpError
from signaling.engines.sfu.subscribe import MAX_LINES, Offer, SubscribeConnection, SubscriberView, WhepConnection
from signaling.engines.sfu.transport import MediaNetwork
from signaling.engines.sfu.voice import VoiceListener, VoiceSource
from signaling.messages import (
    MAX_TRACKS_PER_SESSION,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    Track,
    TrackSource,
)
from signaling.negotiation import OfferNegotiation
from signaling.voice_packet import VoiceRun

LAYOUT_INTERVAL_S = 0.1
"""Pages change ten times a second at most; the page of ours waits for longer than that by itself."""
KEEP_TRACKS_S = 10.0
"""How long tracks wait for a publisher whose peer connection is gone and comes again."""
LOST_AFTER_S = 0.8
"""A client that replaces a connection closes the old one, which we may hear before its message: what
comes again within this time was not lost."""


class Room(Protocol):
    """What a session needs of its room."""

    id: str

    def find_track(self, track_id: str) -> PublishedTrack | None: ...
    def tracks_for(self, session: "Session") -> Sequence[PublishedTrack]:
        """Every track of the other sessions, in the order they appeared."""

    def tracks_changed(self) -> None: ...
    def layers_changed(self, track: PublishedTrack) -> None:
        """Other layers of it come than before."""

    def heard(self, track: PublishedTrack, level: int, now: float) -> None: ...
    def silenced(self, track: PublishedTrack) -> None: ...


class Session:
    def __init__(
        self,
        network: MediaNetwork,
        room: Room,
        session_id: str,
        participant_id: str,
        grants: MediaGrants,
        emit: Callable[[EngineEvent], None],
    ) -> None:
        self.id = session_id
        self.participant_id = participant_id
        self.tracks: dict[str, PublishedTrack] = {}
        self.publish: PublishConnection | None = None
        self.subscribe: SubscribeConnection | WhepConnection | None = None
        self._network = network
        self._room = room
        self._grants = grants
        self._emit = emit
        self._wanted: Mapping[str, int | None] | None = None
        self._layout: Mapping[str, Size] | None = None
        self._laid_out_at = float("-inf")
        self._layout_waits = False
        self._is_crowded = False
        self._negotiation = OfferNegotiation()
        self._last_offer: Offer | None = None
        self._creating_subscribe = False
        self._subscribe_failed = False
        self._tracks_kept_until: float | None = None
        self._lost_at: dict[PeerConnectionName, float] = {}
        """Connections that ended by themselves, not reported yet."""
        self._voice: VoiceSource | None = None
        self._listener: VoiceListener | None = None
        self._closed = False

    # --- publishing -----------------------------------------------------------------------------

    def needs_new_publish(self, offer: ParsedDescription) -> bool:
        return self.publish is None or not self.publish.transport.fits(offer)

    def receive_publish_offer(self, offer: ParsedDescription, media: Sequence[PublishedMedia]) -> str:
        """The answer's SDP. Raises: SdpError, and then nothing has changed."""
        self._check_media(offer, media)
        if self.needs_new_publish(offer):
            fresh = PublishConnection(self._network, self)
            if self.publish is not None:
                self.publish.close()
            self.publish = fresh
            self._lost_at.pop("publish", None)
        assert self.publish is not None
        self._tracks_kept_until = None
        allowed = [each for each in media if is_granted(each.source, self._grants)]
        carried = {each.mid: self._track(each) for each in allowed}
        answer = self.publish.answer(offer, carried)
        for track_id in self.tracks.keys() - {each.track_id for each in allowed}:
            if self.tracks[track_id].voice is None:
                self._remove_track(track_id)
        for each in allowed:
            if each.track_id not in self.tracks:
                self._add_track(carried[each.mid])
            elif each.muted:
                self.set_muted(each.track_id, True)
            self._tell_beginning(carried[each.mid])
        self._room.tracks_changed()
        return answer

    def _check_media(self, offer: ParsedDescription, media: Sequence[PublishedMedia]) -> None:
        sections = {section.mid: section for section in offer.sections}
        if len({each.mid for each in media}) != len(media) or len({each.track_id for each in media}) != len(media):
            raise SdpError("an m-line or a track is named twice")
        if len(media) > MAX_TRACKS_PER_SESSION:
            raise SdpError("too many tracks")
        for each in media:
            section = sections.get(each.mid)
            if section is None or not section.sends:
                raise SdpError("a track is named for an m-line that sends nothing")
            if section.kind != KIND_OF_SOURCE[each.source]:
                raise SdpError("a track's source does not fit its m-line's kind")
            known = self._room.find_track(each.track_id)
            if known is not None and known is not self.tracks.get(each.track_id):
                raise SdpError("the track id is taken")
            if known is not None and known.track.source != each.source:
                raise SdpError("a track cannot change its source")

    def _track(self, media: PublishedMedia) -> PublishedTrack:
        """The track of this id, kept or new; a new one is not in the room yet."""
        kept = self.tracks.get(media.track_id)
        if kept is not None:
            return kept
        track = Track(
            id=media.track_id,
            participant_id=self.participant_id,
            session_id=self.id,
            source=media.source,
            kind=KIND_OF_SOURCE[media.source],
            muted=media.muted,
        )
        return PublishedTrack(track, self._stream_id(media.source), heard=self._room.heard, hurry=self._network.hurry)

    def _stream_id(self, source: TrackSource) -> str:
        """Equal for what is played in step: face and voice, screen and its sound."""
        group = "person" if source in ("camera", "microphone") else "screen"
        return hashlib.blake2b(f"{self.id}/{group}".encode(), digest_size=12).hexdigest()

    def _add_track(self, track: PublishedTrack) -> None:
        self.tracks[track.track.id] = track
        self._tell(track)

    def _tell(self, track: PublishedTrack) -> None:
        described = track.track
        self._emit(
            TrackAppeared(
                self._room.id,
                Track(
                    id=described.id,
                    participant_id=described.participant_id,
                    session_id=described.session_id,
                    source=described.source,
                    kind=described.kind,
                    muted=described.muted,
                ),
            )
        )

    def _remove_track(self, track_id: str) -> None:
        track = self.tracks.pop(track_id)
        track.voice = None
        for line in list(track.lines):
            line.detach()
        if self.publish is not None:
            self.publish.drop_track(track)
        self._room.silenced(track)
        self._emit(TrackDisappeared(self._room.id, track_id))

    def unpublish(self, track_id: str) -> None:
        if track_id in self.tracks:
            self._remove_track(track_id)
            self._room.tracks_changed()

    def set_muted(self, track_id: str, muted: bool) -> None:
        track = self.tracks.get(track_id)
        if track is None or track.track.muted == muted:
            return
        track.set_muted(muted)
        if muted:
            self._room.silenced(track)
        self._tell(track)

    def publish_connected(self) -> None:
        """Nothing to tell: packets follow."""

    def publish_lost(self) -> None:
        self._drop_publish()
        self._lost_at["publish"] = self._network.clock()

    def _drop_publish(self) -> None:
        self.publish = None
        self._tracks_kept_until = self._network.clock() + KEEP_TRACKS_S

    # --- subscribing ----------------------------------------------------------------------------

    def set_wanted(self, wanted: Mapping[str, int | None] | None) -> None:
        """Track id → the height beyond which its picture is not wanted; None: every track of the room."""
        self._wanted = wanted
        self._show()
        self.refresh_subscription()

    def set_layout(self, layout: Mapping[str, Size]) -> None:
        """Track id → width and height of its tile. Layouts that follow each other closely are taken
        together: each is a look at every line and may ask for key frames."""
        self._layout = layout
        now = self._network.clock()
        self._layout_waits = now - self._laid_out_at < LAYOUT_INTERVAL_S
        if not self._layout_waits:
            self._laid_out_at = now
            self._show()
            if self._is_crowded:
                self.refresh_subscription()

    def _show(self) -> None:
        if self.subscribe is not None:
            self.subscribe.set_view(SubscriberView(self._layout, self._wanted or {}))

    def _tracks_to_send(self) -> Sequence[PublishedTrack]:
        if not self._grants.subscribe:
            return []
        tracks = [
            track
            for track in self._room.tracks_for(self)
            if (self._wanted is None or track.track.id in self._wanted) and (self._grants.sound or track.is_video)
        ]
        self._is_crowded = len(tracks) > MAX_LINES
        carries = self.subscribe.carries if self.subscribe is not None else lambda _track: False
        return offered_tracks(tracks, lambda each: each.track, self._layout, carries, MAX_LINES)

    def refresh_subscription(self) -> None:
        """Tracks or wishes changed: send what is to be sent, offer when the m-lines change."""
        tracks = [] if self._closed else self._tracks_to_send()
        if self._listener is not None:
            self._listener.set_tracks([each for each in tracks if not each.is_video])
        if self._closed or self._subscribe_failed:
            return
        if self.subscribe is None:
            if tracks and not self._creating_subscribe:
                self._creating_subscribe = True
                self._network.paced(self._create_subscribe)
            return
        self.subscribe.allocate()
        if self.subscribe.set_tracks(tracks):
            self._negotiation.want_offer()
        self._offer()

    def _create_subscribe(self) -> None:
        self._creating_subscribe = False
        if self._closed or self.subscribe is not None:
            return
        self.subscribe = SubscribeConnection(self._network, self)
        self._show()
        self.refresh_subscription()

    def _offer(self) -> None:
        connection = self.subscribe
        if not isinstance(connection, SubscribeConnection) or not connection.has_lines:
            return
        number = self._negotiation.offer_to_send(self._network.clock())
        if number is not None:
            self._last_offer = connection.offer()
            self._send_offer(number, self._last_offer)

    def _send_offer(self, number: int, offer: Offer) -> None:
        description = SessionDescription(type="offer", sdp=offer.sdp)
        self._emit(DescriptionToSend(self._room.id, self.id, "subscribe", number, description, offer.media))

    def receive_subscribe_answer(self, number: int, answer: ParsedDescription) -> None:
        """Raises: SdpError, and then the offer is still unanswered."""
        connection = self.subscribe
        if not isinstance(connection, SubscribeConnection) or number != self._negotiation.number:
            return
        if not self._negotiation.is_offered:
            return
        connection.receive_answer(answer)
        self._negotiation.receive_answer(number)
        # Lines that this answer set free may be what a waiting track needs.
        self.refresh_subscription()

    def subscribe_connected(self) -> None:
        """Nothing to tell: packets follow."""

    def subscribe_lost(self) -> None:
        self._drop_subscribe()
        self._subscribe_failed = True
        self._lost_at["subscribe"] = self._network.clock()

    def _report_lost(self, now: float) -> None:
        for pc in [pc for pc, lost_at in self._lost_at.items() if now - lost_at >= LOST_AFTER_S]:
            del self._lost_at[pc]
            self._emit(PeerConnectionLost(self._room.id, self.id, pc, "failed"))

    def _drop_subscribe(self) -> None:
        if self.subscribe is not None:
            self.subscribe.close()
        self.subscribe = None
        self._negotiation.start_over()

    # --- without any peer connection --------------------------------------------------------------

    def set_fallback(self, wish: Fallback) -> None:
        """Raises: SdpError, and then nothing has changed."""
        self._set_voice(wish.track_id, wish.muted)
        before = self._listener
        if before is not None and wish.listens and before.interval_s == wish.interval_s:
            return
        if before is not None:
            before.close()
        self._listener = VoiceListener(self._send_voice, self._network.later, wish.interval_s) if wish.listens else None
        self.refresh_subscription()

    def _set_voice(self, track_id: str | None, muted: bool) -> None:
        before = self._voice
        if before is not None and before.is_on and before.track.track.id == track_id:
            self._mute_voice(before.track, muted)
            return
        track = None if track_id is None else self._microphone(track_id, muted)
        self._voice = None
        if before is not None and before.is_on:
            self._end_voice(before.track)
        if track is None or not is_granted("microphone", self._grants):
            return
        self._voice = VoiceSource(track)
        if track.track.id in self.tracks:
            self._mute_voice(track, muted)
        else:
            self._add_track(track)
            self._room.tracks_changed()

    def _mute_voice(self, track: PublishedTrack, muted: bool) -> None:
        # Only `media_mute` unmutes: a host's mute may have crossed this wish.
        if muted:
            self.set_muted(track.track.id, True)

    def _microphone(self, track_id: str, muted: bool) -> PublishedTrack:
        known = self._room.find_track(track_id)
        if known is not None and (known is not self.tracks.get(track_id) or known.track.source != "microphone"):
            raise SdpError("the track id is taken")
        return self._track(PublishedMedia(mid="", track_id=track_id, source="microphone", muted=muted))

    def _end_voice(self, track: PublishedTrack) -> None:
        """Nothing of it comes this way any more: it waits for a peer connection, if one is to carry it."""
        track.end_voice()
        if self.publish is None:
            self._tracks_kept_until = self._network.clock() + KEEP_TRACKS_S
        elif not self.publish.carries(track):
            self.unpublish(track.track.id)

    def receive_voice(self, runs: Sequence[VoiceRun], now: float) -> None:
        """Frames of the microphone that goes this way; what is of another track is dropped."""
        for run in runs:
            if self._voice is not None and run.track_id == self._voice.track.track.id:
                self._voice.receive(run.frames, now)

    def _send_voice(self, runs: bytes) -> None:
        self._emit(VoiceToSend(self._room.id, self.id, runs))

    # --- WHIP and WHEP --------------------------------------------------------------------------

    def accept_whip(self, offer: ParsedDescription, new_track_id: Callable[[], str]) -> str:
        """Raises: SdpError."""
        media: list[PublishedMedia] = []
        sources: dict[str, TrackSource] = {"audio": "microphone", "video": "camera"}
        for section in offer.sections:
            source = sources.get(section.kind)
            if source is not None and section.sends and section.is_media:
                del sources[section.kind]
                media.append(PublishedMedia(mid=section.mid, track_id=new_track_id(), source=source))
        if not any(is_granted(each.source, self._grants) for each in media):
            raise SdpError("nothing in the offer that may be published")
        return self.receive_publish_offer(offer, media)

    def accept_whep(self, offer: ParsedDescription) -> str:
        """Raises: SdpError."""
        connection = WhepConnection(self._network, self)
        try:
            answer = connection.answer(offer)
        except SdpError:
            connection.close()
            raise
        self._drop_subscribe()
        self._subscribe_failed = False
        self._lost_at.pop("subscribe", None)
        self.subscribe = connection
        self._show()
        self.refresh_subscription()
        return answer

    # --- the session itself ---------------------------------------------------------------------

    def set_grants(self, grants: MediaGrants) -> None:
        self._grants = grants
        for track in list(self.tracks.values()):
            if not is_granted(track.track.source, grants):
                self._remove_track(track.track.id)
        self.refresh_subscription()
        self._room.tracks_changed()

    def rebuild(self, pc: Literal["publish", "subscribe"]) -> None:
        self._lost_at.pop(pc, None)
        if pc == "publish":
            if self.publish is not None:
                self.publish.close()
                self._drop_publish()
            return
        self._drop_subscribe()
        self._subscribe_failed = False
        self.refresh_subscription()

    def handle_tick(self, now: float) -> bool:
        """Whether to be called again soon."""
        return self.publish is not None and self.publish.handle_tick(now)

    def watch_pictures(self, now: float) -> None:
        """Every tenth of a second: which layers come, key frames that do not, a layout that waits."""
        if self._layout_waits and self._layout is not None:
            self.set_layout(self._layout)
        if self.publish is not None:
            self.publish.ask_again(now)
        for track in self.tracks.values():
            if track.layers_changed(now):
                self._room.layers_changed(track)
            self._tell_demand(track, now)

    def _tell_beginning(self, track: PublishedTrack) -> None:
        if track.has_begun_anew and track.is_video:
            self._emit(LayersWatched(self._room.id, self.id, track.track.id, track.demand.told))
        track.has_begun_anew = False

    def _tell_demand(self, track: PublishedTrack, now: float) -> None:
        if self.publish is None or not self.publish.carries(track):
            return
        layers = track.layers_to_tell(now)
        if layers is not None:
            self._emit(LayersWatched(self._room.id, self.id, track.track.id, layers))

    def handle_second(self, now: float) -> None:
        if self.publish is not None:
            self.publish.handle_second(now)
        if self.subscribe is not None:
            self.subscribe.handle_second(now)
        if self._tracks_kept_until is not None and now > self._tracks_kept_until:
            self._tracks_kept_until = None
            for track_id in [track_id for track_id, track in self.tracks.items() if track.voice is None]:
                self._remove_track(track_id)
            self._room.tracks_changed()
        self._handle_offer_timer(now)
        self._report_lost(now)

    def _handle_offer_timer(self, now: float) -> None:
        match self._negotiation.handle_timer(now):
            case "resend" if self._last_offer is not None:
                self._send_offer(self._negotiation.number, self._last_offer)
            case "give_up":
                self.subscribe_lost()

    def close(self) -> None:
        """Its tracks disappear, its connections close; the room is told by its caller."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
        for track_id in list(self.tracks):
            self._remove_track(track_id)
        if self.publish is not None:
            self.publish.close()
        if self.subscribe is not None:
            self.subscribe.close()
