"""The flush: what is written reaches everyone, and the store first."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rooms.documents import close_codes, sync
from rooms.documents.errors import DocumentForbidden, DocumentUnavailable, ProtocolViolation, TooManyReaders
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.documents.reader import Reader
from rooms.ports import DocumentKey
from tests.support.clock import Clock
from tests.support.documents import KEY, Access, Editor, RecordingReader, RecordingStore, text_of, until


async def test_what_one_writes_the_others_read(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("Bonjour ")
    await until(lambda: ben.text == "Bonjour ")
    ben.type("📊 é")
    await until(lambda: ada.text == "Bonjour 📊 é")
    assert store.text() == "Bonjour 📊 é"
    late = await Editor("late").join(hub)
    assert late.text == "Bonjour 📊 é"


async def test_everyone_writes_at_once_and_ends_with_the_same(hub: DocumentHub, store: RecordingStore) -> None:
    editors = [await Editor(f"e{n}").join(hub) for n in range(12)]
    for turn in range(20):
        for editor in editors:
            editor.type("abcdefghijkl"[turn % 12])
        await asyncio.sleep(0)
    await until(lambda: all(editor.all_saved for editor in editors))
    await until(lambda: len({editor.text for editor in editors}) == 1)
    assert len(editors[0].text) == 240
    assert store.text() == editors[0].text


async def test_stored_before_seen(hub: DocumentHub, store: RecordingStore) -> None:
    """Each text that another one saw was in the store at that moment."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ben.journal = store.journal
    for n in range(30):
        ada.type(f"{n} ")
        await until(lambda n=n: ben.text.endswith(f"{n} "))
    stored: list[bytes] = []
    for kind, what in store.journal:
        if kind == "stored":
            assert isinstance(what, bytes)
            stored.append(what)
        else:
            assert text_of(*stored) == what


