"""Each fix of python-engineio: that it works, and that it is still needed.

`test_fix_is_still_needed` looks at the library as it is, in a process of its own where nothing has mended
it. When it fails, upstream has: take that fix out of server/engineio_fixes.py, and its tests here.
"""

import asyncio
import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt
import pytest
from engineio import packet, payload

from rooms.documents.sync import SAVED, sync_update
from server.engineio_fixes import MAX_PACKETS_PER_POST, apply_fixes
from server.polling_answers import PIECE_BYTES, LongAnswer
from tests.support import engineio_behaviour
from tests.support.deadlines import SECOND
from tests.support.engineio_behaviour import BURST
from tests.support.network_cut import cuttable_proxy
from tests.support.room_client import connected
from tests.support.running_house import RunningHouse, running_house


@pytest.fixture
async def house(tmp_path: Path):
    async with running_house(tmp_path / "data") as running:
        yield running


# --- each of them -----------------------------------------------------------------------------------

# What is seen of the library as it is, and with the fix.
SEEN: dict[str, tuple[Any, Any]] = {
    "mixed": ("status 500", "bAP8="),
    "burst": (0, BURST),
    "pieces": (False, True),
    "deflate": (True, False),
    "again": ("4two", "4one"),
    "refused": (None, 400),
    "twice": (2, 1),
    "long": ([True, True], [True, False]),
}


@pytest.fixture(scope="module")
def unmended() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, engineio_behaviour.__file__], capture_output=True, text=True, timeout=60 * SECOND, check=True
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("question", SEEN)
def test_fix_is_still_needed(unmended: dict[str, Any], question: str) -> None:
    assert unmended[question] == SEEN[question][0]


async def test_fixes_mend_what_they_are_for() -> None:
    """The same questions, so that it is the fix that makes the difference and not the way of asking."""
    apply_fixes()
    assert await engineio_behaviour.look() == {question: mended for question, (_as_it_is, mended) in SEEN.items()}


# --- 1: one packet, two forms -----------------------------------------------------------------------


def test_a_binary_packet_has_a_form_for_each_transport() -> None:
    apply_fixes()
    shared = packet.Packet(packet.MESSAGE, data=b"\x00\xff")
    coded = "b" + base64.b64encode(b"\x00\xff").decode()
    assert [shared.encode(), shared.encode(b64=True), shared.encode(), shared.encode(b64=True)] == [
        b"\x00\xff", coded, b"\x00\xff", coded,
    ]  # fmt: skip
    assert packet.Packet(packet.MESSAGE, data="é").encode() == "4é"


async def test_websocket_and_polling_readers_get_the_same_document(house: RunningHouse) -> None:
    host = await house.room()
    people = [await house.guest(host, role="pupil", name=f"Élève {n}") for n in range(4)]
    transports = ("websocket", "polling", "websocket", "polling")
    async with (
        connected(house.url, people[0].token, transports[0]) as a,
        connected(house.url, people[1].token, transports[1]) as b,
        connected(house.url, people[2].token, transports[2]) as c,
        connected(house.url, people[3].token, transports[3]) as d,
    ):
        editors = [await client.edit("texte", f"e{n}") for n, client in enumerate((a, b, c, d))]
        for round_ in range(6):
            for number, editor in enumerate(editors):
                editor.type(f"[{round_}.{number}]")
        written = {f"[{round_}.{number}]" for round_ in range(6) for number in range(4)}
        for editor in editors:
            await editor.until(lambda editor=editor: all(piece in editor.text for piece in written))
        assert len({editor.text for editor in editors}) == 1
        assert not any(client.closed.is_set() for client in (a, b, c, d))


# --- 2: sixteen packets a POST ----------------------------------------------------------------------


