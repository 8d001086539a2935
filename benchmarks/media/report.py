"""benchmarks/RESULTS-media.md: what was measured, as tables."""

import time
from collections.abc import Mapping, Sequence

from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.documents.report import table
from benchmarks.media import soak
from benchmarks.media.generator import BURSTS_PER_S, PACKETS_PER_BURST, PAYLOAD_BYTES
from benchmarks.media.scenarios import LOADS, MAX_LOSS, MAX_P99_S, Load
from benchmarks.media.servers import NAMES

BUSY_LOAD = 0.5
"""Load average above which what is late or lost says nothing of the engines."""
LEAST_OF_TWO = 1.8
"""Nearly twice what one worker carries."""
Results = Mapping[str, ScenarioResult]

_RATE = f"packets of {PAYLOAD_BYTES:,} bytes, {BURSTS_PER_S} bursts a second of {PACKETS_PER_BURST}"
_BOUNDS = f"at most {MAX_LOSS:.0%} lost and a p99 of at most {MAX_P99_S * 1e3:.0f} ms"

INTRODUCTION = f"""\
# Media, measured beside Janus

Written by `make bench-media`; [README.md](README.md) says how. Passerelle's forwarder is one worker of the product;
Janus is driven by the product too, with the configuration of deploy/janus and one event loop for its one core. The
same generator, by the engines' contract, in one run: each publisher sends {_RATE};
the server is pinned to one core, the generator to another. CPU is that of the forwarding process, from /proc, its
RTCP and timers included; delay is from the moment a packet was made to when it was read, at four viewers. The most
that one core carries: the highest rate tried with {_BOUNDS}. Traffic stays
in the machine: with a network card a packet costs something else.

Two workers have a core each, and half of the rooms. On a machine with two cores the second one shares its core with the
generator, so what they carry together says little there. So there is a load for workers that are held to the same part
of one core (CFS bandwidth control): the generator has the other one, and what two carry beside one says whether a
second core would carry as much again.
"""

FIXED = (
    ("packets/s", "rate", 0), ("µs of CPU a packet", "us", 1), ("CPU, % of a core", "cpu", 1),
    ("p99 ms", "p99_ms", 1), ("lost, %", "loss", 2), ("CPU a join, ms", "join_ms", 1),
    ("memory, MB", "memory_mb", 0), ("CPU of the generator", "generator", 0),
)  # fmt: skip
MOST = (
    ("carried, packets/s", "most", 0), ("µs a packet", "most_us", 1), ("CPU, %", "most_cpu", 0),
    ("p99 ms", "most_p99_ms", 1), ("CPU of the generator", "most_generator", 0),
    ("not carried, packets/s", "failed_rate", 0), ("lost, %", "failed_loss", 1), ("p99 ms", "failed_p99_ms", 0),
    ("CPU of the generator", "failed_generator", 0),
)  # fmt: skip
SOAK = (
    ("memory, MB", "memory_mb", 1), ("descriptors", "descriptors", 0), ("threads", "threads", 0), ("tasks", "tasks", 0),
    ("CPU, % of a core", "cpu", 1), ("lost, %", "loss", 3),
)  # fmt: skip
Columns = Sequence[tuple[str, str, int]]


def report(results: Results, soaked: ScenarioResult | None = None) -> str:
    """Everything that was measured, in the order of the loads."""
    parts = [INTRODUCTION, _goals(results)]
    parts += [_load(load, results[load.key]) for load in LOADS if load.key in results]
    if soaked is not None:
        parts.append(_soak(soaked))
    return "\n".join(parts)


def _soak(result: ScenarioResult) -> str:
    heads = ["minute", *(heading for heading, _figure, _decimals in SOAK)]
    rows = [
        [minute, *(_cell(measured, figure, decimals) for _heading, figure, decimals in SOAK)]
        for minute, measured in result.servers.items()
    ]
    return (
        f"## {soak.TITLE}\n\n{_ran(result)} What one worker of Passerelle's uses, by `make soak`.\n"
        f"CPU and loss are of all the time until then.\n\n{table(heads, rows)}"
    )


def _ran(result: ScenarioResult) -> str:
    when = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(result.measured_at))
    return (
        f"{result.runs} {'run' if result.runs == 1 else 'runs'}, {when}; {result.machine}; "
        f"load average before: {result.load_before:.2f}; commit {result.commit or 'unknown'}."
    )


def _goals(results: Results) -> str:
    """The issue's: at least Janus's throughput on one core, and no more CPU a packet."""
    rows = []
    for load in LOADS:
        result = results.get(load.key)
        if result is None:
            continue
        if "two-slices" in load.servers:
            rows.append(_twice(load, result))
            continue
        wanted = [("us", "CPU a packet, no more than Janus's", False, 1)]
        if load.factors:
            wanted.append(("most", "packets/s on one core, at least Janus's", True, 0))
        for figure, sentence, more_is_better, decimals in wanted:
            ours, theirs = (result.value(server, figure) for server in ("passerelle", "janus"))
            rows.append([load.title, sentence, *_verdict(ours, theirs, decimals, more_is_better=more_is_better)])
    return "## Goals\n\n" + table(["load", "goal", "Passerelle", "Janus", ""], rows)


def _twice(load: Load, result: ScenarioResult) -> list[str]:
    one, two = (result.value(server, "most") for server in ("slice", "two-slices"))
    sentence = f"two workers: packets/s, at least {LEAST_OF_TWO} times one's {_number(one, 0)}"
    met = None if one is None or two is None else two >= one * LEAST_OF_TWO
    return [load.title, sentence, _number(two, 0), "–", _met(met)]


def _verdict(ours: float | None, theirs: float | None, decimals: int, *, more_is_better: bool) -> list[str]:
    met = None if ours is None or theirs is None else ours >= theirs if more_is_better else ours <= theirs
    return [_number(ours, decimals), _number(theirs, decimals), _met(met)]


def _met(met: bool | None) -> str:
    return "not measured" if met is None else "met" if met else "**missed**"


def _load(load: Load, result: ScenarioResult) -> str:
    text = f"## {load.title}\n\n{_ran(result)}\n\n{_table(FIXED, result)}"
    if load.factors and any(
        "most" in each.samples or "failed_rate" in each.samples for each in result.servers.values()
    ):
        text += f"\nThe most that is carried:\n\n{_table(MOST, result)}"
    notes = [f"- {note}\n" for note in result.notes]
    if result.load_before > BUSY_LOAD:
        notes.append("- other work was on the machine: read the CPU a packet, not what was late or lost\n")
    notes += [f"- {NAMES[key]}: {each}\n" for key, measured in result.servers.items() for each in measured.failures]
    return text + ("\n" + "".join(notes) if notes else "")


def _table(columns: Columns, result: ScenarioResult) -> str:
    heads = ["server", *(heading for heading, _figure, _decimals in columns)]
    rows = [
        [NAMES[key], *(_cell(result.servers[key], figure, decimals) for _heading, figure, decimals in columns)]
        for key in NAMES
        if key in result.servers
    ]
    return table(heads, rows)


def _cell(measured: Measured, figure: str, decimals: int) -> str:
    """The median, and between what it lay."""
    value, spread = measured.value(figure), measured.spread(figure)
    if value is None:
        return "–"
    shown = _number(value, decimals)
    if spread is None or spread[0] == spread[1]:
        return shown
    return f"{shown} ({_number(spread[0], decimals)}–{_number(spread[1], decimals)})"


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"
