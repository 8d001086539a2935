"""The event loop is never held for long, whatever the documents weigh."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.compaction import build_state, compact_stored
from rooms.documents.errors import DocumentBroken
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.ports import DocumentAppend, DocumentKey, StoredDocument
from tests.support.clock import Clock
from tests.support.documents import (
    KEY,
    SECOND,
    Access,
    Editor,
    RecordingReader,
    RecordingStore,
    generated_updates,
    recorded_history,
    text_of,
    until,
)

MOST_S = 0.020 * SECOND
"""Processor time of one turn of the loop, twice what we aim at: other threads of a test run count too."""


@asynccontextmanager
async def watched_loop() -> AsyncIterator[list[float]]:
    """The processor time of each turn of this thread's loop: other processes do not count."""
    turns: list[float] = []
    is_over = False

    async def watch() -> None:
        while not is_over:
            before = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - before)

    task = asyncio.create_task(watch())
    yield turns
    is_over = True
    await task


@pytest.fixture(scope="module")
def long_state() -> bytes:
    """About 245 kB: 260,000 edits."""
    state: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    with state.transaction():
        for update in recorded_history("b4-automerge-paper").updates:
            state.apply_update(update)
    return state.get_update()


async def test_a_class_opens_a_long_document_at_once(store: RecordingStore, long_state: bytes) -> None:
    await store.append_updates([DocumentAppend(KEY, long_state)])
    await store.store_snapshot(KEY, long_state, 1)
    hub = DocumentHub(store)
    await hub.start()
    async with watched_loop() as turns:
        readers = [RecordingReader(f"p{n}", f"c{n}") for n in range(30)]
        opened = await asyncio.gather(*(hub.open(KEY, reader, Access()) for reader in readers))
        for one in opened:
            one.start()
            one.receive(sync.sync_step_1(b"\x00"))
        await until(lambda: all(reader.received(b"\x00\x01") for reader in readers))
    assert store.loads == 1
    assert max(turns) < MOST_S
    assert text_of(pycrdt.Decoder(readers[0].received(b"\x00\x01")[0][2:]).read_message()) == text_of(long_state)
    await hub.stop()


async def test_writing_in_a_long_document(store: RecordingStore, long_state: bytes) -> None:
    await store.append_updates([DocumentAppend(KEY, long_state)])
    await store.store_snapshot(KEY, long_state, 1)
    hub = DocumentHub(store)
    await hub.start()
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    async with watched_loop() as turns:
        for _ in range(50):
            ada.content.insert(0, "x")
            await asyncio.sleep(0)
        await until(lambda: ben.all_saved and ada.all_saved and ben.text.startswith("x" * 50))
    assert sorted(turns)[-3:][0] < MOST_S  # there may be no more than a few turns
    await hub.stop()


async def test_a_long_offline_stretch_is_scanned_in_a_thread(hub: DocumentHub, store: RecordingStore) -> None:
    """8,000 separate edits in one message: 40 ms of scanning, none of it in the loop."""
    offline: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    text = offline.get("text", type=pycrdt.Text)
    for n in range(8_000):
        text.insert((n * 7) % (n + 1), "x")
    ada = Editor("ada", doc=offline)
    async with watched_loop() as turns:
        await ada.join(hub)
        await until(lambda: ada.all_saved)
    assert store.text() == "x" * 8_000
    assert max(turns) < MOST_S


async def test_a_log_is_compacted_while_people_write(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(log_entries=20))
    await hub.start()
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    for n in range(60):
        ada.type(f"{n} ")
        await until(lambda: ada.all_saved)
    await until(lambda: hub.statistics().compactions >= 1 and not hub._library._compacting)
    assert store.documents[KEY].snapshot is not None
    assert len(store.documents[KEY].updates) < 60
    ben.type("end")
    await until(lambda: ben.all_saved and ada.text == ben.text)
    assert store.text() == ada.text
    await hub.stop()


