"""A room that stands still is silent: what was heard is muted until it goes on, what begins meanwhile begins muted.

Pure: it says what is to be muted, and remembers it with the session. A mute of one's own, or of a host's, is not of
its making, and is not undone by it.
"""

from collections.abc import Sequence

import msgspec

from signaling.messages import Description
from signaling.ports import MediaRights
from signaling.published_tracks import PublishedTracks
from signaling.sessions import MediaSession

MAX_SILENCED = 64
"""Tracks of one session that a frozen room keeps muted: several times what a session may publish."""


class RoomSilence:
    def __init__(self, rights: MediaRights, tracks: PublishedTracks) -> None:
        self._rights = rights
        self._tracks = tracks

    def is_on(self, session: MediaSession) -> bool:
        """Whether the room stands still for whoever has this session."""
        return self._rights.is_silenced(session.room_id, session.participant_id)

    def judge_mute(self, session: MediaSession, track_id: str, muted: bool) -> bool:
        """What becomes of a wish to mute or unmute: an unmuted track is heard when the room goes on."""
        session.silenced.discard(track_id)
        if muted or not self.is_on(session):
            return muted
        if track_id in self._tracks.of_room(session.room_id):
            session.silenced.add(track_id)
        return True

    def begin_muted(self, session: MediaSession, request: Description) -> Description:
        """The description, with what is new in it muted while the room stands still."""
        if not self.is_on(session):
            return request
        media = [
            msgspec.structs.replace(one, muted=one.muted or self.keep_new(session, one.track_id))
            for one in request.media
        ]
        return msgspec.structs.replace(request, media=media)

    def keep_new(self, session: MediaSession, track_id: str) -> bool:
        """Whether the track is new here: then it is muted because the room stands still."""
        is_new = track_id not in self._tracks.of_room(session.room_id)
        if is_new and len(session.silenced) < MAX_SILENCED:
            session.silenced.add(track_id)
        return is_new

    def turned(self, session: MediaSession) -> tuple[bool, Sequence[str]]:
        """The room stands still from now on, or goes on: whether to mute, and which tracks."""
        if not self.is_on(session):
            kept, session.silenced = list(session.silenced), set()
            return False, kept
        tracks = self._tracks.of_room(session.room_id).values()
        heard = [each.id for each in tracks if each.session_id == session.id and not each.muted]
        session.silenced.update(heard)
        return True, heard
