"""A room, joined: its people, its events, its commands, its documents and its media."""

import asyncio
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from passerelle_client.connection import Connection, ConnectionState, Transport
from passerelle_client.document import SharedDocument
from passerelle_client.emitter import Emitter
from passerelle_client.errors import Disconnected, PasserelleError, Refused, Removed
from passerelle_client.protocol import (
    ChatLine,
    DocumentClosed,
    DocumentOpened,
    Draining,
    LobbyState,
    RoomEventMessage,
    RoomView,
    TokenRenewed,
)
from passerelle_client.protocol import Removed as RemovedMessage
from passerelle_client.room_view import apply_event

if TYPE_CHECKING:
    from passerelle_client.media import Media

T = TypeVar("T")
BOTH: tuple[Transport, ...] = ("websocket", "polling")
REOPEN_DELAY_S = 1.0


class Room(Emitter):
    """One participant's place in a room. An async context manager, or `close()` it.

    Events: `state` (ConnectionState), `lobby` (waiting | admitted | denied), `view` (RoomView,
    after every change), `event` (a room event of docs/protocol.md), `chat` (ChatLine), `removed`
    (reason), `token` (a newer token: keep it), and every `media_…` message for `media`.
    """

    def __init__(self, url: str, token: str, *, transports: Sequence[Transport] = BOTH) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self.token = token
        self.view: RoomView | None = None
        self.lobby_state: Literal["waiting", "admitted", "denied"] | None = None
        self._documents: dict[str, SharedDocument] = {}
        self._media: Media | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: PasserelleError | None = None
        self._fresh_connection = True
        self._changed = asyncio.Condition()
        self._connection = Connection(self.url, lambda: self.token, transports)
        self._connection.on("state", self._connection_state)
        self._connection.on("refused", self._refused)
        self._connection.on("lost", self._lost)
        self._connection.on("message", self._received)

    @classmethod
    async def connect(cls, url: str, token: str, *, transports: Sequence[Transport] = BOTH) -> Self:
        """Connect and wait for the room, or for the lobby's word. Raises: Refused, Removed."""
        room = cls(url, token, transports=transports)
        await room.open()
        return room

    async def open(self) -> None:
        """See `connect`."""
        self._connection.open()
        try:
            await self._wait_for(lambda: self.view is not None or self.lobby_state == "waiting")
        except BaseException:
            await self.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connection_state(self) -> ConnectionState:
        return self._connection.state

    @property
    def participant_id(self) -> str:
        """One's own. Raises: Disconnected before the first view."""
        if self.view is None:
            raise Disconnected("not admitted yet")
        return self.view.self_id

    async def admitted(self) -> RoomView:
        """Wait in the lobby until a host opens the door. Raises: Removed, Refused."""
        await self._wait_for(lambda: self.view is not None)
        assert self.view is not None
        return self.view

    async def close(self) -> None:
        """Close this connection; the participant stays in the room and may come back."""
        if self._media is not None:
            await self._media.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()
        for document in self._documents.values():
            document.close()

    async def leave(self) -> None:
        """Leave for good. Raises: Refused, Disconnected."""
        await self.command("leave")
        await self.close()

    # --- commands ---------------------------------------------------------------------------

    async def command(self, name: str, /, **fields: Any) -> Any:
        """Any command of docs/protocol.md. Raises: Refused, Disconnected, Removed."""
        if self._ended is not None:
            raise self._ended
        return await self._connection.call(name, {key: value for key, value in fields.items() if value is not None})

    async def admit(self, participant_id: str) -> None:
        await self.command("admit", participant_id=participant_id)

    async def deny(self, participant_id: str) -> None:
        await self.command("deny", participant_id=participant_id)

    async def remove(self, participant_id: str) -> None:
        await self.command("remove", participant_id=participant_id)

    async def set_hand(self, raised: bool, participant_id: str | None = None) -> None:
        await self.command("set_hand", raised=raised, participant_id=participant_id)

    async def send_chat(self, text: str) -> None:
        """Sent again once after a cut: the server knows the line by its id."""
        client_id = uuid.uuid4().hex
        try:
            await self.command("send_chat", text=text, client_id=client_id)
        except Disconnected:
            await self._wait_for(lambda: self._connection.state == "connected")
            await self.command("send_chat", text=text, client_id=client_id)

    async def rename(self, name: str) -> None:
        await self.command("rename", name=name)

    async def configure(self, **settings: Any) -> None:
        await self.command("configure", **settings)

    async def mute_other(self, track_id: str) -> None:
        await self.command("mute_other", track_id=track_id)

    # --- documents and media ----------------------------------------------------------------

    def document(self, name: str) -> SharedDocument:
        """The document of that name, opened (now, or once admitted) and kept in sync. The same
        object for the same name."""
        document = self._documents.get(name)
        if document is None:
            document = SharedDocument(name, self._send_document)
            self._documents[name] = document
            if self.view is not None and self._connection.state == "connected":
                self._spawn(self._open_document(document))
        return document

    async def close_document(self, name: str) -> None:
        document = self._documents.pop(name, None)
        if document is not None:
            document.close()
            await self.command("document_close", document=name)

    @property
    def media(self) -> "Media":
        """Sound and pictures; needs the extra `passerelle-client[media]`."""
        if self._media is None:
            from passerelle_client.media import Media  # aiortc is optional

            self._media = Media(self)
        return self._media

    def send(self, event: str, *arguments: Any) -> None:
        """For the SDK's own parts: a message without an acknowledgement."""
        self._connection.send(event, *arguments)

    def _send_document(self, name: str, message: bytes) -> None:
        self._connection.send("document_message", name, message)

    async def _open_document(self, document: SharedDocument) -> None:
        document.opening(polling=self._connection.transport == "polling")
        try:
            answer = await self.command("document_open", document=document.name)
        except Refused as error:
            document.refuse(error)
            return
        except (Disconnected, Removed):
            document.connection_lost()
            return  # opened again at the next connection, or never
        document.opened(msgspec.convert(answer, DocumentOpened).can_write)

    # --- what arrives -----------------------------------------------------------------------

    def _received(self, event: str, arguments: tuple[Any, ...]) -> None:
        payload = arguments[0] if arguments else None
        if event == "document_message":
            name, message = arguments
            if (document := self._documents.get(name)) is not None:
                document.receive(message)
        elif event == "room_event":
            self._room_event(msgspec.convert(payload, RoomEventMessage))
        elif event == "room_view":
            self._new_view(msgspec.convert(payload, RoomView))
        elif event == "lobby":
            self._lobby(msgspec.convert(payload, LobbyState))
        elif event == "document_closed":
            self._document_closed(msgspec.convert(payload, DocumentClosed))
        elif event == "removed":
            self._end(Removed(msgspec.convert(payload, RemovedMessage).reason))
        elif event == "token":
            self.token = msgspec.convert(payload, TokenRenewed).token
            self.emit("token", self.token)
        elif event == "draining":
            self._connection.reconnect_after(msgspec.convert(payload, Draining).reconnect_after_ms / 1_000)
        elif event.startswith("media_"):
            self.emit(event, payload)

    def _new_view(self, view: RoomView) -> None:
        """At each connection, at admission, and after a gap."""
        fresh_connection = self._fresh_connection
        self._fresh_connection = False
        known = {line.id for line in self.view.chat} if self.view is not None else None
        self.view = view
        self.lobby_state = "admitted"
        if fresh_connection:
            for document in self._documents.values():
                self._spawn(self._open_document(document))
        if known is not None:
            for line in view.chat:
                if line.id not in known:
                    self.emit("chat", line)
        self.emit("view", view)
        self._notify()

    def _room_event(self, message: RoomEventMessage) -> None:
        if self.view is None:
            return
        if message.prev > self.view.seq:
            self._spawn(self._refresh())
            return
        if message.seq < self.view.seq:
            return  # already in the view
        self.view = apply_event(self.view, message)
        self.emit("event", message.event)
        line = getattr(message.event, "line", None)
        if isinstance(line, ChatLine):
            self.emit("chat", line)
        self.emit("view", self.view)
        self._notify()

    async def _refresh(self) -> None:
        try:
            self._new_view(msgspec.convert(await self.command("get_room"), RoomView))
        except PasserelleError:
            return  # a new connection brings a new view

    def _lobby(self, message: LobbyState) -> None:
        self.lobby_state = message.state
        self.emit("lobby", message.state)
        if message.state == "denied":
            self._end(Removed("denied"))
        self._notify()

    def _document_closed(self, message: DocumentClosed) -> None:
        document = self._documents.get(message.document)
        if document is None:
            return
        document.connection_lost()
        if message.reason == "resync":
            self._spawn(self._open_document(document))
        elif message.reason == "unavailable":
            self._spawn(self._reopen_later(document))
        elif message.reason != "draining":
            document.refuse(Refused(message.reason, f"the server closed the document ({message.code})"))

    async def _reopen_later(self, document: SharedDocument) -> None:
        await asyncio.sleep(REOPEN_DELAY_S)
        await self._open_document(document)

    def _connection_state(self, state: ConnectionState) -> None:
        self.emit("state", state)
        self._notify()

    def _refused(self, error: Refused) -> None:
        self._end(Removed(error.code) if error.code in ("removed", "denied") else error)

    def _lost(self) -> None:
        self._fresh_connection = True
        for document in self._documents.values():
            document.connection_lost()

    def _end(self, error: PasserelleError) -> None:
        if self._ended is None:
            self._ended = error
            self.emit("removed", getattr(error, "reason", getattr(error, "code", "")))
            self._spawn(self._connection.close())
            self._notify()

    # --- waiting ----------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _notify(self) -> None:
        self._spawn(self._notify_waiters())

    async def _notify_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_for(self, condition: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition() or self._ended is not None)
        if self._ended is not None and not condition():
            raise self._ended
