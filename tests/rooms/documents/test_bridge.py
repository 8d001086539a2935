"""Instances joined over the bus: what is too long, what the bus does not take, whose text it is."""

import asyncio
from dataclasses import replace

import pycrdt
import pytest

from rooms.documents import deletion_digest, statement, sync
from rooms.documents.bus_message import Kind, is_for, read_message
from rooms.documents.outbox import BusOutbox
from rooms.ports import BusHandler, GapHandler
from server.bus.memory import MemoryBus
from server.bus.subscription import BusSubscription
from tests.support.documents import KEY, Editor, RecordingReader, RecordingStore, until
from tests.support.faulty_bus import FaultyBus
from tests.support.instances import LIMITS, Instances, instances


def kinds(them: Instances) -> list[Kind]:
    return [read_message(message).kind for message in them.network.heard]


async def test_an_answer_too_long_for_a_message_is_read_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "MAX_BUS_UPDATE_BYTES", 100)
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        them.bus(two).is_cut = True
        for _ in range(50):
            ada.type("mot ")
        await until(lambda: ada.all_saved)
        them.bus(two).is_cut = False
        them.beat()
        await until(lambda: ben.text == ada.text)
        answers = [read_message(data) for data in them.network.heard if data[1] == Kind.ANSWER]
        too_large = [answer for answer in answers if answer.is_too_large]
        assert [answer.update for answer in too_large[:1]] == [b""]


async def test_a_change_too_long_for_a_message_reaches_the_others_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "MAX_BUS_UPDATE_BYTES", 100)
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        await until(lambda: one.statistics().bus_messages_received > 0)
        ada.type("mot " * 100)
        await until(lambda: ben.text == ada.text)
        assert Kind.CHANGE not in kinds(them)


async def test_what_a_full_queue_of_the_bus_dropped_is_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.bus.subscription.MAX_QUEUED_MESSAGES", 1)
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("a")
        await until(lambda: ben.text == "a")
        [topic] = them.bus(two).subscriptions
        for _ in range(3):
            await them.bus(two).inside.publish(topic, b"")
        ada.type("b")
        await until(lambda: ben.text == "ab")
        assert kinds(them).count(Kind.STATE) > 3  # it asked how the others stand, and was told


async def test_a_long_digest_is_made_apart_and_tells_of_a_lost_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion_digest, "INLINE_BYTES", 1)
    async with instances() as them:
        one, two, three = await them.start(), await them.start(), await them.start()
        ada, ben, eve = await Editor("ada").join(one), await Editor("ben").join(two), await Editor("eve").join(three)
        ada.type("Bonjour")
        await until(lambda: ben.text == eve.text == "Bonjour")
        them.bus(two).is_cut = True
        del ada.content[0:3]
        await until(lambda: eve.text == "jour")
        them.bus(one).is_cut = True
        them.bus(two).is_cut = False
        them.beat()  # the first one starts making it, the second one has it
        await until(lambda: all(live.copy and live.copy.deletions_digest for live in three._library.documents))
        them.beat()
        await until(lambda: ben.text == "jour")


async def test_what_waited_and_finds_its_place_through_another_instance_is_told() -> None:
    """An edit that overtook what it builds on waits here; what it builds on comes over the bus."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        writer: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        text = writer.get("text", type=pycrdt.Text)
        text += "first "
        first = writer.get_update()
        known = writer.get_state()
        text += "second"
        second = writer.get_update(known)
        before, after = RecordingReader("participant-w", "c-1"), RecordingReader("participant-w", "c-2")
        (await two.open(KEY, after, _Access())).receive(sync.sync_update(second))
        (await one.open(KEY, before, _Access())).receive(sync.sync_update(first))
        await until(lambda: ada.text == ben.text == "first second")
        assert them.store.text() == "first second"


class _Access:
    def can_read(self) -> bool:
        return True

    def can_write(self) -> bool:
        return True

    def is_silenced(self) -> bool:
        return False


async def test_whose_text_it_is_is_looked_up_when_its_instance_was_not_heard() -> None:
    """The author wrote elsewhere, and another brings it: neither that one nor a third may go on in it."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(one)
        eve = await Editor("eve").join(two)
        await until(lambda: two.statistics().bus_messages_received > 0)
        them.bus(two).is_cut = True
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour" and ada.all_saved)
        ben.leave()
        moved = await Editor("ben", doc=ben.doc).join(two)
        await until(lambda: eve.text == "Bonjour" and moved.all_saved)
        [live] = two._library.documents
        await until(lambda: live.owner_of(ada.doc.client_id) == "participant-ada")
        thief = Editor("eve", doc=pycrdt.Doc(client_id=ada.doc.client_id))
        thief.doc.apply_update(ada.doc.get_update())
        await thief.open(two)
        thief.type(" volé")
        await until(lambda: thief.denials() == ["client-id"])
        ada.leave()
        again = await Editor("ada", doc=ada.doc).join(two)
        again.type(" à tous")
        await until(lambda: eve.text == "Bonjour à tous")


