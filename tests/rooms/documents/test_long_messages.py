"""A long update is taken in slices, each saved and shown like an update of its own; its author sees one message."""

import random

import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.hub import DocumentHub
from rooms.documents.scan import scan_update
from rooms.documents.slices import UPDATE_SLICE
from tests.support.documents import KEY, Access, Editor, RecordingReader, RecordingStore, until

LETTERS = 6_000


def away_for_a_week() -> "pycrdt.Doc[pycrdt.Text]":
    """Who wrote without a connection: letters that stand alone, and some that were taken back."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    text, chance = doc.get("text", type=pycrdt.Text), random.Random(3)
    with doc.transaction():
        for number in range(LETTERS):
            text.insert(chance.randrange(number // 100 + 1), chance.choice("abc"))
        for _ in range(300):
            place = chance.randrange(LETTERS - 400)
            del text[place : place + 1]
    return doc


def updates_in(reader: RecordingReader) -> list[bytes]:
    bodies = [pycrdt.Decoder(one[2:]).read_message() for one in reader.received(b"\x00\x02")]
    return [body for body in bodies if body is not None]


async def test_it_comes_in_slices_and_is_saved_when_the_last_one_is(hub: DocumentHub, store: RecordingStore) -> None:
    reader = await Editor("reader").join(hub)
    author = await Editor("author", doc=away_for_a_week()).open(hub)
    saved_at = list[int]()

    def note_saved() -> bool:
        saved_at.append(author.saved)
        return author.all_saved and reader.text == author.text

    await until(note_saved, seconds=15)
    assert set(saved_at) == {0, author.sent}, "nothing is called saved before all of it is"
    slices = updates_in(reader)
    assert len(slices) >= LETTERS // UPDATE_SLICE.most_structs
    assert max(scan_update(one).structs for one in slices) <= 2 * UPDATE_SLICE.most_structs
    assert store.text() == author.text


async def test_what_is_said_behind_it_stays_behind_it(hub: DocumentHub) -> None:
    reader = await Editor("reader").join(hub)
    author = await Editor("author").join(hub)
    author.doc.apply_update(away_for_a_week().get_update())
    author.content.insert(0, "z")
    await until(lambda: author.all_saved and reader.text == author.text, seconds=15)
    writers = [client for one in updates_in(reader) for client, _start, _end in scan_update(one).writes]
    assert writers.index(author.doc.client_id) == len(writers) - 1


async def test_who_may_not_write_any_more_is_refused_the_rest(hub: DocumentHub, store: RecordingStore) -> None:
    access = Access()
    reader = await Editor("reader").join(hub)
    author = await Editor("author", doc=away_for_a_week()).open(hub, KEY, access)
    await until(lambda: updates_in(reader))
    access.write = False
    await until(lambda: author.denials() == ["read-only"])
    assert author.saved == author.sent - 1
    assert 0 < len(store.text()) < len(author.text)
    access.write = True
    hub.rights_changed(participant_id=author.participant_id)
    await until(lambda: author.all_saved and reader.text == author.text, seconds=15)


async def test_who_goes_meanwhile_leaves_what_was_taken(hub: DocumentHub, store: RecordingStore) -> None:
    reader = await Editor("reader").join(hub)
    author = await Editor("author", doc=away_for_a_week()).open(hub)
    await until(lambda: updates_in(reader))
    author.leave()
    other = await Editor("other").join(hub)
    await until(lambda: store.text() == reader.text == other.text)


@pytest.mark.parametrize("damage", [b"\x00", b"\xff"])
async def test_a_malformed_one_is_refused_whole(hub: DocumentHub, store: RecordingStore, damage: bytes) -> None:
    reader = await Editor("reader").join(hub)
    author = await Editor("author").join(hub)
    author.tell(sync.sync_update(away_for_a_week().get_update() + damage))
    await until(lambda: author.denials() == ["malformed"])
    author.content.insert(0, "z")
    await until(lambda: reader.text == author.text == "z")
    assert store.text() == "z"
