"""A reader that does not keep up costs the others nothing, and catches up when it can."""

import asyncio

import pytest

from rooms.documents import close_codes, sync
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from tests.support.clock import Clock
from tests.support.documents import Editor, RecordingStore, until


@pytest.fixture
def limits() -> HubLimits:
    return HubLimits(reader_buffer_bytes=10_000, reader_drain_s=30, housekeeping_s=0.005)


@pytest.fixture
async def paused(hub: DocumentHub) -> tuple[Editor, Editor]:
    """A writer, and a reader whose connection is stuck."""
    writer, paused = await Editor("writer").join(hub), await Editor("paused").join(hub)
    await until(lambda: paused.all_saved)
    paused.buffered = 20_000
    return writer, paused


async def test_a_stuck_reader_is_sent_nothing_and_then_everything_at_once(
    hub: DocumentHub, paused: tuple[Editor, Editor]
) -> None:
    writer, reader = paused
    quick = await Editor("quick").join(hub)
    before = len(reader.inbox)
    for n in range(200):
        writer.type(f"{n} ")
        await asyncio.sleep(0)
    del writer.content[0:20]
    await until(lambda: writer.all_saved and quick.text == writer.text)
    assert len(reader.inbox) == before
    reader.buffered = 100
    await until(lambda: reader.text == writer.text)
    assert len(reader.received(b"\x00\x02")) == 1
    writer.type("and on")
    await until(lambda: reader.text == writer.text)


async def test_what_a_stuck_reader_writes_is_taken_and_acknowledged_when_it_drains(
    paused: tuple[Editor, Editor], store: RecordingStore
) -> None:
    writer, reader = paused
    writer.type("one ")
    await until(lambda: writer.all_saved)
    reader.type("two")
    await until(lambda: "two" in writer.text)
    assert "two" in store.text()
    assert not reader.all_saved
    reader.buffered = 0
    await until(lambda: reader.all_saved and reader.text == writer.text)


async def test_a_reader_that_never_drains_is_closed(
    hub: DocumentHub, paused: tuple[Editor, Editor], clock: Clock
) -> None:
    writer, reader = paused
    writer.type("x")
    await until(lambda: writer.all_saved)
    clock.now += 29
    reader.buffered -= 1_000  # slow, yet alive
    await until(lambda: next(iter(hub._lagging))._lag_since == clock.now)
    clock.now += 29
    hub._look_after(next(iter(hub._lagging)))
    assert reader.closed is None
    clock.now += 2
    await until(lambda: reader.closed is not None)
    assert reader.closed == (close_codes.SLOW_READER, "resync")
    assert not hub._lagging


async def test_questions_of_a_stuck_reader_are_answered_once_when_it_drains(
    paused: tuple[Editor, Editor],
) -> None:
    """Else a flood of sync step 1 would make the server send the document each time."""
    writer, reader = paused
    writer.type("x" * 1_000)
    await until(lambda: writer.all_saved)
    before = len(reader.inbox)
    for _ in range(100):
        reader.tell(sync.sync_step_1(b"\x00"))
        reader.tell(b"\x03")
    assert len(reader.inbox) == before
    reader.buffered = 0
    await until(lambda: reader.text == writer.text)
    assert len(reader.inbox) <= before + 3


async def test_cursors_do_not_pile_up_for_a_stuck_reader(hub: DocumentHub, paused: tuple[Editor, Editor]) -> None:
    writer, reader = paused
    before = len(reader.inbox)
    for n in range(100):
        writer.awareness.set_local_state({"cursor": n})
        writer.tell(sync.awareness_message(writer.awareness.encode_awareness_update([writer.doc.client_id])))
        await asyncio.sleep(0)
    await until(lambda: hub._flushed.is_set())
    assert len(reader.inbox) == before
    reader.buffered = 0
    await until(lambda: reader.awareness.states.get(writer.doc.client_id) == {"cursor": 99})
