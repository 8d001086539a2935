"""The room as data: participants, invitations, settings, chat lines, the whole state.

Only `rooms.room` changes a state, by applying events; everyone else reads. Frozen dataclasses, so
that a state handed out never changes under its reader. Times are seconds since the Unix epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RoomKind(StrEnum):
    INTERCLASS = "interclass"
    COMMUNITY = "community"
    CONSULTATION = "consultation"


class Role(StrEnum):
    HOST = "host"
    CLASS = "class"
    PUPIL = "pupil"
    GUEST = "guest"
    OBSERVER = "observer"


class ParticipantStatus(StrEnum):
    WAITING = "waiting"
    ADMITTED = "admitted"
    DENIED = "denied"
    LEFT = "left"
    """Left by themselves: may come back with their token."""
    REMOVED = "removed"
    """By a host, or their invitation was revoked: never comes back with that token."""


@dataclass(frozen=True, slots=True)
class Participant:
    id: str
    name: str
    role: Role
    status: ParticipantStatus
    invitation_id: str | None
    """None: the maker of the room."""
    label: str
    created_at: float
    """When they asked to come in: the lobby's order."""
    joined_at: float | None = None
    """When they last came in; None: never yet."""
    connected: bool = False
    hand_raised_at: float | None = None
    held: bool = False
    """Waits only because the room is frozen: comes in by themselves when an adult is back."""


@dataclass(frozen=True, slots=True)
class RoomSettings:
    lobby_roles: frozenset[Role] = frozenset({Role.GUEST})
    chat_enabled: bool = True
    writing_enabled: bool = True
    spotlight: str | None = None
    """Id of the participant who is shown large to everyone."""
    needs_adult: bool = True
    """Whether the room freezes when pupils are alone in it (`rooms.supervision`)."""


@dataclass(frozen=True, slots=True)
class ChatLine:
    id: str
    participant_id: str
    name: str
    text: str
    sent_at: float
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class RoomDocument:
    """A text in the room's list. What is written in it is the documents' affair."""

    document: str
    """Its name: of `rooms.ports.DocumentKey`."""
    title: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Invitation:
    id: str
    room_id: str
    code: str
    """As shown: `lune-renard-42`."""
    role: Role
    label: str
    lobby: bool
    created_at: float
    expires_at: float
    uses_left: int | None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which the room stood still, for no adult was there."""

    since: float
    until: float | None = None
    """None: it lasts."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether an adult looks after the room (`rooms.supervision`)."""

    has_begun: bool = False
    """One has been here: from then on the room needs one."""
    alone_since: float | None = None
    """When the last one was heard for the last time; None while one is here, and before the first."""
    freeze: Freeze | None = None
    """The present one, or the last one."""

    @property
    def is_frozen(self) -> bool:
        return self.freeze is not None and self.freeze.until is None


@dataclass(frozen=True, slots=True)
class RoomState:
    """Everything a room remembers but its chat and what its documents hold."""

    id: str
    name: str
    kind: RoomKind
    created_at: float
    seq: int = 0
    """Number of the last applied event."""
    settings: RoomSettings = field(default_factory=RoomSettings)
    participants: Mapping[str, Participant] = field(default_factory=dict)
    """By id, every participant that the room remembers, whatever its status."""
    documents: tuple[RoomDocument, ...] = ()
    """Those that a host has listed, the oldest first; others are opened by who knows their name."""
    last_active_at: float = 0.0
    """For retention."""
    watch: Watch = field(default_factory=Watch)
    words: Mapping[str, int] = field(default_factory=dict)
    """What was set → number of the event at which the last word on it was given (`rooms.words`)."""