class BrokenBus(MemoryBus):
    """Takes nothing until it is whole."""

    is_broken = True

    async def publish(self, topic: str, message: bytes) -> None:
        if self.is_broken:
            raise ConnectionError
        await super().publish(topic, message)

    async def subscribe(self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None) -> BusSubscription:
        if self.is_broken:
            raise ConnectionError
        return await super().subscribe(topic, handler, on_gap)


async def test_documents_work_while_the_bus_does_not_and_join_when_it_does() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        buses = [them.bus(hub) for hub in (one, two)]
        broken = [_break(bus) for bus in buses]
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("Ada ")
        ben.type("Ben ")
        await until(lambda: ada.all_saved and ben.all_saved)
        for bus in broken:
            bus.is_broken = False
        them.beat()
        await until(lambda: all(bus.subscriptions for bus in buses))
        them.beat()
        await until(lambda: ada.text == ben.text == them.store.text())
        assert len(ada.text) == 8


def _break(bus: FaultyBus) -> BrokenBus:
    bus.inside = BrokenBus()
    return bus.inside


async def test_an_outbox_is_bounded_and_never_waited_for() -> None:
    class StuckBus(MemoryBus):
        async def publish(self, topic: str, message: bytes) -> None:
            await asyncio.Event().wait()

    limits = replace(LIMITS, bus_outbox_messages=3, bus_outbox_bytes=10, bus_timeout_s=0.01)
    for message, most in ((b"x", 3), (b"12345", 2)):
        outbox = BusOutbox(StuckBus(), limits)
        for _ in range(10):
            outbox.put("topic", message)
        assert outbox.lost == 10 - most
        await outbox.stop()
        assert outbox.published == 0


async def test_an_outbox_does_not_wait_for_one_answer_before_the_next_message_and_keeps_their_order() -> None:
    class DistantBus(MemoryBus):
        """An answer takes as long as the test says."""

        def __init__(self) -> None:
            super().__init__()
            self.taken: list[bytes] = []
            self.may_answer = asyncio.Event()

        async def publish(self, topic: str, message: bytes) -> None:
            self.taken.append(message)
            await self.may_answer.wait()

    bus = DistantBus()
    outbox = BusOutbox(bus, replace(LIMITS, bus_at_once=10))
    expected = [b"%d" % number for number in range(25)]
    for message in expected:
        outbox.put("topic", message)
    await until(lambda: bus.taken == expected[:10])
    bus.may_answer.set()
    await until(lambda: outbox.published == 25)
    assert bus.taken == expected
    await outbox.stop()


async def test_a_bus_that_fails_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rooms.documents.outbox")
    bus = BrokenBus()
    outbox = BusOutbox(bus, LIMITS)
    for _ in range(20):
        outbox.put("topic", b"x")
    await until(lambda: outbox.lost == 20)
    bus.is_broken = False
    for _ in range(20):
        outbox.put("topic", b"x")
    await until(lambda: outbox.published == 20)
    assert [record.getMessage() for record in caplog.records] == [
        "bus does not take messages",
        "bus takes messages again",
    ]


async def test_an_instance_that_stops_tells_the_rest_before_it_goes() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        await until(lambda: one.statistics().bus_messages_received > 0)
        ada.type("last words")
        await them.stop(one)
        await until(lambda: ben.text == "last words")
        assert kinds(them)[-1] == Kind.GOODBYE


