"""What is refused over each transport, in whatever wrapping it comes: a reader's writing (ROLE-4), and numbers and
lengths beyond the limits (DOC-9). Each time somebody else writes on as if nothing had been."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.encoding import var_bytes, var_string, var_uint
from rooms.documents.limits import MAX_AWARENESS_ENTRIES, MAX_MESSAGE_BYTES
from tests.support.document_lines import TRANSPORTS, SocketIoLine, YjsLine, document_line, stored_text
from tests.support.running_house import Person, RunningHouse, running_house

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)

CLAIMED = 200_000_000
"""Entries said to follow, in four bytes; none does."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


async def say_raw(line: Any, payload: Any) -> None:
    """Past what a client's types allow: a text frame, or an event's payload of any kind."""
    if isinstance(line, YjsLine):
        await line._socket.socket.send_str(payload if isinstance(payload, str) else json.dumps(payload))
    else:
        assert isinstance(line, SocketIoLine)
        await line._client.say("document_message", "texte", payload)


@asynccontextmanager
async def somebody_writing(house: RunningHouse, host: Person) -> AsyncIterator[Callable[[], Any]]:
    """Call what is given: the host's next words are saved, and only the host's are stored."""
    async with document_line(house, "websocket", host) as line:

        async def write() -> None:
            line.editor.type("mot ")
            await line.editor.until(lambda: line.editor.all_saved)
            assert await stored_text(house, host.room_id) == line.editor.text
            assert set(line.editor.text.split()) == {"mot"}
            assert line.editor.denials() == []

        await write()
        yield write


def forbidden() -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["text"] = pycrdt.Text("interdit")
    return doc.get_update()


def awareness(entries: bytes, count: int) -> bytes:
    return sync.awareness_message(var_uint(count) + entries)


def as_awareness_state(update: bytes) -> bytes:
    state = json.dumps({"update": base64.b64encode(update).decode()})
    return awareness(var_uint(7) + var_uint(1) + var_string(state), 1)


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "update": sync.sync_update,
    "step 2": sync.sync_step_2,
    "update in an awareness message": sync.awareness_message,
    "update as an awareness state": as_awareness_state,
    "whole message in an awareness message": lambda update: sync.awareness_message(sync.sync_update(update)),
    "behind a sync step 1": lambda update: sync.sync_step_1(b"\x00") + sync.sync_update(update),
    "behind an awareness question": lambda update: b"\x03" + sync.sync_update(update),
    "twice in a message": lambda update: sync.sync_update(update) * 2,
    "without a kind": lambda update: update,
    "as an unknown step": lambda update: b"\x00\x03" + var_bytes(update),
    "as an unknown kind": lambda update: b"\x04" + var_bytes(update),
    "as an acknowledgement": lambda update: b"\x64" + var_bytes(update),
    "with a padded length": lambda update: b"\x00\x02" + padded(len(update)) + update,
    "with a padded kind": lambda update: b"\x80\x00\x82\x00" + var_bytes(update),
}


def padded(number: int) -> bytes:
    """The same number, one byte longer than need be."""
    plain = var_uint(number)
    return plain[:-1] + bytes([plain[-1] | 0x80, 0])


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_readers_writing_is_not_taken_in_any_encoding(
    house: RunningHouse, transport: str, encoding: str
) -> None:
    host = await house.room()
    observer = await house.guest(host, role="observer")
    async with somebody_writing(house, host) as write, document_line(house, transport, observer) as line:
        await line.say(ENCODINGS[encoding](forbidden()))
        # Behind it in order: once this is answered, so is what was before it.
        before = len(line.editor.inbox)
        await line.say(sync.sync_update(forbidden()))
        await line.editor.until(lambda: "read-only" in line.editor.denials() and len(line.editor.inbox) > before)
        await write()
        await line.editor.until(lambda: line.editor.text == "mot mot ")


