"""A document open over any of the three transports, told apart here and nowhere else in a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pycrdt

from rooms.ports import DocumentKey
from tests.support.room_client import RemoteEditor, RoomClient, YjsSocket, connected, yjs_connected
from tests.support.running_house import Person, RunningHouse

TRANSPORTS = ("y-websocket", "websocket", "polling")
"""The endpoint for any Yjs editor, and Socket.IO over either of its transports."""


class DocumentLine(Protocol):
    """One connection with one document open on it."""

    editor: RemoteEditor

    async def say(self, message: bytes) -> None:
        """Whatever it is, behind what the editor said."""

    async def leave(self) -> None:
        """Close the document as a page that is left."""

    async def closed(self) -> tuple[int | None, str]:
        """Until the server closes the document; its code and reason."""

    async def lost(self) -> None:
        """Until the whole connection is gone."""


class YjsLine:
    def __init__(self, socket: YjsSocket, editor: RemoteEditor) -> None:
        self.editor = editor
        self._socket = socket

    async def say(self, message: bytes) -> None:
        await self._socket.socket.send_bytes(message)

    async def leave(self) -> None:
        await self._socket.end()

    async def closed(self) -> tuple[int | None, str]:
        return await self._socket.wait_closed()

    async def lost(self) -> None:
        await self._socket.wait_closed()


class SocketIoLine:
    def __init__(self, client: RoomClient, document: str, editor: RemoteEditor) -> None:
        self.editor = editor
        self._client = client
        self._document = document

    async def say(self, message: bytes) -> None:
        await self._client.say("document_message", self._document, message)

    async def leave(self) -> None:
        await self._client.do("document_close", document=self._document)

    async def closed(self) -> tuple[int | None, str]:
        told = await self._client.hear("document_closed")
        assert told["document"] == self._document
        return told["code"], told["reason"]

    async def lost(self) -> None:
        await self._client.until(self._client.closed.is_set)


@asynccontextmanager
async def document_line(
    house: RunningHouse,
    transport: str,
    person: Person,
    document: str = "texte",
    *,
    doc: "pycrdt.Doc[Any] | None" = None,
) -> AsyncIterator[DocumentLine]:
    """The document, once it is here. `doc`: what the client knows of it already."""
    if transport == "y-websocket":
        async with yjs_connected(house.http, house.url, person.room_id, document, person.token) as socket:
            yield YjsLine(socket, await socket.edit("y", doc))
    else:
        async with connected(house.url, person.token, transport) as client:
            yield SocketIoLine(client, document, await client.edit(document, "s", doc))


async def stored_text(house: RunningHouse, room_id: str) -> str:
    """What a process that starts now would show."""
    stored = await house.house.store.load_document(DocumentKey(room_id, "texte"))
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in (*([stored.snapshot] if stored.snapshot else []), *stored.updates):
        doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text))


async def refused_opening(house: RunningHouse, transport: str, person: Person, document: str) -> str:
    """The word with which a document is not opened."""
    if transport == "y-websocket":
        async with yjs_connected(house.http, house.url, person.room_id, document, person.token) as socket:
            return (await socket.wait_closed())[1]
    async with connected(house.url, person.token, transport) as client:
        return await client.refusal("document_open", document=document)
