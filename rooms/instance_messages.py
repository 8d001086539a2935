"""What instances say to each other about rooms. `server.bus.room_messages` writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rooms.errors import RoomError
from rooms.events import Event
from rooms.models import ChatLine, RoomState
from rooms.orders import Mark, Question, Reply, Roomful


@dataclass(frozen=True, slots=True)
class Ask:
    """To one instance, again and again until it answers: the same `ask_id` is one question."""

    ask_id: str
    sender: str
    room_id: str
    actor_id: str | None
    question: Question


@dataclass(frozen=True, slots=True)
class Answer:
    ask_id: str
    mark: Mark
    reply: Reply = None
    error: RoomError | None = None
    is_not_home: bool = False
    """This instance may not decide for the room (any more): nothing was done."""


@dataclass(frozen=True, slots=True)
class Told:
    """The home to each instance with people in the room: what happened, in order."""

    room_id: str
    sender: str
    mark: Mark
    """How the room stood before."""
    at: float
    events: Sequence[Event]
    chat: ChatLine | None = None


@dataclass(frozen=True, slots=True)
class Aside:
    """The home to an instance: something that the domain does not know, as media. Not repeated when lost."""

    room_id: str
    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReader:
    """Nobody here is in the room any more."""

    sender: str
    room_id: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """The home to its heir, who has the lease already."""

    sender: str
    room_id: str
    fence: int
    state: RoomState
    chat: Sequence[ChatLine]


@dataclass(frozen=True, slots=True)
class Moved:
    """To everyone: the room has a new home."""

    room_id: str
    home: str
    fence: int


@dataclass(frozen=True, slots=True)
class Beat:
    """To everyone, every two seconds."""

    sender: str
    is_leaving: bool
    """It takes no room any more."""
    is_gone: bool
    """It has no connection any more, and says nothing after this."""
    rooms: Sequence[Roomful]
    """Those that it is the home of, for others too."""


Message = Ask | Answer | Told | Aside | NoReader | HandOver | Moved | Beat


class Codec(Protocol):
    def encode(self, message: Message) -> bytes: ...
    def decode(self, data: bytes) -> Message:
        """Raises: ValueError."""
