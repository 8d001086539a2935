"""SQL of forgetting, after `server.storage.retention`. Runs in a transaction of its caller."""

import sqlite3

from rooms.models import RoomKind, RoomState
from server.storage import sqlite_documents
from server.storage.encoding import decode_state, encode_state
from server.storage.retention import (
    INVITATION_RETENTION_S,
    chat_kept_for_s,
    forget_participants,
    is_room_over,
    last_touched_at,
)

ROOMS_A_STEP = 50
"""Rooms looked at in one transaction, so that writers wait for milliseconds, not for the whole file."""


def forget_rooms(connection: sqlite3.Connection, after: str, now: float) -> tuple[int, str | None]:
    """One step over the rooms, in the order of their ids, from behind `after` ("" at first).

    Returns: what was forgotten (rooms, documents, invitations, lines, participants), and where the
    next step begins; None when this was the last one.
    """
    rows = connection.execute(
        "SELECT room_id, body FROM rooms WHERE room_id > ? ORDER BY room_id LIMIT ?", (after, ROOMS_A_STEP)
    ).fetchall()
    forgotten = sum(_forget_of_room(connection, decode_state(body), now) for _, body in rows)
    return forgotten, rows[-1][0] if len(rows) == ROOMS_A_STEP else None


def _forget_of_room(connection: sqlite3.Connection, state: RoomState, now: float) -> int:
    written_at = sqlite_documents.last_written_at(connection, state.id)
    if is_room_over(last_touched_at(state, written_at), now):
        return delete_room(connection, state.id)
    forgotten = _forget_chat(connection, state.id, state.kind, now)
    remaining, participants = forget_participants(state, now)
    if participants:
        connection.execute("UPDATE rooms SET body = ? WHERE room_id = ?", (encode_state(remaining), state.id))
    return forgotten + participants


def delete_room(connection: sqlite3.Connection, room_id: str) -> int:
    """The room and all that is kept with it; how many records that was, 0 when there is no such room."""
    forgotten = sqlite_documents.delete_of_room(connection, room_id)
    for table in ("rooms", "invitations", "chat"):
        forgotten += connection.execute(f"DELETE FROM {table} WHERE room_id = ?", (room_id,)).rowcount
    return forgotten


def _forget_chat(connection: sqlite3.Connection, room_id: str, kind: RoomKind, now: float) -> int:
    oldest = now - chat_kept_for_s(kind)
    return connection.execute("DELETE FROM chat WHERE room_id = ? AND sent_at < ?", (room_id, oldest)).rowcount


def forget_invitations_and_stray_chat(connection: sqlite3.Connection, now: float) -> int:
    """Expired invitations, and lines whose room is not there."""
    invitations = connection.execute(
        "DELETE FROM invitations WHERE expires_at < ?", (now - INVITATION_RETENTION_S,)
    ).rowcount
    lines = connection.execute(
        "DELETE FROM chat WHERE sent_at < ? AND NOT EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = chat.room_id)",
        (now - chat_kept_for_s(None),),
    ).rowcount
    return invitations + lines
