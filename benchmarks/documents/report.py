"""benchmarks/RESULTS.md: what was measured, as tables."""

import time
from collections.abc import Sequence

from benchmarks.documents.goals import ACCOUNTS, Results, Verdict, verdicts
from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.documents.scenarios import Column, Scenario
from benchmarks.documents.servers import SERVERS

INTRODUCTION = """\
# Documents, measured beside their peers

Written by `make bench`; [README.md](README.md) says how. Each figure is the median of its runs (smallest to largest
behind it); a server is pinned to one core, the load to another. Passerelle is the product as it is shipped: rooms,
a token for each participant, limits, metrics, every change in the store before anyone else sees it. Its peers ask
for no token. Where a server fell behind, its latency is that of what arrived: read the columns of what did not.
"""


def report(scenarios: Sequence[Scenario], results: Results) -> str:
    """Everything that was measured, in the order of the scenarios."""
    parts = [INTRODUCTION, _servers(), _goals(verdicts(results))]
    parts += [scenario_section(scenario, results[scenario.key]) for scenario in scenarios if scenario.key in results]
    return "\n".join(parts)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _servers() -> str:
    return table(["server", "version"], [[server.name, server.version] for server in SERVERS])


def _goals(judged: Sequence[Verdict]) -> str:
    rows = [
        [
            verdict.goal.sentence,
            _bound(verdict),
            _number(verdict.measured, 1, verdict.goal.unit),
            verdict_words(verdict),
        ]
        for verdict in judged
    ]
    listed = table(["goal", "that is", "measured", ""], rows)
    accounts = "".join(f"- {account}\n" for account in _accounts(judged))
    return f"## Goals\n\n{listed}" + (f"\nWhere it goes:\n\n{accounts}" if accounts else "")


EXPLAINED = ("%", "kB")


def _accounts(judged: Sequence[Verdict]) -> list[str]:
    """Of each scenario in which a goal for the CPU or memory is missed, where that was looked into."""
    missed = dict.fromkeys(
        each.goal.scenario for each in judged if each.goal.unit in EXPLAINED and each.is_met is False
    )
    return [f"{scenario}: {ACCOUNTS[scenario]}" for scenario in missed if scenario in ACCOUNTS]


def _bound(verdict: Verdict) -> str:
    sign = "≥" if verdict.goal.more_is_better else "≤"
    return "not measured" if verdict.allowed is None else f"{sign} {_number(verdict.allowed, 1, verdict.goal.unit)}"


def verdict_words(verdict: Verdict) -> str:
    if verdict.is_met is None:
        return "not measured"
    if verdict.is_met:
        return "met"
    factor = verdict.missed_by
    return "**missed**" if factor is None else f"**missed**, {factor:.2f} times {_wrong_way(verdict)}"


def _wrong_way(verdict: Verdict) -> str:
    return "too little" if verdict.goal.more_is_better else "too much"


def scenario_section(scenario: Scenario, result: ScenarioResult) -> str:
    heads = ["server", *(column.heading for column in scenario.columns)]
    rows = [
        [server.name, *(cell(result.servers[server.key], column) for column in scenario.columns)]
        for server in scenario.servers
        if server.key in result.servers
    ]
    when = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(result.measured_at))
    ran = (
        f"{result.runs} {'run' if result.runs == 1 else 'runs'}, {when}; {result.machine}; "
        f"load average before: {result.load_before:.2f}; commit {result.commit or 'unknown'}."
    )
    notes = [*result.notes, *_failures(scenario, result)]
    listed = "".join(f"- {note}\n" for note in notes)
    text = f"## {scenario.title}\n\n{scenario.explanation}\n{ran}\n\n{table(heads, rows)}"
    return f"{text}\n{listed}" if listed else text


def _failures(scenario: Scenario, result: ScenarioResult) -> list[str]:
    return [
        f"{server.name}: {reason}"
        for server in scenario.servers
        if server.key in result.servers
        for reason in dict.fromkeys(result.servers[server.key].failures)
    ]


def cell(measured: Measured, column: Column) -> str:
    """The median or sum, and between what it lay."""
    value = measured.value(column.figure, column.combine)
    if value is None:
        return "–"
    spread = measured.spread(column.figure) if column.combine == "median" else None
    shown = _number(value, column.decimals)
    if spread is None or spread[0] == spread[1]:
        return shown
    return f"{shown} ({_number(spread[0], column.decimals)}–{_number(spread[1], column.decimals)})"


def _number(value: float | None, decimals: int, unit: str = "") -> str:
    if value is None:
        return "not measured"
    shown = f"{value:,.{0 if value >= 1_000 else decimals}f}"
    return f"{shown} {unit}" if unit else shown
