"""The file of `passerelle export`: everything that a store holds, whichever store that is, one JSON record a line.

    {"format": "passerelle-export", "version": 1, "made_at": 1800000000.0}
    {"kind": "token-key", …}                                    the oldest first; the last one signs
    {"kind": "room", …}   {"kind": "invitation", …}   {"kind": "chat", …}
    {"kind": "document", …}                                     then what belongs to it, up to the next document:
    {"kind": "binding", …}   {"kind": "relay", …}   {"kind": "update", …}
    {"kind": "end", "records": 1234, "sha256": "…"}             of all the lines before, as they stand in the file

Bytes are base64, times seconds since the epoch, a room's state is as it is stored. It is written and read record by
record: what is in memory is one of them (a snapshot of 20 MB is the largest). Without a right end the file is not
whole, and nothing of it is taken. A later version adds kinds and fields; this one refuses a file of a later version.
"""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

import msgspec

from rooms.models import ChatLine, Invitation

VERSION = 1
MAX_LINE_BYTES = 64 << 20
"""A document of 20 MB in base64, twice and some."""


class ArchiveDamaged(Exception):
    """The file is not what an export wrote, or not all of it; `line` is where that was seen, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


class _Record(msgspec.Struct, kw_only=True, tag_field="kind"):
    pass


class TokenKeyRecord(_Record, tag="token-key"):
    key: bytes


class RoomRecord(_Record, tag="room"):
    room_id: str
    seq: int
    fence: int
    state: msgspec.Raw
    """The body as it is stored: it is not read on the way, and comes out byte by byte as it went in."""


class InvitationRecord(_Record, tag="invitation"):
    invitation: Invitation


class ChatRecord(_Record, tag="chat"):
    """In the order in which they were said."""

    room_id: str
    line: ChatLine


class DocumentRecord(_Record, tag="document"):
    room_id: str
    document: str
    last_seq: int
    snapshot_seq: int
    written_at: float
    snapshot: bytes | None


class BindingRecord(_Record, tag="binding"):
    client_id: int
    participant_id: str


class RelayRecord(_Record, tag="relay"):
    client_id: int
    first_clock: int
    end_clock: int
    participant_id: str


class UpdateRecord(_Record, tag="update"):
    seq: int
    body: bytes


class _EndRecord(_Record, tag="end"):
    records: int
    sha256: str


class _Head(msgspec.Struct, frozen=True):
    format: Literal["passerelle-export"]
    version: int
    made_at: float


Record = (
    TokenKeyRecord
    | RoomRecord
    | InvitationRecord
    | ChatRecord
    | DocumentRecord
    | BindingRecord
    | RelayRecord
    | UpdateRecord
)
OfDocument = BindingRecord | RelayRecord | UpdateRecord
"""What belongs to the document before it."""


def raw_state(body: bytes) -> msgspec.Raw:
    return msgspec.Raw(body)


def state_bytes(record: RoomRecord) -> bytes:
    """What is to be stored again."""
    return bytes(record.state)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record | _EndRecord).decode
_decode_head = msgspec.json.Decoder(_Head).decode


class ArchiveWriter:
    """Writes to `file`; without `finish` the file is not whole."""

    def __init__(self, file: BinaryIO, made_at: float) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.records = 0
        self._write(_encode(_Head("passerelle-export", VERSION, made_at)))

    def add(self, record: Record) -> None:
        self._write(_encode(record))
        self.records += 1

    def finish(self) -> None:
        self._write(_encode(_EndRecord(records=self.records, sha256=self._hash.hexdigest())))

    def _write(self, line: bytes) -> None:
        self._hash.update(line + b"\n")
        self._file.write(line + b"\n")


def read_archive(file: BinaryIO) -> Iterator[Record]:
    """Its records; whoever takes them must undo that when the last one does not come.

    Raises: ArchiveDamaged."""
    read = hashlib.sha256()
    number = 1
    first = _line(file, number)
    _check_head(first)
    read.update(first)
    has_document = False
    while True:
        line = _line(file, number := number + 1)
        record = _parse(line, number)
        if isinstance(record, _EndRecord):
            if record != _EndRecord(records=number - 2, sha256=read.hexdigest()) or file.read(1):
                raise ArchiveDamaged(number, "the records are not those that were written")
            return
        read.update(line)
        has_document |= isinstance(record, DocumentRecord)
        if isinstance(record, OfDocument) and not has_document:
            raise ArchiveDamaged(number, "it belongs to no document")
        yield record


def _line(file: BinaryIO, number: int) -> bytes:
    line = file.readline(MAX_LINE_BYTES + 1)
    if not line.endswith(b"\n"):
        raise ArchiveDamaged(number, "it is too long" if len(line) > MAX_LINE_BYTES else "the file ends in the middle")
    return line


def _check_head(line: bytes) -> None:
    try:
        head = _decode_head(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArchiveDamaged(1, "it is no export of Passerelle") from error
    if head.version > VERSION:
        raise ArchiveDamaged(1, f"it is of a later version ({head.version}, this program knows {VERSION})")


def _parse(line: bytes, number: int) -> Record | _EndRecord:
    try:
        record: Record | _EndRecord = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # Not the library's sentence: it could quote a text.
        raise ArchiveDamaged(number, "it cannot be read") from error
    return record
