"""The room decides: a state and a command make events, a state and an event make the next state.

Only here does a room change. `decide` refuses with a RoomError or says what happens, `apply` makes
it so; neither reads a clock, and a refused command changes nothing. What never happens: somebody
who was removed comes back under that id; somebody waiting learns who is inside; `seq` stands still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rooms.commands import (
    Admit,
    AskToJoin,
    ComeBack,
    Command,
    Configure,
    Connect,
    Deny,
    Disconnect,
    Leave,
    Remove,
    RemoveInvited,
    Rename,
    SetHand,
)
from rooms.errors import (
    Contradiction,
    NotAdmitted,
    NotFound,
    PermissionDenied,
    RoomFull,
)
from rooms.errors import ParticipantDenied as DeniedError
from rooms.errors import ParticipantRemoved as RemovedError
from rooms.events import (
    Event,
    ParticipantAdmitted,
    ParticipantChanged,
    ParticipantDenied,
    ParticipantGone,
    ParticipantWaited,
    RoomConfigured,
)
from rooms.models import Participant, ParticipantStatus, RoomState
from rooms.names import clean_name
from rooms.roles import ROLES_OF_KIND, Permission, permissions_of

MAX_ADMITTED = 400
"""People inside at once: thirty classes with their devices; more is a webinar, another kind of room."""
MAX_WAITING = 100
"""In the lobby at once: what a host can still read through; an open link cannot fill the memory."""
MAX_REMEMBERED = 2_000
"""Participants a room remembers, gone ones included; the longest gone are forgotten first."""

Status = ParticipantStatus


def has_permission(state: RoomState, participant_id: str, permission: Permission) -> bool:
    """Whether this participant may do that, now."""
    participant = state.participants.get(participant_id)
    if participant is None or participant.status is not Status.ADMITTED:
        return False
    return permission in permissions_of(participant.role, state.settings, state.kind)


def decide(state: RoomState, command: Command, actor_id: str | None, now: float) -> Sequence[Event]:
    """What happens when `actor_id` (None: the server itself) asks for `command`.

    Raises: RoomError."""
    match command:
        case AskToJoin():
            return _ask_to_join(state, command, now)
        case ComeBack():
            return _come_back(state, command, now)
        case Admit(participant_id):
            return _admit(state, require(state, actor_id, Permission.ADMIT), participant_id, now)
        case Deny(participant_id):
            return _deny(state, require(state, actor_id, Permission.ADMIT), participant_id)
        case Remove(participant_id):
            return _remove(state, require(state, actor_id, Permission.REMOVE), participant_id)
        case RemoveInvited(invitation_id):
            return _remove_invited(state, invitation_id)
        case SetHand():
            return _set_hand(state, command, actor_id, now)
        case Rename(name):
            return _changed(_present(state, actor_id), name=clean_name(name))
        case Configure():
            return _configure(state, command, actor_id)
        case Connect():
            return _changed(_present(state, actor_id), connected=True)
        case Disconnect():
            return _changed(_present(state, actor_id), connected=False)
        case Leave():
            return [ParticipantGone(_present(state, actor_id).id, "left")]


def apply(state: RoomState, event: Event, now: float) -> RoomState:
    """The state after the event."""
    people = dict(state.participants)
    match event:
        case ParticipantWaited(participant) | ParticipantAdmitted(participant) | ParticipantChanged(participant):
            people[participant.id] = participant
        case ParticipantDenied(participant_id):
            people[participant_id] = _out(people[participant_id], Status.DENIED)
        case ParticipantGone(participant_id, reason):
            status = Status.LEFT if reason == "left" else Status.REMOVED
            people[participant_id] = _out(people[participant_id], status)
        case RoomConfigured(settings):
            state = replace(state, settings=settings)
    return replace(state, participants=_remembered(people), seq=state.seq + 1, last_active_at=now)


def admitted(state: RoomState) -> list[Participant]:
    """Who is inside, first come first."""
    inside = [person for person in state.participants.values() if person.status is Status.ADMITTED]
    return sorted(inside, key=lambda person: (person.joined_at or 0.0, person.created_at, person.id))


def waiting(state: RoomState) -> list[Participant]:
    """The lobby, first come first."""
    outside = [person for person in state.participants.values() if person.status is Status.WAITING]
    return sorted(outside, key=lambda person: (person.created_at, person.id))


def raised_hands(state: RoomState) -> list[Participant]:
    """Raised hands in their order; a lost connection does not lose the place."""
    raised = [person for person in admitted(state) if person.hand_raised_at is not None]
    return sorted(raised, key=lambda person: (person.hand_raised_at or 0.0, person.id))


# --- decisions ---------------------------------------------------------------------------------


def _ask_to_join(state: RoomState, command: AskToJoin, now: float) -> Sequence[Event]:
    if command.role not in ROLES_OF_KIND[state.kind]:
        raise PermissionDenied(f"to be {command.role} in a room of kind {state.kind}")
    participant = Participant(
        id=command.participant_id,
        name=clean_name(command.name),
        role=command.role,
        status=Status.WAITING,
        invitation_id=command.invitation_id,
        label=command.label,
        created_at=now,
    )
    if command.lobby:
        return [_wait(state, participant)]
    return [_enter(state, participant, now)]


def _come_back(state: RoomState, command: ComeBack, now: float) -> Sequence[Event]:
    participant = state.participants.get(command.participant_id)
    if participant is None:
        raise NotFound
    if participant.status is Status.REMOVED:
        raise RemovedError
    if participant.status is Status.DENIED:
        raise DeniedError
    renamed = replace(participant, name=clean_name(command.name))
    if participant.status is Status.LEFT:
        if participant.joined_at is None:
            # Left the lobby: the place in the line was given up with it.
            return [_wait(state, replace(renamed, created_at=now))]
        return [_enter(state, renamed, now)]
    if renamed == participant:
        return []
    return [ParticipantWaited(renamed) if participant.status is Status.WAITING else ParticipantChanged(renamed)]


def _wait(state: RoomState, participant: Participant) -> Event:
    if len(waiting(state)) >= MAX_WAITING:
        raise RoomFull(f"{MAX_WAITING} people in the lobby")
    return ParticipantWaited(replace(participant, status=Status.WAITING, connected=False, hand_raised_at=None))


def _enter(state: RoomState, participant: Participant, now: float) -> Event:
    if len(admitted(state)) >= MAX_ADMITTED:
        raise RoomFull(f"{MAX_ADMITTED} people in the room")
    return ParticipantAdmitted(replace(participant, status=Status.ADMITTED, joined_at=now))


def _admit(state: RoomState, _host: Participant, participant_id: str, now: float) -> Sequence[Event]:
    participant = _known(state, participant_id)
    if participant.status is Status.ADMITTED:
        return []  # two hosts clicked; both meant this
    if participant.status is not Status.WAITING:
        raise Contradiction(f"this participant is {participant.status}")
    return [_enter(state, participant, now)]


def _deny(state: RoomState, _host: Participant, participant_id: str) -> Sequence[Event]:
    participant = _known(state, participant_id)
    if participant.status is Status.DENIED:
        return []
    if participant.status is not Status.WAITING:
        raise Contradiction(f"this participant is {participant.status}")
    return [ParticipantDenied(participant_id)]


def _remove(state: RoomState, host: Participant, participant_id: str) -> Sequence[Event]:
    participant = _known(state, participant_id)
    if participant.status is Status.REMOVED:
        return []
    if participant.id == host.id:
        raise Contradiction("a host leaves, and is not removed by themselves")
    return [ParticipantGone(participant_id, "removed")]


def _remove_invited(state: RoomState, invitation_id: str) -> Sequence[Event]:
    return [
        ParticipantGone(participant.id, "revoked")
        for participant in state.participants.values()
        if participant.invitation_id == invitation_id and participant.status is not Status.REMOVED
    ]


def _set_hand(state: RoomState, command: SetHand, actor_id: str | None, now: float) -> Sequence[Event]:
    actor = _inside(state, actor_id)
    if command.participant_id is None or command.participant_id == actor.id:
        if command.raised:
            require(state, actor_id, Permission.RAISE_HAND)
        target = actor
    else:
        require(state, actor_id, Permission.LOWER_HANDS)
        if command.raised:
            raise PermissionDenied(f"to {Permission.RAISE_HAND} for somebody else")
        target = _known(state, command.participant_id)
        if target.status is not Status.ADMITTED:
            raise NotFound
    if command.raised and target.hand_raised_at is not None:
        return []  # keeps its place
    return _changed(target, hand_raised_at=now if command.raised else None)


def _configure(state: RoomState, command: Configure, actor_id: str | None) -> Sequence[Event]:
    require(state, actor_id, Permission.CONFIGURE_ROOM)
    settings = state.settings
    if command.lobby_roles is not None:
        settings = replace(settings, lobby_roles=command.lobby_roles)
    if command.chat_enabled is not None:
        settings = replace(settings, chat_enabled=command.chat_enabled)
    if command.writing_enabled is not None:
        settings = replace(settings, writing_enabled=command.writing_enabled)
    return [] if settings == state.settings else [RoomConfigured(settings)]


# --- who asks ------------------------------------------------------------------------------------


def require(state: RoomState, actor_id: str | None, permission: Permission) -> Participant:
    """The actor, who is inside and may do that. Raises: RoomError."""
    actor = _inside(state, actor_id)
    if not has_permission(state, actor.id, permission):
        raise PermissionDenied(permission)
    return actor


def _inside(state: RoomState, actor_id: str | None) -> Participant:
    actor = _present(state, actor_id)
    if actor.status is not Status.ADMITTED:
        raise NotAdmitted
    return actor


def _present(state: RoomState, actor_id: str | None) -> Participant:
    """Inside or in the lobby."""
    participant = state.participants.get(actor_id) if actor_id is not None else None
    if participant is None:
        raise NotFound
    if participant.status is Status.REMOVED:
        raise RemovedError
    if participant.status is Status.DENIED:
        raise DeniedError
    if participant.status is Status.LEFT:
        raise NotAdmitted
    return participant


def _known(state: RoomState, participant_id: str) -> Participant:
    participant = state.participants.get(participant_id)
    if participant is None:
        raise NotFound
    return participant


# --- small changes -------------------------------------------------------------------------------


def _changed(participant: Participant, **change: object) -> Sequence[Event]:
    changed = replace(participant, **change)  # type: ignore[arg-type]
    if changed == participant:
        return []
    return [ParticipantWaited(changed) if changed.status is Status.WAITING else ParticipantChanged(changed)]


def _out(participant: Participant, status: ParticipantStatus) -> Participant:
    return replace(participant, status=status, connected=False, hand_raised_at=None)


def _remembered(people: Mapping[str, Participant]) -> Mapping[str, Participant]:
    """Drop the longest gone when there are too many. A removed one is kept longest: forgetting them
    would not let them back in either, for their token then names nobody."""
    if len(people) <= MAX_REMEMBERED:
        return people
    gone = [person for person in people.values() if person.status not in (Status.ADMITTED, Status.WAITING)]
    gone.sort(key=lambda person: (person.status is Status.REMOVED, person.created_at))
    forgotten = {person.id for person in gone[: len(people) - MAX_REMEMBERED]}
    return {person_id: person for person_id, person in people.items() if person_id not in forgotten}
