"""What is measured: each engine on one core, its process found and pinned."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from signaling.engines import EngineEvent, MediaEngine
from signaling.engines.janus import JanusEngine
from signaling.engines.sfu import SfuEngine
from tests.support.janus_server import own_address, running_janus

Sink = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True)
class Running:
    engine: MediaEngine
    pid: int
    """Of the process that forwards."""

    def cpu_seconds(self) -> float:
        """On a core, in user and kernel mode, of all its threads (proc(5), /proc/pid/task/tid/schedstat: in
        nanoseconds; the ticks of /proc/pid/stat are 10 ms)."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(path.read_text().split()[0])
        return total / 1e9

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text("ascii", "replace")
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def pin(pid: int, core: int) -> None:
    """The process with every thread it has; those it makes later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


@contextlib.asynccontextmanager
async def passerelle(sink: Sink, _folder: Path, core: int) -> AsyncIterator[Running]:
    """One worker of the `sfu` engine."""
    engine = SfuEngine(sink, [own_address()], workers=1)
    await engine.start()
    try:
        (pid,) = engine.worker_pids
        pin(pid, core)
        yield Running(engine, pid)
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def janus(sink: Sink, folder: Path, core: int) -> AsyncIterator[Running]:
    """Debian's, with deploy/janus and an event loop for its core, driven by the `janus` engine."""
    async with running_janus(folder, event_loops="1", debug_level="3") as server:
        pin(server.pid, core)
        engine = JanusEngine(sink, [server.url], token_secret=server.token_secret, admin_key=server.admin_key)
        await engine.start()
        try:
            yield Running(engine, server.pid)
        finally:
            await engine.stop()


SERVERS = {"passerelle": passerelle, "janus": janus}
NAMES = {"passerelle": "Passerelle, one media worker", "janus": "Janus 1.1.2 (Debian), event_loops = 1"}
