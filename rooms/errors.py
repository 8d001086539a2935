"""What the domain refuses, and why.

    RoomError
    ├── NotFound            no such room, participant or invitation, as far as the asker may know
    ├── NotAdmitted         waits, was denied, left or was removed
    ├── PermissionDenied    the role, the kind of room or its settings do not allow it
    ├── InvalidName         a name that cannot be shown
    ├── InvitationRefused   unknown, expired, revoked or used up
    ├── RoomFull            a bound of the room is reached
    ├── Contradiction       somebody else decided otherwise first
    └── Unavailable         the store cannot keep the change now

Each has a stable `code` (docs/protocol.md); a refusal tells a stranger nothing about what exists.
"""


class RoomError(Exception):
    """Base. `code` is stable and machine readable."""

    code = "refused"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail or self.code.replace("-", " ")


class NotFound(RoomError):
    code = "not-found"


class NotAdmitted(RoomError):
    code = "not-admitted"

    def __str__(self) -> str:
        return "only who was admitted may do this"


class ParticipantRemoved(RoomError):
    code = "removed"

    def __str__(self) -> str:
        return "this participant was removed from the room"


class ParticipantDenied(RoomError):
    code = "denied"

    def __str__(self) -> str:
        return "this participant was not let in"


class PermissionDenied(RoomError):
    code = "permission-denied"

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission

    def __str__(self) -> str:
        return f"this needs the permission {self.permission}"


class InvalidName(RoomError):
    code = "name-invalid"

    def __str__(self) -> str:
        return f"this name cannot be used: {self.detail}"


class InvitationRefused(RoomError):
    """`code` is invitation-unknown, -expired, -revoked or -used-up."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.code = f"invitation-{why}"

    def __str__(self) -> str:
        return f"this invitation cannot be used: {self.detail}"


class RoomFull(RoomError):
    code = "room-full"

    def __str__(self) -> str:
        return f"no more than {self.detail}"


class Contradiction(RoomError):
    code = "already-decided"

    def __str__(self) -> str:
        return f"somebody else decided first: {self.detail}"


class Unavailable(RoomError):
    code = "store-unavailable"

    def __str__(self) -> str:
        return "this cannot be kept now; try again"
