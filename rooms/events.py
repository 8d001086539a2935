"""What happened in a room. Past participles; a state plus its events in order is the next state."""

from dataclasses import dataclass
from typing import Literal

from rooms.models import Participant, RoomDocument, RoomSettings, Watch


@dataclass(frozen=True, slots=True)
class ParticipantWaited:
    """Somebody stands in the lobby (again), or their entry there changed."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantAdmitted:
    """Somebody is in the room now: by the door, from the lobby, or back again."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantDenied:
    participant_id: str


@dataclass(frozen=True, slots=True)
class ParticipantChanged:
    """An admitted participant's name, hand or connection: as it is now."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantGone:
    """Left, removed, or removed because their invitation was revoked; from the room or the lobby."""

    participant_id: str
    reason: Literal["left", "removed", "revoked"]


@dataclass(frozen=True, slots=True)
class RoomConfigured:
    settings: RoomSettings


@dataclass(frozen=True, slots=True)
class DocumentCreated:
    """It is in the list now, at its end."""

    document: RoomDocument


@dataclass(frozen=True, slots=True)
class DocumentRenamed:
    """One of the list, with its new title."""

    document: RoomDocument


@dataclass(frozen=True, slots=True)
class WatchChanged:
    """An adult came, the last one went, or the room froze or thawed."""

    watch: Watch


@dataclass(frozen=True, slots=True)
class WordGiven:
    """Somebody said how something is to be (`rooms.words`); what follows from it follows as other events."""

    thing: str


Event = (
    ParticipantWaited
    | ParticipantAdmitted
    | ParticipantDenied
    | ParticipantChanged
    | ParticipantGone
    | RoomConfigured
    | DocumentCreated
    | DocumentRenamed
    | WatchChanged
    | WordGiven
)
