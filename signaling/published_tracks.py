"""Every track of every room, as its people were told of it."""

from collections.abc import Mapping

from signaling.messages import Track
from signaling.ports import MediaOutbox


class PublishedTracks:
    """Tells the room of each change; says nothing twice."""

    def __init__(self, outbox: MediaOutbox) -> None:
        self._outbox = outbox
        self._by_room: dict[str, dict[str, Track]] = {}

    def of_room(self, room_id: str) -> Mapping[str, Track]:
        """By track id."""
        return self._by_room.get(room_id, {})

    def put(self, room_id: str, track: Track) -> None:
        """A track appeared or changed."""
        self._by_room.setdefault(room_id, {})[track.id] = track
        self._outbox.track_changed(room_id, track)

    def remove(self, room_id: str, track_id: str) -> None:
        tracks = self._by_room.get(room_id, {})
        if tracks.pop(track_id, None) is not None:
            self._outbox.track_gone(room_id, track_id)
        if not tracks:
            self._by_room.pop(room_id, None)

    def remove_of_session(self, room_id: str, session_id: str) -> None:
        left = [track.id for track in self.of_room(room_id).values() if track.session_id == session_id]
        for track_id in left:
            self.remove(room_id, track_id)
