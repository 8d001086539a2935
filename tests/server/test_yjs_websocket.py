"""The y-websocket endpoint and Socket.IO side by side: rights, refusals, acknowledgements, cursors."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.awareness import read_awareness
from rooms.documents.encoding import var_bytes, var_uint
from rooms.ports import DocumentKey
from tests.support.documents import until
from tests.support.room_client import YjsSocket, connected, yjs_connected
from tests.support.running_house import RunningHouse, running_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


def written(text: str, client_id: int | None = None) -> bytes:
    """An update that writes this text into an empty document."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc() if client_id is None else pycrdt.Doc(client_id=client_id)
    doc["text"] = pycrdt.Text(text)
    return doc.get_update()


async def stored(house: RunningHouse, room_id: str) -> tuple[bytes, ...]:
    document = await house.house.store.load_document(DocumentKey(room_id, "texte"))
    return (*([document.snapshot] if document.snapshot else []), *document.updates)


def denials(yjs: YjsSocket) -> list[str]:
    return [frame[3:].decode() for frame in yjs.frames if frame[:2] == b"\x02\x00"]


async def denied(yjs: YjsSocket) -> list[str]:
    await until(lambda: denials(yjs))
    return denials(yjs)


# --- who may write --------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [sync.sync_step_2, sync.sync_update])
async def test_write_of_an_observer_is_refused_and_nothing_is_stored(house: RunningHouse, message) -> None:
    host = await house.room()
    observer, guest = await house.guest(host, role="observer"), await house.guest(host)
    for person, expected in ((observer, ["read-only"]), (guest, [])):
        before = await stored(house, host.room_id)
        async with (
            connected(house.url, host.token) as at_host,
            yjs_connected(house.http, house.url, host.room_id, "texte", person.token) as yjs,
        ):
            text = await at_host.edit("texte", "h")
            await yjs.socket.send_bytes(message(written("écrit")))
            # What is sent behind it is answered behind it.
            await yjs.socket.send_bytes(sync.sync_step_1(b"\x00"))
            await text.until(lambda yjs=yjs: any(frame[:2] == b"\x00\x01" for frame in yjs.frames))
            assert denials(yjs) == expected
            assert (await stored(house, host.room_id) == before) == bool(expected)
            if not expected:
                await text.until(lambda text=text: text.text == "écrit")


async def test_observer_who_has_nothing_new_is_not_refused(house: RunningHouse) -> None:
    host = await house.room()
    observer = await house.guest(host, role="observer")
    async with (
        yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as writer,
        yjs_connected(house.http, house.url, host.room_id, "texte", observer.token) as reader,
    ):
        text = await writer.edit("h")
        text.type("pour tous")
        mirror = await reader.edit("o")  # answers the server's step 1 as every provider does
        await mirror.until(lambda: mirror.text == "pour tous")
        assert denials(reader) == []


# --- cursors --------------------------------------------------------------------------------------


def cursor(client_id: int, clock: int, state: bytes) -> bytes:
    entry = var_uint(client_id) + var_uint(clock) + var_bytes(state)
    return sync.awareness_message(var_uint(1) + entry)


def cursors(yjs: YjsSocket) -> dict[int, bytes]:
    """The last that was heard of each client id."""
    heard: dict[int, bytes] = {}
    for frame in yjs.frames:
        if frame[0] == sync.AWARENESS:
            update = pycrdt.Decoder(frame[1:]).read_message()
            assert update is not None
            heard |= {client: state for client, _clock, state in read_awareness(update)}
    return heard


async def test_cursor_ends_with_its_connection(house: RunningHouse) -> None:
    host = await house.room()
    observer = await house.guest(host, role="observer")
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as watcher:
        await watcher.socket.send_bytes(sync.sync_step_1(b"\x00"))
        async with yjs_connected(house.http, house.url, host.room_id, "texte", observer.token) as yjs:
            await yjs.socket.send_bytes(cursor(77, 1, b'{"user":{"name":"Luc"}}'))
            await until(lambda: cursors(watcher).get(77) == b'{"user":{"name":"Luc"}}')
            # Somebody who opens the document now sees it too.
            async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as late:
                await until(lambda: 77 in cursors(late))
        await until(lambda: cursors(watcher)[77] == b"null")


async def test_nobody_moves_anothers_cursor(house: RunningHouse) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with (
        yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as first,
        yjs_connected(house.http, house.url, host.room_id, "texte", guest.token) as second,
    ):
        await second.socket.send_bytes(sync.sync_step_1(b"\x00"))
        await first.socket.send_bytes(cursor(77, 1, b'{"n":1}'))
        await until(lambda: cursors(second).get(77) == b'{"n":1}')
        await second.socket.send_bytes(cursor(77, 5, b"null"))
        await second.socket.send_bytes(cursor(88, 1, b'{"n":2}'))  # its own: what came before was passed over
        await until(lambda: 88 in cursors(first))
        assert cursors(first).get(77) is None
        assert denials(second) == []


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 65, "é", "a b", "a/b", "..%2f", "%0a"])
async def test_what_is_no_document_name_is_no_address(house: RunningHouse, name: str) -> None:
    host = await house.room()
    address = f"{house.url.replace('http', 'ws', 1)}/yjs/{host.room_id}/{name}?token={host.token}"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.http.ws_connect(address)
    assert refused.value.status == 404
