"""Two instances store at once what each of them can take, and the engine cannot take both: the text opens nevertheless."""

from collections.abc import Callable

import pytest

from rooms.documents import sync
from rooms.documents.compaction import SET_ASIDE_BYTES, compact_stored, set_aside_key
from rooms.documents.encoding import var_string, var_uint
from rooms.documents.errors import DocumentUnavailable
from rooms.documents.hub import DocumentHub
from rooms.documents.loading import MOST_LEFT_OUT, load_document
from rooms.documents.snapshot import read_snapshot
from rooms.ports import DocumentAppend, DocumentKey
from tests.rooms.documents.hostile import in_root, lurking, lurking_circle, struct_update
from tests.support.documents import (
    KEY,
    Access,
    Editor,
    RecordingReader,
    RecordingStore,
    generated_updates,
    text_of,
    until,
)
from tests.support.instances import instances

WORD = struct_update(in_root(4, var_string("mot")), client=1)
THREAD_BYTES = 1024 * 1024


def circle(client: int) -> bytes:
    """Two items that refer to each other."""
    one = b"\x01" + var_uint(client) + b"\x00\x84" + var_uint(client + 1) + b"\x00" + var_string("x")
    other = b"\x01" + var_uint(client + 1) + b"\x00\x84" + var_uint(client) + b"\x00" + var_string("y")
    return b"\x02" + one + other + b"\x00"


CIRCLES = [circle(900), circle(910)]


def lurkers(lurk: Callable[[int, int, int], bytes], of: int, clock: int, count: int) -> list[bytes]:
    return [lurk(10 * number, of, clock) for number in range(1, count + 1)]


@pytest.mark.parametrize("lurk", [lurking, lurking_circle])
@pytest.mark.parametrize("count", [1, 12])
async def test_a_text_opens_though_another_instance_stored_what_lay_in_wait_for_its_next_letter(
    lurk: Callable[[int, int, int], bytes], count: int
) -> None:
    async with instances() as them:
        ada = Editor("ada")
        bad = lurkers(lurk, ada.doc.client_id, 4, count)
        one, two = await them.start(), await them.start()
        await ada.join(one)
        ben = await Editor("ben").join(two)
        ada.type("one ")
        await until(lambda: ben.text == "one " and ada.all_saved)
        them.network.is_lost = lambda _message: True
        ada.type("two ")
        await until(lambda: ada.all_saved)
        mallory = await two.open(KEY, RecordingReader("p-mallory", "c-mallory"), Access())
        for update in bad:
            mallory.receive(sync.sync_update(update))
        await until(lambda: set(bad) <= set(them.store.documents[KEY].updates.values()))
        fresh = await them.start()  # all that it knows is what is stored
        cy = await Editor("cy").join(fresh)
        assert cy.text == "one two "
        them.network.is_lost = lambda _message: False
        ben.type("three ")
        cy.type("four ")
        them.beat()
        await until(lambda: len({ada.text, ben.text, cy.text}) == 1 and len(ada.text.split()) == 4)
        assert (ada.closed, ben.closed, cy.closed) == (None, None, None)
        await until(lambda: ben.all_saved and cy.all_saved)
        assert text_of(await fresh.whole_state(KEY)) == ada.text
        assert fresh.statistics().updates_left_out == count


async def test_what_is_left_out_is_put_aside_by_the_next_compaction_and_the_text_stays(store: RecordingStore) -> None:
    more = struct_update(b"\x84\x01\x02" + var_string("s"), client=2)
    await fill(store, WORD, lurking(10, 1, 0), *CIRCLES, more)
    assert await compact_stored(store, KEY, THREAD_BYTES) is not None
    assert (store.text(), len(store.documents[KEY].updates)) == ("mots", 0)
    kept = store.documents[set_aside_key(KEY)].updates
    assert set(kept.values()) == {lurking(10, 1, 0), *CIRCLES}
    # Should it crash before the snapshot is there, the next one puts nothing aside twice.
    await fill(store, lurking(10, 1, 0))
    await compact_stored(store, KEY, THREAD_BYTES)
    assert len(kept) == 1 + len(CIRCLES)


async def test_what_is_put_aside_is_bounded(store: RecordingStore) -> None:
    long = struct_update(b"\x04\x00\x01\x00" + var_string("b" * (SET_ASIDE_BYTES - 100)), client=9)
    await fill(store, WORD, long, *lurkers(lurking, 1, 0, 12))
    await compact_stored(store, KEY, THREAD_BYTES)
    assert store.text() == "mot"
    kept = store.documents[set_aside_key(KEY)].updates.values()
    assert sum(map(len, kept)) <= SET_ASIDE_BYTES
    assert kept


async def test_a_document_is_given_up_when_too_much_in_it_breaks_the_engine(
    hub: DocumentHub, store: RecordingStore
) -> None:
    await fill(store, WORD, *lurkers(lurking, 1, 0, MOST_LEFT_OUT))
    assert (await Editor("ada").join(hub)).text == "mot"
    other = DocumentKey("room-1", "other")
    await fill(store, WORD, *lurkers(lurking, 1, 0, MOST_LEFT_OUT + 1), key=other)
    with pytest.raises(DocumentUnavailable):
        await hub.open(other, RecordingReader(), Access())


async def test_whoever_stored_it_is_sent_away_when_it_comes_again(hub: DocumentHub, store: RecordingStore) -> None:
    await fill(store, WORD, lurking(10, 1, 0))
    ada = await Editor("ada").join(hub)
    reader = RecordingReader("p-mallory", "c-mallory")
    mallory = await hub.open(KEY, reader, Access())
    mallory.receive(sync.sync_update(lurking(10, 1, 0)))
    await until(lambda: reader.closed is not None)
    ada.type(" juste")
    await until(lambda: ada.all_saved)
    assert ada.closed is None
    assert text_of(await hub.whole_state(KEY)) == "mot juste"


def test_sound_updates_of_a_step_with_a_bad_one_are_all_loaded() -> None:
    sound = generated_updates(seed=3, count=250)
    for place in (0, 57, 130, 250):
        log = [*sound[:place], *CIRCLES, *sound[place:]]
        *_growing, document = load_document(None, log, 2**20, read_snapshot(None))
        assert text_of(document.whole_state()) == text_of(*sound)
        assert set(document.left_out) == set(CIRCLES)


async def fill(store: RecordingStore, *log: bytes, key: DocumentKey = KEY) -> None:
    await store.append_updates([DocumentAppend(key, update) for update in log])
