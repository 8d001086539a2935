"""Questions and words between instances over a bus that is away, and comes back."""

import asyncio
import logging

import pytest

from rooms.commands import Leave
from rooms.instance_messages import Answer, Ask, Message, NoReader
from rooms.link import MAX_OUTBOX, InstanceLink, topic_of
from rooms.orders import Mark
from server.bus.memory import MemoryBus
from server.bus.room_messages import RoomMessageCodec
from tests.support.virtual_time import in_virtual_time

CODEC = RoomMessageCodec()


class FailingBus(MemoryBus):
    is_away = False
    hangs = False

    async def publish(self, topic: str, message: bytes) -> None:
        if self.hangs:
            await asyncio.sleep(3_600)
        if self.is_away:
            raise ConnectionError
        if len(message) > 10_000:
            raise ValueError
        await super().publish(topic, message)


def link_of(bus: MemoryBus, name: str, heard: list[Message]) -> InstanceLink:
    return InstanceLink(bus, CODEC, name, heard.append, lambda: None)


@in_virtual_time
async def test_what_could_not_be_said_is_lost_and_what_comes_after_is_not_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, heard = FailingBus(), list[Message]()
    speaker, hearer = link_of(bus, "a", []), link_of(bus, "b", heard)
    for each in (speaker, hearer):
        await each.start()
    for fails in ("is_away", "hangs"):
        caplog.clear()
        setattr(bus, fails, True)
        for number in range(50):
            speaker.tell("b", NoReader("a", f"lost {number}"))
            await asyncio.sleep(0.01)
        setattr(bus, fails, False)
        await asyncio.sleep(1.0)
        speaker.tell("b", NoReader("a", "heard"))
        await asyncio.sleep(0.01)
        assert heard[-1] == NoReader("a", "heard")
        assert len(heard) < 5
        assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1
    for each in (speaker, hearer):
        await each.stop()


@in_virtual_time
async def test_a_message_that_is_too_long_keeps_no_other_from_being_said() -> None:
    bus, heard = FailingBus(), list[Message]()
    speaker, hearer = link_of(bus, "a", []), link_of(bus, "b", heard)
    for each in (speaker, hearer):
        await each.start()
    for room in ("before", "x" * 20_000, "after"):
        speaker.tell("b", NoReader("a", room))
    await asyncio.sleep(0.01)
    assert heard == [NoReader("a", "before"), NoReader("a", "after")]
    for each in (speaker, hearer):
        await each.stop()


@in_virtual_time
async def test_what_waits_for_the_bus_is_bounded() -> None:
    bus = FailingBus()
    bus.hangs = True
    link = link_of(bus, "a", [])
    await link.start()
    for _ in range(MAX_OUTBOX + 100):
        link.tell("b", NoReader("a", "r"))
    assert len(link._outbox) == MAX_OUTBOX
    await link.stop()


@in_virtual_time
async def test_a_question_is_asked_until_it_is_answered_or_its_time_is_over() -> None:
    bus = FailingBus()
    asker = link_of(bus, "a", [])
    asked: list[Message] = []
    await asker.start()

    async def answer_the_third(data: bytes) -> None:
        asked.append(CODEC.decode(data))
        if len(asked) == 3:
            await bus.publish(topic_of("a"), CODEC.encode(Answer("q", Mark(1, 2, 3))))

    await bus.subscribe(topic_of("b"), answer_the_third)
    question = Ask("q", "a", "r", "p", Leave())
    assert await asker.ask("b", question, 5.0) == Answer("q", Mark(1, 2, 3))
    assert asked == [question] * 3
    assert await asker.ask("nobody", Ask("q2", "a", "r", None, Leave()), 1.0) is None
    await asker.stop()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 20, b"\x93\xa3Ask\x01\x02"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        CODEC.decode(data)
