"""SQL of rooms, invitations and chat in PostgreSQL."""

from typing import Any

import asyncpg
import msgspec

from rooms.invitations import fold_code
from rooms.models import ChatLine, Invitation, RoomState
from rooms.ports import StaleFence
from server.storage.encoding import decode_state, encode_state
from server.storage.invitation_row import COLUMNS, from_row, to_row

# --- rooms -------------------------------------------------------------------------------------


async def create(connection: "asyncpg.Connection", state: RoomState) -> None:
    added = await connection.fetchval(
        "INSERT INTO rooms (room_id, seq, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1",
        state.id,
        state.seq,
        encode_state(state),
    )
    if added is None:
        raise ValueError("a room of this id is there already")


async def load(connection: "asyncpg.Connection", room_id: str) -> RoomState | None:
    body = await connection.fetchval("SELECT body FROM rooms WHERE room_id = $1", room_id)
    return None if body is None else decode_state(body)


async def claim(connection: "asyncpg.Connection", room_id: str, fence: int) -> RoomState | None:
    body = await connection.fetchval(
        "UPDATE rooms SET fence = $2 WHERE room_id = $1 AND fence < $2 RETURNING body", room_id, fence
    )
    if body is not None:
        return decode_state(body)
    newest = await connection.fetchval("SELECT fence FROM rooms WHERE room_id = $1", room_id)
    if newest is not None:
        raise StaleFence(newest)
    return None


async def save(connection: "asyncpg.Connection", state: RoomState, fence: int | None) -> None:
    saved = await connection.fetchval(
        "INSERT INTO rooms AS r (room_id, seq, body) VALUES ($1, $2, $3)"
        " ON CONFLICT (room_id) DO UPDATE SET seq = excluded.seq, body = excluded.body"
        " WHERE excluded.seq >= r.seq AND ($4::bigint IS NULL OR $4 >= r.fence) RETURNING 1",
        state.id,
        state.seq,
        encode_state(state),
        fence,
    )
    if saved is None:
        await _check_fence(connection, state.id, fence)


async def _check_fence(connection: "asyncpg.Connection", room_id: str, fence: int | None) -> None:
    """In a transaction nobody claims the room until its end. Raises: StaleFence."""
    if fence is None:
        return
    newest = await connection.fetchval("SELECT fence FROM rooms WHERE room_id = $1 FOR SHARE", room_id)
    if newest is not None and fence < newest:
        raise StaleFence(newest)


# --- invitations -------------------------------------------------------------------------------

_SAVE_INVITATION = f"""
INSERT INTO invitations ({COLUMNS}, folded_code) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (invitation_id) DO UPDATE SET
    room_id = excluded.room_id, code = excluded.code, role = excluded.role, label = excluded.label,
    lobby = excluded.lobby, created_at = excluded.created_at, expires_at = excluded.expires_at,
    uses_left = excluded.uses_left, revoked = excluded.revoked, folded_code = excluded.folded_code
"""


def _invitation(row: Any) -> Invitation | None:
    return None if row is None else from_row(row)


async def insert_invitation(connection: "asyncpg.Connection", invitation: Invitation) -> None:
    """Insert or overwrite, whatever other invitation has its code."""
    await connection.execute(_SAVE_INVITATION, *to_row(invitation))


async def save_invitation(
    connection: "asyncpg.Connection", invitation: Invitation, fence: int | None, now: float
) -> None:
    folded = fold_code(invitation.code)
    async with connection.transaction():
        await _check_fence(connection, invitation.room_id, fence)
        if not invitation.revoked and invitation.expires_at > now:
            # Not a unique index: whether an invitation is live depends on the time. Who saves the same code at the
            # same time waits here, and then sees this one.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('code ' || $1::text, 0))", folded)
            taken = await connection.fetchval(
                "SELECT 1 FROM invitations"
                " WHERE folded_code = $1 AND invitation_id <> $2 AND NOT revoked AND expires_at > $3 LIMIT 1",
                folded,
                invitation.id,
                now,
            )
            if taken is not None:
                raise ValueError("another live invitation has this code")
        await insert_invitation(connection, invitation)


async def load_invitation(connection: "asyncpg.Connection", invitation_id: str) -> Invitation | None:
    query = f"SELECT {COLUMNS} FROM invitations WHERE invitation_id = $1"
    return _invitation(await connection.fetchrow(query, invitation_id))


async def find_invitation_by_code(connection: "asyncpg.Connection", code: str, now: float) -> Invitation | None:
    query = (
        f"SELECT {COLUMNS} FROM invitations"
        " WHERE folded_code = $1 AND folded_code <> '' AND NOT revoked AND expires_at > $2 LIMIT 1"
    )
    return _invitation(await connection.fetchrow(query, fold_code(code), now))


async def take_invitation_use(connection: "asyncpg.Connection", invitation_id: str, now: float) -> Invitation | None:
    row = await connection.fetchrow(
        "UPDATE invitations SET uses_left = uses_left - 1"  # NULL (no limit) stays NULL
        " WHERE invitation_id = $1 AND NOT revoked AND expires_at > $2 AND (uses_left IS NULL OR uses_left > 0)"
        f" RETURNING {COLUMNS}",
        invitation_id,
        now,
    )
    return _invitation(row)


async def list_invitations(connection: "asyncpg.Connection", room_id: str) -> tuple[Invitation, ...]:
    query = f'SELECT {COLUMNS} FROM invitations WHERE room_id = $1 ORDER BY created_at, invitation_id COLLATE "C"'
    found = (from_row(row) for row in await connection.fetch(query, room_id))
    return tuple(found)


# --- chat --------------------------------------------------------------------------------------

encode_line = msgspec.json.Encoder().encode
decode_line = msgspec.json.Decoder(ChatLine).decode


_APPEND_LINE = """
WITH room AS (SELECT fence FROM rooms WHERE room_id = $1 AND $5::bigint IS NOT NULL FOR SHARE),
added AS (
    INSERT INTO chat (room_id, line_id, sent_at, body) SELECT $1, $2, $3, $4
    WHERE NOT EXISTS (SELECT 1 FROM room WHERE fence > $5) ON CONFLICT DO NOTHING
)
SELECT max(fence) FROM room
"""


async def append_chat(connection: "asyncpg.Connection", room_id: str, line: ChatLine, fence: int | None) -> None:
    newest = await connection.fetchval(_APPEND_LINE, room_id, line.id, line.sent_at, encode_line(line), fence)
    if fence is not None and newest is not None and fence < newest:
        raise StaleFence(newest)


async def load_chat(connection: "asyncpg.Connection", room_id: str, limit: int) -> tuple[ChatLine, ...]:
    rows = await connection.fetch(
        "SELECT body FROM chat WHERE room_id = $1 ORDER BY number DESC LIMIT $2", room_id, max(0, limit)
    )
    return tuple(decode_line(row[0]) for row in reversed(rows))
