"""The `p2p` engine: two to four people, media from browser to browser, never through a server.

It relays descriptions and candidates between the sessions of a room, and keeps what they publish.
Who is there first is the impolite one (W3C webrtc-pc, "Perfect negotiation example"); the newcomer
offers. Muting is the publisher's SDK's duty, for there is no server to stop the packets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    EngineHealth,
    EngineSink,
    EngineUnavailable,
    MediaGrants,
    PeerAppeared,
    PeerDisappeared,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.messages import (
    Candidate,
    EngineName,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    SubscribedMedia,
    Subscription,
    Track,
    TrackKind,
    TrackSource,
)
from signaling.sdp_summary import media_lines

MAX_SESSIONS = 4
"""Each sends its picture to every other: a home line carries three."""

KIND_OF_SOURCE: dict[TrackSource, TrackKind] = {
    "camera": "video",
    "microphone": "audio",
    "screen": "video",
    "screen_audio": "audio",
}


@dataclass(slots=True)
class _Session:
    room_id: str
    participant_id: str
    grants: MediaGrants
    tracks: dict[str, Track] = field(default_factory=dict)


class P2pEngine:
    """Implements `signaling.engines.MediaEngine`."""

    def __init__(self, sink: EngineSink) -> None:
        self._sink = sink
        self._sessions: dict[str, _Session] = {}
        self._rooms: dict[str, list[str]] = {}
        """room id → session ids, first come first"""

    @property
    def name(self) -> EngineName:
        return "p2p"

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        for session_id in tuple(self._sessions):
            await self.close_session(session_id)

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        peers = self._rooms.get(room_id, [])
        if len(peers) >= MAX_SESSIONS:
            raise EngineUnavailable(f"no more than {MAX_SESSIONS} devices in a private call")
        self._sessions[session_id] = _Session(room_id, participant_id, grants)
        for peer in peers:
            first = self._sessions[peer]
            self._sink(PeerAppeared(room_id, session_id, peer, first.participant_id, polite=True))
            self._sink(PeerAppeared(room_id, peer, session_id, participant_id, polite=False))
        self._rooms.setdefault(room_id, []).append(session_id)

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            return
        session.grants = grants
        for track in tuple(session.tracks.values()):
            if not may_publish(grants, track.source):
                await self.unpublish(session_id, track.id)

    async def close_session(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            return
        for track_id in tuple(session.tracks):
            await self.unpublish(session_id, track_id)
        del self._sessions[session_id]
        peers = self._rooms[session.room_id]
        peers.remove(session_id)
        if not peers:
            del self._rooms[session.room_id]
        for peer in peers:
            self._sink(PeerDisappeared(session.room_id, peer, session_id))

    async def receive_description(
        self,
        session_id: str,
        pc: PeerConnectionName,
        negotiation: int,
        description: SessionDescription,
        media: Sequence[PublishedMedia],
        to_session_id: str | None,
    ) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            return
        if pc != "peer":
            raise ValueError("this room has peer connections only")
        if to_session_id is None or not self._are_peers(session_id, to_session_id):
            return
        if description.type != "rollback":
            _check_directions(description.sdp, session.grants)
            self._learn(session_id, session, media)
        self._sink(
            DescriptionToSend(
                session.room_id,
                to_session_id,
                "peer",
                negotiation,
                description,
                [
                    SubscribedMedia(mid=one.mid, track_id=one.track_id, participant_id=session.participant_id)
                    for one in media
                ],
                from_session_id=session_id,
            )
        )

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        session = self._sessions.get(session_id)
        if session is not None and to_session_id is not None and self._are_peers(session_id, to_session_id):
            self._sink(CandidateToSend(session.room_id, to_session_id, "peer", candidate, from_session_id=session_id))

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        session = self._sessions.get(session_id)
        if session is None or track_id not in session.tracks:
            return
        track = msgspec.structs.replace(session.tracks[track_id], muted=muted)
        session.tracks[track_id] = track
        self._sink(TrackAppeared(session.room_id, track))

    async def unpublish(self, session_id: str, track_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None and session.tracks.pop(track_id, None) is not None:
            self._sink(TrackDisappeared(session.room_id, track_id))

    async def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        return None  # between browsers every track goes to every peer

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        return None  # browsers restart ICE

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        raise EngineUnavailable("a private room has no server end to publish to")

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        raise EngineUnavailable("a private room has no server end to watch")

    def health(self) -> EngineHealth:
        return EngineHealth(ready=True, rooms=len(self._rooms), sessions=len(self._sessions))

    def _are_peers(self, one: str, other: str) -> bool:
        return one != other and other in self._rooms.get(self._sessions[one].room_id, ())

    def _learn(self, session_id: str, session: _Session, media: Sequence[PublishedMedia]) -> None:
        for published in media:
            if not may_publish(session.grants, published.source):
                raise ValueError(f"this participant may not publish a {published.source}")
            if published.track_id not in session.tracks:
                track = Track(
                    id=published.track_id,
                    participant_id=session.participant_id,
                    session_id=session_id,
                    source=published.source,
                    kind=KIND_OF_SOURCE[published.source],
                    muted=published.muted,
                )
                session.tracks[track.id] = track
                self._sink(TrackAppeared(session.room_id, track))


def may_publish(grants: MediaGrants, source: TrackSource) -> bool:
    """Whether the grants allow a track of this source."""
    if source in ("screen", "screen_audio"):
        return grants.publish_screen
    return grants.publish_video if source == "camera" else grants.publish_audio


def _check_directions(sdp: str, grants: MediaGrants) -> None:
    """Whoever may send nothing of a kind may not even offer to. Raises: ValueError."""
    allowed = {
        "audio": grants.publish_audio or grants.publish_screen,
        "video": grants.publish_video or grants.publish_screen,
    }
    for line in media_lines(sdp):
        if line.sends and not allowed.get(line.kind, False) and line.kind != "application":
            raise ValueError(f"this participant may not send {line.kind}")
