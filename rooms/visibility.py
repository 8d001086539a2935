"""Who may see what: a state and a viewer make a view; an event and a viewer make what they hear.

Pure. Somebody in the lobby sees nothing but that they wait; only who may admit sees the lobby.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
from rooms.models import Freeze, Participant, ParticipantStatus, RoomDocument, RoomSettings, RoomState
from rooms.roles import Permission, permissions_of
from rooms.roster import admitted, has_permission, waiting


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """The room as one admitted participant may see it."""

    state: RoomState
    viewer: Participant
    permissions: frozenset[Permission]
    participants: Sequence[Participant]
    lobby: Sequence[Participant]
    documents: Sequence[RoomDocument]


@dataclass(frozen=True, slots=True)
class Joined:
    participant: Participant


@dataclass(frozen=True, slots=True)
class Changed:
    participant: Participant


@dataclass(frozen=True, slots=True)
class Left:
    participant_id: str
    reason: Literal["left", "removed", "revoked"]


@dataclass(frozen=True, slots=True)
class Lobby:
    """The whole lobby as it is now."""

    waiting: Sequence[Participant]


@dataclass(frozen=True, slots=True)
class Configured:
    settings: RoomSettings
    permissions: frozenset[Permission]
    """The viewer's own."""


@dataclass(frozen=True, slots=True)
class FreezeChanged:
    """The room froze, or thawed."""

    freeze: Freeze
    permissions: frozenset[Permission]
    """The viewer's own."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A text is new in the list."""

    document: RoomDocument


@dataclass(frozen=True, slots=True)
class Retitled:
    """A text of the list, as it is called now."""

    document: RoomDocument


@dataclass(frozen=True, slots=True)
class YouAreAdmitted:
    """The viewer was waiting: from here on they see the room."""


@dataclass(frozen=True, slots=True)
class YouAreDenied:
    pass


@dataclass(frozen=True, slots=True)
class YouAreOut:
    reason: Literal["left", "removed", "revoked"]


Heard = (
    Joined
    | Changed
    | Left
    | Lobby
    | Configured
    | FreezeChanged
    | Listed
    | Retitled
    | YouAreAdmitted
    | YouAreDenied
    | YouAreOut
)


def see(state: RoomState, viewer_id: str) -> RoomSeen | None:
    """None for whoever is not inside."""
    viewer = state.participants.get(viewer_id)
    if viewer is None or viewer.status is not ParticipantStatus.ADMITTED:
        return None
    permissions = _permissions(state, viewer)
    return RoomSeen(
        state=state,
        viewer=viewer,
        permissions=permissions,
        participants=admitted(state) if Permission.SEE_ROSTER in permissions else [viewer],
        lobby=waiting(state) if Permission.ADMIT in permissions else [],
        documents=state.documents if Permission.READ_DOCUMENT in permissions else [],
    )


def hear(before: RoomState, after: RoomState, event: Event, viewer_id: str) -> Sequence[Heard]:
    """What `viewer_id` is told of an event that led from `before` to `after`."""
    subject = _subject(event)
    if subject == viewer_id and (own := _own(before, event)) is not None:
        return [own]
    viewer = after.participants.get(viewer_id)
    if viewer is None or viewer.status is not ParticipantStatus.ADMITTED:
        return []
    heard: list[Heard] = []
    if isinstance(event, RoomConfigured):
        return [Configured(event.settings, _permissions(after, viewer))]
    if isinstance(event, WatchChanged):
        freeze = event.watch.freeze
        return [] if freeze in (None, before.watch.freeze) else [FreezeChanged(freeze, _permissions(after, viewer))]
    if isinstance(event, DocumentCreated | DocumentRenamed):
        return _documents(after, event, viewer_id)
    if has_permission(after, viewer_id, Permission.SEE_ROSTER) or subject == viewer_id:
        heard += _roster(before, event)
    if has_permission(after, viewer_id, Permission.ADMIT) and waiting(before) != waiting(after):
        heard.append(Lobby(waiting(after)))
    return heard


def _permissions(state: RoomState, viewer: Participant) -> frozenset[Permission]:
    return permissions_of(viewer.role, state.settings, state.kind, is_frozen=state.watch.is_frozen)


def _subject(event: Event) -> str | None:
    match event:
        case ParticipantWaited(participant) | ParticipantAdmitted(participant) | ParticipantChanged(participant):
            return participant.id
        case ParticipantDenied(participant_id) | ParticipantGone(participant_id):
            return participant_id
    return None


def _own(before: RoomState, event: Event) -> Heard | None:
    match event:
        case ParticipantAdmitted(participant):
            old = before.participants.get(participant.id)
            return YouAreAdmitted() if old is not None and old.status is ParticipantStatus.WAITING else None
        case ParticipantDenied():
            return YouAreDenied()
        case ParticipantGone(_, reason):
            return YouAreOut(reason)
    return None


def _documents(after: RoomState, event: DocumentCreated | DocumentRenamed, viewer_id: str) -> Sequence[Heard]:
    if not has_permission(after, viewer_id, Permission.READ_DOCUMENT):
        return []
    return [Listed(event.document) if isinstance(event, DocumentCreated) else Retitled(event.document)]


def _roster(before: RoomState, event: Event) -> Sequence[Heard]:
    match event:
        case ParticipantAdmitted(participant):
            return [Joined(participant)]
        case ParticipantChanged(participant):
            return [Changed(participant)]
        case ParticipantGone(participant_id, reason):
            old = before.participants.get(participant_id)
            return [Left(participant_id, reason)] if old and old.status is ParticipantStatus.ADMITTED else []
    return []
