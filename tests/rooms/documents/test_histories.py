"""Recorded editing, from the wire to the store and back: the text is the recorded one, byte for byte."""

import base64
import gzip
import json

import pytest

from rooms.documents import sync
from rooms.documents.compaction import compact
from rooms.documents.document import YjsDocument
from rooms.documents.hub import DocumentHub
from rooms.documents.loading import load_document
from rooms.documents.scan import scan_update
from rooms.documents.snapshot import SnapshotFacts
from rooms.ports import DocumentKey
from tests.support.documents import (
    KEY,
    Access,
    Editor,
    RecordingReader,
    RecordingStore,
    recorded_history,
    text_of,
    until,
)
from tests.support.traces import trace_folder
from tests.support.yjs_peers import yjs_process

NAMES = [
    pytest.param("b4-automerge-paper", marks=pytest.mark.long),
    "friendsforever",
    "sveltecomponent",
    "seph-blog1",
    "json-crdt-patch",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_history_ends_with_its_text(name: str) -> None:
    """In flushes of 97 updates; and after a compaction half-way and a reload."""
    history = recorded_history(name)
    document = YjsDocument()
    log: list[bytes] = []
    for start in range(0, len(history.updates), 97):
        batch = history.updates[start : start + 97]
        result = document.integrate([(update, scan_update(update)) for update in batch])
        assert result.change is not None
        assert not result.incomplete
        log.append(result.change)
    assert history.is_final(text_of(document.whole_state()))
    half = len(log) // 2
    snapshot, waiting, _left_out = compact(None, log[:half])
    assert waiting == []
    *_growing, again = load_document(snapshot, log[half:], 0, SnapshotFacts())
    assert history.is_final(text_of(again.whole_state()))
    assert again.clocks == document.clocks


async def test_recorded_mixtures_of_all_kinds_are_what_yjs_reads() -> None:
    """Text with emoji and formats, map, array, XML, by three Yjs peers and one pycrdt."""
    folder = trace_folder()
    if folder is None:
        print("the recorded mixtures are not here: test_interop makes its own with live peers")
        return
    store = RecordingStore()
    hub = DocumentHub(store)
    await hub.start()
    async with yjs_process() as process:
        for path in sorted(folder.glob("mixed-*.json.gz")):
            mixture = json.loads(gzip.decompress(path.read_bytes()))
            key = DocumentKey("room-1", path.name)
            writer = RecordingReader()
            opened = await hub.open(key, writer, Access())
            for update in mixture["updates"]:
                opened.receive(sync.sync_update(base64.b64decode(update)))
            count = len(mixture["updates"])
            await until(lambda opened=opened, count=count: opened.acknowledgements.saved == count)
            reader = process.peer()
            await reader.connect(hub, key)
            await until(lambda reader=reader: reader.opened is not None and reader.opened.is_synced)
            await reader.ask("id")
            state = await reader.ask("read")
            assert state["map"] == mixture["expected"]["map"]
            assert state["array"] == mixture["expected"]["array"]
            assert state["text"] == mixture["expected"]["delta"]
            assert state["xml"] == mixture["expected"]["xml"]
            assert not state["pending"]
    await hub.stop()


async def test_thirty_editors_end_with_a_recorded_history(hub: DocumentHub, store: RecordingStore) -> None:
    history = recorded_history("friendsforever")
    writer = RecordingReader("writer", "writer")
    opened = await hub.open(KEY, writer, Access())
    editors = [await Editor(f"e{n}").join(hub) for n in range(30)]
    for update in history.updates[:5_000]:
        opened.receive(sync.sync_update(update))
        if opened.acknowledgements._received % 100 == 0:
            await until(lambda: opened.queued_bytes < 10_000)
    await until(lambda: opened.acknowledgements.saved == 5_000)
    text = text_of(*history.updates[:5_000])
    await until(lambda: all(editor.text == text for editor in editors))
    assert store.text() == text
