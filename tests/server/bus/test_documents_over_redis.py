"""Documents on two instances joined by a real Redis that is stopped, emptied, frozen and overrun (DOC-5, DOC-6).

No heartbeat falls due in any of these: what is repaired is repaired because the bus knew that it had lost something.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rooms.documents.bus_message import topic_of
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.ports import DocumentKey
from server.bus.redis import RedisBus
from server.bus.redis_address import parse_redis_url
from server.bus.subscription import MAX_MESSAGE_BYTES
from tests.support.deadlines import SECOND
from tests.support.documents import KEY, Editor, RecordingStore, until
from tests.support.redis_server import RedisServer, running_redis

CONVERGED_S = 5.0
"""From the return of Redis until every reader of every instance has everything."""
LIMITS = HubLimits(heartbeat_s=600.0)
DOCUMENTS = 50


@dataclass
class Instance:
    hub: DocumentHub
    bus: RedisBus


@asynccontextmanager
async def two_instances(redis: RedisServer, store: RecordingStore) -> AsyncIterator[tuple[Instance, Instance]]:
    prefix = secrets.token_hex(8)
    made = []
    for _ in range(2):
        bus = RedisBus(parse_redis_url(redis.url), prefix)
        await bus.open()
        hub = DocumentHub(store, bus=bus, limits=LIMITS)
        await hub.start()
        made.append(Instance(hub, bus))
    try:
        yield made[0], made[1]
    finally:
        for instance in made:
            await instance.hub.stop()
            await instance.bus.close()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with running_redis(tmp_path) as server:
        yield server


class Class:
    """Writers of many texts on both instances; each writes marks that are found again."""

    def __init__(self, store: RecordingStore) -> None:
        self.store = store
        self.editors: dict[DocumentKey, list[Editor]] = {}
        self.written: dict[DocumentKey, list[str]] = {}

    async def join(self, one: Instance, two: Instance, keys: list[DocumentKey]) -> None:
        for key in keys:
            editors = [
                await Editor(f"{name}-{key.document}").join(at.hub, key) for name, at in (("a", one), ("b", two))
            ]
            self.editors[key] = editors
            self.written[key] = []

    def write(self, word: str) -> None:
        """Each writer in each text."""
        for key, editors in self.editors.items():
            for editor in editors:
                mark = f"[{word} {editor.participant_id}]"
                editor.type(mark)
                self.written[key].append(mark)

    def is_one(self) -> bool:
        return all(self._is_one(key) for key in self.editors)

    def _is_one(self, key: DocumentKey) -> bool:
        first, *others = [editor.text for editor in self.editors[key]]
        return all(mark in first for mark in self.written[key]) and all(text == first for text in others)

    @property
    def all_saved(self) -> bool:
        return all(editor.all_saved for editors in self.editors.values() for editor in editors)

    def assert_nothing_is_lost(self) -> None:
        for key, marks in self.written.items():
            text = self.store.text(key)
            assert all(text.count(mark) == 1 for mark in marks)
            assert text == self.editors[key][0].text


KEYS = [KEY, *(DocumentKey("room-1", f"text-{number}") for number in range(DOCUMENTS - 1))]


async def write_until(them: Class, done: asyncio.Event) -> None:
    number = 0
    while not done.is_set():
        them.write(f"word {number}")
        number += 1
        await asyncio.sleep(0.5)


async def stop_redis_for(redis: RedisServer, seconds: float) -> None:
    store = RecordingStore()
    them = Class(store)
    async with two_instances(redis, store) as (one, two):
        await them.join(one, two, KEYS)
        them.write("before")
        await until(them.is_one)
        await redis.stop()
        done = asyncio.Event()
        writing = asyncio.create_task(write_until(them, done))
        await asyncio.sleep(seconds)
        late = DocumentKey("room-1", "opened meanwhile")
        await them.join(one, two, [late])
        await until(lambda: them.all_saved)  # all of it is stored while the instances do not hear each other
        assert not them.is_one()
        done.set()
        await writing
        await redis.start()
        await redis.ask("FLUSHALL")
        returned = asyncio.get_running_loop().time()
        await until(them.is_one, CONVERGED_S)
        print(f"{len(them.editors)} texts were one {asyncio.get_running_loop().time() - returned:.2f} s after Redis")
        them.write("after")
        await until(lambda: them.is_one() and them.all_saved)
        them.assert_nothing_is_lost()


async def test_redis_is_stopped_and_emptied_and_nothing_is_lost(redis: RedisServer) -> None:
    await stop_redis_for(redis, 2.0)


@pytest.mark.long
async def test_redis_is_stopped_for_half_a_minute_and_emptied_and_nothing_is_lost(redis: RedisServer) -> None:
    await stop_redis_for(redis, 30.0)


async def test_redis_is_frozen_and_what_was_written_meanwhile_arrives(redis: RedisServer) -> None:
    store = RecordingStore()
    them = Class(store)
    async with two_instances(redis, store) as (one, two):
        await them.join(one, two, KEYS)
        redis.freeze()
        them.write("frozen")
        await until(lambda: one.bus._listener.link is None and two.bus._listener.link is None, 10)
        them.write("still frozen")
        await until(lambda: them.all_saved)
        assert not them.is_one()
        redis.thaw()
        await until(them.is_one, CONVERGED_S)
        them.assert_nothing_is_lost()


async def test_a_message_that_overruns_the_buffer_of_redis_costs_no_text(redis: RedisServer) -> None:
    """33 MB on a document's own channel: Redis closes the listeners of both instances."""
    store = RecordingStore()
    them = Class(store)
    async with two_instances(redis, store) as (one, two):
        await them.join(one, two, KEYS[:3])
        them.write("before")
        await until(them.is_one)
        reconnects = two.bus.health().reconnects
        done = asyncio.Event()
        writing = asyncio.create_task(write_until(them, done))
        await redis.ask("PUBLISH", two.bus._channel(topic_of(KEY)), bytes(33_000_000 * 11 // 10))
        async with asyncio.timeout(CONVERGED_S * SECOND):
            while two.bus.health().reconnects == reconnects or not two.bus.health().is_joined:
                await asyncio.sleep(0.01)
        assert "overcoming of output buffer limits" in redis.log
        done.set()
        await writing
        await until(them.is_one, CONVERGED_S)
        await until(lambda: them.all_saved)
        them.assert_nothing_is_lost()


async def test_a_listener_that_does_not_read_is_cut_and_catches_up(redis: RedisServer) -> None:
    store = RecordingStore()
    them = Class(store)
    async with two_instances(redis, store) as (one, two):
        await them.join(one, two, KEYS[:3])
        them.write("before")
        await until(them.is_one)
        await two.bus.subscribe("filler", lambda _message: asyncio.sleep(0))
        link = two.bus._listener.link
        assert link is not None
        assert link._transport is not None
        link._transport.pause_reading()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(48 * 1024 * 1024 // MAX_MESSAGE_BYTES):
            await one.bus.publish("filler", bytes(MAX_MESSAGE_BYTES))
        them.write("unheard")
        assert "overcoming of output buffer limits" in redis.log
        await until(lambda: two.bus._listener.link not in (link, None), CONVERGED_S)
        print(f"the listener was back after {loop.time() - began:.2f} s")
        await until(them.is_one, CONVERGED_S)
        await until(lambda: them.all_saved)
        them.assert_nothing_is_lost()
