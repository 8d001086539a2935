"""Who is inside, who waits, who may do what: questions to a room's state. Nothing here changes one."""

import math
from collections.abc import Iterable

from rooms.errors import Denied, NotAdmitted, NotFound, PermissionDenied, Removed
from rooms.models import Participant, ParticipantStatus, RoomState
from rooms.roles import Permission, permissions_of

TICK_S = 1e-6
"""Least distance of two times that give an order: at today's epoch a float still tells them apart."""

_REFUSAL = {
    ParticipantStatus.REMOVED: Removed,
    ParticipantStatus.DENIED: Denied,
    ParticipantStatus.LEFT: NotAdmitted,
}


def has_permission(state: RoomState, participant_id: str, permission: Permission) -> bool:
    """Whether this participant may do that, now. False for whoever is not inside."""
    participant = state.participants.get(participant_id)
    if participant is None or participant.status is not ParticipantStatus.ADMITTED:
        return False
    return permission in permissions_of(participant.role, state.settings, state.kind, is_frozen=state.watch.is_frozen)


def admitted(state: RoomState) -> list[Participant]:
    """Who is inside, first come first."""
    inside = _with_status(state, ParticipantStatus.ADMITTED)
    return sorted(inside, key=lambda person: (person.joined_at or 0.0, person.created_at, person.id))


def waiting(state: RoomState) -> list[Participant]:
    """The lobby, first come first."""
    return sorted(_with_status(state, ParticipantStatus.WAITING), key=lambda person: (person.created_at, person.id))


def _with_status(state: RoomState, status: ParticipantStatus) -> list[Participant]:
    return [person for person in state.participants.values() if person.status is status]


def known(state: RoomState, participant_id: str | None) -> Participant:
    """Whoever the room remembers under that id. Raises: NotFound."""
    participant = state.participants.get(participant_id) if participant_id is not None else None
    if participant is None:
        raise NotFound
    return participant


def present(state: RoomState, participant_id: str | None) -> Participant:
    """Who is inside or in the lobby. Raises: NotFound, NotAdmitted, Denied, Removed."""
    participant = known(state, participant_id)
    if participant.status in _REFUSAL:
        raise _REFUSAL[participant.status]
    return participant


def inside(state: RoomState, participant_id: str | None) -> Participant:
    """Who is inside. Raises: NotFound, NotAdmitted, Denied, Removed."""
    participant = present(state, participant_id)
    if participant.status is not ParticipantStatus.ADMITTED:
        raise NotAdmitted
    return participant


def require(state: RoomState, actor_id: str | None, permission: Permission) -> Participant:
    """The actor, who is inside and may do that. Raises: as `inside`, and PermissionDenied."""
    actor = inside(state, actor_id)
    if not has_permission(state, actor.id, permission):
        raise PermissionDenied(permission)
    return actor


def time_after(now: float, earlier: Iterable[float]) -> float:
    """`now`, or a tick later than the last of `earlier`: a line keeps its order when two come in the
    same instant, and when the machine's clock is set back."""
    return max(now, max(earlier, default=-math.inf) + TICK_S)