async def test_a_log_of_some_length_is_compacted_when_nobody_writes(store: RecordingStore) -> None:
    clock = Clock()
    limits = HubLimits(quiet_log_entries=5, housekeeping_s=0.002)
    hub = DocumentHub(store, clock=clock, limits=limits)
    await hub.start()
    try:
        ada = await Editor("ada").join(hub)
        for letter in "abcdefgh":
            ada.type(letter)
            await until(lambda: ada.all_saved)
        entries = len(store.documents[KEY].updates)
        assert entries > limits.quiet_log_entries
        clock.now += limits.quiet_s / 2
        ada.type("i")
        await until(lambda: ada.all_saved)
        clock.now += limits.quiet_s * 0.75  # not yet since the last letter
        await _two_looks(hub)
        assert hub.statistics().compactions == 0
        clock.now += limits.quiet_s
        await until(lambda: hub.statistics().compactions == 1)
        assert not store.documents[KEY].updates
        ben = await Editor("ben").join(hub)
        assert ben.text == "abcdefghi"
    finally:
        await hub.stop()


async def _two_looks(hub: DocumentHub) -> None:
    """Until the hub has looked after its documents twice more."""
    looks = 0
    look = hub._library.compact_quiet

    def count() -> None:
        nonlocal looks
        look()
        looks += 1

    hub._library.compact_quiet = count  # type: ignore[method-assign]
    await until(lambda: looks >= 2)
    hub._library.compact_quiet = look  # type: ignore[method-assign]


async def test_a_snapshot_is_sent_as_it_is_stored(store: RecordingStore) -> None:
    """What was opened from a snapshot alone is not encoded again, and is still all there is."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "avant")
    await store.append_updates([DocumentAppend(KEY, doc.get_update())])
    await compact_stored(store, KEY, 10**6)
    hub = DocumentHub(store)
    await hub.start()
    try:
        ada = await Editor("ada").join(hub)
        assert next(iter(hub._library.documents)).copy.whole_state() is store.documents[KEY].snapshot
        ada.type(" après")
        ben = await Editor("ben").join(hub)
        await until(lambda: ben.text == "avant après")
    finally:
        await hub.stop()


async def test_who_opens_a_large_text_is_sent_what_is_stored_and_then_what_has_changed(store: RecordingStore) -> None:
    """It is not encoded again for each of them, before and after it was compacted."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for _ in range(4):
        doc.get("text", type=pycrdt.Text).insert(0, "0123456789" * 20_000)
    await store.append_updates([DocumentAppend(KEY, doc.get_update())])
    await compact_stored(store, KEY, 10**7)
    hub = DocumentHub(store, limits=HubLimits(log_entries=5, thread_compaction_bytes=10**7))
    await hub.start()
    try:
        ada = await Editor("ada").join(hub)
        ada.type("a")
        await until(lambda: ada.all_saved)
        [head, change] = await _what_is_sent(hub, "p1")
        assert head == sync.sync_update(store.documents[KEY].snapshot or b"")
        assert text_of(*_updates([head, change])) == ada.text
        for letter in "bcdefgh":
            ada.type(letter)
            await until(lambda: ada.all_saved)
        await until(lambda: hub.statistics().compactions >= 1 and not hub._library._compacting)
        ada.type("i")
        await until(lambda: ada.all_saved)
        [head, change] = await _what_is_sent(hub, "p2")
        assert head == sync.sync_update(store.documents[KEY].snapshot or b"")
        assert text_of(*_updates([head, change])) == ada.text
    finally:
        await hub.stop()


async def _what_is_sent(hub: DocumentHub, participant_id: str) -> list[bytes]:
    """To a reader that knows nothing, when it asks: it has all of it when it is told that it has (step 2)."""
    reader = RecordingReader(participant_id, participant_id)
    opened = await hub.open(KEY, reader, Access())
    opened.start()
    opened.receive(sync.sync_step_1(b"\x00"))
    await until(lambda: reader.received(b"\x00\x01"))
    opened.close()
    sent = [message for message in reader.inbox if message[:2] in (b"\x00\x01", b"\x00\x02")]
    assert [message[:2] for message in sent] == [b"\x00\x02", b"\x00\x01"]
    return sent


