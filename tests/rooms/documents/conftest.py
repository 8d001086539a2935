from collections.abc import AsyncIterator

import pytest

from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from tests.support.clock import Clock
from tests.support.documents import RecordingStore


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def limits() -> HubLimits:
    """Overridden where a test needs small ones."""
    return HubLimits(store_retry_s=0.01, housekeeping_s=0.005)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub(store: RecordingStore, limits: HubLimits, clock: Clock) -> AsyncIterator[DocumentHub]:
    hub = DocumentHub(store, clock=clock, limits=limits)
    await hub.start()
    yield hub
    store.is_failing = False
    store.gate.set()
    await hub.stop()
