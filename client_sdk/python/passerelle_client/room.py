"""A room, joined: its people, its events, its commands, its documents and its media."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload
from weakref import WeakSet

import msgspec

from passerelle_client.connection import Connection, ConnectionState, Transport
from passerelle_client.document import SharedDocument
from passerelle_client.emitter import Emitter, Unsubscribe
from passerelle_client.errors import Disconnected, PasserelleError, Refused, Removed
from passerelle_client.protocol import (
    ChatLine,
    ChatSent,
    DocumentClosed,
    Draining,
    LobbyState,
    RichText,
    RoomDocument,
    RoomEventMessage,
    RoomView,
    TokenRenewed,
)
from passerelle_client.protocol import Removed as RemovedMessage
from passerelle_client.room_documents import RoomDocuments
from passerelle_client.room_events import RoomEvents
from passerelle_client.room_view import RoomEvent, apply_event, is_frozen
from passerelle_client.voice import Voice
from passerelle_client.waiting import Waiting

if TYPE_CHECKING:
    from passerelle_client.media import Media

logger = logging.getLogger("passerelle_client")

BOTH: tuple[Transport, ...] = ("websocket", "polling")
REFRESH_DELAY_S = 1.0
"""Pause before the view is asked for again that the server could not give."""
MOST_WORDS = 5
"""How often a setting is asked for again when somebody else was faster, each time knowing of the last."""

LobbyWord = Literal["waiting", "admitted", "denied"]


class Room(Emitter):
    """One participant's place in a room. An async context manager, or `close()` it.

    A lost connection comes back by itself; what was missed shows in the next `view`.
    """

    def __init__(self, url: str, token: str, *, transports: Sequence[Transport] = BOTH) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self.token = token
        self.view: RoomView | None = None
        """The room as this participant may see it; None before admission."""
        self.lobby_state: LobbyWord | None = None
        self._media: Media | None = None
        self._voice: Voice | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._iterators: WeakSet[RoomEvents] = WeakSet()
        self._ended: PasserelleError | None = None
        self._is_fresh_connection = True
        self._understands: frozenset[str] | None = None
        """What the server at the other end reads that came later; None before its first word over a connection."""
        self._is_refreshing = False
        self._waiting = Waiting()
        self._connection = Connection(self.url, lambda: self.token, transports)
        self._documents = RoomDocuments(
            self._connection, self.command, self._spawn, lambda what: what in (self._understands or ())
        )
        self._connection.listen("state", self._connection_state)
        self._connection.listen("refused", self._refused)
        self._connection.listen("lost", self._lost)
        self._connection.listen("message", self._received)

    @overload
    def on(self, event: Literal["state"], listener: Callable[[ConnectionState], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["lobby"], listener: Callable[[LobbyWord], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["view"], listener: Callable[[RoomView], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["event"], listener: Callable[[RoomEvent], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["chat"], listener: Callable[[ChatLine], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["frozen"], listener: Callable[[bool], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["removed", "token"], listener: Callable[[str], None]) -> Unsubscribe: ...

    def on(self, event: str, listener: Callable[..., None]) -> Unsubscribe:
        """`state`: of the connection; `lobby`; `view`: the room after every change; `event`: what
        happened, as in `events()`; `chat`: a line, also those that came while the connection was lost;
        `frozen`: whether the room stands still, for no adult in charge is there;
        `removed`: for good, and why; `token`: a newer one, to be kept. Returns what takes the listener
        off again."""
        return self.listen(event, listener)

    def events(self) -> RoomEvents:
        """What happens from now on, one after the other: see RoomEvents."""
        events = RoomEvents(self.view)
        if self._ended is not None:
            events.close(self._ended)
        else:
            self._iterators.add(events)
        return events

    # --- coming and going -------------------------------------------------------------------

    @classmethod
    async def connect(cls, url: str, token: str, *, transports: Sequence[Transport] = BOTH) -> Self:
        """Connect and wait for the room, or for the lobby's word. Tries until it is cancelled, for a
        server may be away for a while. Raises: Refused, Removed."""
        room = cls(url, token, transports=transports)
        await room.open()
        return room

    async def open(self) -> None:
        """See `connect`."""
        self._connection.open()
        try:
            await self._waiting.until(lambda: self.view is not None or self.lobby_state == "waiting")
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
    def transport(self) -> Transport | None:
        """Of the present or last connection."""
        return self._connection.transport

    @property
    def frozen(self) -> bool:
        """No adult in charge is there: until one is back nobody else writes, chats, is heard or seen, or comes in.
        `view.freeze` says since when, and afterwards until when."""
        return self.view is not None and is_frozen(self.view)

    @property
    def participant_id(self) -> str:
        """One's own. Raises: Disconnected before the first view."""
        if self.view is None:
            raise Disconnected("not admitted yet")
        return self.view.self_id

    async def admitted(self) -> RoomView:
        """Wait in the lobby until a host opens the door. Raises: Removed, Refused."""
        await self._waiting.until(lambda: self.view is not None)
        assert self.view is not None
        return self.view

    async def connected(self) -> None:
        """Wait until there is a connection (again). Raises: Removed, Refused."""
        await self._waiting.until(lambda: self._connection.state == "connected")

    async def close(self) -> None:
        """Close this connection; the participant stays in the room and may come back."""
        if self._media is not None:
            await self._media.close()
        if self._voice is not None:
            await self._voice.close()
        await self._connection.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._documents.close_all()
        self._close_iterators(self._ended)
        self._waiting.settle(self._ended or Disconnected("the room was closed"))

    async def leave(self) -> None:
        """Leave for good. Raises: Refused, Disconnected."""
        await self.command("leave")
        await self.close()

    # --- commands ---------------------------------------------------------------------------

    def can(self, permission: str) -> bool:
        """Whether this participant may do so now."""
        return self.view is not None and permission in self.view.permissions

    async def command(self, name: str, /, **fields: Any) -> Any:
        """Any command of docs/protocol.md. Raises: Refused, Disconnected, Removed."""
        return await self._call(name, {key: value for key, value in fields.items() if value is not None})

    async def _call(self, name: str, fields: dict[str, Any]) -> Any:
        if self._ended is not None:
            raise self._ended
        return await self._connection.call(name, fields)

    async def _set(self, name: str, /, **fields: Any) -> None:
        """A command that sets something, and says what had been seen by then: should it be read only when something
        else was asked over another connection, it comes too late. Whoever is still here asks again."""
        seen = self.view.seq if self.view is not None else None
        for _ in range(MOST_WORDS):
            is_said = seen is not None and await self._is_understood("seen")
            try:
                await self._call(name, {**fields, "seen": seen} if is_said else fields)
                return
            except Refused as refused:
                if refused.code != "outdated" or refused.seq is None:
                    raise
                seen = refused.seq
        raise Disconnected(f"{name} was overtaken {MOST_WORDS} times")

    async def _is_understood(self, what: str) -> bool:
        """Whether it may be sent over the present connection: another one may lead to an older server.
        Raises: Refused, Removed."""
        connection = self._connection
        await self._waiting.until(lambda: self._understands is not None or connection.state != "connected")
        return self._understands is not None and what in self._understands

    async def admit(self, participant_id: str) -> None:
        """Open the door to one who waits. Raises: as `command`; so do the others."""
        await self.command("admit", participant_id=participant_id)

    async def deny(self, participant_id: str) -> None:
        """Turn away one who waits."""
        await self.command("deny", participant_id=participant_id)

    async def remove(self, participant_id: str) -> bool:
        """They are out. Returns once every connection of theirs is closed; False: one may still be open somewhere,
        on a server that does not answer now."""
        answer = await self.command("remove", participant_id=participant_id)
        return answer.get("confirmed") is not False

    async def set_hand(self, raised: bool, participant_id: str | None = None) -> None:
        """One's own hand; a host may lower another's."""
        await self._set("set_hand", raised=raised, participant_id=participant_id)

    async def send_chat(self, text: str) -> None:
        """Sent again once after a cut: the server knows the line by its id."""
        client_id = uuid.uuid4().hex
        try:
            await self.command("send_chat", text=text, client_id=client_id)
        except Disconnected:
            await self.connected()
            await self.command("send_chat", text=text, client_id=client_id)

    async def rename(self, name: str) -> None:
        """One's own name."""
        await self._set("rename", name=name)

    async def configure(self, **settings: Any) -> None:
        """`lobby_roles`, `chat_enabled`, `writing_enabled`: what is given changes."""
        await self._set("configure", **settings)

    async def spotlight(self, participant_id: str | None) -> None:
        """Show somebody large to everyone; None: nobody any more."""
        await self._set("spotlight", participant_id=participant_id)

    async def create_document(
        self, title: str, template: RichText | Mapping[str, Any] | str | None = None, *, document: str | None = None
    ) -> RoomDocument:
        """A new text for everyone in the room, which begins with the template: rich text (as ProseMirror writes it
        in JSON, `{"type": "doc", "content": […]}`), or plain text, each line a paragraph. It is stored when this
        returns: `room.document(created.document)` opens it. Sent again once after a cut: the server knows it by
        its name. Raises: as `command`."""
        fields = {"title": title, "template": msgspec.to_builtins(template), "document": document or uuid.uuid4().hex}
        try:
            answer = await self.command("create_document", **fields)
        except Disconnected:
            await self.connected()
            answer = await self.command("create_document", **fields)
        return msgspec.convert(answer, RoomDocument)

    async def rename_document(self, document: str, title: str) -> None:
        """Its title, for everyone."""
        await self._set("rename_document", document=document, title=title)

    async def mute_other(self, track_id: str) -> bool:
        """Mute somebody's track; only they can unmute it. False: it was asked, but nobody can say that it is silent
        (between browsers only its owner's device can stop it)."""
        answer = await self.command("mute_other", track_id=track_id)
        return answer.get("confirmed") is not False

    def tell(self, name: str, /, **fields: Any) -> None:
        """A command whose answer nobody waits for; nothing happens without a connection."""
        self._connection.send(name, fields)

    # --- documents and media ----------------------------------------------------------------

    def document(self, name: str, *, paragraph: bool = False) -> SharedDocument:
        """The document of that name, opened (now, or once admitted) and kept in sync. The same
        object for the same name. `paragraph`: should nothing have been written in it, it begins with one empty
        paragraph in the fragment `content`, the same for all who ask: two rich text editors that begin in the same
        instant make none of their own each."""
        return self._documents.use(name, is_inside=self.view is not None, paragraph=paragraph)

    async def close_document(self, name: str) -> None:
        """Stop following it. What is not saved yet is lost: await `saved()` before."""
        await self._documents.close(name)

    @property
    def media(self) -> "Media":
        """Sound and pictures; needs the extra `passerelle-client[media]`. Raises: ImportError."""
        if self._media is None:
            from passerelle_client.media import Media  # aiortc is optional

            self._media = Media(self)
        return self._media

    @property
    def voice(self) -> Voice:
        """Voice as Opus packets over this very connection, without WebRTC; instead of `media`, not beside it."""
        if self._voice is None:
            self._voice = Voice(self)
        return self._voice

    def send_voice(self, packet: bytes) -> None:
        """For `voice`: dropped when there is no connection."""
        self._connection.send("media_voice", packet)

    # --- what arrives -----------------------------------------------------------------------

    def _received(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._ended is not None:
            return
        payload = arguments[0] if arguments else None
        try:
            self._dispatch(event, payload, arguments)
        except msgspec.ValidationError:
            # Of a newer server, perhaps: what it changed is in the next view.
            logger.warning("%s of the server could not be read", event)
            if event == "room_event":
                self._refresh_soon()

    def _dispatch(self, event: str, payload: Any, arguments: tuple[Any, ...]) -> None:
        if event == "document_message":
            name, message = arguments
            self._documents.receive(name, message)
        elif event == "room_event":
            self._room_event(msgspec.convert(payload, RoomEventMessage))
        elif event == "room_view":
            self._new_view(msgspec.convert(payload, RoomView))
        elif event == "lobby":
            self._lobby(msgspec.convert(payload, LobbyState))
        elif event == "document_closed":
            self._documents.closed(msgspec.convert(payload, DocumentClosed))
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
        is_fresh_connection, self._is_fresh_connection = self._is_fresh_connection, False
        known = {line.id for line in self.view.chat} if self.view is not None else None
        self.lobby_state = "admitted"
        self._understands = frozenset(view.understands)
        self._set_view(view)
        for events in self._iterators:
            events.begin_from(view)
        if is_fresh_connection:
            self._documents.open_all()
        if known is not None:
            for line in view.chat:
                if line.id not in known:
                    self.emit("chat", line)
        self.emit("view", view)
        self._waiting.settle()

    def _room_event(self, message: RoomEventMessage) -> None:
        if self.view is None:
            return
        if message.prev > self.view.seq:
            self._refresh_soon()
            return
        if message.seq < self.view.seq:
            return  # already in the view
        view = apply_event(self.view, message)
        self._set_view(view)
        for events in self._iterators:
            events.put(message.event, view)
        self.emit("event", message.event)
        if isinstance(message.event, ChatSent):
            self.emit("chat", message.event.line)
        self.emit("view", view)
        self._waiting.settle()

    def _set_view(self, view: RoomView) -> None:
        was_frozen = self.frozen
        self.view = view
        self._documents.set_access("write_document" in view.permissions)
        if self.frozen != was_frozen:
            self.emit("frozen", self.frozen)

    def _refresh_soon(self) -> None:
        """Something was missed: ask for the whole, once."""
        if not self._is_refreshing:
            self._is_refreshing = True
            self._spawn(self._refresh())

    async def _refresh(self) -> None:
        try:
            while self._connection.state == "connected":
                try:
                    self._new_view(msgspec.convert(await self.command("get_room"), RoomView))
                    return
                except Refused as error:
                    logger.info("the room was not shown: %s", error.code)
                    await asyncio.sleep(REFRESH_DELAY_S)
        except (Disconnected, Removed):
            return  # a new connection brings a new view
        finally:
            self._is_refreshing = False

    def _lobby(self, message: LobbyState) -> None:
        self.lobby_state = message.state
        self._understands = frozenset()
        self.emit("lobby", message.state)
        if message.state == "denied":
            self._end(Removed("denied"))
        self._waiting.settle(self._ended)

    # --- the connection ---------------------------------------------------------------------

    def _connection_state(self, state: ConnectionState) -> None:
        self.emit("state", state)
        self._waiting.settle(self._ended)

    def _refused(self, error: Refused) -> None:
        self._end(Removed(error.code) if error.code in ("removed", "denied") else error)

    def _lost(self) -> None:
        self._is_fresh_connection = True
        self._understands = None
        self._documents.connection_lost()

    def _end(self, error: PasserelleError) -> None:
        """This participant is out: nothing will come back."""
        if self._ended is not None:
            return
        self._ended = error
        self._documents.end(error)
        self._close_iterators(error)
        self.emit("removed", error.reason if isinstance(error, Removed) else getattr(error, "code", ""))
        self._spawn(self._connection.close())
        self._waiting.settle(error)

    def _close_iterators(self, error: PasserelleError | None) -> None:
        for events in self._iterators:
            events.close(error)
        self._iterators.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
