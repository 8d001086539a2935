"""The Redis bus beside what its contract says: joining instances, losing Redis, and finding it again."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from rooms.ports import BusUnavailable
from server.bus import redis as redis_bus
from server.bus import redis_watch
from server.bus.redis import RedisBus
from server.bus.redis_address import parse_redis_url
from server.bus.redis_link import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from server.bus.subscription import MAX_MESSAGE_BYTES
from tests.support.deadlines import SECOND
from tests.support.redis_server import RedisServer, running_redis

NOTICED_S = 5.0
"""A silent listener is noticed, and a returned Redis found, within this."""


class Told:
    """What a subscription was told, in order: messages, and None for a gap."""

    def __init__(self) -> None:
        self.all: list[bytes | None] = []
        self._changed = asyncio.Condition()

    async def message(self, message: bytes) -> None:
        await self._note(message)

    async def gap(self) -> None:
        await self._note(None)

    async def _note(self, what: bytes | None) -> None:
        async with self._changed:
            self.all.append(what)
            self._changed.notify_all()

    async def until(self, is_enough: Callable[[list[bytes | None]], bool], within_s: float = NOTICED_S) -> None:
        async with asyncio.timeout(within_s * SECOND), self._changed:
            await self._changed.wait_for(lambda: is_enough(self.all))


@asynccontextmanager
async def joined(*urls: str, prefix: str | None = None) -> AsyncIterator[list[RedisBus]]:
    """A bus for each address."""
    prefix = prefix or secrets.token_hex(8)
    buses = [RedisBus(parse_redis_url(url), prefix) for url in urls]
    for bus in buses:
        await bus.open()
    try:
        yield buses
    finally:
        for bus in buses:
            await bus.close()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with running_redis(tmp_path) as server:
        yield server


async def until(is_so: Callable[[], bool], within_s: float = NOTICED_S) -> None:
    async with asyncio.timeout(within_s * SECOND):
        while not is_so():
            await asyncio.sleep(0.01)


async def until_joined(*buses: RedisBus, within_s: float = NOTICED_S) -> None:
    await until(lambda: all(bus.health().is_joined for bus in buses), within_s)


async def test_instances_hear_each_other_and_another_installation_does_not(redis: RedisServer) -> None:
    prefix = secrets.token_hex(8)
    async with joined(redis.url, redis.url, f"{redis.url}/1", prefix=prefix) as (one, two, elsewhere):
        told, other = Told(), Told()
        await two.subscribe("room:r1", told.message, told.gap)
        await elsewhere.subscribe("room:r1", other.message, other.gap)
        await one.publish("room:r1", b"bonjour")
        await elsewhere.publish("room:r1", b"ailleurs")
        await told.until(lambda all_: all_ == [b"bonjour"])
        await other.until(lambda all_: all_ == [b"ailleurs"])


async def test_the_longest_message_arrives_and_the_loop_goes_on_meanwhile(redis: RedisServer) -> None:
    message = secrets.token_bytes(1024) * (MAX_MESSAGE_BYTES // 1024)
    async with joined(redis.url, redis.url) as (one, two):
        told = Told()
        await two.subscribe("a", told.message, told.gap)
        for _ in range(3):
            await one.publish("a", message)
        await told.until(lambda all_: all_ == [message] * 3)
        with pytest.raises(ValueError):
            await one.publish("a", message + b"x")
        assert two.health().reconnects == 0


async def test_what_is_published_at_once_goes_in_order(redis: RedisServer) -> None:
    async with joined(redis.url, redis.url) as (one, two):
        told = Told()
        await two.subscribe("a", told.message)
        await asyncio.gather(*(one.publish("a", b"%d" % number) for number in range(1_000)))
        await told.until(lambda all_: len(all_) == 1_000)
        assert told.all == [b"%d" % number for number in range(1_000)]


async def test_nothing_that_redis_sees_names_a_room_or_a_document(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        await bus.subscribe("document:sixième B:rédaction de Zoé", Told().message)
        channels = await redis.ask("PUBSUB", "CHANNELS")
        assert len(channels) == 2  # and that of the messages to oneself
        assert all(channel.decode().rpartition(":")[2].isalnum() for channel in channels)
        assert not any(word in channel.decode() for channel in channels for word in ("sixi", "daction", "Zo"))


async def test_a_cancelled_topic_is_given_back(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        told = Told()
        first = await bus.subscribe("a", told.message)
        second = await bus.subscribe("a", told.message)
        await first.cancel()
        await bus.publish("a", b"1")
        await told.until(lambda all_: all_ == [b"1"])
        await second.cancel()
        await bus.subscribe("b", told.message)  # answered behind it
        assert await redis.subscribers() == 2


async def test_a_topic_that_is_left_and_taken_again_at_once_is_heard(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        for number in range(50):
            told = Told()
            subscription = await bus.subscribe("a", told.message, told.gap)
            await bus.publish("a", b"%d" % number)
            await told.until(lambda all_, number=number: all_ == [b"%d" % number])  # type: ignore[misc]
            await subscription.cancel()


# --- Redis goes, and comes back ------------------------------------------------------------------------


async def test_a_restart_of_redis_is_a_gap_and_hearing_goes_on(redis: RedisServer) -> None:
    async with joined(redis.url, redis.url) as (one, two):
        told = Told()
        await two.subscribe("a", told.message, told.gap)
        await one.publish("a", b"before")
        await told.until(lambda all_: all_ == [b"before"])
        await redis.stop()
        await until(lambda: not one.health().is_joined and not two.health().is_joined)
        with pytest.raises(BusUnavailable):
            await one.publish("a", b"lost")
        await redis.start()
        await until_joined(one, two)
        await one.publish("a", b"after")
        await told.until(lambda all_: all_[-1:] == [b"after"])
        assert told.all[0] == b"before"
        assert set(told.all[1:-1]) <= {None}
        await until(lambda: two.health().reconnects == 2)
        await told.until(lambda all_: None in all_)


async def test_a_subscription_that_begins_while_redis_is_away_begins_with_a_gap(redis: RedisServer) -> None:
    await redis.stop()
    async with joined(redis.url) as (bus,):
        assert not bus.health().was_joined
        told = Told()
        async with asyncio.timeout(0.4 * SECOND):
            await bus.subscribe("a", told.message, told.gap)
        await redis.start()
        await told.until(lambda all_: all_ == [None])
        await until_joined(bus)
        await bus.publish("a", b"1")
        await told.until(lambda all_: all_ == [None, b"1"])
        assert bus.health().was_joined


async def test_only_the_publisher_is_cut_and_what_was_lost_makes_a_gap(redis: RedisServer) -> None:
    """Its own listener heard everything: the others must be asked all the same, for they have missed something."""
    async with joined(redis.url) as (bus,):
        told = Told()
        await bus.subscribe("a", told.message, told.gap)
        await redis.ask("CLIENT", "KILL", "TYPE", "normal")
        with pytest.raises(BusUnavailable):
            await bus.publish("a", b"lost")
        await told.until(lambda all_: all_ == [None])
        await until_joined(bus)
        await bus.publish("a", b"1")
        await told.until(lambda all_: all_ == [None, b"1"])
        assert bus.health().reconnects == 1


async def test_a_publisher_that_is_cut_while_nothing_is_said_is_no_gap(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        told = Told()
        await bus.subscribe("a", told.message, told.gap)
        await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await told.until(lambda all_: all_ == [None])
        assert bus.health().gaps == 1


async def test_a_redis_that_says_nothing_is_noticed_and_found_again(redis: RedisServer) -> None:
    async with joined(redis.url, redis.url) as (one, two):
        told = Told()
        await two.subscribe("a", told.message, told.gap)
        redis.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(BusUnavailable):
            await one.publish("a", b"late")
        await until(lambda: not two.health().is_joined and not one.health().is_joined)
        assert loop.time() - began < NOTICED_S * SECOND
        redis.thaw()
        await until_joined(one, two)
        await one.publish("a", b"after")
        await told.until(lambda all_: all_[-1:] == [b"after"] and None in all_)


async def test_a_message_that_overruns_the_buffer_of_redis_cuts_the_listener_for_a_moment_only(
    redis: RedisServer,
) -> None:
    async with joined(redis.url) as (bus,):
        told = Told()
        await bus.subscribe("a", told.message, told.gap)
        [channel] = [name for name in await redis.ask("PUBSUB", "CHANNELS") if name.decode() == bus._channel("a")]
        await redis.ask("PUBLISH", channel, bytes(33 * 1024 * 1024))
        await told.until(lambda all_: all_ == [None])
        await until_joined(bus)
        await bus.publish("a", b"after")
        await told.until(lambda all_: all_ == [None, b"after"])


async def test_a_message_longer_than_ours_are_is_not_passed_on(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        told = Told()
        await bus.subscribe("a", told.message, told.gap)
        await redis.ask("PUBLISH", bus._channel("a"), bytes(MAX_MESSAGE_BYTES + 1))
        await bus.publish("a", b"after")
        await told.until(lambda all_: all_ == [None, b"after"])


async def test_thousands_of_topics_come_back_a_few_at_a_time(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "SUBSCRIBE_TIMEOUT_S", 30 * SECOND)  # none begins with a gap, however busy we are
    async with joined(redis.url) as (bus,):
        told = Told()
        topics = [f"document:{number}" for number in range(2_000)]
        for at in range(0, len(topics), 500):
            await asyncio.gather(*(bus.subscribe(topic, told.message, told.gap) for topic in topics[at : at + 500]))
        assert await redis.subscribers() == 2_001
        assert told.all == []
        await redis.restart()
        most_at_once, last = 0, 0
        async with asyncio.timeout(30 * SECOND):
            while len(told.all) < 2_000:
                await asyncio.sleep(0)
                most_at_once, last = max(most_at_once, len(told.all) - last), len(told.all)
        assert told.all == [None] * 2_000
        assert most_at_once <= redis_bus.TOLD_PER_TURN
        assert await redis.subscribers() == 2_001


async def test_a_message_to_oneself_tells_the_lag(redis: RedisServer) -> None:
    async with joined(redis.url) as (bus,):
        await until(lambda: bus.health().lag_s > 0)
        assert bus.health().lag_s < 1 * SECOND
        redis.freeze()
        await until(lambda: bus.health().lag_s > 1 or not bus.health().is_joined)
        redis.thaw()


async def test_a_bus_is_closed_quickly_while_redis_is_silent(redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        [bus] = await stack.enter_async_context(joined(redis.url))
        publishing = asyncio.create_task(bus.publish("a", b"x"))
        redis.freeze()
        async with asyncio.timeout(1 * SECOND):
            await bus.close()
        redis.thaw()
        await asyncio.gather(publishing, return_exceptions=True)


async def test_a_process_that_was_held_up_itself_cuts_nobody(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that Redis said meanwhile is still to be read when the watch looks again."""
    for name, value in (("BEAT_S", 0.2), ("SILENT_S", 0.6 * SECOND), ("LATE_S", 0.3 * SECOND)):
        monkeypatch.setattr(redis_watch, name, value)
    async with joined(redis.url) as (bus,):
        told = Told()
        await bus.subscribe("a", told.message, told.gap)
        await until(lambda: bus.health().lag_s > 0)
        time.sleep(1.0 * SECOND)
        await bus.publish("a", b"1")
        await told.until(lambda all_: all_ == [b"1"])
        await until(lambda: 0 < bus.health().lag_s < 0.5)
        assert bus.health().reconnects == 0


