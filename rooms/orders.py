"""What one instance may ask another about a room, and what it is answered.

Most are orders to the room's home. Whoever orders chooses the ids of what is to be made, so that the same
order carried out by one home and, that having died, again by the next, makes one thing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rooms.commands import Command
from rooms.models import ChatLine, Invitation, Role, RoomState


@dataclass(frozen=True, slots=True)
class AddInvitation:
    role: Role
    label: str = ""
    expires_in_s: float | None = None
    uses: int | None = None
    lobby: bool | None = None


@dataclass(frozen=True, slots=True)
class RevokeInvitation:
    invitation_id: str


@dataclass(frozen=True, slots=True)
class Enter:
    """Somebody stands at the door with an invitation."""

    participant_id: str
    """Whoever is new will be called so; who is called so came by the same request (`rooms.repeats`)."""
    name: str
    invitation: Invitation
    """As it was found; whether it may still be used is seen when it is."""
    by_code: bool
    returning_id: str | None
    """Who they say to be, proven by a token of before."""


@dataclass(frozen=True, slots=True)
class SendChat:
    line_id: str
    text: str
    client_id: str | None


@dataclass(frozen=True, slots=True)
class OpenConnection:
    connection_id: str
    number: int = 0
    is_editor: bool = False
    """As of `rooms.commands.Connect`."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    connection_id: str
    silent_for_s: float = 0.0
    """How long nothing had been heard over it."""


Order = Command | AddInvitation | RevokeInvitation | Enter | SendChat | OpenConnection | CloseConnection


@dataclass(frozen=True, slots=True)
class Greet:
    """I have people in this room (or wish to see it): these; and how does it stand?"""

    number: int
    roll: Mapping[str, Sequence[str]]
    """Participant → their connections there."""


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """Close what these participants have open, and say when it is closed."""

    participant_ids: Sequence[str]
    fence: int
    seq: int
    """How the room stands in which they are out."""
    by_home: bool = False
    """Whether it is the home that asks (of each instance), or an instance of the home (which asks the others)."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something about the room that the domain does not know, as media."""

    name: str
    body: bytes


Question = Order | Greet | ConfirmGone | Call


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The room as it stands at its home."""

    fence: int
    state: RoomState
    chat: Sequence[ChatLine] = ()
    chats: int = 0
    """Lines written under this fence so far."""
    extra: bytes = b""
    """What the house adds, as media."""


@dataclass(frozen=True, slots=True)
class Entered:
    participant_id: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    everywhere: bool


@dataclass(frozen=True, slots=True)
class Called:
    body: bytes


Reply = Invitation | ChatLine | Snapshot | Entered | Confirmed | Called | None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a room is at its home."""

    fence: int = 0
    seq: int = 0
    chats: int = 0


@dataclass(frozen=True, slots=True)
class Roomful:
    """A mark of one room, in a heartbeat."""

    room_id: str
    mark: Mark = field(default_factory=Mark)
