"""SQL of forgetting in PostgreSQL, after `server.storage.retention`. Of several instances one does it at a time."""

import asyncpg

from rooms.models import RoomState
from server.storage import postgres_documents
from server.storage.encoding import decode_state, encode_state
from server.storage.retention import (
    INVITATION_RETENTION_S,
    chat_kept_for_s,
    forget_participants,
    is_room_over,
    last_touched_at,
)

ROOMS_A_STEP = 50
"""Rooms looked at in one transaction: whoever saves one of them waits for that long."""
_ONE_AT_A_TIME = 0x464F52474554
"""The advisory lock of whoever forgets; of each step's transaction, so it is never left behind."""

_ROOMS = """
SELECT room_id, body, (SELECT coalesce(max(written_at), 0) FROM documents d WHERE d.room_id = r.room_id)
FROM rooms r WHERE room_id > $1 ORDER BY room_id LIMIT $2 FOR UPDATE
"""


async def forget_rooms(connection: "asyncpg.Connection", after: str, now: float) -> tuple[int, str | None]:
    """One step over the rooms, in the order of their ids, from behind `after` ("" at first).

    Returns: what was forgotten (rooms, documents, invitations, lines, participants), and where the next step
    begins; None when this was the last one, or when another instance is at it.
    """
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _ONE_AT_A_TIME):
            return 0, None
        rows = await connection.fetch(_ROOMS, after, ROOMS_A_STEP)
        forgotten = 0
        for _room_id, body, written_at in rows:
            forgotten += await _forget_of_room(connection, decode_state(body), written_at, now)
    return forgotten, rows[-1][0] if len(rows) == ROOMS_A_STEP else None


async def _forget_of_room(connection: "asyncpg.Connection", state: RoomState, written_at: float, now: float) -> int:
    if is_room_over(last_touched_at(state, written_at), now):
        return await _delete_room(connection, state.id)
    lines = await _deleted(
        connection,
        "DELETE FROM chat WHERE room_id = $1 AND sent_at < $2",
        state.id,
        now - chat_kept_for_s(state.kind),
    )
    remaining, participants = forget_participants(state, now)
    if participants:
        await connection.execute("UPDATE rooms SET body = $2 WHERE room_id = $1", state.id, encode_state(remaining))
    return lines + participants


async def _delete_room(connection: "asyncpg.Connection", room_id: str) -> int:
    forgotten = await postgres_documents.delete_of_room(connection, room_id)
    for table in ("rooms", "invitations", "chat"):
        forgotten += await _deleted(connection, f"DELETE FROM {table} WHERE room_id = $1", room_id)
    return forgotten


async def erase_room(connection: "asyncpg.Connection", room_id: str) -> int:
    """Before its time. How many records that was, 0 when there is no such room."""
    async with connection.transaction():
        return await _delete_room(connection, room_id)


async def forget_invitations_and_stray_chat(connection: "asyncpg.Connection", now: float) -> int:
    """Expired invitations, and lines whose room is not there."""
    invitations = await _deleted(
        connection, "DELETE FROM invitations WHERE expires_at < $1", now - INVITATION_RETENTION_S
    )
    lines = await _deleted(
        connection,
        "DELETE FROM chat WHERE sent_at < $1 AND NOT EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = chat.room_id)",
        now - chat_kept_for_s(None),
    )
    return invitations + lines


async def _deleted(connection: "asyncpg.Connection", query: str, *arguments: object) -> int:
    """How many rows the statement took: the last word of its tag, `DELETE 3`."""
    tag: str = await connection.execute(query, *arguments)
    return int(tag.rsplit(" ", 1)[-1])
