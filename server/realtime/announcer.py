"""What Socket.IO connections hear: the room's view when they come, then every event that is for them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from rooms.errors import RoomError
from rooms.events import ParticipantGone
from rooms.manager import RoomChange, RoomManager
from rooms.models import ParticipantStatus
from rooms.roles import Permission
from rooms.visibility import YouAreAdmitted, YouAreDenied, YouAreOut, hear, see
from server import presenter
from server.connections import Connections
from server.realtime.connection import SocketConnection
from server.realtime.packets import Packets, encode
from server.wire.registry import VOICE_EVENT
from server.wire.room import (
    ChatSent,
    LobbyState,
    RoomEventMessage,
    RoomView,
    SpeakersChanged,
    TrackPublished,
    TrackUnpublished,
)
from signaling.messages import Track
from signaling.ports import MediaDoor

_WHY_OUT = {
    ParticipantStatus.REMOVED: "removed",
    ParticipantStatus.DENIED: "denied",
    ParticipantStatus.LEFT: "left",
}


class SocketRegister:
    """The Socket.IO connections that have been let in, by id and by room."""

    def __init__(self) -> None:
        self._by_id: dict[str, SocketConnection] = {}
        self._by_room: dict[str, dict[str, SocketConnection]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[SocketConnection]:
        return iter(tuple(self._by_id.values()))

    def get(self, sid: str) -> SocketConnection | None:
        return self._by_id.get(sid)

    def of_room(self, room_id: str) -> list[SocketConnection]:
        return list(self._by_room.get(room_id, {}).values())

    def add(self, connection: SocketConnection) -> None:
        self._by_id[connection.connection_id] = connection
        self._by_room.setdefault(connection.room_id, {})[connection.connection_id] = connection

    def pop(self, sid: str) -> SocketConnection | None:
        connection = self._by_id.pop(sid, None)
        if connection is not None:
            in_room = self._by_room[connection.room_id]
            del in_room[sid]
            if not in_room:
                del self._by_room[connection.room_id]
        return connection


class Announcer:
    """Listens to the rooms and to media (`signaling.ports.MediaOutbox`). Never blocks, never raises."""

    def __init__(self, rooms: RoomManager, sockets: SocketRegister, connections: Connections) -> None:
        self._rooms = rooms
        self._sockets = sockets
        self._connections = connections
        self._media: MediaDoor

    def wire(self, media: MediaDoor) -> None:
        self._media = media
        self._rooms.add_listener(self.room_changed)

    # --- the view -----------------------------------------------------------------------------

    async def view(self, connection: SocketConnection) -> RoomView | None:
        """The room as this connection may see it now; None in the lobby. Its events go on from here.
        Raises: RoomError."""
        state = await self._rooms.get_state(connection.room_id)
        # Does not wait: the room is in memory since the line above. What is read here is one moment.
        chat = await self._rooms.chat_history(connection.room_id, connection.participant_id)
        seen = see(state, connection.participant_id)
        if seen is None:
            return None
        connection.sees_room = True
        connection.last_seq = state.seq
        return presenter.room_view(seen, self._media.tracks(connection.room_id), chat)

    async def greet(self, connection: SocketConnection) -> None:
        """The first word: the room, or that one waits."""
        if connection.ended or connection.sees_room:
            return
        try:
            view = await self.view(connection)
        except RoomError:
            connection.end("failed")
            return
        if view is None:
            connection.emit("lobby", LobbyState(state="waiting"))
        else:
            connection.emit("room_view", view)

    # --- the room's events ----------------------------------------------------------------------

    def room_changed(self, change: RoomChange) -> None:
        """A listener of the manager."""
        if change.chat is not None:
            self._tell_all(change.room_id, ChatSent(line=presenter.chat_line(change.chat)))
        sockets = self._sockets.of_room(change.room_id)
        for before, after, event in change.steps:
            for connection in sockets:
                for heard in hear(before, after, event, connection.participant_id):
                    self._hear(connection, after.seq, heard)
        self._end_who_is_out(change)

    def _hear(self, connection: SocketConnection, seq: int, heard: Any) -> None:
        if isinstance(heard, YouAreAdmitted):
            connection.emit("lobby", LobbyState(state="admitted"))
            connection.spawn(self.greet(connection))
        elif isinstance(heard, YouAreDenied):
            connection.emit("lobby", LobbyState(state="denied"))
        elif not isinstance(heard, YouAreOut) and connection.sees_room:
            event = presenter.room_event(heard)
            if event is not None:
                message = RoomEventMessage(seq=max(seq, connection.last_seq), prev=connection.last_seq, event=event)
                connection.last_seq = message.seq
                connection.emit("room_event", message)

    def _end_who_is_out(self, change: RoomChange) -> None:
        """Whoever is no longer inside or waiting loses every connection, of every kind, now."""
        gone = {event.participant_id: event.reason for event in change.events if isinstance(event, ParticipantGone)}
        for person_id, person in change.after.participants.items():
            old = change.before.participants.get(person_id)
            if old is None or old.status is person.status:
                continue
            reason = gone.get(person_id) or _WHY_OUT.get(person.status)
            if reason is not None:
                self._end_all(change.room_id, person_id, reason)

    def _end_all(self, room_id: str, participant_id: str, reason: str) -> None:
        for connection in self._connections.of_participant(room_id, participant_id):
            # Who asked to leave is answered first.
            if not (isinstance(connection, SocketConnection) and connection.is_leaving):
                connection.end(reason)

    # --- signaling.ports.MediaOutbox ------------------------------------------------------------

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None:
        connection = self._sockets.get(connection_id)
        if connection is not None:
            connection.emit(event, payload)

    def send_voice(self, connection_id: str, packet: bytes) -> None:
        connection = self._sockets.get(connection_id)
        if connection is not None:
            connection.emit(VOICE_EVENT, packet)

    def track_changed(self, room_id: str, track: Track) -> None:
        self._tell_all(room_id, TrackPublished(track=track))

    def track_gone(self, room_id: str, track_id: str) -> None:
        self._tell_all(room_id, TrackUnpublished(track_id=track_id))

    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None:
        self._tell_all(room_id, SpeakersChanged(participant_ids=list(participant_ids)))

    def _tell_all(self, room_id: str, event: Any) -> None:
        """What the state does not hold, and so does not number: encoded once for all who are equally far."""
        encoded: dict[int, Packets] = {}
        for connection in self._sockets.of_room(room_id):
            if not connection.sees_room:
                continue
            if not self._rooms.can(room_id, connection.participant_id, Permission.SEE_ROSTER):
                continue
            seq = connection.last_seq
            if seq not in encoded:
                encoded[seq] = encode("room_event", RoomEventMessage(seq=seq, prev=seq, event=event))
            connection.put(encoded[seq])
