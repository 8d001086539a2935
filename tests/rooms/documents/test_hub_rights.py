"""Who may write what: readers in every encoding, other people's client ids, floods."""

import pycrdt
import pytest

from rooms.documents import close_codes, sync
from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.errors import ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.ports import RelayedRange
from tests.support.documents import KEY, Access, Editor, RecordingReader, RecordingStore, text_of, until


def update_by(client_id: int, text: str = "x") -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client_id)
    doc.get("text", type=pycrdt.Text).insert(0, text)
    return doc.get_update()


async def test_a_reader_may_not_write_in_any_encoding(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hers")
    await until(lambda: ada.all_saved)
    before = len(store.journal)
    reader = RecordingReader("p-reader", "c-reader")
    opened = await hub.open(KEY, reader, Access(write=False))
    opened.receive(sync.sync_step_1(b"\x00"))
    opened.receive(sync.sync_update(update_by(7)))
    opened.receive(sync.sync_step_2(update_by(8)))
    opened.receive(sync.sync_step_2(update_by(9)))
    assert reader.denials() == ["read-only"] * 3
    opened.receive(sync.awareness_message(update_by(10)))
    opened.receive(sync.awareness_message(var_uint(1) + var_uint(11) + var_uint(1) + var_bytes(update_by(11))))
    assert reader.denials()[3:] == ["malformed"] * 2
    ada.type("!")
    await until(lambda: ada.all_saved)
    assert ada.text == store.text() == "hers!"
    assert len(store.journal) == before + 1
    assert reader.closed is None


async def test_a_reader_may_not_delete_either(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hers")
    await until(lambda: ada.all_saved)
    ben = await Editor("ben").join(hub, access=Access(write=False))
    del ben.content[0:2]
    await until(lambda: ben.denials() == ["read-only"])
    ada.type("!")
    await until(lambda: ada.all_saved)
    assert ada.text == store.text() == "hers!"


async def test_a_reader_that_has_nothing_new_is_not_refused(hub: DocumentHub) -> None:
    """Every client answers the server's sync step 1; deletions are all in that answer."""
    ada = await Editor("ada").join(hub)
    ada.type("something")
    del ada.content[2:5]
    ben = await Editor("ben").join(hub, access=Access(write=False))
    await until(lambda: ben.text == "sohing" and ada.all_saved)
    ben.leave()
    again = await Editor("ben", doc=ben.doc).join(hub, access=Access(write=False))
    await until(lambda: again.all_saved and again.sent == 1)
    assert not again.denials()


async def test_a_reader_may_show_where_it_looks(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    ben = await Editor("ben").join(hub, access=Access(write=False))
    ben.awareness.set_local_state({"cursor": 3})
    ben.tell(sync.awareness_message(ben.awareness.encode_awareness_update([ben.doc.client_id])))
    await until(lambda: ada.awareness.states.get(ben.doc.client_id) == {"cursor": 3})


async def test_what_was_refused_is_saved_once_writing_is_allowed_again(hub: DocumentHub, store: RecordingStore) -> None:
    access = Access()
    ada = await Editor("ada").join(hub, access=access)
    ada.type("one ")
    await until(lambda: ada.all_saved)
    access.write = False
    ada.type("two ")
    await until(lambda: ada.denials() == ["read-only"])
    access.write = True
    assert not ada.all_saved, "what was refused is not saved"
    ada.type("three")
    await until(lambda: ada.all_saved)
    assert store.text() == "one two three"


async def test_the_hub_asks_again_when_rights_return(hub: DocumentHub, store: RecordingStore) -> None:
    access = Access(write=False)
    ada = await Editor("ada").join(hub, access=access)
    ada.type("kept")
    await until(lambda: ada.denials() == ["read-only"])
    access.write = True
    hub.rights_changed(room_id="room-1")
    await until(lambda: ada.all_saved)
    assert store.text() == "kept"
    access.read = False
    hub.rights_changed(participant_id="participant-ada")
    assert ada.closed == (close_codes.FORBIDDEN, "forbidden")


async def test_nobody_writes_on_in_another_ones_client_id(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hers")
    await until(lambda: ada.all_saved)
    forger: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=ada.doc.client_id)
    forger.apply_update(ada.doc.get_update())
    known = forger.get_state()
    forger.get("text", type=pycrdt.Text).insert(0, "forged ")
    ben = RecordingReader("participant-ben", "c-ben")
    opened = await hub.open(KEY, ben, Access())
    opened.receive(sync.sync_update(forger.get_update(known)))
    assert ben.denials() == ["client-id"]
    opened.receive(sync.sync_update(ada.doc.get_update()))  # what is known anyway may be said again
    opened.receive(sync.sync_step_1(b"\x00"))
    await until(lambda: hub._flushed.is_set())
    assert ben.denials() == ["client-id"]
    assert store.text() == ada.text == "hers"


async def test_an_announced_client_id_is_taken(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    ada.awareness.set_local_state({})
    ada.tell(sync.awareness_message(ada.awareness.encode_awareness_update([ada.doc.client_id])))
    ben = RecordingReader("participant-ben", "c-ben")
    opened = await hub.open(KEY, ben, Access())
    opened.receive(sync.sync_update(update_by(ada.doc.client_id)))
    assert ben.denials() == ["client-id"]


async def test_a_loss_is_mended_by_whoever_has_the_text(hub: DocumentHub, store: RecordingStore) -> None:
    """In answer to the server's sync step 1 the text of others is taken."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("saved ")
    await until(lambda: ada.all_saved)
    kept = store.documents[KEY].updates.copy()
    ada.type("lost")
    await until(lambda: ben.text == "saved lost")
    await hub.stop()
    store.documents[KEY].updates = kept
    fresh = DocumentHub(store)
    await fresh.start()
    again = await Editor("ben", doc=ben.doc).join(fresh)
    await until(lambda: again.all_saved)
    assert store.text() == "saved lost"
    assert store.documents[KEY].bindings[ada.doc.client_id] == "participant-ada"
    # Of the text only what was new, and who brought it: ada may say some day that she wrote no such thing.
    assert await store.load_relays(KEY) == [RelayedRange(ada.doc.client_id, 6, 10, "participant-ben")]
    await fresh.stop()


async def test_what_others_brought_after_a_loss_stays_its_authors(hub: DocumentHub, store: RecordingStore) -> None:
    """Neither text nor owner was ever saved; the author comes back later, and goes on in it."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("lost ")
    await until(lambda: ben.text == "lost ")
    await hub.stop()
    store.documents.clear()
    fresh = DocumentHub(store)
    await fresh.start()
    other = await Editor("ben", doc=ben.doc).join(fresh)
    await until(lambda: other.all_saved)
    author = await Editor("ada", doc=ada.doc).join(fresh)
    author.type("and found")
    await until(lambda: author.all_saved)
    assert store.text() == "lost and found"
    assert author.denials() == []
    assert store.documents[KEY].bindings == {ada.doc.client_id: "participant-ada"}
    assert await store.load_relays(KEY) == [RelayedRange(ada.doc.client_id, 0, 5, "participant-ben")]
    await fresh.stop()


async def test_who_brings_back_its_own_text_relays_nothing(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("saved ")
    await until(lambda: ada.all_saved)
    kept = store.documents[KEY].updates.copy()
    ada.type("lost")
    await until(lambda: ada.all_saved)
    await hub.stop()
    store.documents[KEY].updates = kept
    fresh = DocumentHub(store)
    await fresh.start()
    again = await Editor("ada", doc=ada.doc).join(fresh)
    await until(lambda: again.all_saved)
    assert (store.text(), await store.load_relays(KEY)) == ("saved lost", [])
    await fresh.stop()


async def test_what_two_bring_at_once_is_relayed_by_the_first(hub: DocumentHub, store: RecordingStore) -> None:
    """Both in the same flush: each part is marked once."""
    ada, ben, zoe = [await Editor(name).join(hub) for name in ("ada", "ben", "zoe")]
    ada.type("lost")
    await until(lambda: ben.text == zoe.text == "lost")
    await hub.stop()
    store.documents.clear()
    fresh = DocumentHub(store)
    await fresh.start()
    both = [await Editor(name, doc=doc).join(fresh) for name, doc in (("ben", ben.doc), ("zoe", zoe.doc))]
    await until(lambda: all(one.all_saved for one in both))
    relays = await store.load_relays(KEY)
    assert [(relay.client_id, relay.first_clock, relay.end_clock) for relay in relays] == [(ada.doc.client_id, 0, 4)]
    await fresh.stop()


async def test_an_answer_that_nobody_asked_for_is_judged_as_an_update(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("hers")
    await until(lambda: ada.all_saved)
    ben = RecordingReader("participant-ben", "c-ben")
    opened = await hub.open(KEY, ben, Access())
    opened.receive(sync.sync_step_2(b"\x00\x00"))  # the one that was asked for
    opened.receive(sync.sync_step_2(update_by(ada.doc.client_id, "forged and longer")))
    assert ben.denials() == ["client-id"]


async def test_repeated_malformed_messages_close_the_connection(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    reader = RecordingReader("p", "c")
    opened = await hub.open(KEY, reader, Access())
    for message in (b"\x63", b"\x00\x02\x05ab"):
        opened.receive(message)
    assert reader.denials() == ["malformed", "malformed"]
    with pytest.raises(ProtocolViolation) as violation:
        opened.receive(b"")
    assert (violation.value.code, violation.value.reason) == (close_codes.MALFORMED, "malformed")
    opened.receive(b"")  # closed: nothing more is read
    ada.type("undisturbed")
    await until(lambda: ada.all_saved)


async def test_a_message_above_the_limit_closes_the_connection(hub: DocumentHub) -> None:
    opened = await hub.open(KEY, RecordingReader(), Access())
    with pytest.raises(ProtocolViolation) as violation:
        opened.receive(bytes(hub.limits.message_bytes + 1))
    assert violation.value.code == close_codes.TOO_LARGE


async def test_a_full_document_takes_deletions_only(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(document_bytes=5_000))
    await hub.start()
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)  # it has answered what the server asked
    ada.type("x" * 4_900)
    await until(lambda: ada.all_saved)
    ada.type("z" * 200)
    await until(lambda: ada.denials() == ["too-large"])
    del ada.content[0:10]
    await until(lambda: store.text() == "x" * 4_890)
    await hub.stop()


async def test_one_connection_cannot_fill_the_queue(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(connection_queue_bytes=100_000))
    await hub.start()
    reader = RecordingReader()
    opened = await hub.open(KEY, reader, Access())
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    text = doc.get("text", type=pycrdt.Text)
    with pytest.raises(ProtocolViolation) as violation:
        for _ in range(20):
            known = doc.get_state()
            text.insert(0, "y" * 10_000)
            opened.receive(sync.sync_update(doc.get_update(known)))
    assert violation.value.code == close_codes.LIMIT
    await until(lambda: hub._flushed.is_set())
    assert hub._incoming_bytes == 0
    await hub.stop()


async def test_an_update_that_overtakes_another_is_asked_for_again(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    await until(lambda: ada.all_saved)
    real_tell, held = ada.tell, []
    ada.tell = held.append  # type: ignore[method-assign]
    ada.type("first ")
    ada.type("second")
    ada.tell = real_tell  # type: ignore[method-assign]
    steps = len(ada.received(b"\x00\x00"))
    ada.tell(held[1])
    await until(lambda: len(ada.received(b"\x00\x00")) == steps + 1 and ben.text == "first second")
    assert store.text() == "first second"


async def test_what_waits_survives_a_restart_and_is_shown_when_its_time_comes(
    hub: DocumentHub, store: RecordingStore
) -> None:
    """Two authors; the one whose text comes first is away."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=5)
    text = doc.get("text", type=pycrdt.Text)
    text += "one "
    first = doc.get_update()
    known = doc.get_state()
    text += "two"
    second = doc.get_update(known)
    reader = RecordingReader("p", "c")
    opened = await hub.open(KEY, reader, Access())
    opened.receive(sync.sync_update(second))
    await until(lambda: len(store.journal) == 1)
    await hub.stop()
    fresh = DocumentHub(store)
    await fresh.start()
    ben = await Editor("ben").join(fresh)
    assert ben.text == ""
    opened = await fresh.open(KEY, RecordingReader("p", "c-2"), Access())
    opened.receive(sync.sync_update(first))
    await until(lambda: ben.text == "one two")
    assert text_of(await fresh.whole_state(KEY)) == "one two"
    await fresh.stop()


async def test_a_long_message_is_scanned_apart_and_keeps_its_place(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    ada.type("L" * 50_000)
    ada.type("s")
    ada.type("M" * 50_000)
    ada.type("t")
    await until(lambda: ada.all_saved)
    assert store.text() == "L" * 50_000 + "s" + "M" * 50_000 + "t"
