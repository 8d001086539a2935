"""What is wrong with a description before any engine looks at it: the wrong kind of connection, media
that may not be published, or that somebody else publishes."""

from collections.abc import Mapping, Sequence

from signaling.engines import MediaGrants
from signaling.engines.granted import is_granted
from signaling.errors import SignalingError
from signaling.messages import EngineName, PeerConnectionName, PublishedMedia, Track

MAX_TRACKS_PER_ROOM = 200
"""Thirty classes with screens, twice over."""


def check_connection(engine: EngineName, pc: PeerConnectionName, to: str | None) -> None:
    """Whether a session of this engine has such a peer connection. Raises: SignalingError."""
    if (pc == "peer") != (engine == "p2p"):
        raise SignalingError("invalid-description", f"this session's engine has no {pc} connection")
    if (pc == "peer") != (to is not None):
        raise SignalingError("invalid-description", "`to` names the other session of a peer connection")


def check_microphone(session_id: str, track_id: str, grants: MediaGrants, known: Mapping[str, Track]) -> None:
    """Whether the session may publish this microphone, by whatever way. Raises: SignalingError."""
    media = PublishedMedia(mid="", track_id=track_id, source="microphone")
    check_media(session_id, (media,), grants, known)


def check_media(
    session_id: str, media: Sequence[PublishedMedia], grants: MediaGrants, known: Mapping[str, Track]
) -> None:
    """Whether the session may publish these tracks in a room with the `known` ones (by id).
    Raises: SignalingError."""
    ids = {one.track_id for one in media}
    if len(ids) != len(media):
        raise SignalingError("invalid-description", "two media lines name the same track")
    if len(known) + len(ids - known.keys()) > MAX_TRACKS_PER_ROOM:
        raise SignalingError("too-many-tracks", f"no more than {MAX_TRACKS_PER_ROOM} tracks in a room")
    for one in media:
        if not is_granted(one.source, grants):
            raise SignalingError("permission-denied", f"this participant may not publish a {one.source}")
        track = known.get(one.track_id)
        if track is not None and track.session_id != session_id:
            raise SignalingError("track-id-taken", "another session publishes a track of this id")