async def test_nothing_said_on_the_bus_is_about_who_or_what_in_clear() -> None:
    """But for the messages themselves: a topic is a room's id and a hash."""
    async with instances() as them:
        hub = await them.start()
        await Editor("ada").join(hub, replace(KEY, document="Journal de Zoé"))
        [topic] = them.bus(hub).subscriptions
        assert "Zo" not in topic
        assert topic.startswith(f"document:{KEY.room_id}:")
        assert all(is_for(message, b"somebody") for message in them.network.heard)


async def test_a_copy_that_breaks_is_brought_up_to_what_others_have() -> None:
    """What another instance could not store is only there."""
    async with instances() as them:
        failing = RecordingStore()
        one, two = await them.start(failing), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ben.type("Ben ")
        await until(lambda: ada.text == "Ben ")
        failing.is_failing = True
        ada.type("Ada")
        await until(lambda: ben.text == "Ben Ada")
        [live] = two._library.documents
        await two._library.reload(live)
        await until(lambda: live.copy is not None and sum(live.copy.clocks.values()) == 7)
        failing.is_failing = False


async def test_a_cursor_whose_end_was_lost_goes_when_the_instance_answers() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        number = ada.show_cursor()
        await until(lambda: number in ben.awareness.states)
        them.bus(two).is_cut = True
        ada.leave()
        await until(lambda: kinds(them)[-1:] == [Kind.CHANGE] and kinds(them).count(Kind.CHANGE) == 2)
        them.bus(two).is_cut = False
        assert number in ben.awareness.states
        them.beat()
        await until(lambda: number not in ben.awareness.states)


async def test_an_instance_speaks_of_its_own_readers_only() -> None:
    async with instances() as them:
        one, two, three = await them.start(), await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        number = ada.show_cursor()
        await until(lambda: number in ben.awareness.states)
        eve = await Editor("eve").join(three)
        await until(lambda: number in eve.awareness.states)
        [live] = two._library.documents
        assert live.exchange is not None
        of_two = [
            read_message(data) for data in them.network.heard if read_message(data).sender == live.exchange.instance
        ]
        assert {message.awareness.update for message in of_two} <= {b"", b"\x00"}


async def test_a_client_id_that_only_showed_a_cursor_elsewhere_is_not_taken_here() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        number = ada.show_cursor()
        await until(lambda: number in ben.awareness.states)
        thief = await Editor("eve", doc=pycrdt.Doc(client_id=number)).join(two)
        await until(lambda: thief.sent == 1)  # the answer to sync step 1, in which others' text may be brought
        thief.type("x")
        await until(lambda: thief.denials() == ["client-id"])
        ada.leave()
        await until(lambda: number not in ben.awareness.states)
        other = await Editor("zoe", doc=pycrdt.Doc(client_id=number)).join(two)
        await until(lambda: other.sent == 1)
        other.type("y")
        await until(lambda: ben.text == "y")


async def test_what_an_instance_could_not_save_when_it_stopped_is_saved_by_another() -> None:
    async with instances() as them:
        failing = RecordingStore()
        one, two = await them.start(failing), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        failing.is_failing = True
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        them.running.remove(one)
        await one.stop(timeout_s=0.01)
        await until(lambda: them.store.text() == "Bonjour")


async def test_what_others_store_counts_for_the_size_of_the_document() -> None:
    async with instances(replace(LIMITS, document_bytes=300)) as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("x" * 200)
        await until(lambda: len(ben.text) == 200)
        ben.type("y" * 100)
        await until(lambda: ben.denials() == ["too-large"])
        assert ada.denials() == []


async def test_a_log_that_several_instances_write_is_kept_short_for_all() -> None:
    limits = replace(LIMITS, log_entries=10, compaction_spread_s=0.02)
    async with instances(limits) as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        for number in range(12):
            ada.type(str(number))
            await until(lambda: ben.text == ada.text)
        [mine], [theirs] = one._library.documents, two._library.documents
        await until(lambda: mine.log_entries < 10 and theirs.log_entries < 10)
        assert one.statistics().compactions + two.statistics().compactions > 0
        assert them.store.text() == ada.text
