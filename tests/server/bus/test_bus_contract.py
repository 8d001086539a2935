"""What every bus must do; one suite for all of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rooms.ports import Bus
from server.bus.memory import MemoryBus
from server.bus.redis import RedisBus
from server.bus.redis_address import parse_redis_url
from tests.support.deadlines import SECOND
from tests.support.redis_server import running_redis


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    async with AsyncExitStack() as stack:
        made: Bus = MemoryBus()
        if request.param == "redis":
            redis = await stack.enter_async_context(running_redis(tmp_path))
            made = RedisBus(parse_redis_url(redis.url), prefix=secrets.token_hex(8))
        await made.open()
        yield made
        await made.close()


class Heard:
    """A handler that keeps what it hears; `until(count)` waits for that many."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._changed = asyncio.Condition()

    async def __call__(self, message: bytes) -> None:
        async with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5 * SECOND), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def until_last(self, message: bytes) -> list[bytes]:
        async with asyncio.timeout(5 * SECOND), self._changed:
            await self._changed.wait_for(lambda: self.messages[-1:] == [message])
        return self.messages


async def all_came(bus: Bus) -> None:
    """What was published so far is in its queues, or dropped."""
    heard = Heard()
    subscription = await bus.subscribe("after all of that", heard)
    await bus.publish("after all of that", b"now")
    await heard.until(1)
    await subscription.cancel()


async def test_every_subscriber_of_a_topic_hears_it_in_order(bus: Bus) -> None:
    first, second = Heard(), Heard()
    await bus.subscribe("room:r1", first)
    await bus.subscribe("room:r1", second)
    for number in range(50):
        await bus.publish("room:r1", b"%d" % number)
    expected = [b"%d" % number for number in range(50)]
    assert await first.until(50) == expected
    assert await second.until(50) == expected


async def test_another_topic_is_not_heard(bus: Bus) -> None:
    heard = Heard()
    await bus.subscribe("room:r1", heard)
    await bus.publish("room:r2", b"elsewhere")
    await bus.publish("room:r1", b"here")
    assert await heard.until(1) == [b"here"]


async def test_any_bytes_arrive_whole(bus: Bus) -> None:
    heard = Heard()
    message = bytes(range(256)) * 4_096
    await bus.subscribe("a", heard)
    await bus.publish("a", message)
    await bus.publish("a", b"")
    assert await heard.until(2) == [message, b""]


async def test_publishing_to_no_one_is_fine(bus: Bus) -> None:
    await bus.publish("nobody", b"hello")


async def test_nothing_is_heard_after_cancelling(bus: Bus) -> None:
    cancelled, other = Heard(), Heard()
    subscription = await bus.subscribe("a", cancelled)
    await bus.subscribe("a", other)
    await bus.publish("a", b"1")
    await cancelled.until(1)
    await bus.publish("a", b"2")
    await subscription.cancel()
    await subscription.cancel()
    await bus.publish("a", b"3")
    assert await other.until(3) == [b"1", b"2", b"3"]
    assert cancelled.messages == [b"1"]


async def test_a_handler_that_fails_hears_the_next_message_and_disturbs_no_one(bus: Bus) -> None:
    heard, failing_heard = Heard(), Heard()

    async def fail(message: bytes) -> None:
        await failing_heard(message)
        raise RuntimeError("of this subscriber alone")

    await bus.subscribe("a", fail)
    await bus.subscribe("a", heard)
    for message in (b"1", b"2"):
        await bus.publish("a", message)
    assert await heard.until(2) == [b"1", b"2"]
    assert await failing_heard.until(2) == [b"1", b"2"]


async def test_a_slow_handler_delays_no_one(bus: Bus) -> None:
    heard, may_go_on = Heard(), asyncio.Event()

    async def wait(message: bytes) -> None:
        await may_go_on.wait()

    await bus.subscribe("a", wait)
    await bus.subscribe("a", heard)
    async with asyncio.timeout(5 * SECOND):
        for number in range(100):
            await bus.publish("a", b"%d" % number)
    assert len(await heard.until(100)) == 100
    may_go_on.set()


async def test_one_handler_handles_one_message_at_a_time(bus: Bus) -> None:
    running, most, done = 0, 0, Heard()

    async def handle(message: bytes) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await done(message)

    await bus.subscribe("a", handle)
    for _ in range(20):
        await bus.publish("a", b"x")
    await done.until(20)
    assert most == 1


