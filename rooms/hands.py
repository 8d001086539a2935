"""Raised hands: one line for the whole room, first raised first called.

Everyone raises and lowers their own; who may lower hands lowers others', and raises nobody's. A
lost connection does not lose the place; leaving does.
"""

from collections.abc import Sequence
from dataclasses import replace

from rooms.commands import SetHand
from rooms.errors import NotFound, PermissionDenied
from rooms.events import Event, ParticipantChanged
from rooms.models import Participant, ParticipantStatus, RoomState
from rooms.roles import Permission
from rooms.roster import admitted, inside, require, time_after


def raised_hands(state: RoomState) -> list[Participant]:
    """The line, first raised first."""
    raised = [person for person in admitted(state) if person.hand_raised_at is not None]
    return sorted(raised, key=lambda person: (person.hand_raised_at or 0.0, person.id))


def set_hand(state: RoomState, command: SetHand, actor_id: str | None, now: float) -> Sequence[Event]:
    """What happens when `actor_id` asks for it. Raises: RoomError."""
    target = _whose(state, command, actor_id)
    if command.raised == (target.hand_raised_at is not None):
        return []  # raised again, it keeps its place
    raised_at = None
    if command.raised:
        raised_at = time_after(now, [person.hand_raised_at or 0.0 for person in raised_hands(state)])
    return [ParticipantChanged(replace(target, hand_raised_at=raised_at))]


def _whose(state: RoomState, command: SetHand, actor_id: str | None) -> Participant:
    """The participant whose hand it is, if the actor may set it so."""
    actor = inside(state, actor_id)
    if command.participant_id is None or command.participant_id == actor.id:
        # Lowering one's own is always allowed: it takes nothing from anyone.
        return require(state, actor.id, Permission.RAISE_HAND) if command.raised else actor
    require(state, actor.id, Permission.LOWER_HANDS)
    if command.raised:
        raise PermissionDenied(Permission.RAISE_HAND)
    target = state.participants.get(command.participant_id)
    if target is None or target.status is not ParticipantStatus.ADMITTED:
        raise NotFound
    return target
