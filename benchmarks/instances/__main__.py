"""`python -m benchmarks.instances`: two instances on one Redis, beside Hocuspocus with its Redis extension on one like
it; writes benchmarks/RESULTS-instances.md. What was measured is kept, as by `benchmarks.documents`.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from benchmarks.documents import measurement
from benchmarks.documents.__main__ import LOAD_CORE, measure
from benchmarks.documents.measurement import ScenarioResult
from benchmarks.documents.report import scenario_section, table
from benchmarks.documents.scenarios import Scenario
from benchmarks.documents.servers import ROOT
from benchmarks.documents.typing_load import pin
from benchmarks.instances.groups import GROUPS
from benchmarks.instances.scenarios import SERVERS, RedisRestarted, TypingApart

KEPT = ROOT / "build/benchmark-instances"
REPORT = ROOT / "benchmarks/RESULTS-instances.md"
INTRODUCTION = """\
# Two instances, measured beside Hocuspocus

Written by `make bench-instances`; [README.md](README.md) says how. Two instances of a server, their Redis and their
store share one core, the load has the other. Only what comes from the other instance is timed: from the writer's
socket at one to a reader's at the other. CPU is that of both instances, without Redis and the database; a delivered
edit is one character at one other person. Each figure is the median of its runs (smallest to largest behind it).
"""


def scenarios(*, quick: bool) -> list[Scenario]:
    runs, seconds = (1, 2.0) if quick else (3, 6.0)
    return [
        TypingApart(30, seconds=seconds, runs=runs),
        TypingApart(100, seconds=seconds, runs=runs),
        RedisRestarted(runs=runs),
    ]


def report(everything: Sequence[Scenario], results: Mapping[str, ScenarioResult]) -> str:
    servers = [[group.server.name, group.server.version, group.store] for group in GROUPS]
    sections = [scenario_section(each, results[each.key]) for each in everything if each.key in results]
    return "\n".join([INTRODUCTION, table(["server", "version", "store"], servers), *sections])


async def main(given: argparse.Namespace) -> None:
    pin(LOAD_CORE)
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    everything = scenarios(quick=given.quick)
    wanted = given.servers.split(",") if given.servers else [server.key for server in SERVERS]
    stores = Path(tempfile.mkdtemp(prefix="passerelle-bench-stores-"))
    kept = stores / "kept" if given.quick else KEPT
    try:
        for scenario in everything:
            if not given.report and (not given.only or scenario.key in given.only.split(",")):
                await measure(scenario, [server for server in SERVERS if server.key in wanted], stores, kept)
        results = {each.key: result for each in everything if (result := measurement.load(kept, each.key))}
        text = report(everything, results)
    finally:
        shutil.rmtree(stores, ignore_errors=True)
    if given.quick:
        print(text)
    else:
        REPORT.write_text(text, "utf-8")
        print(f"written: {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instances", description=__doc__)
    parser.add_argument("--only", help="of these, by commas: apart-30, apart-100, redis-restarted")
    parser.add_argument("--servers", help="of these, by commas: " + ", ".join(server.key for server in SERVERS))
    parser.add_argument("--quick", action="store_true", help="short runs, printed and not kept: does everything work?")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report of what is kept")
    try:
        uvloop.run(main(parser.parse_args()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
