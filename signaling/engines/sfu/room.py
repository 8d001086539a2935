"""A room's media in a worker: its sessions, their tracks, who speaks."""

from collections.abc import Callable, Sequence

from signaling.engines import EngineEvent, MediaGrants, SpeakersHeard
from signaling.engines.sfu.audible import AudibleVoices
from signaling.engines.sfu.published import PublishedTrack
from signaling.engines.sfu.session import Session
from signaling.engines.sfu.speakers import SpeakerDetector
from signaling.engines.sfu.transport import MediaNetwork


class MediaRoom:
    def __init__(self, network: MediaNetwork, room_id: str, emit: Callable[[EngineEvent], None]) -> None:
        self.id = room_id
        self.sessions: dict[str, Session] = {}
        self._network = network
        self._emit = emit
        self._speakers = SpeakerDetector()
        self._voices: AudibleVoices[PublishedTrack] = AudibleVoices()

    def open_session(self, session_id: str, participant_id: str, grants: MediaGrants) -> Session:
        session = Session(self._network, self, session_id, participant_id, grants, self._emit)
        self.sessions[session_id] = session
        session.refresh_subscription()
        return session

    def close_session(self, session_id: str) -> None:
        session = self.sessions.pop(session_id, None)
        if session is not None:
            session.close()
            self.tracks_changed()

    # --- for the sessions -----------------------------------------------------------------------

    def find_track(self, track_id: str) -> PublishedTrack | None:
        return next((each.tracks[track_id] for each in self.sessions.values() if track_id in each.tracks), None)

    def tracks_for(self, session: Session) -> Sequence[PublishedTrack]:
        return [track for other in self.sessions.values() if other is not session for track in other.tracks.values()]

    def tracks_changed(self) -> None:
        for session in self.sessions.values():
            session.refresh_subscription()

    def layers_changed(self, track: PublishedTrack) -> None:
        for session in self.sessions.values():
            if session.subscribe is not None and session.subscribe.carries(track):
                session.subscribe.allocate()

    def heard(self, track: PublishedTrack, level: int, now: float) -> None:
        if track.track.source != "microphone":
            return
        self._speakers.heard(track.track.participant_id, level, now)
        dropped = self._voices.heard(track, level, now)
        if dropped is not None:
            dropped.hold_back(True)
        track.hold_back(not self._voices.is_audible(track))

    def silenced(self, track: PublishedTrack) -> None:
        """Muted or gone."""
        if track.track.source == "microphone":
            self._speakers.forget(track.track.participant_id)
            self._voices.forget(track)

    def report_speakers(self, now: float) -> None:
        speakers = self._speakers.speakers_to_report(now)
        if speakers is not None:
            self._emit(SpeakersHeard(self.id, tuple(speakers)))
