"""What is said about rooms overtakes what is said of documents, however much of that waits."""

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.app import build_house
from server.bus.redis import RedisBus
from server.bus.redis_address import parse_redis_url
from server.bus.two_lines import TwoLines
from server.config import Settings
from tests.support.deadlines import SECOND
from tests.support.network_cut import CuttableProxy, cuttable_proxy
from tests.support.redis_server import RedisServer, running_redis

DOCUMENTS = 1_000
LENGTH_BYTES = 8 * 1_024


class Counted:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, _message: bytes) -> None:
        self.count += 1


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with running_redis(tmp_path) as server:
        yield server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20 * SECOND):
        while not condition():
            await asyncio.sleep(0.01)


async def write_much(speaker: RedisBus) -> None:
    for _ in range(DOCUMENTS // 100):
        await asyncio.gather(*(speaker.publish("document:d", bytes(LENGTH_BYTES)) for _ in range(100)))


@pytest.mark.parametrize("lines", [2, 1])
async def test_a_word_about_a_room_passes_all_that_waits_of_documents(redis: RedisServer, lines: int) -> None:
    """And on one line it does not: what an instance is to hear of documents is under way to it, and does not arrive."""
    async with AsyncExitStack() as stack:
        slow: CuttableProxy = await stack.enter_async_context(cuttable_proxy(redis.port))
        prefix = secrets.token_hex(8)

        async def joined(port: int) -> RedisBus:
            bus = RedisBus(parse_redis_url(f"redis://127.0.0.1:{port}"), prefix)
            stack.push_async_callback(bus.close)
            await bus.open()
            return bus

        speaker, documents_line = await joined(redis.port), await joined(slow.port)
        rooms_line = await joined(redis.port) if lines == 2 else documents_line
        documents, rooms = Counted(), Counted()
        await documents_line.subscribe("document:d", documents)
        await rooms_line.subscribe("instance:i", rooms)
        slow.hold()
        await write_much(speaker)
        await speaker.publish("instance:i", b"out")
        if lines == 2:
            await until(lambda: rooms.count == 1)
        assert (documents.count, rooms.count) == (0, lines - 1)
        slow.release()
        await until(lambda: documents.count == DOCUMENTS and rooms.count == 1)


async def test_each_instance_has_a_line_for_rooms_and_one_for_documents(redis: RedisServer, tmp_path: Path) -> None:
    house = build_house(Settings(data=tmp_path / "data", redis_url=redis.url))
    lines = house.bus
    assert isinstance(lines, TwoLines)
    assert house.sharing is not None
    assert house.sharing._us.link._bus is lines.rooms
    assert house.documents._bridge._bus is lines.documents
    assert lines.rooms is not lines.documents
    await lines.open()
    try:
        assert lines.health().is_joined
        names = re.findall(rb" name=(passerelle-\w+)", await redis.ask("CLIENT", "LIST"))
        assert Counter(names) == {b"passerelle-documents": 2, b"passerelle-rooms": 2}
    finally:
        await lines.close()
        assert house.leases is not None
        await house.leases.close()