def _updates(messages: list[bytes]) -> list[bytes]:
    return [pycrdt.Decoder(message[2:]).read_message() or b"" for message in messages]


async def test_compaction_keeps_what_waits(store: RecordingStore) -> None:
    updates = generated_updates(seed=1, count=30)
    late = updates.pop(10)
    await store.append_updates([DocumentAppend(KEY, update) for update in updates])
    await compact_stored(store, KEY, 10**6)
    assert len(store.documents[KEY].updates) == 19
    await compact_stored(store, KEY, 10**6)
    await store.append_updates([DocumentAppend(KEY, late)])
    await compact_stored(store, KEY, 10**6)
    assert not store.documents[KEY].updates
    assert store.text() == text_of(*updates[:10], late, *updates[10:])


async def test_what_is_stored_while_a_compaction_begins_is_counted_once(
    store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in the log and in the snapshot, a document would be called full before it is."""
    hub = DocumentHub(store, limits=HubLimits(log_entries=5))
    await hub.start()
    try:
        ada = await Editor("ada").join(hub)
        (live,) = hub._library.documents
        load = store.load_document

        async def load_late(key: DocumentKey) -> StoredDocument:
            monkeypatch.setattr(store, "load_document", load)
            ada.type("0123456789" * 1_000)
            await until(lambda: ada.all_saved)
            return await load(key)

        monkeypatch.setattr(store, "load_document", load_late)
        for letter in "abcdefgh":
            ada.type(letter)
            await until(lambda: ada.all_saved)
        await until(lambda: hub.statistics().compactions >= 1 and not hub._library._compacting)
        stored = await load(KEY)
        assert stored.snapshot is not None
        assert len(stored.snapshot) > 10_000
        assert (live.log_entries, live.log_bytes) == (len(stored.updates), sum(map(len, stored.updates)))
        assert live.size_bytes == len(stored.snapshot) + live.log_bytes
    finally:
        await hub.stop()


async def test_a_log_that_another_instance_has_compacted_is_left_alone(store: RecordingStore) -> None:
    await store.append_updates([DocumentAppend(KEY, update) for update in generated_updates(seed=1, count=10)])
    assert await compact_stored(store, KEY, 10**6, least_updates=11) is None
    assert len(store.documents[KEY].updates) == 10
    assert await compact_stored(store, KEY, 10**6, least_updates=10) is not None
    assert len(store.documents[KEY].updates) == 0


async def test_a_log_of_nothing_but_what_waits_is_left_alone(store: RecordingStore) -> None:
    waiting = generated_updates(seed=1, count=30)[20:]
    await store.append_updates([DocumentAppend(KEY, update) for update in waiting])
    for _ in range(3):
        assert await compact_stored(store, KEY, 10**6) is None
    assert len(store.documents[KEY].updates) == 10


async def test_large_states_are_built_in_a_process() -> None:
    updates = generated_updates(seed=1, count=200)
    state, waiting, _left_out = await build_state(None, updates, thread_bytes=0)
    assert (text_of(state), waiting) == (text_of(*updates), [])
    with pytest.raises(DocumentBroken):
        await build_state(b"\xff", [], thread_bytes=0)


async def test_many_documents_in_one_flush_let_others_run(hub: DocumentHub) -> None:
    editors = [await Editor(f"e{n}").join(hub, DocumentKey("room", f"d{n}")) for n in range(300)]
    await until(lambda: all(editor.all_saved for editor in editors))
    for editor in editors:
        editor.type("x")
    async with watched_loop() as turns:
        await until(lambda: all(editor.all_saved for editor in editors))
    assert sorted(turns)[-3:][0] < MOST_S  # there may be no more than a few turns
