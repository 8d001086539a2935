"""The wire messages of signaling: media sessions, descriptions, candidates, tracks.

A **media session** is one browser's (or SDK's) share in the media of a room. It has one or more
peer connections, each named by `pc`:

- engine `sfu` or `janus`: `publish` (the client offers what it sends) and `subscribe` (the server
  offers what the client receives), one offerer each (LiveKit does the same; aiortc has no rollback);
- engine `p2p`: one `peer` connection to each other session, by perfect negotiation
  (W3C webrtc-pc, section "Perfect negotiation example"); the server relays and checks.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_SDP_CHARACTERS = 64 * 1024
"""A 30-track offer of Chromium is about 40 kB."""
MAX_CANDIDATE_CHARACTERS = 1_024
MAX_TRACKS_PER_SESSION = 8
"""Camera, microphone, screen, screen sound, twice over."""
MAX_SUBSCRIPTIONS = 128
MAX_PICTURE_PIXELS = 8_192
"""Of a tile's side: an 8K projector."""
MIN_VOICE_INTERVAL_MS = 40
MAX_VOICE_INTERVAL_MS = 100
"""Of sound in one packet over the signaling connection: shorter costs a request each in long polling, longer is
heard as a delay."""

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]  # "$" alone lets a last line feed pass
TrackSource = Literal["camera", "microphone", "screen", "screen_audio"]
TrackKind = Literal["audio", "video"]
EngineName = Literal["p2p", "sfu", "janus"]
PeerConnectionName = Literal["publish", "subscribe", "peer"]


class Track(msgspec.Struct, kw_only=True):
    """One published audio or video flow, as everyone in the room knows it."""

    id: Id
    participant_id: Id
    session_id: Id
    """The media session that publishes it."""
    source: TrackSource
    kind: TrackKind
    muted: bool


class IceServer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """W3C RTCIceServer; credentials by TURN REST (draft-uberti-behave-turn-rest-00)."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


class SessionDescription(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """W3C RTCSessionDescriptionInit."""

    type: Literal["offer", "answer", "rollback"]
    sdp: Annotated[str, Meta(max_length=MAX_SDP_CHARACTERS)] = ""


class Candidate(msgspec.Struct, kw_only=True):
    """W3C RTCIceCandidateInit, names in snake_case. Unknown fields are ignored: browsers add some."""

    candidate: Annotated[str, Meta(max_length=MAX_CANDIDATE_CHARACTERS)]
    sdp_mid: Annotated[str, Meta(max_length=64)] | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=1_024)] | None = None
    username_fragment: Annotated[str, Meta(max_length=256)] | None = None


class PublishedMedia(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What an m-line of the client's offer (or, with p2p, of either side's) carries."""

    mid: Annotated[str, Meta(max_length=64)]
    track_id: Id
    """Made by the client, unique in the room (a UUID without dashes)."""
    source: TrackSource
    muted: bool = False


class SubscribedMedia(msgspec.Struct, kw_only=True):
    """What an m-line of the server's offer carries."""

    mid: str
    track_id: Id
    participant_id: Id


# --- client to server ---------------------------------------------------------------------------


