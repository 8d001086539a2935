"""SQL of documents in PostgreSQL: the log of updates, snapshots, bindings, relays.

What is done often, by many instances at once, is one statement: it takes its locks, commits and lets go of them on
the server, in one round trip. An instance that is stopped or cut off at any moment holds up no other.

An append changes its document's row first. So appends to one document, of whichever instance, come one after the
other, their numbers are given in the order in which they are committed, and whoever sees `last_seq` sees every
update up to it. Rows are taken in the order of their keys: two flushes never wait for each other.
"""

from collections.abc import Sequence

import asyncpg

from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StoredDocument

SLICE_BYTES = 1 << 20
"""A long snapshot comes in rows of so much: the library takes a row at one go, and one of 20 MB held the loop 27 ms."""

_HEAD, _SLICE, _UPDATE, _BINDING = range(4)
_LOAD = f"""
WITH d AS (SELECT document_id, last_seq, snapshot_seq FROM documents WHERE room_id = $1 AND document = $2)
SELECT {_HEAD} AS kind, last_seq AS number, NULL::bytea AS body, snapshot_seq AS seq, NULL::text AS participant FROM d
UNION ALL
SELECT {_SLICE}, slice, substring(s.body FROM slice * {SLICE_BYTES} + 1 FOR {SLICE_BYTES}), NULL, NULL
    FROM d JOIN snapshots s USING (document_id)
    CROSS JOIN LATERAL generate_series(0, greatest(octet_length(s.body) - 1, 0) / {SLICE_BYTES}) AS slice
UNION ALL
SELECT {_UPDATE}, u.seq, u.body, NULL, NULL
    FROM d JOIN updates u ON u.document_id = d.document_id AND u.seq > d.snapshot_seq
UNION ALL
SELECT {_BINDING}, b.client_id, NULL, NULL, b.participant_id FROM d JOIN bindings b USING (document_id)
"""
# Put in order here: the database would write the slices to its disk to sort them.

_APPEND_ONE = """
WITH counted AS (
    INSERT INTO documents AS d (room_id, document, last_seq, written_at) VALUES ($1, $2, 1, $4)
    ON CONFLICT (room_id, document)
        DO UPDATE SET last_seq = d.last_seq + 1, written_at = excluded.written_at
    RETURNING document_id, last_seq
)
INSERT INTO updates (document_id, seq, body) SELECT document_id, last_seq, $3 FROM counted RETURNING seq
"""
# A flush of one document whose people have all written before: nine in ten. Half the work of the next one.

_APPEND = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS g (room_id, document, body, place)
),
counted AS (
    INSERT INTO documents AS d (room_id, document, last_seq, written_at)
    SELECT room_id, document, count(*), $4 FROM given GROUP BY room_id, document ORDER BY room_id, document
    ON CONFLICT (room_id, document) {when_there}
    RETURNING document_id, room_id, document, last_seq
),
numbered AS (
    SELECT document_id, body, place,
        last_seq + 1 - row_number() OVER (PARTITION BY document_id ORDER BY place DESC) AS seq
    FROM given JOIN counted USING (room_id, document)
),
logged AS (
    INSERT INTO updates (document_id, seq, body) SELECT document_id, seq, body FROM numbered
),
bound AS (
    INSERT INTO bindings (document_id, client_id, participant_id)
    SELECT document_id, client_id, participant_id
    FROM unnest($5::bigint[], $6::bigint[], $7::text[]) WITH ORDINALITY AS b (place, client_id, participant_id, turn)
    JOIN numbered USING (place) ORDER BY turn
    ON CONFLICT DO NOTHING
),
relayed AS (
    INSERT INTO relays AS r (document_id, client_id, first_clock, participant_id, end_clock)
    SELECT document_id, client_id, first_clock, participant_id, max(end_clock)
    FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
        AS b (place, client_id, first_clock, end_clock, participant_id)
    JOIN numbered USING (place) GROUP BY document_id, client_id, first_clock, participant_id
    ON CONFLICT (document_id, client_id, first_clock, participant_id)
        DO UPDATE SET end_clock = greatest(r.end_clock, excluded.end_clock)
)
SELECT seq FROM numbered ORDER BY place
"""
_APPEND_ANY = _APPEND.format(
    when_there="DO UPDATE SET last_seq = d.last_seq + excluded.last_seq, written_at = excluded.written_at"
)
_APPEND_FIRST = _APPEND.format(when_there="DO NOTHING")
# The first to use a client id keeps it; a range that is brought again is there once, as far as it reached.

_STORE_SNAPSHOT = """
WITH folded AS (
    UPDATE documents SET snapshot_seq = $4
    WHERE room_id = $1 AND document = $2 AND $4 >= snapshot_seq AND $4 BETWEEN 1 AND last_seq
    RETURNING document_id
),
kept AS (
    INSERT INTO snapshots (document_id, body) SELECT document_id, $3 FROM folded
    ON CONFLICT (document_id) DO UPDATE SET body = excluded.body
),
dropped AS (
    DELETE FROM updates USING folded WHERE updates.document_id = folded.document_id AND updates.seq <= $4
)
SELECT count(*) FROM folded
"""


async def load(connection: "asyncpg.Connection", key: DocumentKey) -> StoredDocument:
    """One statement sees one moment: the snapshot and the log after it fit together."""
    rows = sorted(await connection.fetch(_LOAD, key.room_id, key.document), key=_kind_and_number)
    if not rows:
        return StoredDocument(snapshot=None, snapshot_seq=0, updates=(), last_seq=0)
    slices = [row[2] for row in rows if row[0] == _SLICE]
    return StoredDocument(
        snapshot=b"".join(slices) if slices else None,
        snapshot_seq=rows[0][3],
        updates=tuple(row[2] for row in rows if row[0] == _UPDATE),
        last_seq=rows[0][1],
        bindings={row[1]: row[4] for row in rows if row[0] == _BINDING},
    )


def _kind_and_number(row: "asyncpg.Record") -> tuple[int, int]:
    return row[0], row[1]


async def append(connection: "asyncpg.Connection", appends: Sequence[DocumentAppend], now: float) -> tuple[int, ...]:
    if len(appends) == 1 and not appends[0].bindings and not appends[0].relays:
        one = appends[0]
        number = await connection.fetchval(_APPEND_ONE, one.key.room_id, one.key.document, one.update, now)
        return (number,)
    rows = await connection.fetch(_APPEND_ANY, *_columns(appends, now))
    return tuple(row[0] for row in rows)


async def append_first(connection: "asyncpg.Connection", one: DocumentAppend, now: float) -> bool:
    """Whether nothing was there, and this is now. A document's row is made by its first append."""
    return bool(await connection.fetch(_APPEND_FIRST, *_columns([one], now)))


