"""Messages made to harm: the sender is refused or closed, the others notice nothing, nothing is stored."""

import random
from collections.abc import Callable

import pytest

from rooms.documents import close_codes, sync
from rooms.documents.errors import DocumentUnavailable, ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.loading import MOST_WAITING_HARMFUL
from rooms.ports import StoreUnavailable
from tests.rooms.documents.hostile import BREAKING, MALFORMED, lurking, lurking_circle
from tests.support.documents import KEY, Access, Editor, RecordingReader, RecordingStore, text_of, until


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_updates_are_refused_before_the_engine_sees_them(
    name: str, hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hers")
    await until(lambda: ada.all_saved)
    reader = RecordingReader("p-mallory", "c-mallory")
    opened = await hub.open(KEY, reader, Access())
    for message in (sync.sync_update(MALFORMED[name]), sync.sync_step_2(MALFORMED[name])):
        opened.receive(message)
    await until(lambda: reader.denials() == ["malformed", "malformed"])
    ada.type("!")
    await until(lambda: ada.all_saved)
    assert store.text() == "hers!"
    assert hub.statistics().broken_copies == 0


@pytest.mark.parametrize("name", BREAKING)
async def test_an_update_that_breaks_the_copy_costs_its_sender_the_connection_and_no_one_else(
    name: str, hub: DocumentHub, store: RecordingStore
) -> None:
    """Also not what came in the same flush, before it and after it."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("one ")
    await until(lambda: ben.text == "one ")
    reader = RecordingReader("p-mallory", "c-mallory")
    opened = await hub.open(KEY, reader, Access())
    ada.type("two ")
    opened.receive(sync.sync_update(BREAKING[name]))
    ada.type("three ")
    await until(lambda: reader.closed == (close_codes.MALFORMED, "malformed"))
    await until(lambda: ada.all_saved and ben.text == ada.text == "one two three ")
    assert store.text() == "one two three "
    assert BREAKING[name] not in [what for _kind, what in store.journal]
    ben.type("four")
    await until(lambda: ada.text == "one two three four")


@pytest.mark.parametrize("lurk", [lurking, lurking_circle])
@pytest.mark.parametrize("count", [1, MOST_WAITING_HARMFUL + 3])
async def test_what_lies_in_wait_for_somebody_s_next_letter_harms_nobody(
    lurk: Callable[[int, int, int], bytes], count: int, hub: DocumentHub, store: RecordingStore
) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("one ")
    await until(lambda: ada.all_saved and ben.text == "one ")
    reader = RecordingReader("p-mallory", "c-mallory")
    opened = await hub.open(KEY, reader, Access())
    for number in range(1, count + 1):
        opened.receive(sync.sync_update(lurk(10 * number, ada.doc.client_id, 4)))
    [live] = hub._library.documents
    await until(lambda: live.copy is not None and len(live.copy.waiting) == count)
    ada.type("two ")
    ben.type("three ")
    await until(lambda: ada.all_saved and ben.all_saved and ada.text == ben.text)
    assert (ada.closed, ben.closed) == (None, None)
    assert sorted(ada.text.split()) == ["one", "three", "two"]
    ada.type("four")
    await until(lambda: ben.text == ada.text and ada.all_saved)
    assert text_of(await hub.whole_state(KEY)) == ada.text
    later = DocumentHub(store)
    await later.start()
    cy = await Editor("cy").join(later)
    await until(lambda: cy.text == ada.text)
    await later.stop()


async def test_a_copy_that_breaks_while_the_store_fails_keeps_what_is_unsaved(
    hub: DocumentHub, store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.is_failing = True
    ada.type("unsaved ")
    await until(lambda: ada.is_unsaved)
    opened = await hub.open(KEY, RecordingReader("p-mallory", "c-mallory"), Access())
    opened.receive(sync.sync_update(BREAKING["parent that is a letter"]))
    # It cannot be loaded again now: everyone is sent away, with the text they have.
    await until(lambda: ada.closed == (close_codes.UNAVAILABLE, "unavailable"))
    with pytest.raises(DocumentUnavailable):
        await hub.open(KEY, RecordingReader(), Access())
    with pytest.raises(StoreUnavailable):
        await store.load_document(KEY)
    store.is_failing = False
    await until(lambda: store.text() == "unsaved ")
    again = await Editor("ada", doc=ada.doc).join(hub)
    again.type("and more")
    await until(lambda: again.all_saved)
    assert store.text() == "unsaved and more"


async def test_a_log_that_cannot_be_read_is_not_shown_as_an_empty_document(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("full")
    await until(lambda: ada.all_saved)
    fresh = DocumentHub(store)
    await fresh.start()
    store.documents[KEY].updates[99] = b"\xff\xff"
    with pytest.raises(DocumentUnavailable):
        await fresh.open(KEY, RecordingReader(), Access())
    with pytest.raises(DocumentUnavailable):
        await fresh.whole_state(KEY)
    await fresh.stop()


async def test_thousands_of_random_messages_disturb_no_one(hub: DocumentHub, store: RecordingStore) -> None:
    chance = random.Random(1)
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    heads = (b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x01", b"\x02", b"\x03", b"\x64", b"")
    closed: list[int] = []
    for n in range(6_000):
        if n % 3 == 0:
            reader = RecordingReader("p-mallory", f"c-{n}")
            opened = await hub.open(KEY, reader, Access())
        body = chance.randbytes(chance.randrange(40))
        length = bytes((len(body),)) if chance.random() < 0.8 else b""
        try:
            opened.receive(chance.choice(heads) + length + body)
        except ProtocolViolation as violation:
            closed.append(violation.code)
        if n % 3 == 2:
            opened.close()
    ada.type("still here")
    await until(lambda: ben.text == "still here" and ada.all_saved)
    assert len(closed) > 500
    assert set(closed) == {close_codes.MALFORMED}
    assert hub.statistics().readers == 2
    assert store.text() == "still here"