async def test_publisher_and_listener_that_do_not_meet_are_made_again(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answers, and so does the Redis that each is at; only a message to oneself tells that it is not the same."""
    async with running_redis(tmp_path / "other") as other:
        async with joined(redis.url) as (bus,):
            told = Told()
            await bus.subscribe("a", told.message, told.gap)
            here = bus._connector._address
            bus._connector._address = parse_redis_url(other.url)
            await redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: bus._listener.link is not None and bus._listener.link.server.port == other.port)
            bus._connector._address = here
            await until(lambda: bus._listener.link is not None and bus._listener.link.server.port == redis.port, 10)
            await until_joined(bus)
            await bus.publish("a", b"1")
            await told.until(lambda all_: all_[-1:] == [b"1"] and None in all_)


async def test_a_connection_that_is_cut_off_again_and_again_is_made_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backoff = Backoff()
    pauses = []
    for _ in range(8):
        backoff.note_open()
        pauses.append(backoff.pause_s())
    assert pauses[0] <= FIRST_PAUSE_S
    assert pauses[-1] >= LONGEST_PAUSE_S / 2
    monkeypatch.setattr("server.bus.redis_link.STEADY_S", -1.0)
    backoff.note_open()
    assert backoff.pause_s() <= FIRST_PAUSE_S
