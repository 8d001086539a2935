"""A thousand who ask for a long text at once do not hold it a thousand times: past a sum they wait for their turn."""

import asyncio

import pytest

from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.documents.long_answers import LONG_BYTES
from rooms.ports import DocumentKey
from tests.support.documents import Editor, RecordingStore, until

PIECE = "x" * 700_000
OTHER = DocumentKey("room-1", "other")


@pytest.fixture
def limits() -> HubLimits:
    return HubLimits(housekeeping_s=0.005, long_answers_bytes=3 * LONG_BYTES)


class Slow(Editor):
    """Takes nothing until it is told to."""

    def send(self, message: bytes) -> None:
        self.buffered += len(message)
        super().send(message)


@pytest.fixture
async def author(hub: DocumentHub) -> Editor:
    """Of a text of 1.4 MB."""
    author = await Editor("author").join(hub)
    for _ in range(2):
        author.type(PIECE)
        await until(lambda: author.all_saved)
    return author


async def test_who_asks_for_a_long_text_waits_until_others_have_taken_theirs(hub: DocumentHub, author: Editor) -> None:
    readers = [await Slow(f"r{number}").open(hub) for number in range(6)]
    await until(lambda: sum(reader.is_synced for reader in readers) == 2)
    small = await Editor("small").join(hub, OTHER)  # what is short waits for nobody
    assert small.is_synced
    for count in range(3, 7):
        next(reader for reader in readers if reader.buffered > LONG_BYTES).buffered = 0
        await until(lambda count=count: sum(reader.is_synced for reader in readers) == count)  # type: ignore[misc]
        assert sum(reader.buffered for reader in readers) <= 3 * LONG_BYTES
    author.type("!")
    await until(lambda: all(reader.text == author.text for reader in readers))


async def test_of_those_who_ask_at_once_each_is_answered_in_a_turn_of_its_own(hub: DocumentHub, author: Editor) -> None:
    turns = list[set[str]]()

    class Noting(Editor):
        def send(self, message: bytes) -> None:
            if len(message) >= len(PIECE):
                turns[-1].add(self.connection_id)
            super().send(message)

    readers = [Noting(f"r{number}") for number in range(3)]
    opening = asyncio.gather(*(reader.open(hub) for reader in readers))
    while not (opening.done() and all(reader.is_synced for reader in readers)):
        turns.append(set())
        await asyncio.sleep(0)
    assert sorted(map(len, turns))[-4:] == [0, 1, 1, 1]


async def test_who_is_gone_holds_nobody_up(hub: DocumentHub, author: Editor) -> None:
    readers = [await Slow(f"r{number}").open(hub) for number in range(3)]
    assert not readers[2].is_synced
    readers[0].leave()
    readers[0].buffered = 0  # as a transport that is closed
    await until(lambda: readers[2].is_synced)


async def test_one_text_longer_than_the_sum_is_sent_when_nothing_else_is_under_way(
    hub: DocumentHub, author: Editor
) -> None:
    for _ in range(3):
        author.type(PIECE)
        await until(lambda: author.all_saved)
    first = await Slow("first").open(hub)
    await until(lambda: first.is_synced)
    second = await Slow("second").open(hub)
    assert not second.is_synced
    first.buffered = 0
    await until(lambda: second.is_synced)
    assert second.text == author.text


@pytest.mark.parametrize("together", [False, True])
async def test_a_document_is_never_longer_than_its_limit(store: RecordingStore, together: bool) -> None:
    hub = DocumentHub(store, limits=HubLimits(document_bytes=10_000))
    await hub.start()
    try:
        one, two = await Editor("one").join(hub), await Editor("two").join(hub)
        await until(lambda: one.all_saved and two.all_saved)  # both have answered what the server asked
        one.type("a" * 6_000)
        if not together:
            await until(lambda: two.text == one.text)
        two.content.insert(0, "b" * 6_000)  # in the second case before the first is flushed
        assert two.denials() == ["too-large"]
        one.type("c" * 3_000)
        await until(lambda: one.all_saved)
        assert store.text() == "a" * 6_000 + "c" * 3_000
        one.type("d" * 3_000)
        assert one.denials() == ["too-large"]
        assert len(store.text()) == 9_000
    finally:
        await hub.stop()
