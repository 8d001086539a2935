"""What may be asked of a room. Imperatives; who asks and when are given beside them."""

from dataclasses import dataclass

from rooms.models import Role


@dataclass(frozen=True, slots=True)
class AskToJoin:
    """A new participant, who came with an invitation (None: the room's maker)."""

    participant_id: str
    name: str
    role: Role
    label: str
    invitation_id: str | None
    lobby: bool
    """Whether the invitation makes them wait."""


@dataclass(frozen=True, slots=True)
class ComeBack:
    """A participant of before, proven by an earlier token, asks again."""

    participant_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Admit:
    participant_id: str


@dataclass(frozen=True, slots=True)
class Deny:
    participant_id: str


@dataclass(frozen=True, slots=True)
class Remove:
    participant_id: str


@dataclass(frozen=True, slots=True)
class RemoveInvited:
    """Whoever came with this invitation: it was revoked."""

    invitation_id: str


@dataclass(frozen=True, slots=True)
class SetHand:
    raised: bool
    participant_id: str | None = None
    """None: one's own."""
    seen: int | None = None
    """The number of the last event that the asker had seen (`rooms.words`)."""


@dataclass(frozen=True, slots=True)
class Rename:
    name: str
    seen: int | None = None
    """As of `SetHand`."""


@dataclass(frozen=True, slots=True)
class Configure:
    """What is None stays."""

    lobby_roles: frozenset[Role] | None = None
    chat_enabled: bool | None = None
    writing_enabled: bool | None = None
    needs_adult: bool | None = None
    seen: int | None = None
    """As of `SetHand`."""


@dataclass(frozen=True, slots=True)
class Spotlight:
    """Show somebody large to everyone; None: nobody any more."""

    participant_id: str | None
    seen: int | None = None
    """As of `SetHand`."""


@dataclass(frozen=True, slots=True)
class CreateDocument:
    """Into the room's list. What it begins with is in the store before this is asked."""

    document: str
    title: str


@dataclass(frozen=True, slots=True)
class RenameDocument:
    """Its title; its name stays."""

    document: str
    title: str
    seen: int | None = None
    """As of `SetHand`."""


@dataclass(frozen=True, slots=True)
class Connect:
    """A connection of the actor opened."""

    is_editor: bool = False
    """It shows a document and nothing of the room: a program's, perhaps."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The last connection of the actor closed."""

    silent_for_s: float = 0.0
    """How long nothing had been heard over it by then."""


@dataclass(frozen=True, slots=True)
class KeepWatch:
    """The server looks whether pupils are alone by now."""


@dataclass(frozen=True, slots=True)
class AdmitHeld:
    """The server lets in who waited only for the room to thaw."""


@dataclass(frozen=True, slots=True)
class Leave:
    """For good, not a lost connection."""


Command = (
    AskToJoin
    | ComeBack
    | Admit
    | Deny
    | Remove
    | RemoveInvited
    | SetHand
    | Rename
    | Configure
    | Spotlight
    | CreateDocument
    | RenameDocument
    | Connect
    | Disconnect
    | KeepWatch
    | AdmitHeld
    | Leave
)