async def test_burst_of_forty_events_by_polling_arrives(house: RunningHouse) -> None:
    host = await house.room()
    async with (
        connected(house.url, host.token, "polling") as writer,
        connected(house.url, (await house.guest(host)).token) as reader,
    ):
        from_writer, at_reader = await writer.edit("texte", "w"), await reader.edit("texte", "r")
        for number in range(40):
            from_writer.type(f"<{number}>")
        expected = "".join(f"<{number}>" for number in range(40))
        await at_reader.until(lambda: at_reader.text == expected)
        await from_writer.until(lambda: from_writer.all_saved)


# --- 3: a body in pieces ----------------------------------------------------------------------------


async def test_long_post_arrives_whole(house: RunningHouse) -> None:
    host = await house.room()
    noise = "".join(f"{zlib.crc32(str(number).encode()):08x}" for number in range(60_000))
    async with (
        connected(house.url, host.token, "polling") as writer,
        connected(house.url, (await house.guest(host)).token) as reader,
    ):
        from_writer, at_reader = await writer.edit("texte", "w"), await reader.edit("texte", "r")
        from_writer.type(noise)
        await at_reader.until(lambda: at_reader.text == noise)


# --- 4: what cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["\x1e".join(['42["set_hand",{"raised":true}]'] * (MAX_PACKETS_PER_POST + 1)), "4\x1ebAA", "9", "6"]
)
async def test_post_that_cannot_be_read_whole_ends_its_connection(house: RunningHouse, body: str) -> None:
    """Else its sender would never learn that messages were thrown away."""
    host = await house.room()
    async with connected(house.url, host.token, "polling") as client:
        address = f"{house.url}/socket.io/?EIO=4&transport=polling&sid={client.sio.eio.sid}"
        async with house.http.post(address, data=body) as answer:
            assert answer.status == 400
        async with asyncio.timeout(5 * SECOND):
            await client.closed.wait()


# --- 5: deflate, and whose transport ----------------------------------------------------------------


async def test_an_engine_socket_knows_its_websocket_transport(house: RunningHouse) -> None:
    host = await house.room()
    async with connected(house.url, host.token):
        (engine_socket,) = house.house.realtime.server.eio.sockets.values()
        assert not engine_socket.websocket_transport.is_closing()


# --- 6: a poll that is asked again -------------------------------------------------------------------


async def test_a_poll_whose_connection_broke_is_given_to_whoever_asks_it_again(house: RunningHouse) -> None:
    """While it waited: what comes meanwhile goes to nobody else, and what comes later to the next poll."""
    host = await house.room()
    async with connected(house.url, host.token) as other, cuttable_proxy(int(house.url.rpartition(":")[2])) as line:
        engine = f"{line.url}/socket.io/?EIO=4&transport=polling"
        async with house.http.get(engine) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        guest = await house.guest(host, role="class")
        async with house.http.post(f"{engine}&sid={sid}", data="40" + json.dumps({"token": guest.token})) as answer:
            assert answer.status == 200

        async def poll(stamp: str) -> str:
            async with aiohttp.ClientSession() as http, http.get(f"{engine}&sid={sid}&t={stamp}") as answer:
                return await answer.text()

        heard = ""
        while "room_view" not in heard:
            heard = await poll(f"before {len(heard)}")
        waiting = asyncio.create_task(poll("a"))
        (engine_socket,) = [each for each in house.house.realtime.server.eio.sockets.values() if each.sid == sid]
        async with asyncio.timeout(5 * SECOND):
            while engine_socket.last_poll[0] != "a":
                await asyncio.sleep(0.005)
        await line.cut()
        with pytest.raises(aiohttp.ClientError):
            await waiting
        await other.do("send_chat", text="Pendant la coupure")
        line.mend()
        assert "Pendant la coupure" in await poll("a")
        assert "Pendant la coupure" in await poll("a")
        await other.do("send_chat", text="Ensuite")
        assert "Pendant" not in (next_one := await poll("b")), next_one
        assert "Ensuite" in next_one


