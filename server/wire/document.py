"""Socket.IO: documents. The binary messages are those of the y-websocket endpoint."""

from typing import Literal

import msgspec

from server.wire.common import DisplayName, DocumentName, Seen, Timestamp
from server.wire.template import Template


class RoomDocument(msgspec.Struct, kw_only=True):
    """One of the room's texts, as everyone who reads sees it in the list."""

    document: DocumentName
    """To be opened with."""
    title: str
    created_at: Timestamp


class CreateDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`create_document`: answered with RoomDocument, once it is stored with all that it begins with."""

    title: DisplayName
    document: DocumentName | None = None
    """Made by the sender, so that asking again after a cut adds no second text; None: the server makes one."""
    template: Template | None = None
    """What stands in it from the beginning; None: nothing."""


class RenameDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`rename_document`: its title, for everyone; its name stays."""

    document: DocumentName
    title: DisplayName
    seen: Seen = None


class OpenDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`document_open`: the connection becomes a reader of the document. Answered with
    DocumentOpened; the server's sync step 1 and awareness follow as `document_message`."""

    document: DocumentName
    parts: bool = False
    """A long message may come in parts (message 102)."""
    paragraph: bool = False
    """Should nothing have been written in it yet, it begins with one empty paragraph, the same for all who ask."""


class DocumentOpened(msgspec.Struct, kw_only=True):
    document: DocumentName
    can_write: bool


class CloseDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`document_close`"""

    document: DocumentName


class DocumentClosed(msgspec.Struct, kw_only=True):
    """`document_closed`: the server closed this document for the connection; `code` is one of the
    close codes of docs/protocol.md. After `resync` the client opens it again."""

    document: DocumentName
    code: int
    reason: Literal["resync", "forbidden", "too-large", "malformed", "limit", "draining", "unavailable"]


# `document_message` has two arguments in both directions: the document's name (str) and one
# y-protocols message (binary): sync (0), awareness (1), auth (2), query awareness (3), and
# Passerelle's own: 100 saved(varUint count), 101 unsaved(varUint count), 102 part(varUint length of the whole,
# varUint place of the first byte in it, varUint8Array).
