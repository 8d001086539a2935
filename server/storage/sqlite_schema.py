"""The schema of the SQLite file: its version, and every step from one version to the next.

A step is never changed once released; a new one is appended. `PRAGMA user_version` counts the
steps taken, each in a transaction of its own, so that a crash in between leaves a whole version.
"""

import sqlite3

from rooms.ports import StoreUnavailable

APPLICATION_ID = 0x50415353
"""“PASS”: says in the file's header whose it is (`PRAGMA application_id`)."""

_FIRST = """
CREATE TABLE rooms (
    room_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE invitations (
    invitation_id TEXT PRIMARY KEY,
    room_id TEXT NOT NULL,
    code TEXT NOT NULL,
    folded_code TEXT NOT NULL,
    role TEXT NOT NULL,
    label TEXT NOT NULL,
    lobby INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    uses_left INTEGER,
    revoked INTEGER NOT NULL
);
CREATE INDEX invitations_by_code ON invitations (folded_code);
CREATE INDEX invitations_by_room ON invitations (room_id, created_at);
CREATE TABLE documents (
    document_id INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    document TEXT NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    snapshot BLOB,
    snapshot_seq INTEGER NOT NULL DEFAULT 0,
    written_at REAL NOT NULL,
    UNIQUE (room_id, document)
);
CREATE TABLE updates (
    document_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (document_id, seq)
) WITHOUT ROWID;
CREATE TABLE bindings (
    document_id INTEGER NOT NULL,
    client_id INTEGER NOT NULL,
    participant_id TEXT NOT NULL,
    PRIMARY KEY (document_id, client_id)
) WITHOUT ROWID;
CREATE TABLE chat (
    number INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    line_id TEXT NOT NULL,
    participant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_at REAL NOT NULL,
    client_id TEXT,
    UNIQUE (room_id, line_id)
);
CREATE INDEX chat_by_room ON chat (room_id, number);
"""

_SNAPSHOTS_APART = """
CREATE TABLE snapshots (
    document_id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
INSERT INTO snapshots (document_id, body) SELECT document_id, snapshot FROM documents WHERE snapshot IS NOT NULL;
ALTER TABLE documents DROP COLUMN snapshot;
"""
# Each append changes the document's row, and SQLite writes a row anew with all that is in it.

_RELAYS = """
CREATE TABLE relays (
    document_id INTEGER NOT NULL,
    client_id INTEGER NOT NULL,
    first_clock INTEGER NOT NULL,
    participant_id TEXT NOT NULL,
    end_clock INTEGER NOT NULL,
    PRIMARY KEY (document_id, client_id, first_clock, participant_id)
) WITHOUT ROWID;
"""

_FENCES = "ALTER TABLE rooms ADD COLUMN fence INTEGER NOT NULL DEFAULT 0"

MIGRATIONS: tuple[str, ...] = (_FIRST, _SNAPSHOTS_APART, _RELAYS, _FENCES)
"""The step at index n leads from version n to n + 1."""


class ForeignFile(StoreUnavailable):
    """The file belongs to another program, or to a later version of this one. Trying again does
    not help, and nothing is written to it."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version. The connection must be in autocommit mode.

    Raises: ForeignFile; sqlite3.Error, and then the file is at the last whole version.
    """
    version = _checked_version(connection)
    while version < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been quicker; the lock is ours now, so this number stays.
            version = _number(connection, "PRAGMA user_version")
            if version < len(MIGRATIONS):
                _take_step(connection, version)
                version += 1
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _take_step(connection: sqlite3.Connection, version: int) -> None:
    # Not executescript: it would commit what is under way first.
    for statement in MIGRATIONS[version].split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version + 1}")


def _checked_version(connection: sqlite3.Connection) -> int:
    version = _number(connection, "PRAGMA user_version")
    application = _number(connection, "PRAGMA application_id")
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    if application not in (0, APPLICATION_ID) or (application == 0 and tables):
        raise ForeignFile("the database file belongs to another program")
    if version > len(MIGRATIONS):
        raise ForeignFile(f"the database file is of a later version ({version}; this one knows {len(MIGRATIONS)})")
    return version


def _number(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0])
