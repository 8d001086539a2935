"""Long messages on their way: one part at a time, in the order that counts, and no more of them than is taken."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from passerelle_client.message_parts import MessageParts
from rooms.documents import sync
from rooms.documents.encoding import var_bytes
from rooms.documents.limits import KIB, MIB
from rooms.documents.parts import LARGEST_PART_BYTES
from rooms.ports import ClientBinding, DocumentAppend, DocumentKey
from server.realtime import connection as connection_module
from server.realtime.connection import WHOLE_UP_TO_BYTES
from server.realtime.long_sending import LongSending
from server.realtime.packets import MOST_AT_ONCE_BYTES, PacketQueue, encode
from tests.support.deadlines import SECOND
from tests.support.room_client import RoomClient
from tests.support.running_house import RunningHouse

LONG = bytes(range(256)) * 4 * KIB  # 1 MiB
AUTHOR = 77


def letters(count: int) -> bytes:
    """An update that writes so many into the text."""
    block = b"\x01" + sync.encode_state_vector({AUTHOR: 0})[1:] + b"\x04\x01" + var_bytes(b"text")
    return b"\x01" + block + var_bytes(b"x" * count) + b"\x00"


class Line:
    """A queue, what sends over it, and whoever empties it as engine.io does."""

    def __init__(self) -> None:
        self.queue = PacketQueue()
        self.sending = LongSending(self.queue, asyncio.Lock())

    async def poll(self) -> list[Any]:
        """What one answer has."""
        async with asyncio.timeout(SECOND):
            packets = [await self.queue.get()]
        while True:
            try:
                packets.append(self.queue.get_nowait())
            except asyncio.QueueEmpty:
                return packets

    async def heard(self) -> list[Any]:
        """All that comes, packet by packet; each answer within its bound."""
        packets = []
        while self.queue.qsize() or self.sending.left_bytes:
            answer = await self.poll()
            assert len(answer) == 1 or sum(len(packet.data) for packet in answer) <= MOST_AT_ONCE_BYTES
            packets += answer
        return packets


def messages(packets: list[Any]) -> list[bytes]:
    return [packet.data for packet in packets if isinstance(packet.data, bytes)]


def joined(parts: list[bytes]) -> list[bytes]:
    reader = MessageParts()
    return [whole for part in parts if (whole := reader.take(part, 1)) is not None]


async def test_a_message_goes_part_by_part_and_no_more_waits_than_one() -> None:
    line = Line()
    line.sending.send("a", (b"head", LONG))
    waiting, answers = [], 0
    parts: list[bytes] = []
    while line.queue.qsize() or line.sending.left_bytes:
        waiting.append(line.queue.waiting_bytes)
        parts += messages(await line.poll())
        answers += 1
    assert joined(parts) == [b"head" + LONG]
    assert max(waiting) <= LARGEST_PART_BYTES + KIB
    assert len(parts) == answers > 2, "a part an answer"


async def test_nothing_is_put_while_nobody_takes() -> None:
    line = Line()
    line.sending.send("a", (LONG,))
    waiting = line.queue.waiting_bytes
    for _ in range(100):
        await asyncio.sleep(0)
    assert line.queue.waiting_bytes == waiting < 200 * KIB


async def test_what_waits_while_a_poll_is_open_comes_at_once() -> None:
    line = Line()
    polling = asyncio.ensure_future(line.poll())
    await asyncio.sleep(0)
    line.sending.send("a", (LONG,))
    assert len(messages(await polling)) == 1


async def test_updates_of_the_document_come_behind_and_those_of_others_do_not_wait() -> None:
    line = Line()
    line.sending.send("a", (LONG,))
    behind = encode("document_message", "a", b"\x00\x02behind")
    assert line.sending.put_behind("a", behind)
    assert not line.sending.put_behind("b", behind)
    for packet in encode("document_message", "b", b"\x00\x02other"):
        line.queue.put_nowait(packet)
    said = messages(await line.heard())
    assert said[-1] == b"\x00\x02behind"
    assert said.index(b"\x00\x02other") == 1
    assert joined([each for each in said if each[0] == sync.PART]) == [LONG]
    assert not line.sending.put_behind("a", behind), "all of it has gone"


async def test_of_two_documents_each_has_its_turn_and_of_one_the_second_message_waits_for_the_first() -> None:
    line = Line()
    for document, message in (("a", LONG), ("b", LONG[::-1]), ("a", LONG + b"again")):
        line.sending.send(document, (message,))
    line.sending.put_behind("a", encode("document_message", "a", b"\x00\x02last"))
    packets = await line.heard()
    names = [packet.data.split('"')[3] for packet in packets if isinstance(packet.data, str)]
    said = dict[str, list[bytes]]()
    for name, message in zip(names, messages(packets), strict=True):
        said.setdefault(name, []).append(message)
    assert joined(said["a"][:-1]) == [LONG, LONG + b"again"]
    assert said["a"][-1] == b"\x00\x02last"
    assert joined(said["b"]) == [LONG[::-1]]
    assert names[1:5] == ["a", "b", "a", "b"], "the first was put before the other came"


async def test_what_is_left_of_a_closed_document_is_not_sent() -> None:
    line = Line()
    line.sending.send("a", (LONG,))
    line.sending.send("b", (LONG,))
    line.sending.drop("a")
    said = messages(await line.heard())
    assert joined(said[1:]) == [LONG], "but for the part that waited already"
    line.sending.send("b", (LONG,))
    line.sending.clear()
    assert line.sending.left_bytes == 0


async def test_of_many_lines_each_puts_its_part_in_a_turn_of_its_own() -> None:
    turn = asyncio.Lock()
    lines = [Line() for _ in range(8)]
    for line in lines:
        line.sending = LongSending(line.queue, turn)
        line.sending.send("a", (LONG,))
        await line.poll()
    count = iter(range(10_000))
    put_in: list[int] = []
    number = 0

    def note(put: Callable[[Any], None]) -> Callable[[Any], None]:
        def noting(packets: Any) -> None:
            put_in.append(number)
            put(packets)

        return noting

    for line in lines:
        line.queue.put_part = note(line.queue.put_part)  # type: ignore[method-assign]
    polls = [asyncio.ensure_future(line.poll()) for line in lines]
    while not all(poll.done() for poll in polls):
        number = next(count)
        await asyncio.sleep(0)
    assert len(put_in) == len(set(put_in)) == len(lines)


# --- on real sockets ------------------------------------------------------------------------------------


TEXT = letters(3 * MIB)


async def store(house: RunningHouse, room_id: str, update: bytes) -> None:
    append = DocumentAppend(DocumentKey(room_id, "texte"), update, (ClientBinding(AUTHOR, "somebody"),))
    await house.house.store.append_updates([append])


def bodies(client: RoomClient, kind: int) -> list[bytes]:
    said = [arguments[1] for name, arguments in client.heard if name == "document_message"]
    return [message for message in said if message[0] == kind]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_who_asks_for_parts_gets_them_and_who_does_not_gets_one_message(
    house: RunningHouse, enter, transport: str
) -> None:
    host = await house.room()
    await store(house, host.room_id, TEXT)
    with_parts, without = await enter(host, transport), await enter(await house.guest(host), transport)
    for client, asked in ((with_parts, {"parts": True}), (without, {})):
        await client.do("document_open", document="texte", **asked)
        await client.say("document_message", "texte", sync.sync_step_1(b"\x00"))
    whole = sync.sync_step_2(TEXT)
    await with_parts.until(lambda: joined(bodies(with_parts, sync.PART)), seconds=20)
    assert joined(bodies(with_parts, sync.PART)) == [whole]
    await without.until(lambda: whole in bodies(without, sync.SYNC), seconds=20)
    assert bodies(without, sync.PART) == []


async def test_a_reader_that_takes_nothing_costs_one_part_and_hears_of_the_room_when_it_comes_back(
    house: RunningHouse, enter
) -> None:
    host = await house.room()
    await store(house, host.room_id, TEXT)
    client = await enter(host, "polling")
    view = await client.hear("room_view")
    (connection,) = house.house.connections.of_participant(host.room_id, str(view["self_id"]))
    assert isinstance(connection, connection_module.SocketConnection)
    await client.do("document_open", document="texte", parts=True)
    client.sio.eio.read_loop_task.cancel()
    await client.say("document_message", "texte", sync.sync_step_1(b"\x00"))
    await client.until(lambda: connection.buffered_bytes() > 2 * MIB)
    assert connection._queue.waiting_bytes <= LARGEST_PART_BYTES + KIB


async def test_a_document_that_is_opened_anew_while_it_comes_comes_from_its_beginning(
    house: RunningHouse, enter
) -> None:
    host = await house.room()
    await store(house, host.room_id, TEXT)
    client = await enter(host, "polling")
    for _ in range(2):
        await client.do("document_open", document="texte", parts=True)
        await client.say("document_message", "texte", sync.sync_step_1(b"\x00"))
        await client.until(lambda: bodies(client, sync.PART))
    await client.until(lambda: joined(bodies(client, sync.PART)), seconds=20)
    assert joined(bodies(client, sync.PART))[-1] == sync.sync_step_2(TEXT)
    await client.do("document_close", document="texte")


async def test_what_is_short_comes_as_it_is(house: RunningHouse, enter) -> None:
    host = await house.room()
    await store(house, host.room_id, letters(WHOLE_UP_TO_BYTES // 2))
    client = await enter(host, "polling")
    await client.do("document_open", document="texte", parts=True)
    await client.say("document_message", "texte", sync.sync_step_1(b"\x00"))
    await client.until(lambda: sync.sync_step_2(letters(WHOLE_UP_TO_BYTES // 2)) in bodies(client, sync.SYNC))
    assert bodies(client, sync.PART) == []
