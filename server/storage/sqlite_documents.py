"""SQL of documents: the log of updates, snapshots, bindings, relays. Each runs in a transaction of its caller."""

import sqlite3
from collections.abc import Sequence

from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StoredDocument


def load(connection: sqlite3.Connection, key: DocumentKey) -> StoredDocument:
    found = connection.execute(
        "SELECT document_id, last_seq, snapshot_seq, snapshots.document_id FROM documents"
        " LEFT JOIN snapshots USING (document_id) WHERE room_id = ? AND document = ?",
        (key.room_id, key.document),
    ).fetchone()
    if found is None:
        return StoredDocument(snapshot=None, snapshot_seq=0, updates=(), last_seq=0)
    document_id, last_seq, snapshot_seq, has_snapshot = found
    snapshot = _read_snapshot(connection, document_id) if has_snapshot is not None else None
    updates = connection.execute(
        "SELECT body FROM updates WHERE document_id = ? AND seq > ? ORDER BY seq", (document_id, snapshot_seq)
    )
    bindings = connection.execute(
        "SELECT client_id, participant_id FROM bindings WHERE document_id = ?", (document_id,)
    )
    return StoredDocument(
        snapshot=snapshot,
        snapshot_seq=snapshot_seq,
        updates=tuple(row[0] for row in updates),
        last_seq=last_seq,
        bindings=dict(bindings),
    )


def _read_snapshot(connection: sqlite3.Connection, document_id: int) -> bytes:
    # As a value of a row 20 MB would be copied while no other thread runs.
    with connection.blobopen("snapshots", "body", document_id, readonly=True) as blob:
        return blob.read()


def append(connection: sqlite3.Connection, appends: Sequence[DocumentAppend], now: float) -> tuple[int, ...]:
    return tuple(_append_one(connection, one, now) for one in appends)


def append_first(connection: sqlite3.Connection, append: DocumentAppend, now: float) -> bool:
    """Whether nothing was there, and this is now. The caller's transaction holds the lock of the one writer."""
    found = connection.execute(
        "SELECT 1 FROM documents WHERE room_id = ? AND document = ?", (append.key.room_id, append.key.document)
    ).fetchone()
    if found is not None:  # a document's row is made by its first append
        return False
    _append_one(connection, append, now)
    return True


def _append_one(connection: sqlite3.Connection, one: DocumentAppend, now: float) -> int:
    document_id, seq = connection.execute(
        "INSERT INTO documents (room_id, document, last_seq, written_at) VALUES (?, ?, 1, ?)"
        " ON CONFLICT (room_id, document) DO UPDATE SET last_seq = last_seq + 1, written_at = excluded.written_at"
        " RETURNING document_id, last_seq",
        (one.key.room_id, one.key.document, now),
    ).fetchone()
    connection.execute("INSERT INTO updates (document_id, seq, body) VALUES (?, ?, ?)", (document_id, seq, one.update))
    if one.bindings:
        # The first to use a client id keeps it.
        connection.executemany(
            "INSERT INTO bindings (document_id, client_id, participant_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(document_id, binding.client_id, binding.participant_id) for binding in one.bindings],
        )
    if one.relays:
        connection.executemany(
            "INSERT INTO relays (document_id, client_id, first_clock, participant_id, end_clock)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET end_clock = max(end_clock, excluded.end_clock)",
            [(document_id, r.client_id, r.first_clock, r.participant_id, r.end_clock) for r in one.relays],
        )
    return int(seq)


def store_snapshot(connection: sqlite3.Connection, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
    found = connection.execute(
        "SELECT document_id, last_seq, snapshot_seq FROM documents WHERE room_id = ? AND document = ?",
        (key.room_id, key.document),
    ).fetchone()
    document_id, last_seq, snapshot_seq = found or (None, 0, 0)
    if up_to_seq < 1 or up_to_seq > last_seq:
        raise ValueError(f"no update {up_to_seq} in a document of {last_seq}")
    if up_to_seq < snapshot_seq:
        return
    connection.execute("INSERT OR REPLACE INTO snapshots (document_id, body) VALUES (?, ?)", (document_id, snapshot))
    connection.execute("UPDATE documents SET snapshot_seq = ? WHERE document_id = ?", (up_to_seq, document_id))
    connection.execute("DELETE FROM updates WHERE document_id = ? AND seq <= ?", (document_id, up_to_seq))


def list_names(connection: sqlite3.Connection, room_id: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT document FROM documents WHERE room_id = ? ORDER BY document", (room_id,))
    return tuple(row[0] for row in rows)


def load_relays(connection: sqlite3.Connection, key: DocumentKey) -> tuple[RelayedRange, ...]:
    rows = connection.execute(
        "SELECT client_id, first_clock, end_clock, participant_id FROM relays JOIN documents USING (document_id)"
        " WHERE room_id = ? AND document = ? ORDER BY client_id, first_clock, participant_id",
        (key.room_id, key.document),
    )
    return tuple(RelayedRange(*row) for row in rows)


def last_written_at(connection: sqlite3.Connection, room_id: str) -> float:
    """Of the room's newest append; 0 when nothing was ever written."""
    row = connection.execute("SELECT max(written_at) FROM documents WHERE room_id = ?", (room_id,)).fetchone()
    return float(row[0] or 0.0)


def delete_of_room(connection: sqlite3.Connection, room_id: str) -> int:
    """How many documents that were."""
    mine = "(SELECT document_id FROM documents WHERE room_id = ?)"
    connection.execute(f"DELETE FROM updates WHERE document_id IN {mine}", (room_id,))
    connection.execute(f"DELETE FROM bindings WHERE document_id IN {mine}", (room_id,))
    connection.execute(f"DELETE FROM relays WHERE document_id IN {mine}", (room_id,))
    connection.execute(f"DELETE FROM snapshots WHERE document_id IN {mine}", (room_id,))
    return connection.execute("DELETE FROM documents WHERE room_id = ?", (room_id,)).rowcount
