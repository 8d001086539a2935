"""The store fails and returns: writing goes on, says so, and nothing is lost."""

import asyncio

import pytest

from rooms.documents import close_codes
from rooms.documents.errors import DocumentUnavailable
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from rooms.ports import DocumentKey
from tests.support.deadlines import SECOND
from tests.support.documents import KEY, Access, Editor, RecordingReader, RecordingStore, until

OTHER = DocumentKey("room-1", "other")


async def test_writing_goes_on_unsaved_and_is_saved_when_the_store_returns(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    ada.type("before ")
    await until(lambda: ada.all_saved and ben.text == "before ")
    store.is_failing = True
    ada.type("during ")
    await until(lambda: ben.text == "before during " and ada.is_unsaved)
    assert ben.is_unsaved, "everyone is told, not only the author"
    ben.type("too ")
    await until(lambda: ada.text == "before during too ")
    assert not ada.all_saved
    assert store.text() == "before "
    assert hub.statistics().unsaved_bytes > 0
    store.is_failing = False
    await until(lambda: ada.all_saved and ben.all_saved)
    assert store.text() == "before during too "
    assert hub.statistics().unsaved_bytes == 0
    ada.type("after")
    await until(lambda: ada.all_saved and store.text() == "before during too after")


async def test_whoever_comes_while_the_store_fails_is_told(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.is_failing = True
    ada.type("unsaved")
    await until(lambda: ada.is_unsaved)
    ben = await Editor("ben").join(hub)
    assert ben.text == "unsaved"
    assert ben.is_unsaved


async def test_a_store_that_hangs_counts_as_failing(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(store_timeout_s=0.05, store_retry_s=0.01))
    await hub.start()
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    await until(lambda: ada.all_saved)
    store.gate.clear()
    ada.type("x")
    await until(lambda: ben.text == "x" and ada.is_unsaved)
    store.gate.set()
    await until(lambda: ada.all_saved)
    assert store.text() == "x"
    await hub.stop()


async def test_one_document_that_cannot_be_stored_holds_up_no_other(hub: DocumentHub, store: RecordingStore) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub, OTHER)
    await until(lambda: ada.all_saved and ben.all_saved)
    store.refused_key = KEY
    ada.type("a")
    ben.type("b")
    await until(lambda: ben.all_saved and store.text(OTHER) == "b")
    assert ada.is_unsaved
    ben.type("c")
    await until(lambda: ben.all_saved and store.text(OTHER) == "bc")
    store.refused_key = None
    await until(lambda: ada.all_saved and store.text() == "a")


async def test_unsaved_text_is_bounded_and_past_it_writers_keep_their_own(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(unsaved_bytes=60_000, store_retry_s=0.01))
    await hub.start()
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.is_failing = True
    for _ in range(100):
        ada.type("x" * 1_000)
        await asyncio.sleep(0)
    await until(lambda: ada.closed is not None)
    assert ada.closed == (close_codes.UNAVAILABLE, "unavailable")
    assert hub.statistics().unsaved_bytes <= 60_000
    store.is_failing = False
    await until(lambda: hub.statistics().unsaved_bytes == 0)
    again = await Editor("ada", doc=ada.doc).join(hub)
    await until(lambda: again.all_saved)
    assert store.text() == "x" * 100_000
    await hub.stop()


async def test_a_document_that_cannot_be_loaded_is_not_opened_empty(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("full")
    await until(lambda: ada.all_saved)
    fresh = DocumentHub(store)
    await fresh.start()
    store.is_failing = True
    with pytest.raises(DocumentUnavailable) as refused:
        await fresh.open(KEY, RecordingReader(), Access())
    assert refused.value.code == close_codes.UNAVAILABLE
    with pytest.raises(DocumentUnavailable):
        await fresh.whole_state(KEY)
    store.is_failing = False
    assert (await Editor("ben").join(fresh)).text == "full"
    await fresh.stop()


async def test_a_failing_document_stays_in_memory_without_readers(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.is_failing = True
    ada.type("nobody else has this")
    await until(lambda: ada.is_unsaved)
    ada.leave()
    hub._clock.now += 1_000  # type: ignore[attr-defined]
    hub._library.forget_idle()
    assert hub.statistics().documents == 1
    assert (await Editor("ben").join(hub)).text == "nobody else has this"
    store.is_failing = False
    await until(lambda: store.text() == "nobody else has this")


async def test_stop_waits_for_a_failing_store_no_longer_than_its_deadline(store: RecordingStore) -> None:
    hub = DocumentHub(store, limits=HubLimits(store_retry_s=0.01))
    await hub.start()
    ada = await Editor("ada").join(hub)
    await until(lambda: ada.all_saved)
    store.is_failing = True
    ada.type("x")
    await until(lambda: ada.is_unsaved)
    async with asyncio.timeout(5 * SECOND):
        await hub.stop(timeout_s=0.05)
    assert ada.closed is not None