def _columns(appends: Sequence[DocumentAppend], now: float) -> tuple[object, ...]:
    bindings = [(place, binding) for place, one in enumerate(appends, 1) for binding in one.bindings]
    relays = [(place, relay) for place, one in enumerate(appends, 1) for relay in one.relays]
    return (
        [one.key.room_id for one in appends],
        [one.key.document for one in appends],
        [one.update for one in appends],
        now,
        [place for place, _ in bindings],
        [binding.client_id for _, binding in bindings],
        [binding.participant_id for _, binding in bindings],
        [place for place, _ in relays],
        [relay.client_id for _, relay in relays],
        [relay.first_clock for _, relay in relays],
        [relay.end_clock for _, relay in relays],
        [relay.participant_id for _, relay in relays],
    )


async def store_snapshot(connection: "asyncpg.Connection", key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
    if await connection.fetchval(_STORE_SNAPSHOT, key.room_id, key.document, snapshot, up_to_seq):
        return
    last_seq = await connection.fetchval(
        "SELECT last_seq FROM documents WHERE room_id = $1 AND document = $2", key.room_id, key.document
    )
    if up_to_seq < 1 or up_to_seq > (last_seq or 0):
        raise ValueError(f"no update {up_to_seq} in a document of {last_seq or 0}")


async def list_names(connection: "asyncpg.Connection", room_id: str) -> tuple[str, ...]:
    rows = await connection.fetch("SELECT document FROM documents WHERE room_id = $1 ORDER BY document", room_id)
    return tuple(row[0] for row in rows)


async def load_relays(connection: "asyncpg.Connection", key: DocumentKey) -> tuple[RelayedRange, ...]:
    rows = await connection.fetch(
        "SELECT client_id, first_clock, end_clock, participant_id FROM relays JOIN documents USING (document_id)"
        " WHERE room_id = $1 AND document = $2 ORDER BY client_id, first_clock, participant_id",
        key.room_id,
        key.document,
    )
    return tuple(RelayedRange(*row) for row in rows)


async def delete_of_room(connection: "asyncpg.Connection", room_id: str) -> int:
    """How many documents that were. In a transaction: the rows first, which no append can have after that."""
    rows = await connection.fetch("DELETE FROM documents WHERE room_id = $1 RETURNING document_id", room_id)
    mine = [row[0] for row in rows]
    for table in ("updates", "bindings", "relays", "snapshots"):
        await connection.execute(f"DELETE FROM {table} WHERE document_id = ANY($1)", mine)
    return len(mine)
