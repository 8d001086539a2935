"""`python -m benchmarks.documents`: measure, and write benchmarks/RESULTS.md.

Servers are run one after another, in another order each time, so that what else the machine does hits
all alike. What was measured is kept (build/benchmark): a scenario may be measured alone, and the report
holds the newest of each.
"""

import argparse
import asyncio
import gc
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.documents import measurement
from benchmarks.documents.cold_open import ColdOpen
from benchmarks.documents.crash import Crash
from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.documents.report import report
from benchmarks.documents.scenarios import Idle, ManyDocuments, Saturation, Scenario, Typing
from benchmarks.documents.servers import ROOT, SERVERS, Server, passerelle_python, use_python
from benchmarks.documents.typing_load import pin

LOAD_CORE = 0
RUN_DEADLINE_S = 150.0
KEPT = ROOT / "build/benchmark"
REPORT = ROOT / "benchmarks/RESULTS.md"
OPEN_FILES = 8_192
"""Sockets of 2,000 people at each end, and to spare."""


def scenarios(*, quick: bool) -> list[Scenario]:
    """All of them; quick ones only show that everything works."""
    runs, seconds = (1, 2.0) if quick else (3, 6.0)
    return [
        Typing(30, seconds=seconds, runs=runs),
        Typing(100, seconds=seconds, runs=1 if quick else 2),
        Typing(200, seconds=seconds, runs=runs),
        Saturation(seconds=1.0 if quick else 4.0, runs=1 if quick else 2),
        ManyDocuments(documents=30 if quick else 300, seconds=seconds, runs=1 if quick else 2),
        ColdOpen(runs=1 if quick else 5),
        Idle(people=100 if quick else 2_000, runs=1 if quick else 2),
        Crash(rounds_each=2 if quick else 5, runs=1 if quick else 4),
    ]


async def measure(scenario: Scenario, servers: Sequence[Server], folder: Path, kept: Path) -> None:
    """All runs of one scenario, kept as they come. What goes wrong with a server is noted, and the others go on."""
    result = ScenarioResult.begin(scenario.key, scenario.runs, passerelle_python())
    for server in servers:
        result.servers[server.key] = Measured()
    for run in range(scenario.runs):
        turn = run % len(servers)
        for server in (*servers[turn:], *servers[:turn]):
            measured = result.servers[server.key]
            if not measured.fell_behind:
                await _run_once(scenario, server, folder / scenario.key / server.key, run, measured)
                measurement.save(kept, result)
    result.notes += [
        f"{server.name} was not run again: it had failed, or what was typed had not arrived"
        for server in servers
        if scenario.runs > 1 and result.servers[server.key].fell_behind
    ]
    measurement.save(kept, result)


async def _run_once(scenario: Scenario, server: Server, folder: Path, run: int, measured: Measured) -> None:
    gc.collect()
    try:
        async with asyncio.timeout(RUN_DEADLINE_S):
            figures = await scenario.measure(server, folder, run)
    except Exception as error:  # a peer may fail in any way; what it is stands in the report
        reason = str(error).splitlines()[0][:200] if str(error) else "took too long"
        measured.failures.append(f"run {run + 1}: {type(error).__name__}: {reason}")
        print(f"{scenario.key:14} {server.key:20} failed: {error!r}", flush=True)
    else:
        measured.add(figures)
        shown = "  ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        print(f"{scenario.key:14} {server.key:20} {shown}", flush=True)


async def main(arguments: argparse.Namespace) -> None:
    pin(LOAD_CORE)
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does: the servers are in sessions of their own and would outlive us.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    if arguments.python:
        use_python(arguments.python)
    everything = scenarios(quick=arguments.quick)
    chosen = [] if arguments.report else everything
    if arguments.only:
        chosen = [each for each in chosen if each.key in arguments.only.split(",")]
    wanted = arguments.servers.split(",") if arguments.servers else [server.key for server in SERVERS]
    kept = Path(tempfile.mkdtemp(prefix="passerelle-bench-")) if arguments.quick else KEPT
    stores = Path(tempfile.mkdtemp(prefix="passerelle-bench-stores-"))
    try:
        for scenario in chosen:
            servers = [server for server in scenario.servers if server.key in wanted]
            if servers:
                await measure(scenario, servers, stores, kept)
        results = {each.key: result for each in everything if (result := measurement.load(kept, each.key))}
        text = report(everything, results)
    finally:
        shutil.rmtree(stores, ignore_errors=True)
        if arguments.quick:
            shutil.rmtree(kept, ignore_errors=True)
    if arguments.quick:
        print(text)
    else:
        REPORT.write_text(text, "utf-8")
        print(f"written: {REPORT.relative_to(ROOT)}")


def arguments() -> argparse.Namespace:
    keys = ", ".join(each.key for each in scenarios(quick=True))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents", description=__doc__)
    parser.add_argument("--only", help=f"of these, by commas: {keys}")
    parser.add_argument("--servers", help=f"of these, by commas: {', '.join(server.key for server in SERVERS)}")
    parser.add_argument("--python", help="run Passerelle on this one, of another environment with the same packages")
    parser.add_argument("--quick", action="store_true", help="short runs, printed and not kept: does everything work?")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report of what is kept")
    given = parser.parse_args()
    known = {*keys.split(", "), *(server.key for server in SERVERS)}
    for name in filter(None, [*(given.only or "").split(","), *(given.servers or "").split(",")]):
        if name not in known:
            parser.error(f"there is no {name}")
    return given


if __name__ == "__main__":
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN_FILES), hard))
    try:
        uvloop.run(main(arguments()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
