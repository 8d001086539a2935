"""`python -m benchmarks.media`: measure the forwarder beside Janus, and write benchmarks/RESULTS-media.md.

The engines take turns, in another order each run. What was measured is kept (build/benchmark-media): a load
may be measured alone, and the report holds the newest of each.
"""

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.documents import measurement
from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.media import soak
from benchmarks.media.report import report
from benchmarks.media.scenarios import LOADS, Load, measure
from benchmarks.media.servers import NAMES

ROOT = Path(__file__).resolve().parents[2]
KEPT = soak.KEPT
REPORT = ROOT / "benchmarks/RESULTS-media.md"
RUN_DEADLINE_S = 110.0
"""Joins, eight seconds of warming up, and nine stretches take 60 s: so much of a slow machine is borne."""


async def measure_load(load: Load, servers: Sequence[str], kept: Path, runs: int, *, quick: bool, fixed: bool) -> None:
    """All runs of one load, kept as they come. What goes wrong with an engine is noted, and the other goes on."""
    servers = [server for server in servers if server in load.servers]
    if not servers:
        return
    result = ScenarioResult.begin(load.key, runs)
    result.servers = {server: Measured() for server in servers}
    if fixed:
        load = replace(load, factors=())
        result.notes.append("the most that one core carries was not measured: it takes a machine of one's own")
    for run in range(runs):
        turn = run % len(servers)
        for server in (*servers[turn:], *servers[:turn]):
            with tempfile.TemporaryDirectory(prefix="passerelle-bench-media-") as folder:
                await _run_once(load, server, Path(folder), result.servers[server], quick=quick)
            measurement.save(kept, result)


async def _run_once(load: Load, server: str, folder: Path, measured: Measured, *, quick: bool) -> None:
    try:
        async with asyncio.timeout(RUN_DEADLINE_S):
            figures = await measure(load, server, folder, 1.0 if quick else 4.0, quick=quick)
    except Exception as error:  # whatever it is stands in the report
        measured.failures.append(f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
        print(f"{load.key:6} {server:12} failed: {error!r}", flush=True)
    else:
        measured.add(figures)
        shown = "  ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"{load.key:6} {server:12} {shown}", flush=True)


async def main(arguments: argparse.Namespace) -> None:
    chosen = [] if arguments.report else list(LOADS)
    if arguments.only:
        chosen = [load for load in chosen if load.key in arguments.only.split(",")]
    servers = arguments.servers.split(",") if arguments.servers else list(NAMES)
    kept = Path(tempfile.mkdtemp(prefix="passerelle-bench-")) if arguments.quick else KEPT
    try:
        for load in chosen:
            await measure_load(load, servers, kept, arguments.runs, quick=arguments.quick, fixed=arguments.fixed)
        results = {load.key: result for load in LOADS if (result := measurement.load(kept, load.key))}
        text = report(results, measurement.load(kept, soak.KEY))
    finally:
        if arguments.quick:
            shutil.rmtree(kept, ignore_errors=True)
    if arguments.quick:
        print(text)
    else:
        REPORT.write_text(text, "utf-8")
        print(f"written: {REPORT.relative_to(ROOT)}")


def arguments() -> argparse.Namespace:
    keys = [load.key for load in LOADS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.media", description=__doc__)
    parser.add_argument("--only", help=f"of these, by commas: {', '.join(keys)}")
    parser.add_argument("--servers", help=f"of these, by commas: {', '.join(NAMES)}")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="short, printed and not kept: does everything work?")
    parser.add_argument("--fixed", action="store_true", help="leave out the most that one core carries")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report of what is kept")
    given = parser.parse_args()
    for name in filter(None, [*(given.only or "").split(","), *(given.servers or "").split(",")]):
        if name not in keys and name not in NAMES:
            parser.error(f"there is no {name}")
    return given


if __name__ == "__main__":
    asyncio.run(main(arguments()))
