"""SQL of rooms, invitations and chat. Each function runs in a transaction of its caller."""

import sqlite3
from typing import Any

from rooms.invitations import fold_code
from rooms.models import ChatLine, Invitation, RoomState
from rooms.ports import StaleFence
from server.storage.encoding import decode_state, encode_state
from server.storage.invitation_row import COLUMNS, from_row, to_row

# --- rooms -------------------------------------------------------------------------------------


def create(connection: sqlite3.Connection, state: RoomState) -> None:
    added = connection.execute(
        "INSERT INTO rooms (room_id, seq, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (state.id, state.seq, encode_state(state)),
    )
    if not added.rowcount:
        raise ValueError("a room of this id is there already")


def load(connection: sqlite3.Connection, room_id: str) -> RoomState | None:
    row = connection.execute("SELECT body FROM rooms WHERE room_id = ?", (room_id,)).fetchone()
    return None if row is None else decode_state(row[0])


def claim(connection: sqlite3.Connection, room_id: str, fence: int) -> RoomState | None:
    _check_fence(connection, room_id, fence - 1)
    connection.execute("UPDATE rooms SET fence = ? WHERE room_id = ?", (fence, room_id))
    return load(connection, room_id)


def _check_fence(connection: sqlite3.Connection, room_id: str, fence: int | None) -> None:
    """Raises: StaleFence."""
    if fence is None:
        return
    row = connection.execute("SELECT fence FROM rooms WHERE room_id = ?", (room_id,)).fetchone()
    if row is not None and fence < row[0]:
        raise StaleFence(row[0])


def save(connection: sqlite3.Connection, state: RoomState, fence: int | None) -> None:
    _check_fence(connection, state.id, fence)
    connection.execute(
        "INSERT INTO rooms (room_id, seq, body) VALUES (?, ?, ?)"
        " ON CONFLICT (room_id) DO UPDATE SET seq = excluded.seq, body = excluded.body WHERE excluded.seq >= rooms.seq",
        (state.id, state.seq, encode_state(state)),
    )


# --- invitations -------------------------------------------------------------------------------

_LIVE = "revoked = 0 AND expires_at > ?"


def _invitation(row: tuple[Any, ...] | None) -> Invitation | None:
    return None if row is None else from_row(row)


def insert_invitation(connection: sqlite3.Connection, invitation: Invitation) -> None:
    """Insert or overwrite, whatever other invitation has its code."""
    values = ", ".join("?" * 11)
    connection.execute(
        f"INSERT OR REPLACE INTO invitations ({COLUMNS}, folded_code) VALUES ({values})", to_row(invitation)
    )


def save_invitation(connection: sqlite3.Connection, invitation: Invitation, fence: int | None, now: float) -> None:
    _check_fence(connection, invitation.room_id, fence)
    folded = fold_code(invitation.code)
    if not invitation.revoked and invitation.expires_at > now:
        # Not a unique index: whether an invitation is live depends on the time.
        taken = connection.execute(
            f"SELECT 1 FROM invitations WHERE folded_code = ? AND invitation_id <> ? AND {_LIVE}",
            (folded, invitation.id, now),
        ).fetchone()
        if taken is not None:
            raise ValueError("another live invitation has this code")
    insert_invitation(connection, invitation)


def load_invitation(connection: sqlite3.Connection, invitation_id: str) -> Invitation | None:
    query = f"SELECT {COLUMNS} FROM invitations WHERE invitation_id = ?"
    return _invitation(connection.execute(query, (invitation_id,)).fetchone())


def find_invitation_by_code(connection: sqlite3.Connection, code: str, now: float) -> Invitation | None:
    query = f"SELECT {COLUMNS} FROM invitations WHERE folded_code = ? AND folded_code <> '' AND {_LIVE}"
    return _invitation(connection.execute(query, (fold_code(code), now)).fetchone())


def take_invitation_use(connection: sqlite3.Connection, invitation_id: str, now: float) -> Invitation | None:
    row = connection.execute(
        "UPDATE invitations SET uses_left = uses_left - 1"  # NULL (no limit) stays NULL
        f" WHERE invitation_id = ? AND {_LIVE} AND (uses_left IS NULL OR uses_left > 0) RETURNING {COLUMNS}",
        (invitation_id, now),
    ).fetchone()
    return _invitation(row)


def list_invitations(connection: sqlite3.Connection, room_id: str) -> tuple[Invitation, ...]:
    query = f"SELECT {COLUMNS} FROM invitations WHERE room_id = ? ORDER BY created_at, invitation_id"
    found = (from_row(row) for row in connection.execute(query, (room_id,)))
    return tuple(found)


# --- chat --------------------------------------------------------------------------------------


def append_chat(connection: sqlite3.Connection, room_id: str, line: ChatLine, fence: int | None) -> None:
    _check_fence(connection, room_id, fence)
    connection.execute(
        "INSERT INTO chat (room_id, line_id, participant_id, name, text, sent_at, client_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (room_id, line.id, line.participant_id, line.name, line.text, line.sent_at, line.client_id),
    )


def load_chat(connection: sqlite3.Connection, room_id: str, limit: int) -> tuple[ChatLine, ...]:
    rows = connection.execute(
        "SELECT line_id, participant_id, name, text, sent_at, client_id FROM chat"
        " WHERE room_id = ? ORDER BY number DESC LIMIT ?",
        (room_id, max(0, limit)),
    ).fetchall()
    return tuple(ChatLine(*row) for row in reversed(rows))
