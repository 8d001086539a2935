"""Talks with the other instances about rooms: asks until answered, says things in order, knows who lives.

Everything for one instance goes to its one topic, from each sender in the order in which it was said: what a
home announced before it answered has arrived when the answer does, unless it was lost.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rooms.instance_messages import Answer, Ask, Beat, Codec, Message
from rooms.ports import Bus, Subscription

logger = logging.getLogger("passerelle.rooms")

EVERYONE = "instances"
RESEND_S = 0.4
"""A question is asked again after this: the bus loses messages, and the one asked remembers what it answered."""
SILENT_S = 6.0
"""An instance that says nothing for so long is taken for dead: three heartbeats, as long as a lease."""
MAX_OUTBOX = 20_000
"""Messages that wait for the bus; beyond, the newest is lost, as the bus may lose any."""
AT_ONCE = 64
"""Messages on their way to the bus together, in order. One after the other each would wait for an answer of the bus,
which on a loop that is full takes several of its turns: a class that joins says some hundred things."""
PUBLISH_TIMEOUT_S = 3.5
"""For a bus that hangs: one that serves gives up by itself before. Shorter, a loop that is held up for a moment would
take its own lateness for the bus's, and throw away what was said."""
LAST_WORDS_S = 1.0
"""How long the end waits for what was said before."""
MAX_INSTANCES = 1_000
"""More than anybody runs: what is remembered of those heard is bounded."""


def topic_of(instance_id: str) -> str:
    return f"instance:{instance_id}"


class Peers:
    """The other instances, as far as they are heard. Pure: `now` in monotonic seconds."""

    def __init__(self) -> None:
        self._heard_at: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._lost: dict[str, float] = {}
        """Instances that fell silent without a goodbye, and when they were last heard; the newest MAX_INSTANCES."""
        self._gone: dict[str, None] = {}
        """Those that said goodbye, the newest MAX_INSTANCES: each start has another id, so none comes back."""

    def hear(self, beat: Beat, now: float) -> None:
        if beat.is_gone:
            self.forget(beat.sender)
            self._gone[beat.sender] = None
            if len(self._gone) > MAX_INSTANCES:
                del self._gone[next(iter(self._gone))]
        if self.is_gone(beat.sender):
            return
        self.note(beat.sender, now)
        (self._leaving.add if beat.is_leaving else self._leaving.discard)(beat.sender)

    def note(self, instance_id: str, now: float) -> None:
        """It said something: perhaps before its goodbye, which went another way."""
        if self.is_gone(instance_id):
            return
        if len(self._heard_at) < MAX_INSTANCES or instance_id in self._heard_at:
            self._heard_at[instance_id] = now
        self._lost.pop(instance_id, None)

    def forget(self, instance_id: str) -> None:
        self._lost.pop(instance_id, None)
        self._heard_at.pop(instance_id, None)
        self._leaving.discard(instance_id)

    def is_gone(self, instance_id: str) -> bool:
        """It said goodbye."""
        return instance_id in self._gone

    def is_alive(self, instance_id: str, now: float) -> bool:
        heard_at = self._heard_at.get(instance_id)
        return heard_at is not None and now - heard_at < SILENT_S

    def alive(self, now: float) -> list[str]:
        return sorted(each for each in self._heard_at if self.is_alive(each, now))

    def heirs(self, now: float) -> list[str]:
        """Those who may be given a room."""
        return [each for each in self.alive(now) if each not in self._leaving]

    def take_silent(self, now: float) -> list[str]:
        """Those who fell silent since this was asked; they are forgotten."""
        silent = [each for each in self._heard_at if not self.is_alive(each, now)]
        for each in silent:
            heard_at = self._heard_at[each]
            self.forget(each)
            self._lost[each] = heard_at
            if len(self._lost) > MAX_INSTANCES:
                del self._lost[next(iter(self._lost))]
        return silent

    def silent_for_s(self, instance_id: str, now: float) -> float | None:
        """None: it was never heard, said goodbye, or has been forgotten."""
        heard_at = self._heard_at.get(instance_id, self._lost.get(instance_id))
        return None if heard_at is None else now - heard_at

    def missing(self, now: float) -> dict[str, float]:
        """Those of whom nothing is known: they said no goodbye, and for so many seconds nothing else."""
        silent = {each: at for each, at in self._heard_at.items() if not self.is_alive(each, now)}
        return {each: now - at for each, at in (self._lost | silent).items()}


