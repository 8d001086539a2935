"""The documents of a room that are followed here: opened at each connection, and again when the server could not."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from passerelle_client.connection import Connection
from passerelle_client.document import SharedDocument
from passerelle_client.errors import Disconnected, PasserelleError, Refused, Removed
from passerelle_client.protocol import DocumentClosed, DocumentOpened

REOPEN_DELAY_S = 1.0
"""Pause before a document is asked for again that the server could not open."""
WAITS_FOR_BETTER = frozenset({"store-unavailable", "too-many-requests", "internal"})
"""Refusals of a document that pass."""


class RoomDocuments:
    def __init__(
        self,
        connection: Connection,
        command: Callable[..., Awaitable[Any]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        is_understood: Callable[[str], bool],
    ) -> None:
        """`command`: the room's; `spawn`: runs what ends with the room; `is_understood`: whether the server at the
        other end of the present connection reads what came later, as far as is known."""
        self._connection = connection
        self._command = command
        self._spawn = spawn
        self._is_understood = is_understood
        self._followed: dict[str, SharedDocument] = {}
        self._ended: PasserelleError | None = None

    def use(self, name: str, *, is_inside: bool, paragraph: bool = False) -> SharedDocument:
        """The document of that name, always the same object. `is_inside`: it may be opened now."""
        document = self._followed.get(name)
        if document is None:
            document = SharedDocument(name, self._send, paragraph=paragraph)
            self._followed[name] = document
            if self._ended is not None:
                document.refuse(self._ended)
            elif is_inside and self._connection.state == "connected":
                self._spawn(self._open(document))
        return document

    async def close(self, name: str) -> None:
        """Stop following it."""
        document = self._followed.pop(name, None)
        if document is not None:
            document.close()
            await self._command("document_close", document=name)

    def close_all(self) -> None:
        for document in self._followed.values():
            document.close()

    def open_all(self) -> None:
        """There is a new connection, which follows none yet."""
        for document in self._followed.values():
            self._spawn(self._open(document))

    def connection_lost(self) -> None:
        for document in self._followed.values():
            document.connection_lost()

    def set_access(self, can_write: bool) -> None:
        for document in self._followed.values():
            document.set_access(can_write)

    def end(self, error: PasserelleError) -> None:
        """This participant is out."""
        self._ended = error
        for document in self._followed.values():
            document.refuse(error)

    def receive(self, name: str, message: bytes) -> None:
        if (document := self._followed.get(name)) is not None:
            document.receive(message)

    def closed(self, message: DocumentClosed) -> None:
        """By the server."""
        document = self._followed.get(message.document)
        if document is None:
            return
        document.connection_lost()
        if message.reason == "resync":
            self._spawn(self._open(document))
        elif message.reason in ("unavailable", "limit"):
            self._spawn(self._reopen_later(document))
        elif message.reason != "draining":
            document.refuse(Refused(message.reason, f"the server closed the document ({message.code})"))

    def _send(self, name: str, message: bytes) -> None:
        self._connection.send("document_message", name, message)

    async def _open(self, document: SharedDocument) -> None:
        document.opening(polling=self._connection.transport == "polling")
        try:
            answer = await self._command("document_open", document=document.name, **self._wishes(document))
        except Refused as error:
            if error.code in WAITS_FOR_BETTER:
                document.connection_lost()
                self._spawn(self._reopen_later(document))
            else:
                document.refuse(error)
            return
        except Removed:
            document.connection_lost()
            return
        except Disconnected:
            document.connection_lost()
            if self._connection.state == "connected":  # nothing but the answer was late: no new connection opens it
                self._spawn(self._reopen_later(document))
            return
        document.opened(msgspec.convert(answer, DocumentOpened).can_write)

    def _wishes(self, document: SharedDocument) -> dict[str, bool]:
        wishes = {"parts": True, "paragraph": document.begins_with_paragraph}
        return {wish: True for wish, is_wanted in wishes.items() if is_wanted and self._is_understood(wish)}

    async def _reopen_later(self, document: SharedDocument) -> None:
        await asyncio.sleep(REOPEN_DELAY_S)
        # Not when it was opened by a new connection meanwhile, or is, or was closed.
        is_wanted = self._followed.get(document.name) is document and self._ended is None
        if is_wanted and not document.is_followed and self._connection.state == "connected":
            await self._open(document)
