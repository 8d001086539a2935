"""One document open on several instances, joined by a bus that may fail; one store for all of them."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest

from rooms.documents.bus_message import BusMessage, Kind, encode_message
from rooms.ports import DocumentKey
from tests.rooms.documents.hostile import BREAKING
from tests.support.documents import KEY, Editor, RecordingStore, until
from tests.support.instances import LIMITS, instances


def is_kind(kind: Kind) -> Callable[[bytes], bool]:
    return lambda message: message[1] == kind


async def agreed(*editors: Editor) -> None:
    await until(lambda: len({editor.text for editor in editors}) == 1)


async def test_what_is_written_on_one_instance_is_seen_on_the_other() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        ben.type(" à tous")
        await until(lambda: ada.text == "Bonjour à tous")
        assert them.store.text() == "Bonjour à tous"


async def test_an_instance_stores_what_its_own_readers_wrote_and_only_that() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        for word in ("un ", "deux ", "trois "):
            ada.type(word)
            await until(lambda: ben.text == ada.text)
        assert two.statistics().bytes_appended == 0
        ben.type("quatre")
        await until(lambda: ben.all_saved)
        assert two.statistics().bytes_appended > 0
        assert them.store.text() == "un deux trois quatre"


async def test_nothing_is_told_to_other_instances_before_it_is_stored() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.journal = ben.journal = them.store.journal
        ada.type("x")
        await until(lambda: ben.text == "x")
        kinds = [kind for kind, _what in them.store.journal]
        assert kinds == ["stored", "seen"]


async def test_a_lost_change_is_noticed_by_the_next_one() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("a")
        await until(lambda: ben.text == "a")
        them.network.is_lost = is_kind(Kind.CHANGE)
        ada.type("b")
        await until(lambda: them.network.lost > 0)
        them.network.is_lost = lambda _message: False
        ada.type("c")
        await until(lambda: ben.text == "abc")
        assert two.statistics().gaps_repaired == 1


async def test_a_lost_deletion_is_noticed_by_the_next_heartbeat() -> None:
    """No state vector tells of it."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        them.network.is_lost = is_kind(Kind.CHANGE)
        del ada.content[0:3]
        await until(lambda: them.network.lost > 0)
        them.network.is_lost = lambda _message: False
        assert ben.text == "Bonjour"
        them.beat()
        await until(lambda: ben.text == "jour")


async def test_a_lost_deletion_of_an_instance_that_has_gone_is_learnt_from_a_third() -> None:
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
        them.beat()
        await until(lambda: ben.text == "jour")


async def test_instances_that_were_cut_off_from_each_other_come_to_agree() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        await until(lambda: one.statistics().bus_messages_received > 0)
        them.bus(two).is_cut = True
        ada.type("Ada ")
        ben.type("Ben ")
        await until(lambda: ada.all_saved and ben.all_saved)
        assert (ada.text, ben.text) == ("Ada ", "Ben ")
        them.bus(two).is_cut = False
        them.beat()
        await agreed(ada, ben)
        assert them.store.text() == ada.text
        assert len(ada.text) == 8


async def test_one_that_comes_later_is_given_what_is_stored_nowhere() -> None:
    async with instances() as them:
        one, two = await them.start(RecordingStore()), await them.start()
        ada = await Editor("ada").join(one)
        ada.type("Bonjour")
        await until(lambda: ada.all_saved)
        ben = await Editor("ben").join(two)
        await until(lambda: ben.text == "Bonjour")


async def test_while_the_store_fails_the_others_see_what_is_written() -> None:
    async with instances() as them:
        failing = RecordingStore()
        one, two = await them.start(failing), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        await until(lambda: two.statistics().bus_messages_received > 0)
        failing.is_failing = True
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        assert them.store.text() == ""
        failing.is_failing = False


async def test_the_text_of_an_instance_that_died_unsaved_is_saved_by_the_others() -> None:
    async with instances() as them:
        failing = RecordingStore()
        one, two = await them.start(failing), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        failing.is_failing = True
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        await them.kill(one)
        them.beat(4)
        await until(lambda: them.store.text() == "Bonjour")
        assert them.store.documents[KEY].bindings == {ada.doc.client_id: "participant-ada"}
        failing.is_failing = False


async def test_what_an_instance_died_with_is_not_called_saved_to_its_author_before_another_has_stored_it() -> None:
    """The author comes back over the other one, which has the text, so that nothing has to be sent."""
    async with instances() as them:
        failing = RecordingStore()
        one, two = await them.start(failing), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        failing.is_failing = True
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        await them.kill(one)
        again = await Editor("ada", doc=ada.doc).join(two)
        await until(lambda: again.is_unsaved or again.saved)
        assert (again.is_unsaved, again.saved, them.store.text()) == (True, 0, "")
        them.beat(4)
        await until(lambda: them.store.text() == "Bonjour")
        them.beat()
        await until(lambda: again.all_saved)
        ben.type(" !")
        await until(lambda: ben.all_saved)
        failing.is_failing = False


