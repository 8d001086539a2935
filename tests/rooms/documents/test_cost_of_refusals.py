"""DOC-9: what is beyond all limits is refused at no cost: in the time of a few letters, and without the memory that it
claims to need."""

import tracemalloc
from collections.abc import AsyncIterator

import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.errors import ProtocolViolation
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import KIB, MAX_MESSAGE_BYTES, HubLimits
from rooms.documents.open_document import OpenDocument
from tests.server.test_refused_documents import BEYOND
from tests.support.deadlines import least_cpu_s
from tests.support.documents import KEY, Access, RecordingReader, RecordingStore

TIMES = 20
"""In a row: one takes too little to be measured."""
LETTERS = 10
"""A refusal may take as long as so many letters that are taken."""
MEMORY_BYTES = 64 * KIB


@pytest.fixture
async def opened(store: RecordingStore) -> AsyncIterator[OpenDocument]:
    """Of one who may go on however much is malformed."""
    hub = DocumentHub(store, limits=HubLimits(malformed_messages=10**9))
    await hub.start()
    yield await hub.open(KEY, RecordingReader(), Access())
    await hub.stop()


def cost_of_letters(opened: OpenDocument) -> float:
    """Of letters that are scanned, judged and queued, in seconds of processor for each. No two continue each other."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    messages = []
    for _ in range(6 * TIMES):
        text, known = doc.get("text", type=pycrdt.Text), doc.get_state()
        text.insert(0, "é")
        messages.append(sync.sync_update(doc.get_update(known)))
    coming = iter(messages)
    return least_cpu_s(lambda: [opened.receive(next(coming)) for _ in range(TIMES)]) / TIMES


@pytest.mark.parametrize("name", BEYOND)
async def test_what_is_beyond_the_limits_costs_no_more_than_some_letters(opened: OpenDocument, name: str) -> None:
    message = BEYOND[name]()
    letter_s = cost_of_letters(opened)
    # Without the detour of a long message in steps, which would not be counted.
    refusal_s = least_cpu_s(lambda: [opened.receive_scanned(message, None) for _ in range(TIMES)]) / TIMES
    print(f"{name}: {refusal_s * 1e6:.0f} us, a letter {letter_s * 1e6:.0f} us")
    assert refusal_s < LETTERS * letter_s
    tracemalloc.start()
    try:
        opened.receive_scanned(message, None)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES + 2 * len(message)
    finally:
        tracemalloc.stop()


async def test_an_update_above_the_limit_is_not_even_read(opened: OpenDocument) -> None:
    message = sync.sync_update(bytes(MAX_MESSAGE_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolViolation):
            opened.receive(message)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
