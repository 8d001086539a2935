"""What a reader may do, asked at each write: from the room as it is now, of which nothing old is kept."""

import sys
from dataclasses import replace

from rooms.commands import AskToJoin, Configure, Remove
from rooms.models import Freeze, Role, RoomKind, RoomState, Watch
from rooms.roles import Permission, default_settings
from rooms.room import apply, decide
from rooms.roster import has_permission
from rooms.supervision import is_silenced
from server.realtime.commands import ParticipantAccess


class OneRoom:
    """As much of a room manager as is asked."""

    def __init__(self) -> None:
        kind = RoomKind.INTERCLASS
        self.state: RoomState | None = RoomState("room-1", "Le fleuve", kind, 0.0, settings=default_settings(kind))

    def do(self, command: object, actor_id: str | None = None) -> None:
        assert self.state is not None
        for event in decide(self.state, command, actor_id, 1.0):  # type: ignore[arg-type]
            self.state = apply(self.state, event, 1.0)

    def state_now(self, _room_id: str) -> RoomState | None:
        return self.state

    def can(self, _room_id: str, participant_id: str, permission: Permission) -> bool:
        return self.state is not None and has_permission(self.state, participant_id, permission)

    def is_silenced(self, _room_id: str, participant_id: str) -> bool:
        return self.state is not None and is_silenced(self.state, participant_id)


def _room() -> OneRoom:
    rooms = OneRoom()
    rooms.do(AskToJoin("host", "Amélie", Role.HOST, "", None, lobby=False))
    rooms.do(AskToJoin("pupil", "Zoé", Role.PUPIL, "", None, lobby=False))
    return rooms


def _access(rooms: OneRoom) -> ParticipantAccess:
    return ParticipantAccess(rooms, "room-1", "pupil")  # type: ignore[arg-type]


def test_each_change_of_the_room_counts_at_once() -> None:
    rooms = _room()
    access = _access(rooms)
    assert access.can_read()
    assert access.can_write()
    rooms.do(Configure(writing_enabled=False), "host")
    assert access.can_read()
    assert not access.can_write()
    rooms.do(Configure(writing_enabled=True), "host")
    assert access.can_write()
    rooms.do(Remove("pupil"), "host")
    assert not access.can_read()
    assert not access.can_write()


def test_a_room_that_freezes_and_thaws_counts_at_once() -> None:
    rooms = _room()
    access = _access(rooms)
    assert access.can_write()
    assert not access.is_silenced()
    assert rooms.state is not None
    watched, rooms.state = rooms.state, replace(rooms.state, watch=Watch(True, 0.0, Freeze(1.0)))
    assert access.is_silenced()
    assert not access.can_write()
    assert access.can_read()
    rooms.state = watched
    assert not access.is_silenced()


def test_a_room_that_is_not_in_memory_lets_nobody_write() -> None:
    rooms = _room()
    access = _access(rooms)
    assert access.can_write()
    state, rooms.state = rooms.state, None
    assert not access.can_read()
    assert not access.can_write()
    rooms.state = state
    assert access.can_write()


def test_a_reader_keeps_no_state_of_the_room() -> None:
    """Each of 400 readers would else keep the roster as it was when it came: 400 times 400."""
    rooms = _room()
    assert rooms.state is not None
    state = replace(rooms.state)
    rooms.state = state
    before = sys.getrefcount(state)
    access = _access(rooms)
    assert access.can_write()
    assert sys.getrefcount(state) == before
