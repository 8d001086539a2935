"""What the domain refuses, and why.

    RoomError
    ├── NotFound              no such room, participant or invitation, as far as the asker may know
    ├── NotAdmitted           waits, or left
    │   ├── Denied            was refused in the lobby
    │   └── Removed           by a host, or their invitation was revoked
    ├── PermissionDenied      the role does not allow it, in this kind of room as it is set
    │   ├── ChatDisabled      the role would, but the chat is closed
    │   ├── RoomFrozen        the role would, but no adult is there
    │   ├── RoleNotHere       this kind of room has no such role
    │   └── NotOneself        removing is for others; one leaves by oneself
    ├── InvalidName           a name that cannot be shown
    ├── InvalidText           a chat line that is empty or too long
    ├── InvalidTerms          an invitation for no time, or for ever
    ├── InvitationRefused     unknown (or revoked), expired or used up
    ├── RoomFull              a bound of the room is reached
    ├── AlreadyDecided        somebody else decided otherwise first
    ├── LastHost              nobody would be left to let people in
    ├── DocumentExists        a text of this name is there already, with another title or other content
    ├── Outdated              it was asked before the last word on this could be seen
    └── Unavailable           the store cannot keep the change now

Each has a stable `code` (docs/protocol.md); a refusal tells a stranger nothing about what exists.
No sentence quotes what somebody typed: sentences end up in logs.
"""

from typing import Literal


class RoomError(Exception):
    """Base. `code` is stable and machine readable."""

    code = "refused"

    def __str__(self) -> str:
        return self.code.replace("-", " ")


class NotFound(RoomError):
    code = "not-found"

    def __str__(self) -> str:
        return "there is no such thing here"


class NotAdmitted(RoomError):
    code = "not-admitted"

    def __str__(self) -> str:
        return "only who was admitted may do this"


class Denied(NotAdmitted):
    code = "denied"

    def __str__(self) -> str:
        return "this participant was not let in"


class Removed(NotAdmitted):
    code = "removed"

    def __str__(self) -> str:
        return "this participant was removed from the room"


class PermissionDenied(RoomError):
    """`permission` is the one that is missing."""

    code = "permission-denied"

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission

    def __str__(self) -> str:
        return f"this needs the permission {self.permission}"


class ChatDisabled(PermissionDenied):
    code = "chat-disabled"

    def __init__(self) -> None:
        super().__init__("chat")

    def __str__(self) -> str:
        return "the chat of this room is closed"


class RoomFrozen(PermissionDenied):
    code = "room-frozen"

    def __str__(self) -> str:
        return "the room is paused until an adult in charge is back"


class RoleNotHere(PermissionDenied):
    def __init__(self, role: str, kind: str) -> None:
        super().__init__("invite")
        self.role = role
        self.kind = kind

    def __str__(self) -> str:
        return f"a room of kind {self.kind} has no participants of the role {self.role}"


class NotOneself(PermissionDenied):
    def __init__(self) -> None:
        super().__init__("remove")

    def __str__(self) -> str:
        return "nobody removes themselves; leave instead"


class InvalidName(RoomError):
    """`why`: what is wrong with it, without the name."""

    code = "name-invalid"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"this name cannot be used: {self.why}"


class InvalidText(RoomError):
    code = "invalid"

    def __init__(self, max_characters: int) -> None:
        super().__init__(max_characters)
        self.max_characters = max_characters

    def __str__(self) -> str:
        return f"a chat line has 1 to {self.max_characters} characters"


class InvalidTerms(RoomError):
    """`field`: which of the invitation's terms; `most`: its bound."""

    code = "invalid"

    def __init__(self, field: str, most: float) -> None:
        super().__init__(field, most)
        self.field = field
        self.most = most

    def __str__(self) -> str:
        return f"the {self.field} of an invitation lies above 0 and up to {self.most:.0f}"


class InvitationRefused(RoomError):
    """`code` is invitation-unknown (revoked ones too), invitation-expired or invitation-used-up."""

    def __init__(self, why: Literal["unknown", "expired", "used-up"]) -> None:
        super().__init__(why)
        self.why = why
        self.code = f"invitation-{why}"

    def __str__(self) -> str:
        return f"this invitation cannot be used: {self.why}"


class RoomFull(RoomError):
    """`bound` of `what` are there already."""

    code = "room-full"

    def __init__(self, bound: int, what: str) -> None:
        super().__init__(bound, what)
        self.bound = bound
        self.what = what

    def __str__(self) -> str:
        return f"no more than {self.bound} {self.what}"


class AlreadyDecided(RoomError):
    """`status`: what the participant is by now."""

    code = "already-decided"

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"somebody else decided first: this participant is {self.status}"


class LastHost(RoomError):
    code = "last-host"

    def __str__(self) -> str:
        return "this would leave the room without any host"


class DocumentExists(RoomError):
    code = "document-exists"

    def __str__(self) -> str:
        return "there is a text of this name already"


class Outdated(RoomError):
    """`seq`: the number of the last word on this (`rooms.words`); asked again with it, it is heard."""

    code = "outdated"

    def __init__(self, seq: int) -> None:
        super().__init__(seq)
        self.seq = seq

    def __str__(self) -> str:
        return "this was set otherwise since; ask again with the number of that, if it is still wanted"


class Unavailable(RoomError):
    """The store failed, or no join code was free."""

    code = "store-unavailable"

    def __str__(self) -> str:
        return "this cannot be kept now; try again"