async def test_a_handler_may_cancel_its_own_subscription(bus: Bus) -> None:
    heard = Heard()

    async def once(message: bytes) -> None:
        await subscription.cancel()
        await heard(message)

    subscription = await bus.subscribe("a", once)
    await bus.publish("a", b"1")
    await bus.publish("a", b"2")
    assert await heard.until(1) == [b"1"]
    other = Heard()
    await bus.subscribe("a", other)
    await bus.publish("a", b"3")
    await other.until(1)
    assert heard.messages == [b"1"]


async def test_a_handler_may_publish_and_subscribe(bus: Bus) -> None:
    echo, direct = Heard(), Heard()

    async def answer(message: bytes) -> None:
        await bus.subscribe("b", echo)
        await bus.publish("b", b"answer to " + message)

    await bus.subscribe("a", answer)
    await bus.subscribe("b", direct)
    await bus.publish("a", b"question")
    assert await direct.until(1) == [b"answer to question"]
    assert await echo.until(1) == [b"answer to question"]


async def test_a_queue_is_bounded_and_hearing_goes_on_after_it_was_full(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.bus.subscription.MAX_QUEUED_MESSAGES", 10)
    heard, may_go_on = Heard(), asyncio.Event()

    async def slow(message: bytes) -> None:
        await may_go_on.wait()
        await heard(message)

    await bus.subscribe("a", slow, lambda: heard(b"gap"))
    for number in range(100):
        await bus.publish("a", b"%d" % number)
    await all_came(bus)
    may_go_on.set()
    count = (await heard.until_last(b"gap")).index(b"gap")
    assert count in (10, 11)  # and perhaps one that was being handled
    await bus.publish("a", b"after")
    assert await heard.until_last(b"after") == [*(b"%d" % number for number in range(count)), b"gap", b"after"]


async def test_a_queue_is_bounded_by_size_too(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.bus.subscription.MAX_QUEUED_BYTES", 1_000)
    heard, may_go_on = Heard(), asyncio.Event()

    async def slow(message: bytes) -> None:
        await may_go_on.wait()
        await heard(message)

    await bus.subscribe("a", slow, lambda: heard(b"gap"))
    for _ in range(4):
        await bus.publish("a", bytes(400))
    await all_came(bus)
    may_go_on.set()
    count = (await heard.until_last(b"gap")).index(b"gap")
    assert count in (2, 3)  # and perhaps one that was being handled
    await bus.publish("a", bytes(900))
    assert await heard.until_last(bytes(900)) == [*[bytes(400)] * count, b"gap", bytes(900)]


async def test_a_subscriber_is_told_when_messages_were_lost(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, behind what was heard before the gap; and not when nothing was lost."""
    monkeypatch.setattr("server.bus.subscription.MAX_QUEUED_MESSAGES", 10)
    heard, calm, may_go_on = Heard(), Heard(), asyncio.Event()

    async def slow(message: bytes) -> None:
        await may_go_on.wait()
        await heard(message)

    await bus.subscribe("a", slow, lambda: heard(b"gap"))
    await bus.subscribe("b", calm, lambda: calm(b"gap"))
    for number in range(100):
        await bus.publish("a", b"%d" % number)
    await bus.publish("b", b"1")
    await all_came(bus)
    may_go_on.set()
    messages = await heard.until_last(b"gap")
    assert messages[:10] == [b"%d" % number for number in range(10)]
    await bus.publish("a", b"after")
    await bus.publish("b", b"2")
    await heard.until_last(b"after")
    assert heard.messages.count(b"gap") == 1
    assert await calm.until(2) == [b"1", b"2"]
    assert bus.health().gaps > 0


async def test_a_message_that_is_too_long_is_refused(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.bus.subscription.MAX_MESSAGE_BYTES", 1_000)
    heard = Heard()
    await bus.subscribe("a", heard)
    with pytest.raises(ValueError):
        await bus.publish("a", bytes(1_001))
    await bus.publish("a", bytes(1_000))
    assert await heard.until(1) == [bytes(1_000)]


async def test_closing_cancels_every_subscription_and_running_handler(bus: Bus) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def forever(message: bytes) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await bus.subscribe("a", forever)
    await bus.publish("a", b"1")
    async with asyncio.timeout(5 * SECOND):
        await started.wait()
        await bus.close()
    assert ended.is_set()
    await bus.publish("a", b"2")
    with pytest.raises(RuntimeError):
        await bus.subscribe("a", forever)
    await bus.close()


async def test_no_task_is_left_when_all_is_quiet(bus: Bus) -> None:
    heard = Heard()
    await bus.subscribe("a", heard)
    await bus.publish("a", b"1")
    await heard.until(1)
    async with asyncio.timeout(5 * SECOND):
        while any(task.get_name() == "bus subscription" for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
