"""What is measured: each engine on one core, its process found and pinned."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from signaling.engines import EngineEvent, MediaEngine
from signaling.engines.janus import JanusEngine
from signaling.engines.sfu import SfuEngine
from tests.support.janus_server import own_address, running_janus

READY_DEADLINE_S = 20.0
"""All workers, not only the first, which is all that the engine waits for."""
GROUPS = Path("/sys/fs/cgroup")
SLICE = 0.35
"""Of a core; two leave some of it for what else runs there."""
PERIOD_US = 5_000
"""A process that has had its share waits for the rest of this: far below what makes a packet late."""
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


@contextlib.contextmanager
def held_to(pids: Sequence[int], share: float) -> Iterator[None]:
    """Each process gets this share of a core and no more (Linux's CFS bandwidth control, by cgroup version 1 or 2).

    Raises: OSError where that is not ours to say."""
    is_new = (GROUPS / "cgroup.controllers").exists()
    parent = GROUPS if is_new else GROUPS / "cpu"
    quota_us = round(PERIOD_US * share)
    with contextlib.ExitStack() as stack:
        for pid in pids:
            group = parent / f"passerelle-bench-{pid}"
            group.mkdir()
            stack.callback(group.rmdir)
            if is_new:
                (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(quota_us))
            (group / "cgroup.procs").write_text(str(pid))
            stack.callback(_move, pid, parent)
        yield


def _move(pid: int, group: Path) -> None:
    with contextlib.suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))


@contextlib.asynccontextmanager
async def slices(sink: Sink, folder: Path, cores: Sequence[int], workers: int) -> AsyncIterator[Running]:
    """Workers that share the first core, each held to the same part of it: what more of them carry does not depend on
    how many cores the machine has. Raises: OSError (`held_to`)."""
    async with passerelle(sink, folder, [cores[0]] * workers, workers) as running:
        with held_to(running.pids, SLICE):
            yield running


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


SERVERS = {
    "passerelle": passerelle,
    "passerelle-two": partial(passerelle, workers=2),
    "janus": janus,
    "slice": partial(slices, workers=1),
    "two-slices": partial(slices, workers=2),
}
NAMES = {
    "passerelle": "Passerelle, one media worker",
    "passerelle-two": "Passerelle, two media workers",
    "janus": "Janus 1.1.2 (Debian), event_loops = 1",
    "slice": f"Passerelle, one media worker with {SLICE:.0%} of a core",
    "two-slices": f"Passerelle, two media workers with {SLICE:.0%} of a core each",
}