class StartMedia(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_start`, answered with MediaStarted. With the id of a session that the server still
    holds (10 s after its connection was lost), that session goes on."""

    session_id: Id | None = None
    without_sound: bool = False
    """As in SetSound, from the beginning; of a session that goes on, from now on."""


class MediaPeer(msgspec.Struct, kw_only=True):
    """Another media session of the room (p2p only)."""

    session_id: Id
    participant_id: Id
    polite: bool
    """Whether the *receiver* of this message is the polite one towards that peer."""


class MediaStarted(msgspec.Struct, kw_only=True):
    session_id: Id
    engine: EngineName
    resumed: bool
    ice_servers: list[IceServer]
    ice_transport_policy: Literal["all", "relay"] = "all"
    peers: list[MediaPeer]
    """p2p: who is there; a newcomer offers to each. Of a resumed session, who is there now. Else empty."""
    layers: list["LayersWanted"] = []
    """Of a resumed session: of each of its pictures, how many layers anybody looks at now; of those not named, all."""


class Description(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_description`, from client to server.

    publish: offer with `media` naming every sending m-line; answered by `media_description` from
    the server with the same `negotiation`. subscribe: the answer to the server's `negotiation`.
    peer: either, for `to`.
    """

    session_id: Id
    pc: PeerConnectionName
    negotiation: Annotated[int, Meta(ge=0, le=2**31)]
    """Rises by one with each offer of this peer connection (peer: for as long as both sessions live); an
    answer carries its offer's. What is behind the present one is dropped."""
    description: SessionDescription
    media: Annotated[list[PublishedMedia], Meta(max_length=MAX_TRACKS_PER_SESSION)] = []
    to: Id | None = None
    """peer: the other media session."""


class TrickledCandidate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_candidate`, from client to server; `candidate` None: end of candidates."""

    session_id: Id
    pc: PeerConnectionName
    candidate: Candidate | None
    to: Id | None = None


class SetTrackMuted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_mute`: one's own track. A track that a host muted may be unmuted by its owner."""

    session_id: Id
    track_id: Id
    muted: bool


class Unpublish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_unpublish`: the track is gone at once; a new offer without its m-line may follow."""

    session_id: Id
    track_id: Id


class Subscription(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A wish for one track. With `max_height` its picture never comes much higher than so many pixels,
    whatever the layout says; an engine without layers ignores it."""

    track_id: Id
    max_height: Annotated[int, Meta(ge=0, le=4_320)] | None = None


class Subscribe(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_subscribe`: the whole set of tracks wanted now. Until a session sends one, it gets
    every track of the room."""

    session_id: Id
    tracks: Annotated[list[Subscription], Meta(max_length=MAX_SUBSCRIPTIONS)]


class ShownTrack(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A video track's tile: its size in device pixels."""

    track_id: Id
    width: Annotated[int, Meta(ge=1, le=MAX_PICTURE_PIXELS)]
    height: Annotated[int, Meta(ge=1, le=MAX_PICTURE_PIXELS)]


class SetLayout(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_layout`: every video track on the page now, with its size. Each comes in the smallest layer
    that fills its tile and that the line carries; pictures of tracks that are not named do not come,
    their sound does. Nothing is negotiated for it. Until a session sends one, all pictures come, as
    large as the line carries. An engine without layers may send what it has."""

    session_id: Id
    tracks: Annotated[list[ShownTrack], Meta(max_length=MAX_SUBSCRIPTIONS)]


class SetSound(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_sound`: whether sound is no matter of this device (any more), for another one beside it has it. Without
    sound, none comes to the session by whatever way, none is offered to it, and what it publishes of sound is gone;
    p2p: its descriptions neither send nor receive any."""

    session_id: Id
    without_sound: bool


class StopMedia(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_stop`"""

    session_id: Id


class SetFallback(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_fallback`: no path of ICE leads to the server, so voice goes by this connection (`media_voice`).
    The whole wish each time: without a track and without listening the voice's way ends."""

    session_id: Id
    track_id: Id | None = None
    """One's own microphone, which is published so: the id of a track of this session goes on, another is a new one.
    None: nothing is sent this way (any more)."""
    muted: bool = False
    listens: bool = False
    """Whether the others' sounds are wanted this way."""
    interval_ms: Annotated[int, Meta(ge=MIN_VOICE_INTERVAL_MS, le=MAX_VOICE_INTERVAL_MS)] = MIN_VOICE_INTERVAL_MS
    """How much sound the server gathers in a packet."""


class RebuildPeerConnection(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`media_rebuild`: forget this peer connection; the client's next publish offer, or the
    server's next subscribe offer, is for a fresh one (sfu; aiortc ignores ICE restart)."""

    session_id: Id
    pc: Literal["publish", "subscribe"]


# --- server to client ---------------------------------------------------------------------------


class ServerDescription(msgspec.Struct, kw_only=True):
    """`media_description`, from server to client.

    publish: the answer. subscribe: an offer; `media` names every m-line that carries something,
    the other m-lines are idle. peer: relayed from session `from_`, `media` its tracks.
    """

    session_id: Id
    pc: PeerConnectionName
    negotiation: int
    description: SessionDescription
    media: list[SubscribedMedia] = []
    from_: Id | None = msgspec.field(name="from", default=None)


class ServerCandidate(msgspec.Struct, kw_only=True):
    """`media_candidate`, from server to client."""

    session_id: Id
    pc: PeerConnectionName
    candidate: Candidate | None
    from_: Id | None = msgspec.field(name="from", default=None)


class PeerJoined(msgspec.Struct, kw_only=True):
    """`media_peer_joined` (p2p)."""

    session_id: Id
    """The receiver's own."""
    peer: MediaPeer


class PeerLeft(msgspec.Struct, kw_only=True):
    """`media_peer_left` (p2p)."""

    session_id: Id
    """The receiver's own."""
    peer_session_id: Id


class MediaClosed(msgspec.Struct, kw_only=True):
    """`media_closed`: the session, or one of its peer connections, is gone on the server. With
    `retry` the client starts again; without, it may not."""

    session_id: Id
    pc: PeerConnectionName | None
    reason: Literal["failed", "worker_lost", "forbidden", "room_closed", "stopped", "replaced"]
    retry: bool


class LayersWanted(msgspec.Struct, kw_only=True):
    """`media_layers`: how many layers of the receiver's own picture anybody looks at, counted from the smallest; 0:
    none. The others need not be sent until this rises again."""

    session_id: Id
    track_id: Id
    layers: int


class TrackMutedByHost(msgspec.Struct, kw_only=True):
    """`media_muted`: the receiver's own track was muted by a host."""

    session_id: Id
    track_id: Id