# --- 7: a POST that is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "status"), [("9", 400), ("6", 400), ("4\x1e", 400), ("3", 200)])
async def test_a_refused_post_is_answered_at_once_though_nobody_polls(
    house: RunningHouse, body: str, status: int
) -> None:
    engine = f"{house.url}/socket.io/?EIO=4&transport=polling"
    async with house.http.get(engine) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    async with asyncio.timeout(2 * SECOND):
        async with house.http.post(f"{engine}&sid={sid}", data=body) as answer:
            assert answer.status == status
    async with house.http.post(f"{engine}&sid={sid}", data="3") as answer:
        assert answer.status == status, "it ended with the first"


async def test_a_post_whose_session_ended_while_it_came_is_refused(house: RunningHouse) -> None:
    engine = f"{house.url}/socket.io/?EIO=4&transport=polling"
    async with house.http.get(engine) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    port = int(house.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1", "Host: localhost", "Content-Length: 2"
    writer.write("\r\n".join([*head, "", "4"]).encode())
    await writer.drain()
    sockets = house.house.realtime.server.eio.sockets
    async with asyncio.timeout(10 * SECOND):
        async with house.http.get(f"{engine}&sid={sid}") as answer:
            await answer.read()  # so that the POST has come by now
        async with house.http.post(f"{engine}&sid={sid}", data="1") as answer:
            await answer.read()  # the goodbye of who polls no more
        async with house.http.get(f"{engine}&sid={sid}") as answer:
            await answer.read()
        assert sid not in sockets
        writer.write(b"\x1e")
        status = await reader.readline()
    writer.close()
    assert b" 400 " in status


# --- 8: a POST that comes twice -----------------------------------------------------------------------


async def test_a_post_that_comes_twice_counts_once(house: RunningHouse) -> None:
    """While it is carried out, and after; else its writer would be told that an update is saved which has not come."""
    host = await house.room()
    async with connected(house.url, host.token, "polling") as client:
        await client.do("document_open", document="texte")
        address = f"{house.url}/socket.io/?EIO=4&transport=polling&sid={client.sio.eio.sid}"

        async def post(stamp: str, body: str) -> int:
            async with house.http.post(f"{address}&t={stamp}", data=body) as answer:
                return answer.status

        def saved() -> list[int]:
            said = [arguments[1] for event, arguments in client.heard if event == "document_message"]
            return [message[1] for message in said if message[0] == SAVED]

        assert await asyncio.gather(post("a", written(1)), post("a", written(1))) == [200, 200]
        assert await post("a", written(1)) == 200
        await client.until(lambda: 1 in saved())
        assert await post("b", written(2)) == 200
        await client.until(lambda: max(saved()) > 1)
        await client.do("ping_room")
        assert max(saved()) == 2


def written(client_id: int) -> str:
    """The body of a POST with one update: a letter."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client_id)
    text = doc.get("text", type=pycrdt.Text)
    text += "a"
    message = base64.b64encode(sync_update(doc.get_update())).decode()
    return f'451-["document_message","texte",{{"_placeholder":true,"num":0}}]\x1eb{message}'


# --- 9: long answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 2])
def test_a_long_answer_is_what_the_library_makes_of_it_in_short_pieces(size: int) -> None:
    apply_fixes()
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    packets = [packet.Packet(packet.MESSAGE, data=each) for each in ("é", data, data[::-1], "fin")]
    answer = LongAnswer(packets)
    pieces = list(answer.pieces())
    assert b"".join(pieces) == payload.Payload(packets=packets).encode().encode()
    assert answer.size_bytes == sum(map(len, pieces))
    assert max(map(len, pieces)) <= PIECE_BYTES * 4 // 3


async def test_each_piece_of_a_long_answer_has_a_turn_of_its_own() -> None:
    turns, turn = [], 0

    async def take() -> None:
        async for _piece in LongAnswer([packet.Packet(packet.MESSAGE, data=bytes(5 * PIECE_BYTES))]).in_turns():
            turns.append(turn)

    taking = asyncio.ensure_future(take())
    while not taking.done():
        turn += 1
        await asyncio.sleep(0)
    assert len(turns) == len(set(turns)) == 6