class InstanceLink:
    """`receive` is called for each message but answers, in order, and must not block; `on_gap` when some may have
    been lost."""

    def __init__(
        self,
        bus: Bus,
        codec: Codec,
        instance_id: str,
        receive: Callable[[Message], None],
        on_gap: Callable[[], None],
    ) -> None:
        self.instance_id = instance_id
        self._bus = bus
        self._codec = codec
        self._receive = receive
        self._on_gap = on_gap
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        """Set while nothing waits for the bus."""
        self._written.set()
        self._subscriptions: list[Subscription] = []
        self._writer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_losing = False
        self.malformed = 0
        """Messages that could not be read: another version's, or not ours."""

    @property
    def is_joined(self) -> bool:
        """What is said now goes out, and what the others say is heard, as far as is known."""
        return self._bus.health().is_joined

    async def start(self) -> None:
        self._writer = asyncio.create_task(self._write())
        for topic in (topic_of(self.instance_id), EVERYONE):
            self._subscriptions.append(await self._bus.subscribe(topic, self._hear, self._hear_gap))

    async def stop(self) -> None:
        """What was said before is published first, if the bus takes it within a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._written.wait()
        for subscription in self._subscriptions:
            await subscription.cancel()
        tasks = [*self._tasks, *([self._writer] if self._writer is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- saying -----------------------------------------------------------------------------

    def tell(self, instance_id: str, message: Message) -> None:
        """At most once, after everything that was told before. Never blocks."""
        self._put(topic_of(instance_id), self._codec.encode(message))

    def tell_all_of(self, instance_ids: set[str], message: Message) -> None:
        """Likewise, encoded once."""
        if instance_ids:
            data = self._codec.encode(message)
            for instance_id in instance_ids:
                self._put(topic_of(instance_id), data)

    def tell_everyone(self, message: Message) -> None:
        self._put(EVERYONE, self._codec.encode(message))

    @contextmanager
    def expecting(self, question: Ask) -> Iterator[None]:
        """Within the block the question may be asked several times, of one instance after the other: an answer that
        comes between is there when it is asked again."""
        self._expect(question)
        try:
            yield
        finally:
            self._waiting.pop(question.ask_id, None)

    def _expect(self, question: Ask) -> asyncio.Future[Answer]:
        answer = self._waiting[question.ask_id] = asyncio.get_running_loop().create_future()
        return answer

    def take_answer(self, question: Ask) -> Answer | None:
        """What was answered by now; another one is waited for if that was no home's."""
        answer = self._waiting.get(question.ask_id)
        if answer is None or not answer.done():
            return None
        if answer.result().is_not_home:
            self._expect(question)
        return answer.result()

    async def ask(self, instance_id: str, question: Ask, timeout_s: float) -> Answer | None:
        """The answer; None when there was none in time."""
        if question.ask_id not in self._waiting:
            with self.expecting(question):
                return await self.ask(instance_id, question, timeout_s)
        answer = self._waiting[question.ask_id]
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not answer.done():
                    self.tell(instance_id, question)
                    await asyncio.wait([answer], timeout=RESEND_S)
        return self.take_answer(question)

    def _put(self, topic: str, data: bytes) -> None:
        if len(self._outbox) < MAX_OUTBOX:
            self._outbox.append((topic, data))
            self._written.clear()
            self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                together = [self._outbox.popleft() for _ in range(min(AT_ONCE, len(self._outbox)))]
                failed = [each for each in await asyncio.gather(*(self._publish(*each) for each in together)) if each]
                self._note(failed)
                if failed:
                    # What waits behind them would come late, some seconds after the other; whoever needs it asks.
                    self._outbox.clear()
            self._written.set()

    async def _publish(self, topic: str, data: bytes) -> str:
        """Why the bus did not take it; empty when it did, or never will."""
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._bus.publish(topic, data)
        except ValueError:
            logger.error("a message of %d bytes is too long for the bus", len(data))
        except Exception as error:
            return type(error).__name__
        return ""

    def _note(self, failed: Sequence[str]) -> None:
        if failed and not self._is_losing:  # once, not for every message of an hour without a bus
            logger.warning("messages to other instances are lost: %s", failed[0])
        self._is_losing = bool(failed)

    # --- hearing ----------------------------------------------------------------------------

    async def _hear(self, data: bytes) -> None:
        try:
            message = self._codec.decode(data)
        except ValueError:
            self.malformed += 1
            return
        if not isinstance(message, Answer):
            self._receive(message)
        elif (waiting := self._waiting.get(message.ask_id)) is not None and not waiting.done():
            waiting.set_result(message)

    async def _hear_gap(self) -> None:
        self._on_gap()

    def spawn(self, work: Coroutine[Any, Any, None] | Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("work between instances failed", exc_info=error)
