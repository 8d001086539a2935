"""Questions and words between instances over a bus that is away, and comes back."""

import asyncio
import logging

import pytest

from rooms.commands import Leave
from rooms.instance_messages import Answer, Ask, Beat, Message, NoReader
from rooms.link import AT_ONCE, MAX_OUTBOX, PUBLISH_TIMEOUT_S, InstanceLink, Peers, topic_of
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
        await asyncio.sleep(PUBLISH_TIMEOUT_S)
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


class SlowBus(MemoryBus):
    """Takes what it is given, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def publish(self, topic: str, message: bytes) -> None:
        await super().publish(topic, message)
        await self.answers.wait()


@in_virtual_time
async def test_what_is_said_goes_out_in_order_and_waits_for_no_answer_of_the_bus() -> None:
    bus, heard = SlowBus(), list[Message]()
    speaker, hearer = link_of(bus, "a", []), link_of(bus, "b", heard)
    for each in (speaker, hearer):
        await each.start()
    said = [NoReader("a", f"{number}") for number in range(2 * AT_ONCE)]
    for each_word in said:
        speaker.tell("b", each_word)
    await asyncio.sleep(0.01)
    assert heard == said[:AT_ONCE]
    bus.answers.set()
    await asyncio.sleep(0.01)
    assert heard == said
    for each in (speaker, hearer):
        await each.stop()


@in_virtual_time
async def test_an_answer_that_comes_late_is_there_when_the_question_is_asked_again() -> None:
    bus = FailingBus()
    asker = link_of(bus, "a", [])
    asked: list[Message] = []
    await asker.start()

    async def note(data: bytes) -> None:
        asked.append(CODEC.decode(data))

    for name in "bc":
        await bus.subscribe(topic_of(name), note)
    question = Ask("q", "a", "r", "p", Leave())
    with asker.expecting(question):
        assert await asker.ask("b", question, 1.0) is None
        answer = Answer("q", Mark(1, 2, 3))
        await bus.publish(topic_of("a"), CODEC.encode(answer))
        await asyncio.sleep(0.01)
        asked.clear()
        assert await asker.ask("b", question, 1.0) == answer
        assert asked == []
    with asker.expecting(question):
        not_here = Answer("q", Mark(), is_not_home=True)
        await bus.publish(topic_of("a"), CODEC.encode(not_here))
        await asyncio.sleep(0.01)
        assert await asker.ask("b", question, 1.0) == not_here
        answering = asyncio.create_task(asker.ask("c", question, 1.0))
        await asyncio.sleep(0.1)
        await bus.publish(topic_of("a"), CODEC.encode(answer))
        assert await answering == answer, "of whoever was asked after that"
    await asker.stop()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 20, b"\x93\xa3Ask\x01\x02"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        CODEC.decode(data)


def test_whoever_said_goodbye_does_not_come_back_by_a_word_that_comes_after_it() -> None:
    peers = Peers()
    peers.hear(Beat("a", False, False, ()), 10.0)
    assert peers.is_alive("a", 11.0)
    peers.hear(Beat("a", True, True, ()), 11.0)
    peers.note("a", 11.0)
    peers.hear(Beat("a", True, False, ()), 11.0)
    assert peers.alive(11.0) == []
    assert peers.take_silent(100.0) == []
    assert (peers.is_gone("a"), peers.is_gone("b")) == (True, False)
