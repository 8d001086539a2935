"""permessage-deflate: long messages deflated once for all who agreed, and what comes in bounded."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from rooms.documents import sync
from server import deflate
from tests.support.deadlines import SECOND
from tests.support.room_client import RoomClient, yjs_connected
from tests.support.running_house import Person, RunningHouse, running_house

CROWD = 4
"""Connections more at /yjs/, so that those who hear there are a class without the author."""
LONG = "".join(f"{zlib.crc32(str(number).encode()):08x} " for number in range(20_000))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    deflate._deflate_and_keep.cache_clear()
    async with running_house(tmp_path / "data") as running:
        yield running


def inflated(frame: bytes) -> bytes:
    header = {126: 4, 127: 10}.get(frame[1], 2)
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame[header:] + deflate.FLUSH_MARK)


# --- what is agreed to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "is_good"),
    [
        ("permessage-deflate; client_max_window_bits", True),  # Chromium
        ("permessage-deflate", True),  # Firefox, Safari
        ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=12", True),
        ('permessage-deflate; server_max_window_bits="15"; server_no_context_takeover', True),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", True),
        ("permessage-deflate; server_max_window_bits=9", False),
        ("permessage-deflate; client_max_window_bits=16", False),
        ("permessage-deflate; server_no_context_takeover=1", False),
        ("permessage-deflate; something_new", False),
        ("permessage-bzip2", False),
        (";;,=", False),
        ("", False),
    ],
)
def test_only_what_can_be_kept_is_agreed_to(header: str, is_good: bool) -> None:
    assert deflate.is_offered(header) is is_good


async def test_a_deflated_frame_is_the_message_and_the_same_for_all() -> None:
    for size in (deflate.OWN_FROM_BYTES, 100_000, deflate.DEFLATE_UP_TO_BYTES):
        message = LONG.encode()[:size].ljust(size, b".")
        assert deflate.is_long(message)
        frame = deflate.deflated_frame(message)
        assert (frame[0], inflated(frame)) == (0xC2, message)
        assert len(frame) < 0.7 * size
        assert deflate.deflated_frame(bytes(bytearray(message))) is frame
    assert not deflate.is_long(bytes(deflate.OWN_FROM_BYTES - 1))
    assert not deflate.is_long(bytes(deflate.DEFLATE_UP_TO_BYTES + 1), deflate.CLASS_READERS)


def test_what_a_class_types_is_deflated_and_what_a_few_type_is_not() -> None:
    cursor = bytes(deflate.CLASS_FROM_BYTES)
    assert deflate.is_long(cursor, deflate.CLASS_READERS)
    assert not deflate.is_long(cursor, deflate.CLASS_READERS - 1)
    assert not deflate.is_long(cursor[:-1], deflate.CLASS_READERS)


async def test_no_text_is_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "KEPT_S", 0.01)
    deflate._deflate_and_keep.cache_clear()
    deflate.deflated_frame(bytes(20_000))
    assert deflate._deflate_and_keep.cache_info().currsize == 1
    forgotten = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, forgotten.set)
    await forgotten.wait()
    assert deflate._deflate_and_keep.cache_info().currsize == 0


# --- over sockets -------------------------------------------------------------------------------------


@asynccontextmanager
async def deflating_client(house: RunningHouse, person: Person, *, agrees: bool = True) -> AsyncIterator[RoomClient]:
    """Over Socket.IO."""
    client = RoomClient({"compress": 15} if agrees else {})
    await client.connect(house.url, person.token)
    try:
        yield client
    finally:
        for editor in client._editors.values():
            await editor.end()
        await client.close()


async def test_a_class_that_opens_a_text_is_sent_one_deflated_message(house: RunningHouse) -> None:
    host = await house.room()
    people = [await house.guest(host) for _ in range(6)]
    async with deflating_client(house, host, agrees=False) as writer:
        text = await writer.edit("texte", "w")
        text.type(LONG)
        await text.until(lambda: text.all_saved)
        for person in people[:2]:
            async with yjs_connected(house.http, house.url, host.room_id, "texte", person.token, compress=15) as yjs:
                assert yjs.socket.compress
                assert (await yjs.edit("y")).text == LONG
        for person in people[2:4]:
            async with deflating_client(house, person) as client:
                assert client.sio.eio.ws.compress
                assert (await client.edit("texte", "s")).text == LONG
        told = deflate._deflate_and_keep.cache_info()
        assert (told.misses, told.hits) == (1, 3)
        for person in people[4:]:  # who does not agree is sent the same text as it is
            async with yjs_connected(house.http, house.url, host.room_id, "texte", person.token) as yjs:
                assert not yjs.socket.compress
                assert (await yjs.edit("y")).text == LONG
        assert deflate._deflate_and_keep.cache_info() == told


async def test_messages_to_a_class_are_deflated_for_who_agreed(house: RunningHouse) -> None:
    """Two hear by bare sockets, one of which agreed; the others make them a class, over either endpoint."""
    host = await house.room()
    people = [await house.guest(host) for _ in range(deflate.CLASS_READERS)]
    pieces = ("court ", LONG, "moyen " * 200, " court")
    async with AsyncExitStack() as stack:
        editors = []
        for number, person in enumerate(people):
            if number % 2:
                client = await stack.enter_async_context(deflating_client(house, person))
                editors.append(await client.edit("texte", "s"))
            else:
                line = yjs_connected(house.http, house.url, host.room_id, "texte", person.token, compress=15)
                editors.append(await (await stack.enter_async_context(line)).edit("y"))
        for person in people[:CROWD]:
            line = yjs_connected(house.http, house.url, host.room_id, "texte", person.token, compress=15)
            await (await stack.enter_async_context(line)).edit("encore")
        frames = await stack.enter_async_context(raw_frames(house, host))
        for piece in pieces:
            editors[0].type(piece)
            await editors[0].until(lambda: editors[0].all_saved)
        for editor in editors:
            await editor.until(lambda editor=editor: editor.text == "".join(pieces))
        updates: list[tuple[int, bytes]] = []
        while len(updates) < len(pieces):
            first, payload = await frames.get()
            message = inflated(bytes((first, 0)) + payload) if first == 0xC2 else payload
            if message[:2] == b"\x00\x02":
                updates.append((first, message))
        assert [first for first, _message in updates] == [0x82, 0xC2, 0xC2, 0x82]
        assert LONG.encode() in updates[1][1]


async def open_agreeing(house: RunningHouse, person: Person) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare socket that offers what Chromium offers, and has asked for the document."""
    host, port = house.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /yjs/{person.room_id}/texte?token={person.token} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert f"Sec-WebSocket-Extensions: {deflate.AGREEMENT}\r\n".encode() in await reader.readuntil(b"\r\n\r\n")
    ask = sync.sync_step_1(b"\x00")
    writer.write(bytes((0x82, 0x80 | len(ask))) + bytes(4) + ask)
    return reader, writer


