"""The door: who comes in at once, who waits, who is let in, refused, put out, and who comes back.

Its races have one answer each:

- Two hosts click at once: the second gets success when both meant the same, AlreadyDecided when not.
- A guest closes the page and comes back: whoever waits keeps their place, whoever was inside is
  inside. Only who *leaves* the lobby gives the place up. A refusal stands, a removal stands.
- The host comes later: the lobby does not need one, it is there when they look.
- No adult is there (`rooms.supervision`): who comes in is held in the lobby and let in by itself
  when one is back. A host who has been inside before comes in past every lock and bound.
- A bound is reached: whoever has been away the longest makes room, and is let back in like anyone
  who left. Only where nobody is away does the room refuse.
"""

from collections.abc import Sequence
from dataclasses import replace

from rooms.commands import AskToJoin, ComeBack
from rooms.errors import AlreadyDecided, Denied, LastHost, NotOneself, Removed, RoleNotHere, RoomFull
from rooms.events import (
    Event,
    ParticipantAdmitted,
    ParticipantChanged,
    ParticipantDenied,
    ParticipantGone,
    ParticipantWaited,
)
from rooms.models import Participant, ParticipantStatus, Role, RoomState
from rooms.names import clean_name
from rooms.roles import ROLES_OF_KIND
from rooms.roster import admitted, known, time_after, waiting
from rooms.supervision import held, is_in_charge

MAX_ADMITTED = 400
"""People inside, connected or not: a dozen classes with all their devices; more is a webinar."""
MAX_WAITING = 100
"""In the lobby: what a host can still read through; an open link cannot fill the memory."""
MAX_HOSTS = 20
"""Who may run one room: the teachers of a dozen classes and a few guests of honour. Nobody makes
room for a host, so that a host is never put out by a crowd of others."""

Status = ParticipantStatus


# --- coming ------------------------------------------------------------------------------------


def ask_to_join(state: RoomState, command: AskToJoin, now: float) -> Sequence[Event]:
    """Raises: RoleNotHere, InvalidName, RoomFull."""
    if command.role not in ROLES_OF_KIND[state.kind]:
        raise RoleNotHere(command.role, state.kind)
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
        return _wait(state, participant, now)
    return _enter_or_be_held(state, participant, now)


def come_back(state: RoomState, command: ComeBack, now: float) -> Sequence[Event]:
    """Raises: NotFound, Denied, Removed, InvalidName, RoomFull."""
    participant = known(state, command.participant_id)
    renamed = replace(participant, name=clean_name(command.name))
    if state.watch.is_frozen and not runs_room(participant.role) and participant.status is Status.ADMITTED:
        renamed = participant  # a name is seen by everyone: it would be a way to write while nobody may
    match participant.status:
        case Status.REMOVED:
            raise Removed
        case Status.DENIED:
            raise Denied
        case Status.LEFT:
            return return_from_outside(state, renamed, now)
        case Status.WAITING:
            return [] if renamed == participant else [ParticipantWaited(renamed)]
        case Status.ADMITTED:
            return [] if renamed == participant else [ParticipantChanged(renamed)]


def return_from_outside(state: RoomState, participant: Participant, now: float) -> Sequence[Event]:
    """Who left the room is inside again; who left the lobby, at its end. Raises: RoomFull."""
    if participant.joined_at is None:
        return _wait(state, participant, now)
    return _enter_or_be_held(state, participant, now)


def admit_held(state: RoomState, now: float) -> Sequence[Event]:
    """The first of those who waited only for the room to thaw. Raises: RoomFull."""
    waiting_held = [] if state.watch.is_frozen else held(state)
    return _enter(state, waiting_held[0], now) if waiting_held else []


def _enter_or_be_held(state: RoomState, participant: Participant, now: float) -> Sequence[Event]:
    if not state.watch.is_frozen:
        return _enter(state, participant, now)
    if not runs_room(participant.role):
        return _wait(state, replace(participant, held=True), now)
    try:
        return _enter(state, participant, now)
    except RoomFull:
        if participant.joined_at is None:
            raise
        return [_entered(participant, now)]  # the adult is back: no bound stands in the way


def _wait(state: RoomState, participant: Participant, now: float) -> Sequence[Event]:
    line = waiting(state)
    freed: Sequence[Event] = ()
    if len(line) >= MAX_WAITING:
        freed = _make_room(line, MAX_WAITING, "people in the lobby")
    since = time_after(now, [person.created_at for person in line])
    return [*freed, ParticipantWaited(replace(participant, status=Status.WAITING, created_at=since))]


def _enter(state: RoomState, participant: Participant, now: float) -> Sequence[Event]:
    people = admitted(state)
    freed: Sequence[Event] = ()
    if runs_room(participant.role) and sum(runs_room(person.role) for person in people) >= MAX_HOSTS:
        raise RoomFull(MAX_HOSTS, "hosts")
    if len(people) >= MAX_ADMITTED:
        freed = _make_room(people, MAX_ADMITTED, "people in the room")
    return [*freed, _entered(participant, now)]


def _entered(participant: Participant, now: float) -> ParticipantAdmitted:
    return ParticipantAdmitted(replace(participant, status=Status.ADMITTED, joined_at=now, held=False))


def _make_room(people: Sequence[Participant], bound: int, what: str) -> Sequence[Event]:
    """The first come of those who are away leaves. Tablets that lose their memory over night make a
    new participant each morning: without this a room of some weeks would be full of them."""
    for person in people:
        if not person.connected and not runs_room(person.role):
            return [ParticipantGone(person.id, "left")]
    raise RoomFull(bound, what)


def runs_room(role: Role) -> bool:
    """Whether such a participant lets others in."""
    return is_in_charge(role)


# --- deciding ----------------------------------------------------------------------------------


def admit(state: RoomState, participant_id: str, now: float) -> Sequence[Event]:
    """Raises: NotFound, AlreadyDecided, RoomFull."""
    participant = known(state, participant_id)
    if participant.status is Status.ADMITTED:
        return []
    if participant.status is not Status.WAITING:
        raise AlreadyDecided(participant.status)
    return _enter(state, participant, now)


def deny(state: RoomState, participant_id: str) -> Sequence[Event]:
    """Raises: NotFound, AlreadyDecided."""
    participant = known(state, participant_id)
    if participant.status is Status.DENIED:
        return []
    if participant.status is not Status.WAITING:
        raise AlreadyDecided(participant.status)
    return [ParticipantDenied(participant_id)]


def remove(state: RoomState, host: Participant, participant_id: str) -> Sequence[Event]:
    """For good, whether they are inside, wait, or left. Raises: NotFound, NotOneself."""
    participant = known(state, participant_id)
    if participant.id == host.id:
        raise NotOneself
    if participant.status is Status.REMOVED:
        return []
    return [ParticipantGone(participant_id, "removed")]


def remove_invited(state: RoomState, invitation_id: str) -> Sequence[Event]:
    """Everyone who came with it, for good. Raises: LastHost."""
    people = [person for person in state.participants.values() if person.status is not Status.REMOVED]
    out = [person for person in people if person.invitation_id == invitation_id]
    # Who left can still come back and let people in.
    hosts = [person for person in people if runs_room(person.role) and person.joined_at is not None]
    if hosts and all(host.invitation_id == invitation_id for host in hosts):
        raise LastHost
    return [ParticipantGone(person.id, "revoked") for person in out]