async def test_nobody_is_answered_with_text_that_is_on_its_way_to_the_store(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.gate.clear()
    ada.type("secret")
    await until(lambda: next(iter(hub._library.documents)).flushing)
    ben = await Editor("ben").open(hub)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not ben.is_synced
    assert not ben.received(b"\x00\x01")
    assert ada.saved < ada.sent
    store.gate.set()
    await until(lambda: ben.is_synced and ben.text == "secret" and ada.all_saved)


async def test_author_hears_saved_and_a_plain_client_never_does(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    plain = await Editor("plain", wants_acknowledgement=False).join(hub)
    ada.type("a")
    plain.type("b")
    await until(lambda: ada.all_saved and len(ada.text) == 2)
    assert not plain.received(b"\x64")
    assert not plain.received(b"\x65")
    assert ada.saved == ada.sent == 2  # the answer to the server's sync step 1, and one update


async def test_author_is_not_sent_its_own_words(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("hello")
    await until(lambda: ben.text == "hello")
    assert not ada.received(b"\x00\x02")


async def test_documents_that_flush_together_share_one_transaction(hub: DocumentHub, store: RecordingStore) -> None:
    keys = [DocumentKey("room-1", f"d{n}") for n in range(20)]
    editors = [await Editor(f"e{n}").join(hub, key) for n, key in enumerate(keys)]
    await until(lambda: all(editor.all_saved for editor in editors))
    before = store.transactions
    for editor in editors:
        editor.type("x")
    await until(lambda: all(editor.all_saved for editor in editors))
    assert store.transactions == before + 1
    assert all(store.text(key) == "x" for key in keys)


async def test_what_arrives_during_a_flush_leaves_as_one_message(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    cleo = await Editor("cleo").join(hub)
    store.gate.clear()
    ada.type("0")
    await until(lambda: next(iter(hub._library.documents)).flushing)
    for letter in "123456789":
        ada.type(letter)
        ben.type(letter)
    store.gate.set()
    await until(lambda: len(cleo.text) == 19)
    assert len(cleo.received(b"\x00\x02")) == 2


async def test_fan_out_is_given_all_its_readers_at_once(hub: DocumentHub) -> None:
    together = Together()
    editors = await _join_together(hub, together)
    alone = await Editor("alone").join(hub)
    await until(lambda: alone.all_saved)
    alone.type("hello")
    await until(lambda: all(editor.text == "hello" for editor in editors))
    assert together.calls == [(5, {})]


async def test_an_author_gets_the_word_that_it_is_saved_in_one_piece_with_what_is_new(hub: DocumentHub) -> None:
    together = Together()
    ada, ben, *_others = editors = await _join_together(hub, together)
    live = next(iter(hub._library.documents))
    live.rests_until = asyncio.get_running_loop().time() + 0.05  # both come into one flush
    ada.type("a")
    ben.type("b")
    await until(lambda: all(len(editor.text) == 2 for editor in editors) and ada.all_saved and ben.all_saved)
    ((readers, own),) = together.calls
    assert readers == 5
    assert sorted(own) == [0, 1]
    for said in own.values():
        assert [message[:1] for message in said] == [b"\x00", b"\x64"]


class Together:
    """A fan-out that remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Mapping[int, Sequence[bytes]]]] = []

    def broadcast(
        self,
        readers: Sequence[Reader],
        messages: Sequence[bytes],
        full_bytes: int,
        own: Mapping[int, Sequence[bytes]],
    ) -> Sequence[int]:
        self.calls.append((len(readers), own))
        for place, reader in enumerate(readers):
            for message in own.get(place, messages):
                reader.send(message)
        return ()


async def _join_together(hub: DocumentHub, together: Together) -> list[Editor]:
    editors = [Editor(f"e{n}") for n in range(5)]
    for editor in editors:
        editor.fan_out = together  # type: ignore[attr-defined]
        await editor.join(hub)
    await until(lambda: all(editor.all_saved for editor in editors))  # what each brought, which was nothing
    return editors


async def test_a_reconnecting_client_brings_what_it_wrote_offline(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("one ")
    await until(lambda: ben.text == "one ")
    ben.leave()
    ben.type("two ")
    ada.type("three ")
    await until(lambda: ada.all_saved)
    before = len(store.journal)
    await ben.join(hub)
    await until(lambda: sorted(ada.text.split()) == ["one", "three", "two"] and ben.text == ada.text)
    stored = [update for _kind, update in store.journal[before:] if isinstance(update, bytes)]
    assert len(stored) == 1


async def test_a_client_that_comes_back_with_nothing_new_stores_nothing(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hello world")
    del ada.content[0:6]
    await until(lambda: ada.all_saved)
    before = len(store.journal)
    ada.leave()
    again = await Editor("ada", doc=ada.doc).join(hub)
    await until(lambda: again.all_saved and again.sent == 1)
    assert len(store.journal) == before


async def test_the_document_is_as_it_was_after_a_restart(store: RecordingStore) -> None:
    first = DocumentHub(store)
    await first.start()
    ada = await Editor("ada").join(first)
    ada.type("still here")
    await first.stop()
    assert ada.closed == (close_codes.DRAINING, "draining")
    second = DocumentHub(store)
    await second.start()
    assert (await Editor("ben").join(second)).text == "still here"
    assert text_of(await second.whole_state(KEY)) == "still here"
    await second.stop()


async def test_stop_stores_what_has_just_arrived(store: RecordingStore) -> None:
    hub = DocumentHub(store)
    await hub.start()
    ada = await Editor("ada").join(hub)
    ada.type("the last word")
    await hub.stop()
    assert store.text() == "the last word"
    with pytest.raises(DocumentUnavailable):
        await hub.open(KEY, RecordingReader(), Access())


async def test_thirty_openings_at_once_load_once(hub: DocumentHub, store: RecordingStore) -> None:
    editors = await asyncio.gather(*(Editor(f"e{n}").join(hub) for n in range(30)))
    assert len(editors) == 30
    assert store.loads == 1


async def test_rights_decide_about_opening(hub: DocumentHub) -> None:
    with pytest.raises(DocumentForbidden) as refused:
        await hub.open(KEY, RecordingReader(), Access(read=False))
    assert (refused.value.code, refused.value.reason) == (close_codes.FORBIDDEN, "forbidden")


async def test_readers_of_one_document_are_bounded(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(readers_per_document=2))
    await hub.start()
    await Editor("a").join(hub)
    await Editor("b").join(hub)
    with pytest.raises(TooManyReaders):
        await hub.open(KEY, RecordingReader(), Access())
    await hub.stop()


async def test_documents_in_memory_are_bounded(store: RecordingStore) -> None:
    """One that nobody reads makes room; those that are read stay."""
    hub = DocumentHub(store, limits=HubLimits(documents=2))
    await hub.start()
    first = await Editor("a").join(hub, DocumentKey("r", "1"))
    await Editor("b").join(hub, DocumentKey("r", "2"))
    with pytest.raises(TooManyReaders):
        await hub.open(DocumentKey("r", "3"), RecordingReader(), Access())
    await until(lambda: first.all_saved)
    first.leave()
    await Editor("c").join(hub, DocumentKey("r", "3"))
    assert hub.statistics().documents == 2
    await hub.stop()


async def test_removal_closes_every_connection_of_the_participant_at_once(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    second = await Editor("ada").join(hub, DocumentKey("room-1", "other"))
    closed = hub.close_readers(participant_id="participant-ada", room_id="room-1", code=close_codes.FORBIDDEN)
    assert closed == 2
    assert ada.closed == second.closed == (close_codes.FORBIDDEN, "forbidden")
    assert ben.closed is None
    ben.type("she does not see this")
    await until(lambda: ben.all_saved)
    assert ada.text == ""


async def test_lost_right_to_read_closes_at_the_next_message(hub: DocumentHub) -> None:
    access = Access()
    reader = RecordingReader()
    opened = await hub.open(KEY, reader, access)
    access.read = False
    with pytest.raises(ProtocolViolation) as violation:
        opened.receive(sync.sync_step_1(b"\x00"))
    assert violation.value.code == close_codes.FORBIDDEN


async def test_idle_documents_leave_memory_and_their_log_is_compacted(
    hub: DocumentHub, store: RecordingStore, clock: Clock
) -> None:
    ada = await Editor("ada").join(hub)
    for letter in "abc":
        ada.type(letter)
        await until(lambda: ada.all_saved)
    ada.leave()
    clock.now += 59
    hub._library.forget_idle()
    assert hub.statistics().documents == 1
    clock.now += 2
    await until(lambda: hub.statistics().documents == 0)
    await until(lambda: store.documents[KEY].snapshot is not None)
    assert not store.documents[KEY].updates
    assert (await Editor("ben").join(hub)).text == "abc"


async def test_a_document_that_is_read_stays(hub: DocumentHub, clock: Clock) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.leave()
    clock.now += 1_000
    hub._library.forget_idle()
    ben.type("x")
    await until(lambda: ben.all_saved)
    assert hub.statistics().documents == 1


async def test_many_openings_leave_nothing_behind(hub: DocumentHub, clock: Clock) -> None:
    for n in range(1_000):
        opened = await hub.open(DocumentKey("room", f"d{n % 100}"), RecordingReader(connection_id=f"c{n}"), Access())
        opened.start()
        opened.receive(sync.sync_step_1(b"\x00"))
        opened.close()
    await until(lambda: hub._flushed.is_set())
    assert hub.statistics().readers == 0
    clock.now += 100
    await until(lambda: hub.statistics().documents == 0)
    assert not hub._library._idle
    assert not hub._lagging
    assert not hub._dirty


async def test_the_client_ids_of_a_document_are_stored_with_it(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("a")
    ben.type("b")
    await until(lambda: ada.all_saved and ben.all_saved)
    assert store.documents[KEY].bindings == {
        ada.doc.client_id: "participant-ada",
        ben.doc.client_id: "participant-ben",
    }


def test_sources_read_no_clock_of_their_own() -> None:
    """Only the hub, which is told its clock, and slices its own work by it."""
    folder = Path(__file__).resolve().parents[3] / "rooms/documents"
    readers = sorted(path.name for path in folder.glob("*.py") if "time.monotonic" in path.read_text("utf-8"))
    assert readers == ["hub.py"]