@pytest.mark.parametrize("is_noticed_by", ["the documents' heartbeats", "the rooms"])
async def test_what_was_stored_and_never_told_is_read_from_the_store(is_noticed_by: str) -> None:
    """An instance that dies between the two. That it fell silent is known to the rooms sooner."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("Bonjour")
        await until(lambda: ben.text == "Bonjour")
        await them.kill(one)
        ada.type(" à tous")
        await until(lambda: ada.all_saved)
        assert ben.text == "Bonjour"
        if is_noticed_by == "the rooms":
            two.instance_lost()
        else:
            them.beat(4)
        await until(lambda: ben.text == "Bonjour à tous")


async def test_a_cursor_is_seen_on_the_other_instance_and_goes_with_its_connection() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        number = ada.show_cursor()
        await until(lambda: number in ben.awareness.states)
        ada.leave()
        await until(lambda: number not in ben.awareness.states)


async def test_one_that_comes_later_sees_the_cursors_that_are_there() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada = await Editor("ada").join(one)
        number = ada.show_cursor()
        ben = await Editor("ben").join(two)
        await until(lambda: number in ben.awareness.states)


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_cursors_go_with_their_instance(says_goodbye: bool) -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        number = ada.show_cursor()
        await until(lambda: number in ben.awareness.states)
        if says_goodbye:
            await them.stop(one)
        else:
            await them.kill(one)
            them.beat(4)
        await until(lambda: number not in ben.awareness.states)


async def test_a_client_id_has_one_owner_on_all_instances() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada = await Editor("ada").join(one)
        ada.type("Bonjour")
        ben = await Editor("ben").join(two)
        await until(lambda: ben.text == "Bonjour")
        thief = Editor("eve", doc=ada.doc)
        await thief.open(two)
        thief.type(" à tous")
        await until(lambda: thief.denials() == ["client-id"])
        again = Editor("ada", doc=ada.doc)
        await again.open(two)
        await until(lambda: ben.text == "Bonjour à tous")


async def test_a_document_that_has_left_is_not_kept_until_its_next_heartbeat() -> None:
    async with instances(replace(LIMITS, idle_document_s=0.5)) as them:
        hub = await them.start()
        editor = await Editor("a").join(hub)
        left = weakref.ref(next(iter(hub._library.documents)))
        editor.leave()
        them.clock.now += 1.0
        await until(lambda: hub.statistics().documents == 0)
        del editor
        other = await Editor("b").join(hub, DocumentKey("room-1", "other"))
        other.type("x")  # what the last flush had in hand is not what the heartbeats hold
        await until(lambda: other.all_saved)
        gc.collect()
        assert left() is None


async def test_a_document_that_leaves_memory_is_not_heard_any_more() -> None:
    async with instances(replace(LIMITS, idle_document_s=1.0)) as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ben.leave()
        them.clock.now += 2
        await until(lambda: two.statistics().documents == 0)
        await until(lambda: set(them.bus(two).subscriptions.values()) == {0})
        ada.type("Bonjour")
        await until(lambda: ada.all_saved)
        ben = await Editor("ben").join(two)
        assert ben.text == "Bonjour"
        assert list(them.bus(two).subscriptions.values()) == [1]


async def test_one_instance_alone_publishes_nothing_but_heartbeats() -> None:
    async with instances() as them:
        one = await them.start()
        ada = await Editor("ada").join(one)
        ada.show_cursor()
        for _ in range(20):
            ada.type("x")
            await until(lambda: ada.all_saved)
        them.beat()
        await until(lambda: len(them.network.heard) == 2)
        assert {message[1] for message in them.network.heard} == {Kind.STATE}


@pytest.mark.timeout(20)  # without an end to the tick nothing but this ends it
async def test_a_heartbeat_that_is_due_while_the_copy_is_loaded_again_waits_for_the_next() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("a")
        await until(lambda: ben.text == "a" and ada.all_saved)
        [live] = one._library.documents
        one._library._drop_copy(live)
        them.beat()
        one._bridge.tick()
        await one._library.reload(live)
        ben.type("b")
        await until(lambda: ada.text == "ab")


async def test_what_is_no_message_is_counted_and_dropped() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada, ben = await Editor("ada").join(one), await Editor("ben").join(two)
        ada.type("a")
        await until(lambda: ben.text == "a")
        [topic] = them.bus(one).subscriptions
        valid = next(message for message in them.network.heard if message[1] == Kind.CHANGE)
        malformed = [
            b"",
            b"\x01",
            b"\x02" + valid[1:],
            valid[:-1],
            valid + b"\x00",
            valid[:2] + bytes(16) + b"\xff" * 50,
        ]
        for message in malformed:
            await them.bus(one).publish(topic, message)
        await until(lambda: two.statistics().bus_messages_malformed == len(malformed))
        ada.type("b")
        await until(lambda: ben.text == "ab")
        assert ben.closed is None


async def test_an_update_from_the_bus_that_breaks_the_copy_costs_the_readers_nothing() -> None:
    async with instances() as them:
        one = await them.start()
        ada = await Editor("ada").join(one)
        ada.type("a")
        await until(lambda: ada.all_saved)
        [topic] = them.bus(one).subscriptions
        for number, update in enumerate(BREAKING.values(), start=1):
            message = BusMessage(Kind.CHANGE, b"strange!", number, update=update)
            await them.network.end().publish(topic, encode_message(message))
        await until(lambda: one.statistics().broken_copies == len(BREAKING))
        ada.type("b")
        await until(lambda: ada.all_saved)
        ben = await Editor("ben").join(one)
        assert ben.text == them.store.text() == "ab"
        assert ada.closed is None
