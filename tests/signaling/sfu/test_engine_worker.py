"""The engine's worker process: it is replaced when it dies or hangs, ends with its engine, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from signaling.engines import (
    EngineEvent,
    EngineUnavailable,
    PeerConnectionLost,
    TrackDisappeared,
)
from signaling.engines.sfu import SfuEngine
from tests.support.deadlines import SECOND
from tests.support.media_session import EVERYTHING, AiortcClient, RecordedEvents, clients, eventually
from tests.support.ports import free_port

DEADLINE = 8 * SECOND

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def plays(client: AiortcClient, *track_ids: str, frames: int = 5) -> None:
    """Each of the tracks goes on being decoded."""
    before = dict(client.frames)
    await eventually(
        lambda: all(client.frames.get(each, 0) >= before.get(each, 0) + frames for each in track_ids),
        DEADLINE,
        f"{track_ids} of {client.frames}",
    )


async def test_a_killed_worker_is_told_replaced_and_its_rooms_can_come_back(
    engine: SfuEngine, events: RecordedEvents
) -> None:
    async with clients(engine, events, "r", "a", "b") as (a, b):
        await a.publish_tracks("microphone")
        await plays(b, "a-microphone")
        os.kill(_worker_pid(engine), signal.SIGKILL)
        lost = [await events.wait_for(_is_lost(session_id), DEADLINE) for session_id in ("a", "b")]
        assert {(each.pc, each.reason) for each in lost} == {(None, "worker_lost")}
        assert [event.track_id for event in events.of(TrackDisappeared)] == ["a-microphone"]
        assert engine.health().sessions == 0
    async with asyncio.timeout(5 * SECOND):
        await _successor_is_up(engine)
        async with clients(engine, events, "r", "a2", "b2") as (a, b):
            await a.publish_tracks("microphone")
            await plays(b, "a2-microphone")
    assert engine.health().ready


async def test_a_worker_that_dies_while_people_come_in_leaves_none_of_them_half_inside(
    engine: SfuEngine, events: RecordedEvents
) -> None:
    """Whoever was let in is told that it is over, the others that it did not begin; and all may come again at once."""
    sessions = [f"s{number}" for number in range(60)]

    async def come(number: int, session_id: str) -> str | None:
        if number == 30:
            os.kill(engine.worker_pids[0], signal.SIGKILL)
        try:
            await engine.open_session("r", session_id, session_id, EVERYTHING)
        except EngineUnavailable:
            return None
        return session_id

    async with asyncio.timeout(20 * SECOND):
        inside = {each for each in await asyncio.gather(*map(come, range(60), sessions)) if each is not None}

        def told() -> set[str]:
            return {each.session_id for each in events.of(PeerConnectionLost) if each.pc is None}

        await eventually(lambda: told() >= inside, DEADLINE, "whoever was let in is told")
        assert engine.health().sessions == 0
        for session_id in sessions:
            await engine.open_session("r", session_id, session_id, EVERYTHING)
        (worker,) = await engine.statistics()
        assert worker.sessions == len(sessions)


async def test_a_worker_that_hangs_is_replaced(
    engine: SfuEngine, events: RecordedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signaling.engines.sfu.worker_process.SIGN_OF_LIFE_S", 0.5 * SECOND)
    monkeypatch.setattr("signaling.engines.sfu.worker_process.ASK_EVERY_S", 0.1)
    await engine.open_session("r", "a", "p", EVERYTHING)
    hanging = _worker_pid(engine)
    os.kill(hanging, signal.SIGSTOP)
    await events.wait_for(_is_lost("a"), DEADLINE)
    await _successor_is_up(engine)
    await engine.open_session("r", "a", "p", EVERYTHING)
    assert _worker_pid(engine) != hanging
    await eventually(lambda: not _runs(hanging), DEADLINE, "the worker has ended")


async def test_a_worker_that_has_come_to_a_stop_is_replaced_long_before_its_answer_is_overdue(
    engine: SfuEngine, events: RecordedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signaling.engines.sfu.worker_process.SIGN_OF_LIFE_S", 600.0)
    monkeypatch.setattr("signaling.engines.sfu.worker_process.ASK_EVERY_S", 0.1)
    await engine.open_session("r", "a", "p", EVERYTHING)
    hanging = _worker_pid(engine)
    since = len(events.all)
    os.kill(hanging, signal.SIGSTOP)
    await events.wait_for(_is_lost("a"), DEADLINE, since)
    await _successor_is_up(engine)
    await engine.open_session("r", "a", "p", EVERYTHING)
    assert _worker_pid(engine) != hanging


def _is_lost(session_id: str) -> object:
    def matches(event: EngineEvent) -> bool:
        return isinstance(event, PeerConnectionLost) and event.session_id == session_id

    return matches


async def _successor_is_up(engine: SfuEngine) -> None:
    """On a busy machine later than whoever asks for a session is let wait."""
    await eventually(lambda: engine.health().ready, DEADLINE, "another worker is up")


def _worker_pid(engine: SfuEngine) -> int:
    (keeper,) = engine._keepers
    assert keeper.current is not None
    assert keeper.current.pid is not None
    return keeper.current.pid


async def test_the_worker_ends_with_its_engine(tmp_path: Path) -> None:
    """Even when the web process is killed: no worker stays behind on the port."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from signaling.engines.sfu import SfuEngine\n"
        "async def main():\n"
        "    engine = SfuEngine(lambda event: None, ['127.0.0.1'])\n"
        "    await engine.start()\n"
        "    print(engine._keepers[0].current.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    pid = int(output)
    await eventually(lambda: not _runs(pid), DEADLINE, "the worker has ended")


