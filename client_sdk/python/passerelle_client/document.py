"""A shared document: a pycrdt `Doc` that stays in sync while the room is connected."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal, overload

import pycrdt

from passerelle_client.document_sync import DocumentSync, Received, awareness_message, merge
from passerelle_client.emitter import Emitter, Unsubscribe
from passerelle_client.errors import Disconnected, PasserelleError, Refused
from passerelle_client.lib0 import MalformedMessage
from passerelle_client.update_split import UpdateTooLong
from passerelle_client.waiting import Waiting

logger = logging.getLogger("passerelle_client")

SaveState = Literal["loading", "saved", "unsaved", "offline", "refused"]

POLLING_BATCH_S = 0.02
"""Over long polling each batch is a request: local edits of this long go together."""
AWARENESS_RENEWAL_S = 15.0
"""y-protocols: a state that was not renewed for 30 s is taken for gone by every other client."""


class SharedDocument(Emitter):
    """Edit `doc` as any pycrdt document, from the event loop's thread.

    Set `awareness.set_local_state(…)` to be seen in the text; it is shown and renewed for as long as
    the connection lives. `state`:

    - `loading`: nothing has come from the server yet;
    - `saved`: everything local is in the server's store;
    - `unsaved`: something is on its way there, or the store fails; nothing to do but wait;
    - `offline`: there is no connection; edits are kept, and sent when it is back;
    - `refused`: the server does not take it (`refusal` says why): no right to read, or to write what
      was written here.
    """

    def __init__(self, name: str, send: Callable[[str, bytes], None], *, paragraph: bool = False) -> None:
        super().__init__()
        self.name = name
        self.begins_with_paragraph = paragraph
        """Asked for when it is opened and nothing has been written in it."""
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.awareness = pycrdt.Awareness(self.doc)
        self.can_write = False
        self.refusal: PasserelleError | None = None
        self._send = send
        self._sync: DocumentSync | None = None
        self._batch_s = 0.0
        self._is_shut = False
        """The server will not open the document; else a refusal is of what was written."""
        self._is_closed = False
        self._was_told_synced = False
        self._is_shown = False
        """Whether the others were told of our awareness."""
        self._applying = False
        self._pending: list[bytes] = []
        self._timer: asyncio.Handle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._waiting = Waiting()
        self._state: SaveState = "loading"
        self._subscription = self.doc.observe(self._changed)
        self._awareness_subscription = self.awareness.observe(self._awareness_changed)

    @overload
    def on(self, event: Literal["state"], listener: Callable[[SaveState], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["synced"], listener: Callable[[], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["access"], listener: Callable[[bool], None]) -> Unsubscribe: ...
    @overload
    def on(self, event: Literal["refused"], listener: Callable[[PasserelleError], None]) -> Unsubscribe: ...

    def on(self, event: str, listener: Callable[..., None]) -> Unsubscribe:
        """`state` and `synced`: as the properties; `access`: `can_write` changed; `refused`: the server
        would not open the document, or take what was written."""
        return self.listen(event, listener)

    @property
    def state(self) -> SaveState:
        return self._state

    @property
    def synced(self) -> bool:
        """Everything the server had has arrived over the present connection."""
        return self._sync is not None and self._sync.synced

    @property
    def is_followed(self) -> bool:
        """The server was asked to open it over the present connection, and has not said no."""
        return self._sync is not None

    @property
    def unsaved_count(self) -> int:
        """Messages on their way to the store; only meaningful while connected."""
        return (self._sync.unsaved_count if self._sync else 0) + bool(self._pending)

    async def when_synced(self) -> None:
        """Wait until the server's content has arrived. Raises: Refused, Removed; Disconnected when the
        document is closed meanwhile."""
        await self._waiting.until(lambda: self.synced)

    async def saved(self) -> None:
        """Wait until everything written so far, here, is in the server's store; through any
        reconnection. Raises: Refused, Removed; Disconnected when the document is closed meanwhile."""
        await self._waiting.until(lambda: self._state == "saved")

    def close(self) -> None:
        """Stop following the document; the room closes it on the server."""
        if self._is_closed:
            return
        self._is_closed = True
        self.connection_lost()
        self.doc.unobserve(self._subscription)
        self.awareness.unobserve(self._awareness_subscription)
        self._waiting.settle(Disconnected("the document was closed"))

    # --- for the room -----------------------------------------------------------------------

    def opening(self, *, polling: bool) -> None:
        """The server is being asked to open the document: a new exchange begins, for the server's
        first messages may be read before its acknowledgement is awaited."""
        self._cancel_timers()  # the answer to the server's sync step 1 will contain what was pending
        self._batch_s = POLLING_BATCH_S if polling else 0.0
        self._is_shut, self.refusal = False, None
        self._was_told_synced = self._is_shown = False
        self._sync = DocumentSync(self.doc)

    def opened(self, can_write: bool) -> None:
        """The server opened it."""
        if self._sync is None:
            return  # lost again meanwhile
        self.set_access(can_write)
        self._send_all(self._sync.start())
        # A higher clock than before: the others were told that this client had gone.
        self._renew_awareness()
        self._settle()

    def set_access(self, can_write: bool) -> None:
        """What the room's permissions say."""
        if can_write != self.can_write:
            self.can_write = can_write
            self.emit("access", can_write)

    def connection_lost(self) -> None:
        self._sync = None
        self._cancel_timers()
        others = [client for client in self.awareness.states if client != self.awareness.client_id]
        if others:
            self.awareness.remove_awareness_states(others, "connection")
        self._settle()

    def refuse(self, error: PasserelleError) -> None:
        """The server will not open it (now)."""
        self._is_shut = True
        self._sync = None
        self._cancel_timers()
        self._set_refusal(error)
        self._settle()

    def receive(self, message: bytes) -> None:
        """One message of the server for this document."""
        if self._sync is None:
            return
        try:
            received = self._sync.receive(message)
        except MalformedMessage:
            logger.warning("document %s: malformed message of %d bytes from the server", self.name, len(message))
            return
        except UpdateTooLong:
            self._cannot_send()
            return
        self._take(received)
        self._settle()

    def _take(self, received: Received) -> None:
        if received.asked and not self._is_shut:
            self.refusal = None  # it is being given everything: it judges again
        if received.updates:
            self._apply(received.updates)
        self._send_all(received.to_send)
        if received.awareness is not None:
            self._apply_awareness(received.awareness)
        if received.awareness_wanted:
            self._send_awareness()
        if received.denied is not None:
            message = f"the server did not take what was written: {received.denied}"
            self._set_refusal(Refused(received.denied, message))

    def _apply(self, updates: list[bytes]) -> None:
        self._applying = True
        try:
            for update in updates:
                self.doc.apply_update(update)
        finally:
            self._applying = False

    def _apply_awareness(self, update: bytes) -> None:
        try:
            self.awareness.apply_awareness_update(update, "server")
        except Exception:  # pycrdt reads other people's JSON here, and has an error of its own for everything
            logger.warning("document %s: awareness that cannot be read", self.name)

    def _set_refusal(self, error: PasserelleError) -> None:
        self.refusal = error
        self.emit("refused", error)

    def _cannot_send(self) -> None:
        self._set_refusal(Refused("too-large", "one edit is more than a message can hold"))
        self._settle()

    # --- local changes ----------------------------------------------------------------------

    def _changed(self, event: pycrdt.TransactionEvent) -> None:
        if self._applying or self._sync is None:
            return
        self._pending.append(event.update)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            # Edits of one turn of the loop leave as one message.
            self._timer = loop.call_later(self._batch_s, self._flush) if self._batch_s else loop.call_soon(self._flush)
            self._settle()

    def _flush(self) -> None:
        self._timer = None
        updates, self._pending = self._pending, []
        if self._sync is not None and updates:
            try:
                self._send_all(self._sync.local_update(merge(updates)))
            except UpdateTooLong:
                self._cannot_send()
        self._settle()

    def _awareness_changed(self, kind: str, change: tuple[dict[str, list[int]], object]) -> None:
        _details, origin = change
        # Each change comes as "change" and as "update"; a renewal as "update" alone.
        if kind == "update" and origin == "local" and self._sync is not None:
            self._send_awareness()

    def _send_awareness(self) -> None:
        state = self.awareness.get_local_state()
        if state or self._is_shown:  # nobody is shown who has nothing to show
            self._is_shown = bool(state)
            own = [self.awareness.client_id]
            self._send(self.name, awareness_message(self.awareness.encode_awareness_update(own)))

    def _renew_awareness(self) -> None:
        state = self.awareness.get_local_state()
        if state:
            self.awareness.set_local_state(state)
        loop = asyncio.get_running_loop()
        self._renewal = loop.call_later(AWARENESS_RENEWAL_S, self._renew_awareness)

    def _send_all(self, messages: list[bytes]) -> None:
        for message in messages:
            self._send(self.name, message)

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._renewal):
            if timer is not None:
                timer.cancel()
        self._timer = self._renewal = None
        self._pending.clear()

    # --- state ------------------------------------------------------------------------------

    def _settle(self) -> None:
        state = self._state_now()
        if self.synced and not self._was_told_synced:
            self._was_told_synced = True
            self.emit("synced")
        if state != self._state:
            self._state = state
            self.emit("state", state)
        self._waiting.settle(self.refusal)

    def _state_now(self) -> SaveState:
        if self.refusal is not None:
            return "refused"
        if self._sync is None:
            return "offline" if self._state != "loading" else "loading"
        if not self._sync.synced:
            return self._state if self._state in ("loading", "offline") else "unsaved"
        return "saved" if self._sync.saved and not self._pending else "unsaved"


__all__ = ["SaveState", "SharedDocument"]
