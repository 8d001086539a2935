"""What must have happened between two states of a room: for those who missed how it came to it. Pure."""

from collections.abc import Sequence
from dataclasses import replace

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
)
from rooms.models import Participant, ParticipantStatus, RoomState
from rooms.room import apply

Step = tuple[RoomState, RoomState, Event]
"""An event with the state before and after it."""

_GONE = (ParticipantStatus.LEFT, ParticipantStatus.REMOVED, ParticipantStatus.DENIED)


def steps_between(before: RoomState, after: RoomState) -> Sequence[Step]:
    """Events that lead from one to the other; who came and went in between leaves no trace. The last state is
    `after` itself. Nothing when nothing differs that an event could say."""
    state = before
    steps: list[Step] = []
    for event in _events(before, after):
        following = replace(apply(state, event, after.last_active_at), seq=max(state.seq, after.seq))
        steps.append((state, following, event))
        state = following
    if steps:
        steps[-1] = (steps[-1][0], after, steps[-1][2])
    return steps


def _events(before: RoomState, after: RoomState) -> Sequence[Event]:
    events: list[Event] = []
    if before.settings != after.settings:
        events.append(RoomConfigured(after.settings))
    listed = {document.document: document for document in before.documents}
    for document in after.documents:
        old_document = listed.get(document.document)
        if old_document is None:
            events.append(DocumentCreated(document))
        elif old_document != document:
            events.append(DocumentRenamed(document))
    for person in sorted(after.participants.values(), key=lambda each: each.status not in _GONE):
        old = before.participants.get(person.id)
        if old != person and (event := _event(old, person)) is not None:
            events.append(event)
    if before.watch != after.watch:
        events.append(WatchChanged(after.watch))
    return events


def _event(old: Participant | None, person: Participant) -> Event | None:
    match person.status:
        case ParticipantStatus.WAITING:
            return ParticipantWaited(person)
        case ParticipantStatus.ADMITTED:
            was_inside = old is not None and old.status is ParticipantStatus.ADMITTED
            return ParticipantChanged(person) if was_inside else ParticipantAdmitted(person)
    if old is None or old.status is person.status:
        return None  # nobody here knew them
    if person.status is ParticipantStatus.DENIED:
        return ParticipantDenied(person.id)
    return ParticipantGone(person.id, "left" if person.status is ParticipantStatus.LEFT else "removed")