def _runs(pid: int) -> bool:
    try:
        return "signaling.engines.sfu.worker" in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return False


async def test_a_port_that_is_taken_is_reported(
    events: RecordedEvents, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signaling.engines.sfu.engine.FIRST_WORKER_S", 2 * DEADLINE)  # two starts, one after the other
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        engine = SfuEngine(events, ["127.0.0.1"], udp_port=port)
        starting = asyncio.create_task(engine.start())
        await eventually(lambda: "ended" in caplog.text or "gone" in caplog.text, DEADLINE)
        assert not engine.health().ready
    await starting
    assert engine.health().ready, "the port became free and the next try took it"
    await engine.stop()


async def test_a_worker_that_is_late_is_waited_for_no_longer_and_used_when_it_is_there(
    events: RecordedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut, when everything on a machine starts at once."""
    monkeypatch.setattr("signaling.engines.sfu.engine.FIRST_WORKER_S", 0.1)
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        engine = SfuEngine(events, ["127.0.0.1"], udp_port=port)
        with pytest.raises(EngineUnavailable):
            await engine.start()
        assert not engine.health().ready
    await eventually(lambda: engine.health().ready, 2 * DEADLINE, "the next try took the port")
    await engine.open_session("r", "s", "p", EVERYTHING)
    await engine.stop()


async def test_starts_and_stops_leave_nothing_behind(engine: SfuEngine, events: RecordedEvents) -> None:
    async def round_trip(number: int) -> None:
        async with clients(engine, events, "r", f"a{number}", f"b{number}") as (a, b):
            await a.publish_tracks("microphone")
            await plays(b, f"a{number}-microphone", frames=1)
            for client in (a, b):
                await engine.close_session(client.session_id)

    await round_trip(0)
    descriptors = Path(f"/proc/{_worker_pid(engine)}/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(1, 8):
        await round_trip(number)
    (worker,) = await engine.statistics()
    assert (worker.rooms, worker.sessions) == (0, 0)
    await eventually(lambda: len(list(descriptors.iterdir())) == before, DEADLINE, "no descriptor is left open")
