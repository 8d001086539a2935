"""What a client may ask over Socket.IO: decoded by the registry, carried out, answered."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from rooms import commands as domain
from rooms.document_list import listed
from rooms.documents.errors import CannotOpen
from rooms.documents.hub import DocumentHub
from rooms.documents.template import template_update
from rooms.errors import DocumentExists, NotAdmitted, Unavailable
from rooms.manager import RoomManager
from rooms.models import Participant, Role, RoomSettings, Watch
from rooms.ports import DocumentKey
from rooms.roles import Permission
from rooms.room import decide
from server import presenter
from server.error_answers import Refusal
from server.realtime.announcer import Announcer
from server.realtime.connection import MAX_DOCUMENTS, DocumentReader, SocketConnection, SocketFanOut
from server.templates import read_template
from server.wire import document as wire_document
from server.wire import room as wire
from server.wire.common import Accepted
from server.wire.registry import COMMANDS
from signaling import messages
from signaling.ports import MediaDoor

CLOSED_WITHIN_S = 1.0
"""Who was removed has no connection any more after this, whatever their network does."""

Handler = Callable[[SocketConnection, Any], Awaitable[Any]]


class ParticipantAccess:
    """`rooms.documents.reader.DocumentAccess`: asked at each write, so that a change counts at once."""

    __slots__ = (
        "_can_read",
        "_can_write",
        "_is_silenced",
        "_participant",
        "_participant_id",
        "_room_id",
        "_rooms",
        "_settings",
        "_watch",
    )

    def __init__(self, rooms: RoomManager, room_id: str, participant_id: str) -> None:
        self._rooms = rooms
        self._room_id = room_id
        self._participant_id = participant_id
        # What the answers were looked up from: what changes is another object. Not the room's whole state, of which
        # each reader would then keep the one in which it came.
        self._participant: Participant | None = None
        self._settings: RoomSettings | None = None
        self._watch: Watch | None = None
        self._can_read = self._can_write = self._is_silenced = False

    def can_read(self) -> bool:
        self._follow()
        return self._can_read

    def can_write(self) -> bool:
        self._follow()
        return self._can_write

    def is_silenced(self) -> bool:
        self._follow()
        return self._is_silenced

    def _follow(self) -> None:
        state = self._rooms.state_now(self._room_id)
        participant = state.participants.get(self._participant_id) if state is not None else None
        settings, watch = (state.settings, state.watch) if state is not None else (None, None)
        if participant is not self._participant or settings is not self._settings or watch is not self._watch:
            self._participant, self._settings, self._watch = participant, settings, watch
            self._look_up()

    def _look_up(self) -> None:
        self._can_read = self._rooms.can(self._room_id, self._participant_id, Permission.READ_DOCUMENT)
        self._can_write = self._rooms.can(self._room_id, self._participant_id, Permission.WRITE_DOCUMENT)
        self._is_silenced = self._rooms.is_silenced(self._room_id, self._participant_id)


class Commands:
    """The handlers by event name; each gets the connection and its checked payload."""

    def __init__(
        self,
        rooms: RoomManager,
        documents: DocumentHub,
        media: MediaDoor,
        announcer: Announcer,
    ) -> None:
        self._rooms = rooms
        self._documents = documents
        self._media = media
        self._announcer = announcer
        self._fan_out = SocketFanOut()
        self._handlers: dict[str, Handler] = {
            "get_room": self._get_room,
            "admit": self._admit,
            "deny": self._deny,
            "remove": self._remove,
            "set_hand": self._set_hand,
            "send_chat": self._send_chat,
            "rename": self._rename,
            "configure": self._configure,
            "spotlight": self._spotlight,
            "mute_other": self._mute_other,
            "leave": self._leave,
            "ping_room": self._ping,
            "create_document": self._create_document,
            "rename_document": self._rename_document,
            "document_open": self._open_document,
            "document_close": self._close_document,
            "media_start": self._start_media,
            "media_description": self._media_call(media.receive_description),
            "media_candidate": self._media_call(media.receive_candidate),
            "media_mute": self._media_call(media.set_track_muted),
            "media_unpublish": self._media_call(media.unpublish),
            "media_subscribe": self._media_call(media.subscribe),
            "media_layout": self._media_call(media.set_layout),
            "media_sound": self._media_call(media.set_sound),
            "media_fallback": self._media_call(media.set_fallback),
            "media_rebuild": self._media_call(media.rebuild),
            "media_stop": self._media_call(media.stop_session),
        }
        assert self._handlers.keys() == COMMANDS.keys()

    async def run(self, connection: SocketConnection, name: str, payload: Any) -> Any:
        """The acknowledgement as plain values. Raises: whatever error_answers knows."""
        command = COMMANDS.get(name)
        if command is None:
            raise Refusal("unknown-command", "There is no such command.")
        try:
            request = msgspec.convert({} if payload is None else payload, command.payload)
        except RecursionError:
            raise Refusal("invalid", "This is nested too deep.", "$") from None
        answer = await self._handlers[name](connection, request)
        return msgspec.to_builtins(Accepted() if answer is None else answer)

    # --- the room ---------------------------------------------------------------------------

    async def _get_room(self, connection: SocketConnection, _request: wire.GetRoom) -> wire.RoomView:
        # Nothing is waited for between this view and its acknowledgement: no event can overtake it.
        view = await self._announcer.view(connection)
        if view is None:
            raise NotAdmitted
        return view

    async def _execute(self, connection: SocketConnection, command: domain.Command) -> None:
        await self._rooms.execute(connection.room_id, connection.participant_id, command)

    async def _admit(self, connection: SocketConnection, request: wire.Admit) -> None:
        await self._execute(connection, domain.Admit(request.participant_id))

    async def _deny(self, connection: SocketConnection, request: wire.Deny) -> None:
        await self._execute(connection, domain.Deny(request.participant_id))

    async def _remove(self, connection: SocketConnection, request: wire.Remove) -> wire.Removal:
        await self._execute(connection, domain.Remove(request.participant_id))
        out = [request.participant_id]
        return wire.Removal(confirmed=await self._rooms.wait_gone(connection.room_id, out, CLOSED_WITHIN_S))

    async def _set_hand(self, connection: SocketConnection, request: wire.SetHand) -> None:
        await self._execute(connection, domain.SetHand(request.raised, request.participant_id, request.seen))

    async def _rename(self, connection: SocketConnection, request: wire.Rename) -> None:
        await self._execute(connection, domain.Rename(request.name, request.seen))

    async def _configure(self, connection: SocketConnection, request: wire.Configure) -> None:
        roles = None if request.lobby_roles is None else frozenset(Role(role) for role in request.lobby_roles)
        change = domain.Configure(
            roles, request.chat_enabled, request.writing_enabled, request.needs_adult, request.seen
        )
        await self._execute(connection, change)

    async def _spotlight(self, connection: SocketConnection, request: wire.Spotlight) -> None:
        await self._execute(connection, domain.Spotlight(request.participant_id, request.seen))

    async def _send_chat(self, connection: SocketConnection, request: wire.SendChat) -> None:
        if not request.text.strip():
            raise Refusal("invalid", "A chat line has at least one character that shows.", "$.text")
        await self._rooms.send_chat(connection.room_id, connection.participant_id, request.text, request.client_id)

    async def _leave(self, connection: SocketConnection, _request: wire.Leave) -> None:
        connection.is_leaving = True
        try:
            await self._execute(connection, domain.Leave())
        except BaseException:
            connection.is_leaving = False
            raise
        # After the acknowledgement, which this handler's return sends.
        asyncio.get_running_loop().call_soon(connection.end, "left")

    async def _ping(self, _connection: SocketConnection, _request: wire.PingRoom) -> None:
        return None

    async def _mute_other(self, connection: SocketConnection, request: wire.MuteOther) -> wire.Muting:
        self._require(connection, Permission.MUTE_OTHERS)
        return wire.Muting(confirmed=await self._media.mute_by_host(connection.room_id, request.track_id))

    # --- documents --------------------------------------------------------------------------

    async def _create_document(
        self, connection: SocketConnection, request: wire_document.CreateDocument
    ) -> wire_document.RoomDocument:
        room_id, actor_id = connection.room_id, connection.participant_id
        self._require(connection, Permission.MANAGE_DOCUMENTS)
        name = request.document if request.document is not None else secrets.token_urlsafe(12)
        command = domain.CreateDocument(name, request.title)
        blocks = read_template(request.template) if request.template is not None else []
        # What would be refused leaves no text behind; what is listed already is not begun a second time.
        is_new = bool(decide(await self._rooms.get_state(room_id), command, actor_id, time.time()))
        if is_new and blocks:
            try:
                has_begun = await self._documents.begin(DocumentKey(room_id, name), template_update(blocks))
            except CannotOpen as error:
                raise cannot_open(error) from error
            if not has_begun:
                raise DocumentExists
        entry = listed(await self._rooms.execute(room_id, actor_id, command), name)
        if entry is None:
            raise Unavailable  # it is, but the room's home went away before this instance heard it
        return presenter.document(entry)

    async def _rename_document(self, connection: SocketConnection, request: wire_document.RenameDocument) -> None:
        await self._execute(connection, domain.RenameDocument(request.document, request.title, request.seen))

    async def _open_document(
        self, connection: SocketConnection, request: wire_document.OpenDocument
    ) -> wire_document.DocumentOpened:
        _make_place(connection, request.document)
        access = ParticipantAccess(self._rooms, connection.room_id, connection.participant_id)
        reader = DocumentReader(connection, request.document, self._fan_out, takes_parts=request.parts)
        key = DocumentKey(connection.room_id, request.document)
        try:
            if request.paragraph and access.can_read() and access.can_write():
                await self._documents.begin_with_paragraph(key)
            opened = await self._documents.open(key, reader, access)
        except CannotOpen as error:
            raise cannot_open(error) from error
        try:
            if connection.ended:
                raise Refusal("removed", "The connection is closed.")
            # By another POST that is carried out at once, the same may have been opened meanwhile: a reader whom nobody
            # knows any more would keep the document in memory for ever.
            _make_place(connection, request.document)
        except Refusal:
            opened.close()
            raise
        connection.documents[request.document] = opened
        # After the acknowledgement, which this handler's return sends.
        asyncio.get_running_loop().call_soon(opened.start)
        return wire_document.DocumentOpened(document=request.document, can_write=access.can_write())

    async def _close_document(self, connection: SocketConnection, request: wire_document.CloseDocument) -> None:
        opened = connection.take_document(request.document)
        if opened is not None:
            opened.close()

    # --- media ------------------------------------------------------------------------------

    async def _start_media(self, connection: SocketConnection, request: messages.StartMedia) -> messages.MediaStarted:
        self._require(connection, Permission.SEE_ROSTER)
        started = await self._media.start(
            connection.room_id, connection.participant_id, connection.connection_id, request
        )
        if connection.ended:
            # Lost while the session began: nobody else will tell.
            self._media.connection_lost(connection.connection_id)
        return started

    def _media_call(self, method: Callable[[str, Any], Awaitable[None]]) -> Handler:
        async def call(connection: SocketConnection, request: Any) -> None:
            await method(connection.connection_id, request)

        return call

    def _require(self, connection: SocketConnection, permission: Permission) -> None:
        if not self._rooms.can(connection.room_id, connection.participant_id, permission):
            raise Refusal("permission-denied", f"This needs the permission {permission}.")


def _make_place(connection: SocketConnection, document: str) -> None:
    """For one more document; the same one, opened before, is closed. Raises: Refusal."""
    before = connection.take_document(document)
    if before is not None:
        before.close()
    elif len(connection.documents) >= MAX_DOCUMENTS:
        raise Refusal("too-many-requests", f"No more than {MAX_DOCUMENTS} documents on one connection.")


def cannot_open(error: CannotOpen) -> Refusal:
    """The hub's refusal in the codes of commands."""
    codes = {"forbidden": "permission-denied", "unavailable": "store-unavailable", "limit": "room-full"}
    return Refusal(codes.get(error.reason, "store-unavailable"), f"The document cannot be opened: {error.reason}.")
