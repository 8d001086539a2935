"""The contract of media engines: what carries a room's media, behind one interface.

An engine asks nobody for permission: its caller (`signaling.media_session`) has checked rights
before. Everything an engine has to say comes out as an `EngineEvent` through the sink it was made
with; the sink never blocks and never raises. Every method may be called for a room or session the
engine does not know (any more): then it does nothing, for a session can end while a message about
it is under way. Only `open_session` raises, `EngineUnavailable`, when there is no capacity or no
worker.

Twins: `p2p`, `sfu`, later `janus`; one test suite, `tests/signaling/test_engine_contract.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from signaling.messages import (
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
from signaling.voice_packet import VoiceRun


class EngineUnavailable(Exception):
    """The engine cannot take the session now; `code` is what the client is told."""

    code = "media-unavailable"


@dataclass(frozen=True, slots=True)
class MediaGrants:
    """What a session may do, decided by the room's permissions table; checked again on change."""

    publish_audio: bool
    publish_video: bool
    publish_screen: bool
    subscribe: bool
    sound: bool = True
    """False: of a device beside one that has the sound. None is taken from it, and none goes to it."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """What of a session goes by its signaling connection; see `signaling.messages.SetFallback`."""

    track_id: str | None
    muted: bool
    listens: bool
    interval_s: float


@dataclass(frozen=True, slots=True)
class DescriptionToSend:
    """Send this description to the client of `session_id`."""

    room_id: str
    session_id: str
    pc: PeerConnectionName
    negotiation: int
    description: SessionDescription
    media: Sequence[SubscribedMedia] = field(default_factory=tuple)
    from_session_id: str | None = None
    """p2p: whose description it is."""


@dataclass(frozen=True, slots=True)
class CandidateToSend:
    room_id: str
    session_id: str
    pc: PeerConnectionName
    candidate: Candidate | None
    from_session_id: str | None = None


@dataclass(frozen=True, slots=True)
class PeerAppeared:
    """p2p: tell `session_id` that `peer_session_id` is there."""

    room_id: str
    session_id: str
    peer_session_id: str
    peer_participant_id: str
    polite: bool


@dataclass(frozen=True, slots=True)
class PeerDisappeared:
    room_id: str
    session_id: str
    peer_session_id: str


@dataclass(frozen=True, slots=True)
class TrackAppeared:
    """A track flows (sfu: its first packet may still be under way), or its `muted` changed."""

    room_id: str
    track: Track


@dataclass(frozen=True, slots=True)
class TrackDisappeared:
    room_id: str
    track_id: str


@dataclass(frozen=True, slots=True)
class LayersWatched:
    """Of a picture of `session_id` so many layers, counted from the smallest, are looked at now: tell its publisher.
    Each media line begins with all of them, which is said when it begins."""

    room_id: str
    session_id: str
    track_id: str
    layers: int


@dataclass(frozen=True, slots=True)
class SpeakersHeard:
    """Participants loud now, loudest first."""

    room_id: str
    participant_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PeerConnectionLost:
    """The session (pc None) or one peer connection is gone on this side."""

    room_id: str
    session_id: str
    pc: PeerConnectionName | None
    reason: Literal["failed", "worker_lost"]


@dataclass(frozen=True, slots=True)
class VoiceToSend:
    """Sounds of others for a session that listens by its signaling connection."""

    room_id: str
    session_id: str
    runs: bytes
    """As `signaling.voice_packet.encode_runs` makes them."""


EngineEvent = (
    DescriptionToSend
    | CandidateToSend
    | PeerAppeared
    | PeerDisappeared
    | TrackAppeared
    | TrackDisappeared
    | LayersWatched
    | SpeakersHeard
    | PeerConnectionLost
    | VoiceToSend
)
EngineSink = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True)
class EngineHealth:
    ready: bool
    rooms: int
    sessions: int
    detail: str = ""
    workers: int = 0
    """Processes (or gateways) that carry its media and are ready; of an engine without any, 0."""


@dataclass(frozen=True, slots=True)
class ReachabilityTarget:
    """Where the engine answers ICE checks for anybody, so that a network can be tried before there is a session."""

    addresses: Sequence[str]
    port: int
    """UDP, on each of the addresses."""
    ufrag: str
    password: str


class MediaEngine(Protocol):
    """See the module's docstring for what holds for every method."""

    @property
    def name(self) -> EngineName: ...

    async def start(self) -> None:
        """Get ready (start the worker, connect to the gateways)."""

    async def stop(self) -> None:
        """Close every room and release every port, process and task."""

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        """A participant's share in the room's media begins. Raises: EngineUnavailable."""

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        """Rights changed: what is no longer allowed stops at once (RTP too)."""

    async def close_session(self, session_id: str) -> None:
        """Its tracks disappear, its peer connections close. A room without sessions is closed."""

    async def receive_description(
        self,
        session_id: str,
        pc: PeerConnectionName,
        negotiation: int,
        description: SessionDescription,
        media: Sequence[PublishedMedia],
        to_session_id: str | None,
    ) -> None:
        """A publish offer (answered by DescriptionToSend), a subscribe answer, or, p2p, either.

        Raises: ValueError when the description cannot be used (told to its sender)."""

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        """A trickled candidate; None is the end of candidates."""

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        """While muted no packet of the track leaves the engine (p2p: the SDK's duty)."""

    async def unpublish(self, session_id: str, track_id: str) -> None: ...

    async def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        """The whole set of tracks wanted; None: all of the room."""

    async def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        """Every video track on the subscriber's page, with the size of its tile; of others no picture is
        sent. Sound is not touched, nothing is negotiated. An engine with layers sends the smallest
        that fills the tile; one without may do nothing here."""

    async def set_fallback(self, session_id: str, wish: Fallback) -> None:
        """No path of ICE works: voice goes by the signaling connection, from now on or no longer. What others
        say comes as VoiceToSend; a microphone's track is one like any other.

        Raises: EngineUnavailable where it cannot be done; ValueError when the track cannot be this session's."""

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        """What the session's microphone sent by its signaling connection. Never blocks; what is of no such track
        is dropped."""

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        """Forget this peer connection; the next offer is for a fresh one."""

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        """RFC 9725: one publish offer by HTTP, all tracks named by the engine (first audio:
        microphone, first video: camera); the answer's SDP with all candidates.

        Raises: ValueError; EngineUnavailable (p2p has no server end: always)."""

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        """draft-ietf-wish-whep: one receive-only offer by HTTP; the answer's SDP sends the
        room's first tracks into its m-lines, by kind. Raises: as accept_whip."""

    def health(self) -> EngineHealth: ...

    def reachability(self) -> Sequence[ReachabilityTarget]:
        """Of each process that carries media and answers such checks now; none where media do not come to a process
        of ours."""
