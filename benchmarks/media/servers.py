"""What is measured: each engine on one core, its process found and pinned."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from signaling.engines import EngineEvent, MediaEngine
from signaling.engines.janus import JanusEngine
from signaling.engines.sfu import SfuEngine
from tests.support.janus_server import own_address, running_janus

READY_DEADLINE_S = 20.0
"""All workers, not only the first, which is all that the engine waits for."""
Sink = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True)
class Running:
    engine: MediaEngine
    pids: Sequence[int]
    """Of the processes that forward."""

    def cpu_seconds(self) -> float:
        """On a core, in user and kernel mode, of all its threads (proc(5), /proc/pid/task/tid/schedstat: in
        nanoseconds; the ticks of /proc/pid/stat are 10 ms)."""
        total = 0
        for pid in self.pids:
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(path.read_text().split()[0])
        return total / 1e9

    def rss_bytes(self) -> int:
        statuses = [Path(f"/proc/{pid}/status").read_text("ascii", "replace") for pid in self.pids]
        lines = [line for status in statuses for line in status.splitlines()]
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def pin(pid: int, core: int) -> None:
    """The process with every thread it has; those it makes later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


@contextlib.asynccontextmanager
async def passerelle(sink: Sink, _folder: Path, cores: Sequence[int], workers: int = 1) -> AsyncIterator[Running]:
    """Workers of the `sfu` engine."""
    engine = SfuEngine(sink, [own_address()], workers=workers)
    await engine.start()
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            while len(pids := engine.worker_pids) < workers:
                await asyncio.sleep(0.05)
        for pid, core in zip(pids, cores, strict=False):
            pin(pid, core)
        yield Running(engine, pids)
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def janus(sink: Sink, folder: Path, cores: Sequence[int]) -> AsyncIterator[Running]:
    """Debian's, with deploy/janus and an event loop for its core, driven by the `janus` engine."""
    async with running_janus(folder, event_loops="1", debug_level="3") as server:
        pin(server.pid, cores[0])
        engine = JanusEngine(sink, [server.url], token_secret=server.token_secret, admin_key=server.admin_key)
        await engine.start()
        try:
            yield Running(engine, [server.pid])
        finally:
            await engine.stop()


SERVERS = {"passerelle": passerelle, "passerelle-two": partial(passerelle, workers=2), "janus": janus}
NAMES = {
    "passerelle": "Passerelle, one media worker",
    "passerelle-two": "Passerelle, two media workers",
    "janus": "Janus 1.1.2 (Debian), event_loops = 1",
}
