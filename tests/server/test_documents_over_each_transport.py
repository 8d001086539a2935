"""What a document does, over y-websocket, Socket.IO over WebSocket and Socket.IO over long polling alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pycrdt
import pytest

from rooms.documents import sync
from server.storage.memory import MemoryStore
from tests.support.document_lines import TRANSPORTS, document_line, refused_opening, stored_text
from tests.support.room_client import RoomClient, connected
from tests.support.running_house import RunningHouse, running_house

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


# --- the text ---------------------------------------------------------------------------------------


async def test_text_comes_whole_and_goes_both_ways(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with document_line(house, "websocket", host) as other:
        other.editor.type("Le fleuve ")
        await other.editor.until(lambda: other.editor.all_saved)
        async with document_line(house, transport, guest) as line:
            assert line.editor.text == "Le fleuve "
            for number in range(50):
                line.editor.type(f"é{number} ")
            await line.editor.until(lambda: line.editor.all_saved)
            assert await stored_text(house, host.room_id) == line.editor.text
            await other.editor.until(lambda: other.editor.text == line.editor.text)
            other.editor.type("gèle 📊")
            await line.editor.until(lambda: line.editor.text.endswith("49 gèle 📊"))


async def test_what_was_written_offline_comes_with_the_next_connection(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with document_line(house, "websocket", host) as other:
        async with document_line(house, transport, guest) as line:
            line.editor.type("avant ")
            await line.editor.until(lambda: line.editor.all_saved)
            doc = line.editor.doc
        doc.get("text", type=pycrdt.Text).insert(len("avant "), "hors ligne ")
        await other.editor.until(lambda: other.editor.text == "avant ")
        other.editor.content.insert(0, "ici ")
        await other.editor.until(lambda: other.editor.all_saved)
        async with document_line(house, transport, guest, doc=doc) as back:
            assert back.editor.text == "ici avant hors ligne "
            await back.editor.until(lambda: back.editor.all_saved)
            await other.editor.until(lambda: other.editor.text == back.editor.text)


async def test_documents_of_two_rooms_and_of_two_names_never_meet(house: RunningHouse, transport: str) -> None:
    one, other = await house.room(), await house.room()
    async with (
        document_line(house, transport, one) as a,
        document_line(house, transport, one, "texte.2") as b,
        document_line(house, transport, other) as c,
    ):
        for line, text in ((a, "un"), (b, "deux"), (c, "trois")):
            line.editor.type(text)
            await line.editor.until(lambda line=line: line.editor.all_saved)
        assert [line.editor.text for line in (a, b, c)] == ["un", "deux", "trois"]


# --- cursors ----------------------------------------------------------------------------------------


async def test_cursors_are_seen_by_all_and_end_with_their_document(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest, observer = await house.guest(host), await house.guest(host, role="observer")
    async with document_line(house, "websocket", host) as other:
        other.editor.show({"user": {"name": "Amélie 📊"}})
        async with document_line(house, transport, guest) as line:
            await line.editor.until(lambda: other.editor.doc.client_id in line.editor.awareness.states)
            line.editor.show({"user": {"name": "Luc"}})
            own = line.editor.doc.client_id
            await other.editor.until(lambda: other.editor.awareness.states.get(own) == {"user": {"name": "Luc"}})
            async with document_line(house, transport, observer) as late:
                await late.editor.until(lambda: own in late.editor.awareness.states)
                # Who may not write may still show where they read.
                late.editor.show({"user": {"name": "Parent"}})
                await line.editor.until(lambda: late.editor.doc.client_id in line.editor.awareness.states)
                assert late.editor.denials() == []
                await late.leave()
            await line.editor.until(lambda: late.editor.doc.client_id not in line.editor.awareness.states)
            await line.leave()
        await other.editor.until(lambda: own not in other.editor.awareness.states)


# --- what is not taken --------------------------------------------------------------------------------


async def test_write_of_an_observer_is_refused_and_a_guests_is_taken(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    observer, guest = await house.guest(host, role="observer"), await house.guest(host)
    async with (
        document_line(house, transport, observer) as reading,
        document_line(house, transport, guest) as writing,
    ):
        writing.editor.type("permis")
        await reading.editor.until(lambda: reading.editor.text == "permis")
        reading.editor.type(" interdit")
        await reading.editor.until(lambda: reading.editor.denials() == ["read-only"])
        writing.editor.type(" encore")
        await writing.editor.until(lambda: writing.editor.all_saved)
        assert not reading.editor.all_saved
        assert await stored_text(house, host.room_id) == writing.editor.text == "permis encore"


async def test_what_was_refused_is_asked_for_when_writing_is_opened_again(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    pupil = await house.guest(host, role="pupil")
    async with connected(house.url, host.token) as at_host, document_line(house, transport, pupil) as line:
        await at_host.do("configure", writing_enabled=False)
        line.editor.type("gardé")
        await line.editor.until(lambda: line.editor.denials() == ["read-only"])
        assert await stored_text(house, host.room_id) == ""
        await at_host.do("configure", writing_enabled=True)
        await line.editor.until(lambda: line.editor.all_saved)
        assert await stored_text(house, host.room_id) == "gardé"


async def test_writing_as_another_participant_is_refused(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with document_line(house, "websocket", host) as other, document_line(house, transport, guest) as line:
        other.editor.type("à moi")
        await line.editor.until(lambda: line.editor.text == "à moi")
        forger: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=other.editor.doc.client_id)
        forger["text"] = pycrdt.Text("usurpé et plus long")
        await line.say(sync.sync_update(forger.get_update()))
        await line.editor.until(lambda: line.editor.denials() == ["client-id"])
        assert await stored_text(house, host.room_id) == other.editor.text == "à moi"


async def test_malformed_messages_close_the_document_and_disturb_nobody(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with document_line(house, transport, host) as peaceful:
        async with document_line(house, transport, guest) as line:
            for _ in range(3):
                await line.say(b"\x00\x02\x05abc")
            assert await line.closed() == (4400, "malformed")
            assert line.editor.denials() == ["malformed", "malformed"]
        peaceful.editor.type("tranquille")
        await peaceful.editor.until(lambda: peaceful.editor.all_saved)
        async with document_line(house, transport, guest) as back:
            assert back.editor.text == "tranquille"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # the HTTP client's, of its own doing
async def test_too_long_a_message_ends_its_own_connection_only(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with document_line(house, transport, host) as peaceful:
        async with document_line(house, transport, guest) as line:
            await line.say(bytes(1_000_001))
            await line.lost()
        peaceful.editor.type("tranquille")
        await peaceful.editor.until(lambda: peaceful.editor.all_saved)


# --- the store ----------------------------------------------------------------------------------------


async def test_writing_is_called_saved_only_when_it_is(tmp_path: Path, transport: str) -> None:
    store = MemoryStore()
    async with running_house(tmp_path / "data", store=store) as house:
        host = await house.room()
        guest = await house.guest(host)
        async with document_line(house, "websocket", host) as other, document_line(house, transport, guest) as line:
            line.editor.type("sûr ")
            await line.editor.until(lambda: line.editor.all_saved)
            store.available = False
            line.editor.type("pas encore")
            await line.editor.until(lambda: line.editor.is_unsaved)
            assert line.editor.saved == line.editor.sent - 1
            await other.editor.until(lambda: other.editor.text == "sûr pas encore")
            store.available = True
            await line.editor.until(lambda: line.editor.all_saved)
            assert await stored_text(house, host.room_id) == "sûr pas encore"


async def test_document_that_cannot_be_read_is_not_opened(tmp_path: Path, transport: str) -> None:
    store = MemoryStore()
    async with running_house(tmp_path / "data", store=store) as house:
        host = await house.room()
        async with document_line(house, transport, host, "autre"):
            store.available = False
            word = "unavailable" if transport == "y-websocket" else "store-unavailable"
            assert await refused_opening(house, transport, host, "texte") == word
            store.available = True
            async with document_line(house, transport, host) as line:
                assert line.editor.text == ""


# --- slow readers -------------------------------------------------------------------------------------


@asynccontextmanager
async def reading_nothing(house: RunningHouse, transport: str, client: Any) -> AsyncIterator[None]:
    """The client's network takes nothing meanwhile; it had said all that it has to say."""
    if transport == "polling":
        gate, send = asyncio.Event(), client.sio.eio._send_request

        async def wait_to_poll(method: str, *arguments: Any, **options: Any) -> Any:
            if method == "GET":
                await gate.wait()
            return await send(method, *arguments, **options)

        client.sio.eio._send_request = wait_to_poll
        yield
        gate.set()
        return
    stream = client.sio.eio.ws if isinstance(client, RoomClient) else client.socket
    pipe = stream._response.connection.transport
    pipe.pause_reading()
    yield
    pipe.resume_reading()


async def test_slow_reader_is_skipped_and_catches_up(house: RunningHouse, transport: str) -> None:
    host = await house.room()
    slow = await house.guest(host)
    async with document_line(house, "websocket", host) as writer, document_line(house, transport, slow) as line:
        client = line._socket if transport == "y-websocket" else line._client  # type: ignore[attr-defined]
        (connection,) = house.house.connections.of_participant(host.room_id, slow.id)
        buffered: Callable[[], int] = connection.buffered_bytes  # type: ignore[attr-defined]
        async with reading_nothing(house, transport, client):
            for number in range(1, 13):
                writer.editor.type("y" * 900_000)
                await writer.editor.until(lambda: writer.editor.all_saved)
                assert buffered() < 4 * 1024 * 1024, number
            assert buffered() > 0
        await line.editor.until(lambda: len(line.editor.content) == len(writer.editor.content))
        assert line.editor.text == writer.editor.text
