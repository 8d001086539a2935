"""A shared document: a pycrdt `Doc` that stays in sync while the room is connected."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

import pycrdt

from passerelle_client.document_sync import DocumentSync, MalformedMessage, awareness_message, merge
from passerelle_client.emitter import Emitter
from passerelle_client.errors import Disconnected, PasserelleError, Refused

logger = logging.getLogger("passerelle_client")

SaveState = Literal["loading", "saved", "unsaved", "offline", "refused"]

POLLING_BATCH_S = 0.02
"""Over long polling each batch is a request: local edits of this long go together."""


class SharedDocument(Emitter):
    """Edit `doc` as any pycrdt document, from the event loop's thread.

    Events: `state` (SaveState), `synced` (), `access` (can_write), `denied` (reason).
    """

    def __init__(self, name: str, send: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self.name = name
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.awareness = pycrdt.Awareness(self.doc)
        self.can_write = False
        self._send = send
        self._sync: DocumentSync | None = None
        self._batch_s = 0.0
        self._refused: Refused | None = None
        self._applying = False
        self._pending: list[bytes] = []
        self._timer: asyncio.Handle | None = None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._state: SaveState = "loading"
        self._subscription = self.doc.observe(self._changed)
        self._awareness_subscription = self.awareness.observe(self._awareness_changed)

    @property
    def state(self) -> SaveState:
        """`saved`: everything local is in the server's store."""
        return self._state

    @property
    def synced(self) -> bool:
        """Everything the server had has arrived over the present connection."""
        return self._sync is not None and self._sync.synced

    @property
    def unsaved_count(self) -> int:
        """Messages on their way to the store; only meaningful while connected."""
        return (self._sync.unsaved_count if self._sync else 0) + bool(self._pending)

    async def when_synced(self) -> None:
        """Wait until the server's content has arrived. Raises: Refused."""
        await self._wait_until(lambda: self.synced)

    async def saved(self) -> None:
        """Wait until everything written so far, here, is in the server's store; through any
        reconnection. Raises: Refused."""
        await self._wait_until(lambda: self._state == "saved")

    def close(self) -> None:
        """Stop following the document; the room closes it on the server."""
        self._cancel_timer()
        self.doc.unobserve(self._subscription)
        self.awareness.unobserve(self._awareness_subscription)
        for _condition, future in self._waiters:
            future.cancel()
        self._waiters.clear()

    # --- for the room -----------------------------------------------------------------------

    def opening(self, *, polling: bool) -> None:
        """The server is being asked to open the document: a new exchange begins, for the server's
        first messages may be read before its acknowledgement is awaited."""
        self._cancel_timer()  # the answer to the server's sync step 1 will contain what was pending
        self._batch_s = POLLING_BATCH_S if polling else 0.0
        self._refused = None
        self._sync = DocumentSync(self.doc)

    def opened(self, can_write: bool) -> None:
        """The server opened it."""
        if self._sync is None:
            return  # lost again meanwhile
        if can_write != self.can_write:
            self.can_write = can_write
            self.emit("access", can_write)
        self._send_all(self._sync.start())
        self._send_awareness([self.awareness.client_id])
        self._settle()

    def connection_lost(self) -> None:
        self._sync = None
        self._cancel_timer()
        others = [client for client in self.awareness.states if client != self.awareness.client_id]
        if others:
            self.awareness.remove_awareness_states(others, "connection")
        self._settle()

    def refuse(self, error: Refused) -> None:
        """The server will not open it (now)."""
        self._refused = error
        self._sync = None
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
        if received.updates:
            self._apply(received.updates)
        self._send_all(received.to_send)
        if received.awareness is not None:
            self.awareness.apply_awareness_update(received.awareness, "server")
        if received.awareness_wanted:
            self._send_awareness([self.awareness.client_id])
        if received.denied is not None:
            self.emit("denied", received.denied)
        self._settle()

    def _apply(self, updates: list[bytes]) -> None:
        was_synced = self.synced
        self._applying = True
        try:
            for update in updates:
                self.doc.apply_update(update)
        finally:
            self._applying = False
        if was_synced and len(updates) > 1:
            self.emit("synced")

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
            self._send_all(self._sync.local_update(merge(updates)))
        self._settle()

    def _awareness_changed(self, kind: str, change: tuple[dict[str, list[int]], object]) -> None:
        details, origin = change
        if origin == "local" and self._sync is not None:
            self._send_awareness([client for clients in details.values() for client in clients])

    def _send_awareness(self, clients: list[int]) -> None:
        known = [client for client in clients if client in self.awareness.meta]
        if known:
            self._send(self.name, awareness_message(self.awareness.encode_awareness_update(known)))

    def _send_all(self, messages: list[bytes]) -> None:
        for message in messages:
            self._send(self.name, message)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pending.clear()

    # --- state ------------------------------------------------------------------------------

    def _settle(self) -> None:
        state = self._state_now()
        if state != self._state:
            self._state = state
            self.emit("state", state)
        for condition, future in tuple(self._waiters):
            if future.done():
                continue
            if self._refused is not None:
                future.set_exception(self._refused)
            elif condition():
                future.set_result(None)
        self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]

    def _state_now(self) -> SaveState:
        if self._refused is not None:
            return "refused"
        if self._sync is None:
            return "offline" if self._state != "loading" else "loading"
        if not self._sync.synced:
            return "loading" if self._state == "loading" else "unsaved"
        return "saved" if self._sync.saved and not self._pending else "unsaved"

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        if self._refused is not None:
            raise self._refused
        if condition():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                raise Disconnected("the document was closed") from None
            raise


__all__ = ["PasserelleError", "SaveState", "SharedDocument"]
