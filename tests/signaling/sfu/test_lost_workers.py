"""Several media workers, and one that is lost: who comes back has the machine before its successor starts."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from signaling.engines import PeerConnectionLost
from signaling.engines.sfu import SfuEngine, worker_process
from signaling.engines.sfu.worker_process import Ready, WorkerProcess
from tests.support.deadlines import SECOND
from tests.support.media_session import EVERYTHING, RecordedEvents, eventually

DEADLINE = 10 * SECOND


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[WorkerProcess]:
    """Every worker process that was begun."""
    monkeypatch.setattr(worker_process, "FIRST_PAUSE_S", 0.0)  # what may start does, before anything is answered
    begun: list[WorkerProcess] = []
    start = WorkerProcess.start

    async def note(worker: WorkerProcess) -> Ready:
        begun.append(worker)
        return await start(worker)

    monkeypatch.setattr(WorkerProcess, "start", note)
    return begun


@pytest_asyncio.fixture
async def two(starts: list[WorkerProcess]) -> AsyncIterator[tuple[SfuEngine, RecordedEvents]]:
    events = RecordedEvents()
    engine = SfuEngine(events, ["127.0.0.1"], workers=2)
    await engine.start()
    await eventually(lambda: len(engine.worker_pids) == 2, DEADLINE, "both are up")
    yield engine, events
    await engine.stop()


def _is_lost(event: object) -> bool:
    return isinstance(event, PeerConnectionLost) and event.reason == "worker_lost"


async def test_a_lost_workers_successor_waits_for_who_comes_back_but_not_when_it_is_needed(
    two: tuple[SfuEngine, RecordedEvents], starts: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, events = two
    monkeypatch.setattr(worker_process, "COMING_BACK_S", 600.0)
    await engine.open_session("r", "a", "p", EVERYTHING)
    first, second = engine.worker_pids
    os.kill(first, signal.SIGKILL)
    await events.wait_for(_is_lost, DEADLINE)
    await engine.open_session("r", "b", "p", EVERYTHING)
    assert engine.worker_pids == [second]
    assert [worker.sessions for worker in await engine.statistics()] == [1], "it is back on the other one"
    assert len(starts) == 2, "nothing starts beside those who come back"

    events.all.clear()
    os.kill(second, signal.SIGKILL)
    await events.wait_for(_is_lost, DEADLINE)
    await eventually(lambda: len(engine.worker_pids) == 2, DEADLINE, "with none left both start at once")
    await engine.open_session("r", "c", "p", EVERYTHING)
    assert len(starts) == 4


async def test_when_those_who_come_back_have_had_their_time_the_successor_starts(
    two: tuple[SfuEngine, RecordedEvents], starts: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _events = two
    monkeypatch.setattr(worker_process, "COMING_BACK_S", 0.2)
    before = engine.worker_pids
    os.kill(before[1], signal.SIGKILL)
    await eventually(
        lambda: len(engine.worker_pids) == 2 and engine.worker_pids != before, DEADLINE, "another one is up"
    )
    assert engine.worker_pids[0] == before[0]
    assert len(starts) == 3
