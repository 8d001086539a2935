"""An invitation as a row: the same columns, in the same order, in every database."""

from collections.abc import Sequence
from typing import Any, Final

from rooms.invitations import fold_code
from rooms.models import Invitation, Role

COLUMNS: Final = "invitation_id, room_id, code, role, label, lobby, created_at, expires_at, uses_left, revoked"
"""What `from_row` takes. `to_row` has one more behind them, `folded_code`, by which it is found."""


def to_row(invitation: Invitation) -> tuple[Any, ...]:
    return (
        invitation.id,
        invitation.room_id,
        invitation.code,
        invitation.role.value,
        invitation.label,
        invitation.lobby,
        invitation.created_at,
        invitation.expires_at,
        invitation.uses_left,
        invitation.revoked,
        fold_code(invitation.code),
    )


def from_row(row: Sequence[Any]) -> Invitation:
    """SQLite's truth values are 0 and 1."""
    invitation_id, room_id, code, role, label, lobby, created_at, expires_at, uses_left, revoked = row
    return Invitation(
        id=invitation_id,
        room_id=room_id,
        code=code,
        role=Role(role),
        label=label,
        lobby=bool(lobby),
        created_at=created_at,
        expires_at=expires_at,
        uses_left=uses_left,
        revoked=bool(revoked),
    )
