"""One media session on a gateway: a participant's two peer connections and its tracks.

A session decides nothing about rights: its grants were decided before it heard of them, and it holds to
them for every offer. The gateway is told what each media line may do; the browser never talks to it.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    LayersWatched,
    MediaGrants,
    PeerConnectionLost,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.granted import KIND_OF_SOURCE, is_granted
from signaling.engines.janus import description
from signaling.engines.janus.errors import JanusRefused
from signaling.engines.janus.publish import PublishConnection
from signaling.engines.janus.room import Room
from signaling.engines.janus.subscribe import MAX_LINES, Offer, Source, SubscribeConnection, Wanted
from signaling.engines.layer_demand import LayerDemand
from signaling.engines.offered_tracks import offered_tracks
from signaling.engines.sfu.layers import Size, layer_for_tile
from signaling.engines.sfu.sdp import ParsedDescription, SdpError
from signaling.messages import PeerConnectionName, PublishedMedia, SessionDescription, Track
from signaling.negotiation import OfferNegotiation

KEEP_TRACKS_S = 10.0
"""How long tracks wait for a publisher whose peer connection is gone and comes again."""
LOST_AFTER_S = 0.8
"""A client that replaces a connection closes the old one, which we may hear before its message: what
comes again within this time was not lost."""

ANY_WIDTH = 8_192
"""Of a tile that is bounded in height only."""

_order = itertools.count()


@dataclass(slots=True, eq=False)
class PublishedTrack:
    track: Track
    mid: str
    order: int
    connection: PublishConnection | None
    """None: its publisher's is gone, and may come again."""
    layers: int = 1
    """Of a simulcast picture."""
    demand: LayerDemand = field(default_factory=lambda: LayerDemand(1))

    @property
    def source(self) -> Source | None:
        """Where the gateway has it from; None: nothing flows."""
        if self.connection is None or not self.connection.is_up:
            return None
        return (self.connection.feed, self.mid)