@pytest.mark.parametrize(
    "payload",
    [
        base64.b64encode(sync.sync_update(forbidden())).decode(),
        sync.sync_update(forbidden()).decode("latin-1"),
        list(sync.sync_update(forbidden())),
        {"type": "Buffer", "data": list(sync.sync_update(forbidden()))},
        {"update": base64.b64encode(forbidden()).decode()},
        None,
    ],
    ids=["base64", "latin-1", "list", "Buffer", "object", "null"],
)
async def test_writing_that_is_no_binary_message_is_nobodys(house: RunningHouse, transport: str, payload: Any) -> None:
    """Not even of one who may write; a reader's all the less."""
    host = await house.room()
    observer, guest = await house.guest(host, role="observer"), await house.guest(host)
    async with somebody_writing(house, host) as write:
        for person in (observer, guest):
            async with document_line(house, transport, person) as line:
                await say_raw(line, payload)
                await write()
            await write()  # the line is closed behind it: by now it was looked at


BEYOND: dict[str, Callable[[], bytes]] = {
    "awareness entries": lambda: awareness(
        b"".join(var_uint(client) + b"\x01" + var_string("{}") for client in range(10_000)), 10_000
    ),
    "claimed awareness entries": lambda: awareness(b"", CLAIMED),
    "claimed clients of an update": lambda: sync.sync_update(var_uint(CLAIMED)),
    "claimed structs of an update": lambda: sync.sync_update(b"\x01" + var_uint(CLAIMED) + b"\x01\x00"),
    "claimed deletions of an update": lambda: sync.sync_update(b"\x00\x01\x01" + var_uint(CLAIMED)),
    "claimed clients of deletions": lambda: sync.sync_update(b"\x00" + var_uint(CLAIMED)),
    "claimed length of an update": lambda: b"\x00\x02" + var_uint(CLAIMED),
    "claimed state vector": lambda: sync.sync_step_1(var_uint(CLAIMED)),
    "claimed length of a text": lambda: sync.sync_update(
        b"\x01\x01\x01\x00\x04\x01" + var_string("text") + var_uint(CLAIMED)
    ),
}


@pytest.mark.parametrize("name", BEYOND)
async def test_numbers_beyond_all_limits_close_their_sender_alone(
    house: RunningHouse, transport: str, name: str
) -> None:
    assert MAX_AWARENESS_ENTRIES < 10_000
    host = await house.room()
    guest = await house.guest(host)
    async with somebody_writing(house, host) as write, document_line(house, transport, guest) as line:
        for _ in range(3):
            await line.say(BEYOND[name]())
        assert await line.closed() == (4400, "malformed")
        await write()


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # the HTTP client's, of its own doing
async def test_an_update_over_a_megabyte_ends_its_own_connection_only(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc["text"] = pycrdt.Text("x" * MAX_MESSAGE_BYTES)
    async with somebody_writing(house, host) as write:
        async with document_line(house, transport, guest) as line:
            await line.say(sync.sync_update(doc.get_update()))
            await line.lost()
        await write()
        async with document_line(house, transport, guest) as line:
            assert line.editor.text == "mot mot "


async def test_a_document_that_is_full_takes_deletions_alone(house: RunningHouse, transport: str) -> None:
    """20 MB in writes of 700 kB (a body of long polling holds no longer one); others write on, and what was written stays."""
    host = await house.room()
    guest, late = await house.guest(host), await house.guest(host)
    piece = "x" * 700_000
    async with somebody_writing(house, host) as write:
        async with document_line(house, transport, guest, "plein") as line:
            for _ in range(20_000_000 // len(piece)):
                line.editor.type(piece)
                await line.editor.until(lambda: line.editor.all_saved)
            length = len(line.editor.content)
            line.editor.type(piece)
            await line.editor.until(lambda: line.editor.denials() == ["too-large"])
            await write()
        async with document_line(house, transport, late, "plein") as line:
            assert len(line.editor.content) == length
            line.editor.type(piece)
            await line.editor.until(lambda: line.editor.denials() == ["too-large"])
        async with document_line(house, transport, late, "plein") as line:
            del line.editor.content[: 2 * len(piece)]
            await line.editor.until(lambda: line.editor.all_saved)
            assert line.editor.denials() == []
        await write()
