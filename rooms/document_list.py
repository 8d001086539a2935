"""The texts that a room shows to everyone in it: which, in what order, called what.

A host puts one in by creating it; nobody takes one out, for what pupils wrote would be out of their sight. A text
that is not in the list can still be opened by who knows its name; putting it in gives it a title.
"""

from collections.abc import Sequence
from dataclasses import replace

from rooms.commands import CreateDocument, RenameDocument
from rooms.errors import DocumentExists, NotFound, RoomFull
from rooms.events import DocumentCreated, DocumentRenamed, Event
from rooms.models import RoomDocument, RoomState
from rooms.names import clean_name
from rooms.roles import Permission
from rooms.roster import require

MAX_DOCUMENTS = 100
"""In one room's list: an activity of weeks has a dozen; the list travels with each view of the room (15 kB then)."""


def create(state: RoomState, command: CreateDocument, actor_id: str | None, now: float) -> Sequence[Event]:
    """Nothing happens where just this text is listed: it was asked for again after a cut. Raises: RoomError."""
    require(state, actor_id, Permission.MANAGE_DOCUMENTS)
    title = clean_name(command.title)
    found = listed(state, command.document)
    if found is not None:
        if found.title != title:
            raise DocumentExists
        return []
    if len(state.documents) >= MAX_DOCUMENTS:
        raise RoomFull(MAX_DOCUMENTS, "texts")
    return [DocumentCreated(RoomDocument(command.document, title, now))]


def rename(state: RoomState, command: RenameDocument, actor_id: str | None) -> Sequence[Event]:
    """Raises: RoomError."""
    require(state, actor_id, Permission.MANAGE_DOCUMENTS)
    title = clean_name(command.title)
    found = listed(state, command.document)
    if found is None:
        raise NotFound
    return [] if found.title == title else [DocumentRenamed(replace(found, title=title))]


def listed(state: RoomState, document: str) -> RoomDocument | None:
    """The entry of that name."""
    return next((one for one in state.documents if one.document == document), None)


def with_document(documents: Sequence[RoomDocument], changed: RoomDocument) -> tuple[RoomDocument, ...]:
    """In place of the entry of its name, else at the end."""
    if any(one.document == changed.document for one in documents):
        return tuple(changed if one.document == changed.document else one for one in documents)
    return (*documents, changed)