class Session:
    def __init__(
        self,
        room: Room,
        session_id: str,
        participant_id: str,
        grants: MediaGrants,
        emit: Callable[[EngineEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self.id = session_id
        self.participant_id = participant_id
        self.room = room
        self.tracks: dict[str, PublishedTrack] = {}
        self.is_closed = False
        self.grants = grants
        self._emit = emit
        self._clock = clock
        self._publish: PublishConnection | None = None
        self._subscribe: SubscribeConnection | None = None
        self._wanted: Mapping[str, int | None] | None = None
        """Track id → the most pixels of height that are wanted; None: everything."""
        self._layout: Mapping[str, Size] | None = None
        """Track id → size of its tile on the subscriber's page; None: everything is shown."""
        self._negotiation = OfferNegotiation()
        self._last_offer: Offer | None = None
        self._subscribe_failed = False
        self._tracks_kept_until: float | None = None
        self._lost_at: dict[PeerConnectionName, float] = {}
        """Connections that ended by themselves, not reported yet."""

    # --- publishing -----------------------------------------------------------------------------

    async def receive_publish_offer(self, sdp: str, media: Sequence[PublishedMedia]) -> str:
        """The answer's SDP. Raises: SdpError, and then nothing has changed; JanusLost, JanusRefused."""
        offer = description.read_description(sdp)
        description.check_media(offer, media)
        self._check_tracks(media)
        allowed = [each for each in media if is_granted(each.source, self.grants)]
        prepared = description.offer_for_gateway(sdp, {each.mid for each in allowed})
        try:
            answer = await self._negotiate(offer, prepared)
        except JanusRefused as error:
            if error.is_about_description:
                raise SdpError("the media gateway cannot use this description") from error
            raise
        # What came while the gateway thought counts: rights that were taken, a host who muted.
        layers = {section.mid: len(section.layers) for section in offer.sections}
        await self._take_tracks([each for each in allowed if is_granted(each.source, self.grants)], layers)
        return answer

    def _check_tracks(self, media: Sequence[PublishedMedia]) -> None:
        for each in media:
            known = self.room.find_track(each.track_id)
            if known is not None and known is not self.tracks.get(each.track_id):
                raise SdpError("the track id is taken")
            if known is not None and known.track.source != each.source:
                raise SdpError("a track cannot change its source")

    async def _negotiate(self, offer: ParsedDescription, sdp: str) -> str:
        identity = description.identity_of(offer)
        if self._publish is not None and self._publish.identity == identity:
            return await self._publish.renegotiate(sdp)
        number = await self.room.make()
        fresh = PublishConnection(
            self.room.connection, number, identity, self.room.tracks_changed, self._publish_lost, self._talks
        )
        answer = await fresh.open(sdp)
        if self.is_closed:
            await fresh.close()
            raise SdpError("the session has ended")
        old, self._publish = self._publish, fresh
        self._lost_at.pop("publish", None)
        if old is not None:
            await old.close()
        return answer

    async def _take_tracks(self, media: Sequence[PublishedMedia], layers: Mapping[str, int]) -> None:
        self._tracks_kept_until = None
        assert self._publish is not None
        self._publish.mids |= {each.mid for each in media}
        for track_id in self.tracks.keys() - {each.track_id for each in media}:
            self._remove_track(track_id)
        for each in media:
            before = self.tracks.get(each.track_id)
            known = before or self._add_track(each)
            count = layers.get(each.mid, 0) or 1
            if before is None or (known.mid, known.connection, known.layers) != (each.mid, self._publish, count):
                known.demand.begin_anew(count)
                if known.track.kind == "video":
                    self._emit(LayersWatched(self.room.id, self.id, each.track_id, count))
            known.mid, known.connection, known.layers = each.mid, self._publish, count
            if each.muted and not known.track.muted:
                self._set_muted(known, True)
        await self._moderate()
        self.room.tracks_changed()

    def _add_track(self, media: PublishedMedia) -> PublishedTrack:
        track = Track(
            id=media.track_id,
            participant_id=self.participant_id,
            session_id=self.id,
            source=media.source,
            kind=KIND_OF_SOURCE[media.source],
            muted=media.muted,
        )
        added = self.tracks[track.id] = PublishedTrack(track, media.mid, next(_order), self._publish)
        self._emit(TrackAppeared(self.room.id, track))
        return added

    def _remove_track(self, track_id: str) -> None:
        removed = self.tracks.pop(track_id)
        self._silence(removed)
        self._emit(TrackDisappeared(self.room.id, track_id))

    def _set_muted(self, track: PublishedTrack, muted: bool) -> None:
        track.track = msgspec.structs.replace(track.track, muted=muted)
        if muted:
            self._silence(track)
        self._emit(TrackAppeared(self.room.id, track.track))

    def _silence(self, track: PublishedTrack) -> None:
        if track.track.source == "microphone":
            self.room.talks(self.participant_id, False, 0.0)

    async def _moderate(self) -> None:
        """The gateway forwards what is published and not muted, and nothing else of this connection.

        Raises: JanusLost, JanusRefused."""
        while (due := self._moderation_due()) is not None:
            connection, mid, muted = due
            (connection.moderated.add if muted else connection.moderated.discard)(mid)
            await self.room.moderate(connection.feed, mid, muted=muted)

    def _moderation_due(self) -> tuple[PublishConnection, str, bool] | None:
        """The next media line that the gateway treats otherwise than it should, and whether to mute it."""
        connection = self._publish
        if connection is None:
            return None
        sending = {each.mid for each in self.tracks.values() if not each.track.muted}
        for mid in connection.mids:
            if (mid in connection.moderated) is (mid in sending):
                return connection, mid, mid not in sending
        return None

    async def unpublish(self, track_id: str) -> None:
        """Raises: JanusLost, JanusRefused."""
        if track_id in self.tracks:
            self._remove_track(track_id)
            self.room.tracks_changed()
            await self._moderate()

    async def set_muted(self, track_id: str, muted: bool) -> None:
        """Raises: JanusLost, JanusRefused."""
        track = self.tracks.get(track_id)
        if track is not None and track.track.muted != muted:
            self._set_muted(track, muted)
            await self._moderate()

    def _talks(self, is_loud: bool, level: float) -> None:
        heard = any(each.track.source == "microphone" and not each.track.muted for each in self.tracks.values())
        self.room.talks(self.participant_id, is_loud and heard, level)

    def _publish_lost(self, connection: PublishConnection) -> None:
        if connection is self._publish and not self.is_closed:
            self._lost_at["publish"] = self._clock()
            self._tracks_kept_until = self._clock() + KEEP_TRACKS_S
            self.room.tracks_changed()

    # --- subscribing ----------------------------------------------------------------------------

    def set_wanted(self, wanted: Mapping[str, int | None] | None) -> None:
        """Track id → the most pixels of height; None: everything."""
        self._wanted = wanted
        self.refresh_subscription()
        self.room.look_at_demand(self._clock())

    def set_layout(self, layout: Mapping[str, Size]) -> None:
        """Track id → size of its tile; other pictures are not sent."""
        self._layout = layout
        self.refresh_subscription()
        self.room.look_at_demand(self._clock())

    def _sources(self) -> dict[Source, Wanted]:
        tracks = [each for each in self.room.tracks_for(self) if self._wants(each) and each.source is not None]
        return {
            source: Wanted(each.track.id, each.track.participant_id, self._layer(each))
            for each in offered_tracks(tracks, lambda each: each.track, self._layout, self._carries, MAX_LINES)
            if (source := each.source) is not None
        }

    def _carries(self, track: PublishedTrack) -> bool:
        return self._subscribe is not None and self._subscribe.carries(track.source)

    def _wants(self, track: PublishedTrack) -> bool:
        if not self.grants.subscribe or not (self.grants.sound or track.track.kind == "video"):
            return False
        return self._wanted is None or track.track.id in self._wanted

    def asks_of(self, track: PublishedTrack) -> int:
        """How many layers of another one's picture this page asks for, counted from the smallest."""
        if self._subscribe is None or self._subscribe_failed or not self._wants(track):
            return 0
        layer = self._layer(track)
        return 0 if layer is None else layer + 1

    def _layer(self, track: PublishedTrack) -> int | None:
        if track.track.kind == "audio" or self._layout is None:
            tile: Size | None = None
        elif (tile := self._layout.get(track.track.id)) is None:
            return None
        most = None if self._wanted is None else self._wanted[track.track.id]
        if most is not None:
            tile = (tile[0], min(tile[1], most)) if tile is not None else (ANY_WIDTH, max(1, most))
        return layer_for_tile([None] * track.layers, tile)

    def refresh_subscription(self) -> None:
        """Tracks or wishes changed: the gateway follows, and offers when media lines change."""
        if self.is_closed or self._subscribe_failed:
            return
        sources = self._sources()
        if self._subscribe is None:
            if not sources or not self.room.number:
                return
            self._subscribe = SubscribeConnection(
                self.room.connection,
                self.room.number,
                self._negotiation,
                self._clock,
                self._send_offer,
                self._subscribe_lost,
            )
        self._subscribe.set_wanted(sources)

    def _send_offer(self, offer: Offer) -> None:
        self._last_offer = offer
        sent = SessionDescription(type="offer", sdp=offer.sdp)
        self._emit(DescriptionToSend(self.room.id, self.id, "subscribe", offer.number, sent, offer.media))

    async def receive_subscribe_answer(self, number: int, sdp: str) -> None:
        """Raises: SdpError, and then the offer is still unanswered; JanusLost, JanusRefused."""
        description.read_description(sdp)
        if self._subscribe is None:
            return
        try:
            await self._subscribe.receive_answer(number, description.without_addresses(sdp))
        except JanusRefused as error:
            if error.is_about_description:
                raise SdpError("the media gateway cannot use this answer") from error
            raise

    def _subscribe_lost(self, connection: SubscribeConnection) -> None:
        if connection is self._subscribe and not self.is_closed:
            self._subscribe_failed = True
            self._lost_at["subscribe"] = self._clock()

    # --- the session itself ---------------------------------------------------------------------

    async def set_grants(self, grants: MediaGrants) -> None:
        """Raises: JanusLost, JanusRefused."""
        self.grants = grants
        for track in tuple(self.tracks.values()):
            if not is_granted(track.track.source, grants):
                self._remove_track(track.track.id)
        self.room.tracks_changed()
        await self._moderate()

    async def rebuild(self, pc: Literal["publish", "subscribe"]) -> None:
        self._lost_at.pop(pc, None)
        if pc == "publish":
            if self._publish is not None:
                old, self._publish = self._publish, None
                for track in self.tracks.values():
                    track.connection = None
                self._tracks_kept_until = self._clock() + KEEP_TRACKS_S
                self.room.tracks_changed()
                await old.close()
            return
        old_subscribe, self._subscribe = self._subscribe, None
        self._negotiation.start_over()
        self._subscribe_failed = False
        if old_subscribe is not None:
            await old_subscribe.close()
        self.refresh_subscription()

    def handle_timer(self, now: float) -> None:
        """Every half second or so."""
        if self._tracks_kept_until is not None and now > self._tracks_kept_until:
            self._tracks_kept_until = None
            for track_id in tuple(self.tracks):
                self._remove_track(track_id)
            self.room.tracks_changed()
        self._handle_offer_timer(now)
        self.look_at_demand(now)
        for pc in [pc for pc, lost_at in self._lost_at.items() if now - lost_at >= LOST_AFTER_S]:
            del self._lost_at[pc]
            self._emit(PeerConnectionLost(self.room.id, self.id, pc, "failed"))

    def look_at_demand(self, now: float) -> None:
        """Which layers of its pictures anybody looks at: its client is told."""
        for track in self.tracks.values():
            if track.track.kind == "audio" or track.connection is None or track.connection is not self._publish:
                continue
            layers = track.demand.look(self.room.asked_of(self, track), now)
            if layers is not None:
                self._emit(LayersWatched(self.room.id, self.id, track.track.id, layers))

    def _handle_offer_timer(self, now: float) -> None:
        if self._subscribe is None:
            return
        match self._negotiation.handle_timer(now):
            case "resend" if self._last_offer is not None:
                self._send_offer(self._last_offer)
            case "give_up":
                self._subscribe_lost(self._subscribe)

    def end(self) -> None:
        """Its tracks disappear; nothing is told or done for it any more. Then `close`, unless all is lost."""
        self.is_closed = True
        for track_id in tuple(self.tracks):
            self._remove_track(track_id)

    async def close(self) -> None:
        """What it has at the gateway ends."""
        if self._publish is not None:
            await self._publish.close()
        if self._subscribe is not None:
            await self._subscribe.close()
