"""Everything in an SQLite file, out of it and into an empty one."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rooms.models import ChatLine
from rooms.ports import StoreUnavailable
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
from server.storage.folder import FolderLock, make_private_file, make_private_folder
from server.storage.invitation_row import COLUMNS, from_row
from server.storage.sqlite import FILE_NAME, connect
from server.storage.sqlite_rooms import insert_invitation
from server.storage.sqlite_schema import migrate

_TABLES = ("rooms", "invitations", "chat", "documents")


def read(folder: Path) -> Iterator[Record]:
    """All records but the keys of the tokens, as they are at one moment; a server may go on writing meanwhile.

    Raises: StoreUnavailable."""
    path = folder / FILE_NAME
    if not path.exists():
        raise StoreUnavailable(f"there is no {FILE_NAME} in {folder}")
    with _translated(), contextlib.closing(connect(path)) as connection:
        migrate(connection)
        connection.execute("BEGIN")
        yield from _rooms(connection)
        yield from _documents(connection)


def _rooms(connection: sqlite3.Connection) -> Iterator[Record]:
    for room_id, seq, fence, body in connection.execute("SELECT room_id, seq, fence, body FROM rooms ORDER BY room_id"):
        yield RoomRecord(room_id=room_id, seq=seq, fence=fence, state=raw_state(body))
    for row in connection.execute(f"SELECT {COLUMNS} FROM invitations ORDER BY invitation_id"):
        yield InvitationRecord(invitation=from_row(row))
    for room_id, *line in connection.execute(
        "SELECT room_id, line_id, participant_id, name, text, sent_at, client_id FROM chat ORDER BY number"
    ):
        yield ChatRecord(room_id=room_id, line=ChatLine(*line))


def _documents(connection: sqlite3.Connection) -> Iterator[Record]:
    for document_id, room_id, document, last_seq, snapshot_seq, written_at, snapshot in connection.execute(
        "SELECT document_id, room_id, document, last_seq, snapshot_seq, written_at, body"
        " FROM documents LEFT JOIN snapshots USING (document_id) ORDER BY room_id, document"
    ):
        yield DocumentRecord(
            room_id=room_id,
            document=document,
            last_seq=last_seq,
            snapshot_seq=snapshot_seq,
            written_at=written_at,
            snapshot=snapshot,
        )
        mine = (document_id,)
        for client_id, participant_id in connection.execute(
            "SELECT client_id, participant_id FROM bindings WHERE document_id = ? ORDER BY client_id", mine
        ):
            yield BindingRecord(client_id=client_id, participant_id=participant_id)
        for client_id, first_clock, end_clock, participant_id in connection.execute(
            "SELECT client_id, first_clock, end_clock, participant_id FROM relays WHERE document_id = ?"
            " ORDER BY client_id, first_clock, participant_id",
            mine,
        ):
            yield RelayRecord(
                client_id=client_id, first_clock=first_clock, end_clock=end_clock, participant_id=participant_id
            )
        for seq, body in connection.execute("SELECT seq, body FROM updates WHERE document_id = ? ORDER BY seq", mine):
            yield UpdateRecord(seq=seq, body=body)


def write(folder: Path, records: Iterable[Record], keep_keys: Callable[[list[bytes]], None]) -> None:
    """All of them into an empty file, or none. The keys of the tokens, which are not the file's, go to `keep_keys`
    as the last thing before all is there.

    Raises: NotEmpty, StoreUnavailable, whatever `records` and `keep_keys` raise."""
    make_private_folder(folder)
    lock = FolderLock(folder)
    lock.take()
    try:
        make_private_file(folder / FILE_NAME)
        with _translated(), contextlib.closing(connect(folder / FILE_NAME)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
            _write_all(connection, records, keep_keys)
    finally:
        lock.release()


def _write_all(
    connection: sqlite3.Connection, records: Iterable[Record], keep_keys: Callable[[list[bytes]], None]
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0] for table in _TABLES):
        raise NotEmpty("there are rooms or texts in it already")
    keys: list[bytes] = []
    document_id = 0
    for record in records:
        if isinstance(record, TokenKeyRecord):
            keys.append(record.key)
        elif isinstance(record, DocumentRecord):
            document_id += 1
            _write_document(connection, document_id, record)
        elif isinstance(record, BindingRecord | RelayRecord | UpdateRecord):
            _write_of_document(connection, document_id, record)
        else:
            _write_of_room(connection, record)
    keep_keys(keys)
    connection.execute("COMMIT")


def _write_of_room(connection: sqlite3.Connection, record: RoomRecord | InvitationRecord | ChatRecord) -> None:
    if isinstance(record, RoomRecord):
        connection.execute(
            "INSERT INTO rooms (room_id, seq, fence, body) VALUES (?, ?, ?, ?)",
            (record.room_id, record.seq, record.fence, state_bytes(record)),
        )
    elif isinstance(record, InvitationRecord):
        insert_invitation(connection, record.invitation)
    else:
        line = record.line
        connection.execute(
            "INSERT INTO chat (room_id, line_id, participant_id, name, text, sent_at, client_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (record.room_id, line.id, line.participant_id, line.name, line.text, line.sent_at, line.client_id),
        )


def _write_document(connection: sqlite3.Connection, document_id: int, record: DocumentRecord) -> None:
    connection.execute(
        "INSERT INTO documents (document_id, room_id, document, last_seq, snapshot_seq, written_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (document_id, record.room_id, record.document, record.last_seq, record.snapshot_seq, record.written_at),
    )
    if record.snapshot is not None:
        connection.execute("INSERT INTO snapshots (document_id, body) VALUES (?, ?)", (document_id, record.snapshot))


def _write_of_document(
    connection: sqlite3.Connection, document_id: int, record: BindingRecord | RelayRecord | UpdateRecord
) -> None:
    if isinstance(record, BindingRecord):
        connection.execute(
            "INSERT INTO bindings (document_id, client_id, participant_id) VALUES (?, ?, ?)",
            (document_id, record.client_id, record.participant_id),
        )
    elif isinstance(record, RelayRecord):
        connection.execute(
            "INSERT INTO relays (document_id, client_id, first_clock, end_clock, participant_id)"
            " VALUES (?, ?, ?, ?, ?)",
            (document_id, record.client_id, record.first_clock, record.end_clock, record.participant_id),
        )
    else:
        connection.execute(
            "INSERT INTO updates (document_id, seq, body) VALUES (?, ?, ?)", (document_id, record.seq, record.body)
        )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"SQLite: {getattr(error, 'sqlite_errorname', type(error).__name__)}") from error
