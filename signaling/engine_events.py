"""What engines say, turned into messages for clients and news for rooms."""

from collections.abc import Callable

import msgspec

from signaling.engines import (
    CandidateToSend,
    DescriptionToSend,
    EngineEvent,
    LayersWatched,
    PeerAppeared,
    PeerConnectionLost,
    PeerDisappeared,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
    VoiceToSend,
)
from signaling.event_messages import (
    layers_wanted,
    media_closed,
    media_peer,
    peer_left,
    server_candidate,
    server_description,
)
from signaling.messages import PeerJoined
from signaling.negotiation import Verdict
from signaling.ports import MediaOutbox
from signaling.published_tracks import PublishedTracks
from signaling.sessions import MediaSession, SessionRegister


class EngineEvents:
    """The engines' sink: never blocks, never raises. `end` is called for a session that its engine gave up."""

    def __init__(
        self,
        sessions: SessionRegister,
        tracks: PublishedTracks,
        outbox: MediaOutbox,
        end: Callable[[MediaSession], None],
    ) -> None:
        self._sessions = sessions
        self._tracks = tracks
        self._outbox = outbox
        self._end = end

    def __call__(self, event: EngineEvent) -> None:
        match event:
            case TrackAppeared(room_id, track):
                # Not of a session that ends: nobody would take the track away again.
                if self._sessions.get(track.session_id) is not None:
                    self._tracks.put(room_id, track)
            case TrackDisappeared(room_id, track_id):
                gone = self._tracks.of_room(room_id).get(track_id)
                publisher = None if gone is None else self._sessions.get(gone.session_id)
                if publisher is not None:
                    publisher.layers_watched.pop(track_id, None)
                self._tracks.remove(room_id, track_id)
            case SpeakersHeard(room_id, participant_ids):
                self._outbox.speakers_changed(room_id, participant_ids)
            case _:
                session = self._sessions.get(event.session_id)
                if session is not None:
                    self._session_event(session, event)

    def _session_event(self, session: MediaSession, event: EngineEvent) -> None:
        match event:
            case DescriptionToSend():
                self._description(session, event)
            case CandidateToSend():
                self.send(session, "media_candidate", server_candidate(event))
            case PeerAppeared():
                self._peer_appeared(session, event)
            case PeerDisappeared():
                session.peers.pop(event.peer_session_id, None)
                self.send(session, "media_peer_left", peer_left(event))
            case LayersWatched():
                self._layers_watched(session, event)
            case VoiceToSend():
                self._voice(session, event.runs)
            case PeerConnectionLost():
                self.send(session, "media_closed", media_closed(event))
                if event.pc is None or session.is_over_http:
                    self._end(session)
            case _:
                pass

    def _description(self, session: MediaSession, event: DescriptionToSend) -> None:
        if event.pc == "publish":
            if session.publish.judge_answer(event.negotiation) is not Verdict.NEW:
                return  # the client has offered anew meanwhile
            session.publish.settle(event.negotiation)
        elif event.pc == "subscribe":
            session.subscribe.reopen(event.negotiation)
        self.send(session, "media_description", server_description(event))

    def _layers_watched(self, session: MediaSession, event: LayersWatched) -> None:
        # A line that begins with all of its layers: its publisher knows, unless something else was said before.
        before = session.layers_watched.get(event.track_id, event.layers)
        session.layers_watched[event.track_id] = event.layers
        if event.layers != before:
            self.send(session, "media_layers", layers_wanted(event))

    def _voice(self, session: MediaSession, runs: bytes) -> None:
        if session.voice is None or session.connection_id is None:
            return
        session.voice.put(runs)
        self.send_voice(session)

    def send_voice(self, session: MediaSession) -> None:
        """What the session's voice channel lets go now."""
        if session.voice is None or session.connection_id is None:
            return
        for packet in session.voice.packets_to_send():
            self._outbox.send_voice(session.connection_id, packet)

    def _peer_appeared(self, session: MediaSession, event: PeerAppeared) -> None:
        peer = media_peer(event)
        session.peers[peer.session_id] = peer
        if not session.is_opening:  # else the answer to `start` names it
            self.send(session, "media_peer_joined", PeerJoined(session_id=session.id, peer=peer))

    def send(self, session: MediaSession, event: str, payload: msgspec.Struct) -> None:
        """To the client, now or when it can hear."""
        if session.is_over_http:
            return
        if session.connection_id is None or session.mailbox.is_holding:
            session.mailbox.put(event, payload)
        else:
            self._outbox.send(session.connection_id, event, payload)
