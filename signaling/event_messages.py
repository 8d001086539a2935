"""What an engine says, in the words of the wire."""

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    LayersWatched,
    PeerAppeared,
    PeerConnectionLost,
    PeerDisappeared,
)
from signaling.messages import LayersWanted, MediaClosed, MediaPeer, PeerLeft, ServerCandidate, ServerDescription


def server_description(event: DescriptionToSend) -> ServerDescription:
    return ServerDescription(
        session_id=event.session_id,
        pc=event.pc,
        negotiation=event.negotiation,
        description=event.description,
        media=list(event.media),
        from_=event.from_session_id,
    )


def server_candidate(event: CandidateToSend) -> ServerCandidate:
    return ServerCandidate(
        session_id=event.session_id, pc=event.pc, candidate=event.candidate, from_=event.from_session_id
    )


def media_peer(event: PeerAppeared) -> MediaPeer:
    return MediaPeer(session_id=event.peer_session_id, participant_id=event.peer_participant_id, polite=event.polite)


def peer_left(event: PeerDisappeared) -> PeerLeft:
    return PeerLeft(session_id=event.session_id, peer_session_id=event.peer_session_id)


def layers_wanted(event: LayersWatched) -> LayersWanted:
    return LayersWanted(session_id=event.session_id, track_id=event.track_id, layers=event.layers)


def media_closed(event: PeerConnectionLost) -> MediaClosed:
    """What an engine loses may be begun again."""
    return MediaClosed(session_id=event.session_id, pc=event.pc, reason=event.reason, retry=True)
