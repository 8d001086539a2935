"""The room decides: a state and a command make events, a state and an event make the next state.

Only here does a room change. `decide` refuses with a RoomError or says what happens, `apply` makes
it so; neither reads a clock, and a refused command changes nothing. What never happens: somebody
who was removed comes back under that id; somebody waiting learns who is inside; `seq` stands still.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from rooms import document_list, lobby, supervision, words
from rooms.commands import (
    Admit,
    AdmitHeld,
    AskToJoin,
    ComeBack,
    Command,
    Configure,
    Connect,
    CreateDocument,
    Deny,
    Disconnect,
    KeepWatch,
    Leave,
    Remove,
    RemoveInvited,
    Rename,
    RenameDocument,
    SetHand,
    Spotlight,
)
from rooms.errors import NotFound, PermissionDenied, RoomFull
from rooms.events import (
    DocumentCreated,
    DocumentRenamed,
    Event,
    ParticipantAdmitted,
    ParticipantChanged,
    ParticipantDenied,
    ParticipantGone,
    ParticipantWaited,
    RoomConfigured,
    WatchChanged,
    WordGiven,
)
from rooms.hands import set_hand
from rooms.models import Participant, ParticipantStatus, RoomState
from rooms.names import clean_name
from rooms.roles import Permission
from rooms.roster import known, present, require

MAX_REMEMBERED = 2_000
"""Participants a room remembers, gone ones included (half a megabyte); beyond, of those who are gone
whoever came first is forgotten first, and hosts never before others."""

Status = ParticipantStatus


def decide(state: RoomState, command: Command, actor_id: str | None, now: float) -> Sequence[Event]:
    """What happens when `actor_id` (None: the server itself) asks for `command`.

    Raises: RoomError."""
    events = words.listen(state, command, actor_id, _decide(state, command, actor_id, now))
    return _watched_over(state, _out_of_the_light(state, events), command, actor_id, now)


def _decide(state: RoomState, command: Command, actor_id: str | None, now: float) -> Sequence[Event]:
    if isinstance(command, AskToJoin | ComeBack | RemoveInvited | KeepWatch | AdmitHeld):
        return _decide_for_server(state, command, actor_id, now)
    match command:
        case Admit(participant_id):
            require(state, actor_id, Permission.ADMIT)
            return lobby.admit(state, participant_id, now)
        case Deny(participant_id):
            require(state, actor_id, Permission.ADMIT)
            return lobby.deny(state, participant_id)
        case Remove(participant_id):
            return lobby.remove(state, require(state, actor_id, Permission.REMOVE), participant_id)
        case SetHand():
            return set_hand(state, command, actor_id, now)
        case Rename(name):
            person = present(state, actor_id)
            if person.status is Status.ADMITTED:
                # A name is seen by everyone: it would be a way to write while nobody may.
                supervision.require_thawed(state, person, Permission.CHAT)
            return _changed(person, name=clean_name(name))
        case Configure():
            return _configure(state, command, actor_id)
        case Spotlight(participant_id):
            return _spotlight(state, participant_id, actor_id)
        case CreateDocument():
            return document_list.create(state, command, actor_id, now)
        case RenameDocument():
            return document_list.rename(state, command, actor_id)
        case Connect():
            return _connect(state, actor_id, now)
        case Disconnect():
            return _changed(present(state, actor_id), connected=False)
        case Leave():
            return [ParticipantGone(present(state, actor_id).id, "left")]


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
        case DocumentCreated(document) | DocumentRenamed(document):
            state = replace(state, documents=document_list.with_document(state.documents, document))
        case WatchChanged(watch):
            state = replace(state, watch=watch)
        case WordGiven(thing):
            state = replace(state, words=words.remembered(state.words, thing, state.seq + 1))
    return replace(state, participants=_remembered(people), seq=state.seq + 1, last_active_at=now)


# --- decisions ---------------------------------------------------------------------------------


def _decide_for_server(
    state: RoomState,
    command: AskToJoin | ComeBack | RemoveInvited | KeepWatch | AdmitHeld,
    actor_id: str | None,
    now: float,
) -> Sequence[Event]:
    """What follows from an invitation or a token that the server has checked, or from time; nobody asks for it."""
    if actor_id is not None:
        raise PermissionDenied(Permission.INVITE)
    match command:
        case AskToJoin():
            return lobby.ask_to_join(state, command, now)
        case ComeBack():
            return lobby.come_back(state, command, now)
        case RemoveInvited(invitation_id):
            return lobby.remove_invited(state, invitation_id)
        case KeepWatch():
            return []  # what follows is said below
        case AdmitHeld():
            return _admit_held(state, now)


def _admit_held(state: RoomState, now: float) -> Sequence[Event]:
    events: list[Event] = []
    with suppress(RoomFull):  # the others go on waiting: a host sees them
        while more := lobby.admit_held(state, now):
            events += more
            state = _after(state, more, now)
    return events


def _connect(state: RoomState, actor_id: str | None, now: float) -> Sequence[Event]:
    """Who left comes back by connecting: a host, who has a link but no invitation, has no other way."""
    person = known(state, actor_id)
    if person.status is Status.LEFT:
        return lobby.return_from_outside(state, replace(person, connected=True), now)
    return _changed(present(state, actor_id), connected=True)


def _configure(state: RoomState, command: Configure, actor_id: str | None) -> Sequence[Event]:
    require(state, actor_id, Permission.CONFIGURE_ROOM)
    settings = state.settings
    if command.lobby_roles is not None:
        settings = replace(settings, lobby_roles=command.lobby_roles)
    if command.chat_enabled is not None:
        settings = replace(settings, chat_enabled=command.chat_enabled)
    if command.writing_enabled is not None:
        settings = replace(settings, writing_enabled=command.writing_enabled)
    if command.needs_adult is not None:
        settings = replace(settings, needs_adult=command.needs_adult)
    return [] if settings == state.settings else [RoomConfigured(settings)]


def _spotlight(state: RoomState, participant_id: str | None, actor_id: str | None) -> Sequence[Event]:
    require(state, actor_id, Permission.CONFIGURE_ROOM)
    if participant_id is not None and known(state, participant_id).status is not Status.ADMITTED:
        raise NotFound
    settings = replace(state.settings, spotlight=participant_id)
    return [] if settings == state.settings else [RoomConfigured(settings)]


def _out_of_the_light(state: RoomState, events: Sequence[Event]) -> Sequence[Event]:
    """Whoever leaves is shown large no longer, nor when they come back next week."""
    shown = state.settings.spotlight
    if shown is None or not any(isinstance(each, ParticipantGone) and each.participant_id == shown for each in events):
        return events
    return [*events, RoomConfigured(replace(state.settings, spotlight=None))]


def _watched_over(
    state: RoomState, events: Sequence[Event], command: Command, actor_id: str | None, now: float
) -> Sequence[Event]:
    """Whoever comes or goes may be the adult in charge."""
    silent_for_s = command.silent_for_s if isinstance(command, Disconnect) else 0.0
    actor = state.participants.get(actor_id) if actor_id is not None else None
    is_adult = actor is not None and lobby.runs_room(actor.role)
    begins = is_adult and isinstance(command, Connect) and not command.is_editor
    return [*events, *supervision.follow(_after(state, events, now), now, now - silent_for_s, begins=begins)]


def _after(state: RoomState, events: Sequence[Event], now: float) -> RoomState:
    for event in events:
        state = apply(state, event, now)
    return state


# --- small changes -----------------------------------------------------------------------------


def _changed(participant: Participant, **change: object) -> Sequence[Event]:
    changed = replace(participant, **change)  # type: ignore[arg-type]
    if changed == participant:
        return []
    return [ParticipantWaited(changed) if changed.status is Status.WAITING else ParticipantChanged(changed)]


def _out(participant: Participant, status: ParticipantStatus) -> Participant:
    return replace(participant, status=status, connected=False, hand_raised_at=None, held=False)


def _remembered(people: Mapping[str, Participant]) -> Mapping[str, Participant]:
    """Forgets the first of the gone when there are too many. A refused or removed one is kept longer:
    forgetting them lets nobody back in (their token then names nobody), but they could ask anew."""
    if len(people) <= MAX_REMEMBERED:
        return people
    gone = [person for person in people.values() if person.status not in (Status.ADMITTED, Status.WAITING)]
    gone.sort(key=_forgotten_first)
    forgotten = {person.id for person in gone[: len(people) - MAX_REMEMBERED]}
    return {person_id: person for person_id, person in people.items() if person_id not in forgotten}


def _forgotten_first(person: Participant) -> tuple[bool, bool, float]:
    came_at = person.created_at if person.joined_at is None else person.joined_at
    return lobby.runs_room(person.role), person.status is not Status.LEFT, came_at
