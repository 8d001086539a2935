"""One engine for each file that asks for one: a worker takes most of a second to start."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from signaling.engines.sfu import SfuEngine
from tests.support.media_session import RecordedEvents


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[tuple[SfuEngine, RecordedEvents]]:
    events = RecordedEvents()
    engine = SfuEngine(events, ["127.0.0.1"])
    await engine.start()
    yield engine, events
    await engine.stop()


@pytest.fixture
def events(shared: tuple[SfuEngine, RecordedEvents]) -> RecordedEvents:
    shared[1].all.clear()
    return shared[1]


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: tuple[SfuEngine, RecordedEvents]) -> AsyncIterator[SfuEngine]:
    engine = shared[0]
    yield engine
    for session_id in list(engine._sessions):
        await engine.close_session(session_id)
