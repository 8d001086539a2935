"""The `p2p` engine: two to four people, media from browser to browser, never through a server.

It relays descriptions and candidates between the sessions of a room, and keeps what they publish.
Who is there first is the impolite one (W3C webrtc-pc, "Perfect negotiation example"); the newcomer
offers. A description that sends what its sender may not is refused, as is one that takes sound for a session
without. Muting is the publisher's SDK's duty, for there is no server to stop the packets.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    EngineHealth,
    EngineSink,
    EngineUnavailable,
    Fallback,
    MediaGrants,
    PeerAppeared,
    PeerDisappeared,
    ReachabilityTarget,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.granted import KIND_OF_SOURCE, is_granted
from signaling.messages import (
    MAX_TRACKS_PER_SESSION,
    Candidate,
    EngineName,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    ShownTrack,
    SubscribedMedia,
    Subscription,
    Track,
)
from signaling.negotiation import PeerNegotiation, Verdict
from signaling.sdp_summary import MediaLine, media_lines
from signaling.voice_packet import VoiceRun

logger = logging.getLogger("passerelle.signaling")

MAX_SESSIONS = 4
"""Each sends its picture to every other: a home line carries three."""


@dataclass(slots=True)
class _Session:
    room_id: str
    participant_id: str
    grants: MediaGrants
    tracks: dict[str, Track] = field(default_factory=dict)
    negotiations: dict[str, PeerNegotiation] = field(default_factory=dict)
    """By the other session's id; both have the same object."""


class P2pEngine:
    """Implements `signaling.engines.MediaEngine`."""

    def __init__(self, sink: EngineSink, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
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
        if session_id in self._sessions:
            return
        peers = self._rooms.get(room_id, [])
        if len(peers) >= MAX_SESSIONS:
            raise EngineUnavailable(f"no more than {MAX_SESSIONS} devices in a private call")
        session = self._sessions[session_id] = _Session(room_id, participant_id, grants)
        for peer in peers:
            first = self._sessions[peer]
            first.negotiations[session_id] = session.negotiations[peer] = PeerNegotiation(peer, session_id)
            self._sink(PeerAppeared(room_id, session_id, peer, first.participant_id, polite=True))
            self._sink(PeerAppeared(room_id, peer, session_id, participant_id, polite=False))
        self._rooms.setdefault(room_id, []).append(session_id)

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        session = self._sessions.get(session_id)
        if session is None:
            return
        session.grants = grants
        for track in tuple(session.tracks.values()):
            if not is_granted(track.source, grants):
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
            del self._sessions[peer].negotiations[session_id]
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
        if to_session_id is None or to_session_id not in session.negotiations:
            return
        carried: Sequence[PublishedMedia] = ()
        if description.type != "rollback":
            carried = _check_media(description.sdp, media, session)
            self._check_ids(session, carried)
        verdict = session.negotiations[to_session_id].receive(session_id, description.type, negotiation, self._clock())
        if verdict is not Verdict.NEW:
            logger.debug("session %s: %s %d dropped: %s", session_id, description.type, negotiation, verdict.value)
            return
        self._learn(session_id, session, carried)
        named = [
            SubscribedMedia(mid=one.mid, track_id=one.track_id, participant_id=session.participant_id)
            for one in carried
        ]
        self._sink(
            DescriptionToSend(
                session.room_id, to_session_id, "peer", negotiation, description, named, from_session_id=session_id
            )
        )

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        session = self._sessions.get(session_id)
        if session is not None and to_session_id is not None and to_session_id in session.negotiations:
            self._sink(CandidateToSend(session.room_id, to_session_id, "peer", candidate, from_session_id=session_id))

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        session = self._sessions.get(session_id)
        if session is None or track_id not in session.tracks or session.tracks[track_id].muted == muted:
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

    async def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        """Nothing: the pictures are not ours to hold back."""

    async def set_fallback(self, session_id: str, wish: Fallback) -> None:
        if wish.track_id is not None or wish.listens:
            raise EngineUnavailable("a private room has no server end that may hear")

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        return None

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        return None  # browsers restart ICE

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        raise EngineUnavailable("a private room has no server end to publish to")

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        raise EngineUnavailable("a private room has no server end to watch")

    def health(self) -> EngineHealth:
        return EngineHealth(ready=True, rooms=len(self._rooms), sessions=len(self._sessions))

    def reachability(self) -> Sequence[ReachabilityTarget]:
        """None: media touch no server."""
        return ()

    def _check_ids(self, session: _Session, media: Sequence[PublishedMedia]) -> None:
        for peer in session.negotiations:
            if any(one.track_id in self._sessions[peer].tracks for one in media):
                raise ValueError("the track id is taken")

    def _learn(self, session_id: str, session: _Session, media: Sequence[PublishedMedia]) -> None:
        """Tracks are announced once, by the first description to any peer; only muting follows later
        ones, for a description made before a host muted must not undo it."""
        for published in media:
            known = session.tracks.get(published.track_id)
            if known is not None:
                if not published.muted or known.muted:
                    continue
                track = msgspec.structs.replace(known, muted=True)
            else:
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


def _check_media(sdp: str, media: Sequence[PublishedMedia], session: _Session) -> list[PublishedMedia]:
    """The named tracks that the description sends. Raises: ValueError."""
    lines = media_lines(sdp)
    named = {one.mid: one for one in media}
    if "" in named or len(named) != len(media) or len({one.track_id for one in media}) != len(media):
        raise ValueError("a media line or a track is named twice")
    for one in media:
        if not is_granted(one.source, session.grants):
            raise ValueError(f"this participant may not publish a {one.source}")
        if one.track_id in session.tracks and session.tracks[one.track_id].source != one.source:
            raise ValueError("a track cannot change its source")
    sent = _check_lines(lines, named, session.grants)
    if len(session.tracks.keys() | {one.track_id for one in sent}) > MAX_TRACKS_PER_SESSION:
        raise ValueError(f"no more than {MAX_TRACKS_PER_SESSION} tracks")
    return sent


def _check_lines(
    lines: Sequence[MediaLine], named: dict[str, PublishedMedia], grants: MediaGrants
) -> list[PublishedMedia]:
    """Whoever may send nothing of a kind may not even offer to. Raises: ValueError."""
    if not grants.sound and any(line.kind == "audio" and line.direction != "inactive" for line in lines):
        raise ValueError("a session without sound neither sends nor receives any")
    sent: list[PublishedMedia] = []
    unnamed = {"audio": grants.publish_audio, "video": grants.publish_video, "application": True}
    for line in lines:
        one = named.get(line.mid)
        if one is not None and KIND_OF_SOURCE[one.source] != line.kind:
            raise ValueError("a track's source does not fit its media line's kind")
        if not line.sends:
            continue
        if one is not None:
            sent.append(one)
        elif not unnamed[line.kind]:
            raise ValueError(f"this participant may not send {line.kind}")
    if not named.keys() <= {line.mid for line in lines}:
        raise ValueError("a track is named for a media line that is not there")
    return sent
