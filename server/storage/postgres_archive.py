"""Everything in a PostgreSQL database, out of it and into an empty one. Each runs in one transaction of its own."""

from collections.abc import AsyncIterator, Iterable

import asyncpg

from server.storage.archive import (
    BindingRecord,
    ChatRecord,
    DocumentRecord,
    InvitationRecord,
    Record,
    RelayRecord,
    RoomRecord,
    TokenKeyRecord,
    UpdateRecord,
    raw_state,
    state_bytes,
)
from server.storage.errors import NotEmpty
from server.storage.invitation_row import COLUMNS, from_row
from server.storage.postgres_rooms import decode_line, encode_line, insert_invitation
from server.storage.postgres_schema import TABLES

_NO_DEADLINE = """
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
"""
SMALL_ROWS_AHEAD = 200
"""Rows that are fetched at a time where each is some hundred bytes, up to the 30 kB of a room."""
UPDATES_AHEAD = 16
"""Where each may be a megabyte."""
BATCH_ROWS = 500
BATCH_BYTES = 4 << 20
"""Updates are sent in batches of so many, or of so much."""


async def read(connection: "asyncpg.Connection") -> AsyncIterator[Record]:
    """All records, as they are at one moment; servers may go on writing meanwhile."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_NO_DEADLINE)
        for (key,) in await connection.fetch("SELECT key FROM token_keys ORDER BY number"):
            yield TokenKeyRecord(key=key)
        async for record in _rooms(connection):
            yield record
        query = "SELECT document_id, room_id, document, last_seq, snapshot_seq, written_at FROM documents"
        rows = connection.cursor(f"{query} ORDER BY room_id, document", prefetch=SMALL_ROWS_AHEAD)
        async for document_id, room_id, document, last_seq, snapshot_seq, written_at in rows:
            yield DocumentRecord(
                room_id=room_id,
                document=document,
                last_seq=last_seq,
                snapshot_seq=snapshot_seq,
                written_at=written_at,
                snapshot=await connection.fetchval("SELECT body FROM snapshots WHERE document_id = $1", document_id),
            )
            async for record in _of_document(connection, document_id):
                yield record


async def _rooms(connection: "asyncpg.Connection") -> AsyncIterator[Record]:
    query = "SELECT room_id, seq, fence, body FROM rooms ORDER BY room_id"
    async for room_id, seq, fence, body in connection.cursor(query, prefetch=SMALL_ROWS_AHEAD):
        yield RoomRecord(room_id=room_id, seq=seq, fence=fence, state=raw_state(body))
    query = f"SELECT {COLUMNS} FROM invitations ORDER BY invitation_id"
    async for row in connection.cursor(query, prefetch=SMALL_ROWS_AHEAD):
        yield InvitationRecord(invitation=from_row(row))
    query = "SELECT room_id, body FROM chat ORDER BY number"
    async for room_id, body in connection.cursor(query, prefetch=SMALL_ROWS_AHEAD):
        yield ChatRecord(room_id=room_id, line=decode_line(body))


async def _of_document(connection: "asyncpg.Connection", document_id: int) -> AsyncIterator[Record]:
    query = "SELECT client_id, participant_id FROM bindings WHERE document_id = $1 ORDER BY client_id"
    for client_id, participant_id in await connection.fetch(query, document_id):
        yield BindingRecord(client_id=client_id, participant_id=participant_id)
    query = (
        "SELECT client_id, first_clock, end_clock, participant_id FROM relays WHERE document_id = $1"
        " ORDER BY client_id, first_clock, participant_id"
    )
    async for client_id, first_clock, end_clock, participant_id in connection.cursor(
        query, document_id, prefetch=SMALL_ROWS_AHEAD
    ):
        yield RelayRecord(
            client_id=client_id, first_clock=first_clock, end_clock=end_clock, participant_id=participant_id
        )
    query = "SELECT seq, body FROM updates WHERE document_id = $1 ORDER BY seq"
    async for seq, body in connection.cursor(query, document_id, prefetch=UPDATES_AHEAD):
        yield UpdateRecord(seq=seq, body=body)


async def write(connection: "asyncpg.Connection", records: Iterable[Record]) -> None:
    """All of them into empty tables, or none. Raises: NotEmpty, whatever `records` raises."""
    async with connection.transaction():
        await connection.execute(_NO_DEADLINE)
        for table in TABLES:
            if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table})"):
                raise NotEmpty(f"there is something in the table {table} already")
        await _Writer(connection).write_all(records)


class _Writer:
    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection
        self._document_id = 0
        self._keys = 0
        self._updates: list[tuple[int, int, bytes]] = []
        self._updates_bytes = 0

    async def write_all(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, UpdateRecord):
                await self._write_update(record)
            elif isinstance(record, DocumentRecord):
                await self._write_document(record)
            elif isinstance(record, BindingRecord | RelayRecord):
                await self._write_of_document(record)
            else:
                await self._write_of_room(record)
        await self._send_updates()

    async def _write_update(self, record: UpdateRecord) -> None:
        self._updates.append((self._document_id, record.seq, record.body))
        self._updates_bytes += len(record.body)
        if len(self._updates) >= BATCH_ROWS or self._updates_bytes >= BATCH_BYTES:
            await self._send_updates()

    async def _send_updates(self) -> None:
        updates, self._updates, self._updates_bytes = self._updates, [], 0
        await self._connection.executemany("INSERT INTO updates (document_id, seq, body) VALUES ($1, $2, $3)", updates)

    async def _write_document(self, record: DocumentRecord) -> None:
        self._document_id = await self._connection.fetchval(
            "INSERT INTO documents (room_id, document, last_seq, snapshot_seq, written_at) VALUES ($1, $2, $3, $4, $5)"
            " RETURNING document_id",
            record.room_id,
            record.document,
            record.last_seq,
            record.snapshot_seq,
            record.written_at,
        )
        if record.snapshot is not None:
            await self._connection.execute(
                "INSERT INTO snapshots (document_id, body) VALUES ($1, $2)", self._document_id, record.snapshot
            )

    async def _write_of_document(self, record: BindingRecord | RelayRecord) -> None:
        if isinstance(record, BindingRecord):
            await self._connection.execute(
                "INSERT INTO bindings (document_id, client_id, participant_id) VALUES ($1, $2, $3)",
                self._document_id,
                record.client_id,
                record.participant_id,
            )
            return
        await self._connection.execute(
            "INSERT INTO relays (document_id, client_id, first_clock, end_clock, participant_id)"
            " VALUES ($1, $2, $3, $4, $5)",
            self._document_id,
            record.client_id,
            record.first_clock,
            record.end_clock,
            record.participant_id,
        )

    async def _write_of_room(self, record: TokenKeyRecord | RoomRecord | InvitationRecord | ChatRecord) -> None:
        if isinstance(record, RoomRecord):
            await self._connection.execute(
                "INSERT INTO rooms (room_id, seq, fence, body) VALUES ($1, $2, $3, $4)",
                record.room_id,
                record.seq,
                record.fence,
                state_bytes(record),
            )
        elif isinstance(record, InvitationRecord):
            await insert_invitation(self._connection, record.invitation)
        elif isinstance(record, ChatRecord):
            await self._connection.execute(
                "INSERT INTO chat (room_id, line_id, sent_at, body) VALUES ($1, $2, $3, $4)",
                record.room_id,
                record.line.id,
                record.line.sent_at,
                encode_line(record.line),
            )
        else:
            self._keys += 1
            query = "INSERT INTO token_keys (number, key) VALUES ($1, $2)"
            await self._connection.execute(query, self._keys, record.key)