@asynccontextmanager
async def raw_frames(house: RunningHouse, person: Person) -> AsyncIterator["asyncio.Queue[tuple[int, bytes]]"]:
    """First byte and payload of each frame that comes."""
    reader, writer = await open_agreeing(house, person)
    frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def read() -> None:
        while True:
            first, length = await reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
            frames.put_nowait((first, await reader.readexactly(length)))

    reading = asyncio.create_task(read())
    try:
        yield frames
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        writer.close()


async def test_deflated_messages_of_a_client_are_understood(house: RunningHouse) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with (
        yjs_connected(house.http, house.url, host.room_id, "texte", host.token, compress=15) as one,
        deflating_client(house, guest) as two,
    ):
        first, second = await one.edit("a"), await two.edit("texte", "b")
        first.type("a" * 20_000)
        await second.until(lambda: len(second.text) == 20_000)
        second.type("b" * 20_000)
        await first.until(lambda: len(first.text) == 40_000)
        for editor in (first, second):
            await editor.until(lambda editor=editor: editor.all_saved)


async def test_what_inflates_beyond_the_longest_message_ends_its_own_connection_only(house: RunningHouse) -> None:
    host = await house.room()
    guest = await house.guest(host)
    bomb = bytes(50_000_000)  # 49 kB on the wire
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as peaceful:
        editor = await peaceful.edit("a")
        async with yjs_connected(house.http, house.url, host.room_id, "texte", guest.token, compress=15) as yjs:
            await yjs.socket.send_bytes(bomb)
            assert (await yjs.wait_closed())[0] == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        async with deflating_client(house, guest) as client:
            await client.sio.eio.ws.send_bytes(bomb)
            await client.until(client.closed.is_set)
        editor.type("tranquille")
        await editor.until(lambda: editor.all_saved)


async def test_a_broken_deflated_message_ends_its_own_connection_only(house: RunningHouse) -> None:
    host = await house.room()
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as peaceful:
        text = await peaceful.edit("a")
        reader, writer = await open_agreeing(house, host)
        writer.write(bytes((0xC2, 0x85)) + bytes(4) + b"\xff\xff\xff\xff\xff")
        async with asyncio.timeout(5 * SECOND):
            await reader.read()  # to its end
        writer.close()
        text.type("tranquille")
        await text.until(lambda: text.all_saved)


async def test_socket_io_deflates_what_a_class_types_once(house: RunningHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    deflated: list[int] = []
    deflate_one = deflate._deflate
    monkeypatch.setattr(deflate, "_deflate", lambda message: deflated.append(len(message)) or deflate_one(message))
    host = await house.room()
    async with AsyncExitStack() as stack:
        editors = []
        for _ in range(deflate.CLASS_READERS + 1):
            client = await stack.enter_async_context(deflating_client(house, await house.guest(host)))
            editors.append(await client.edit("texte", "s"))
        for text in ("x", "moyen " * 100, "y"):
            editors[0].type(text)
            for editor in editors:
                await editor.until(lambda editor=editor: editor.text == editors[0].text and editors[0].all_saved)
        assert len(deflated) == 1
        assert 600 < deflated[0] < 700
