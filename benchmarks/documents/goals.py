"""What Passerelle has set out to be, beside what was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.documents.measurement import Combine, ScenarioResult

Results = Mapping[str, ScenarioResult]
Read = Callable[[Results], float | None]
US, PEER, TUNED = "passerelle", "hocuspocus", "hocuspocus-15"


ACCOUNTS: Mapping[str, str] = {
    "typing-30": (
        "Samples of the server (perf, commit cbbf8c4, at 12 % of a core, on a busy machine): 50 % Python's "
        "interpreter, 28 % the kernel (14 of it the network and its filter, 7 waiting and waking), 8 % SQLite, 6 % "
        "uvloop. A character costs 1,000 µs. Python's part of taking it and of its flush takes 83 of them when it is "
        "run again and again in one process, and 140 to 290 when the processor's caches are emptied before each, as "
        "they may be when a server sleeps between two keys."
    ),
    "typing-200": (
        "Samples of the server (perf, commit 8361b01, at 21 % of a core): 47 % Python's interpreter, 38 % the kernel "
        "(25 of it writing to sockets, 4 reading, 4 waiting), 7 % uvloop, 2 % SQLite. A server of 130 lines with the "
        "same merging and a store, without rooms, rights, scans, limits and acknowledgements, took 12.5 % in the same "
        "minutes."
    ),
    "documents-300": (
        "Samples of the server (perf and py-spy, commit cbbf8c4, at 56 % of a core, 188 µs a character): 53 % "
        "Python's interpreter, 32 % the kernel (16 of it the network and its filter, 6 waiting and waking, 5 the "
        "store's file), 6 % SQLite, 4 % uvloop. By what is done: 25 % the loop and its reads, 16 % writing to "
        "sockets, 14 % the store, 16 % the rest of a flush, 8 % taking what came. A server of 130 lines without "
        "rooms, rights, scans, limits and acknowledgements took 29 % where Passerelle took 70 (commit 8361b01)."
    ),
}
"""By scenario: where the time or the memory goes, as it was measured; shown while a goal for it is missed."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of ours, and how far it may go; both None when something was not measured."""

    scenario: str
    sentence: str
    unit: str
    measured: Read
    allowed: Read
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    measured: float | None
    allowed: float | None

    @property
    def is_met(self) -> bool | None:
        """None: it cannot be said."""
        if self.measured is None or self.allowed is None:
            return None
        return self.measured >= self.allowed if self.goal.more_is_better else self.measured <= self.allowed

    @property
    def missed_by(self) -> float | None:
        """How many times too much, or too little: above 1. None: met, or against a goal of 0."""
        if self.is_met is not False or not self.measured or not self.allowed:
            return None
        return self.allowed / self.measured if self.goal.more_is_better else self.measured / self.allowed


def figure(scenario: str, server: str, name: str, combine: Combine = "median") -> Read:
    def read(results: Results) -> float | None:
        result = results.get(scenario)
        return None if result is None else result.value(server, name, combine)

    return read


def scaled(read: Callable[[Results], float | None], factor: float, plus: float = 0.0) -> Read:
    def scale(results: Results) -> float | None:
        value = read(results)
        return None if value is None else value * factor + plus

    return scale


def constant(value: float) -> Read:
    return lambda _results: value


def beside(
    scenario: str, name: str, sentence: str, unit: str, factor: float, *, plus: float = 0.0, peer: str = PEER
) -> Goal:
    """At most `factor` times the peer's, and `plus`."""
    return Goal(
        scenario,
        sentence,
        unit,
        figure(scenario, US, name),
        scaled(figure(scenario, peer, name), factor, plus),
    )


def throughput(ours: str, name: str, factor: float, sentence: str) -> Goal:
    return Goal(
        "saturation",
        sentence,
        "updates/s",
        figure("saturation", ours, name),
        scaled(figure("saturation", PEER, name), factor),
        more_is_better=True,
    )


GOALS = (
    beside("typing-30", "p50", "30 typing: p50 at most Hocuspocus's plus 1 ms", "ms", 1, plus=1),
    beside("typing-30", "p99", "30 typing: p99 at most Hocuspocus's plus 1 ms", "ms", 1, plus=1),
    beside("typing-30", "cpu", "30 typing: half of Hocuspocus's CPU", "%", 1 / 2),
    beside("typing-200", "cpu", "200 typing: an eighth of Hocuspocus's CPU", "%", 1 / 8),
    beside("typing-200", "cpu", "200 typing: a quarter of the tuned Hocuspocus's CPU", "%", 1 / 4, peer=TUNED),
    beside("typing-200", "p99", "200 typing: p99 no higher than Hocuspocus's", "ms", 1),
    throughput(US, "fresh", 4, "20 writers flat out: four times Hocuspocus's, as shipped"),
    throughput("passerelle-unlimited", "fresh", 4, "20 writers flat out: four times, without the limit on messages"),
    throughput("passerelle-unlimited", "hot", 3, "20 writers flat out: three times its hot one, without that limit"),
    beside("documents-300", "cpu", "300 documents: half of Hocuspocus's CPU", "%", 1 / 2),
    beside("documents-300", "p99", "300 documents: p99 no higher than Hocuspocus's", "ms", 1),
    beside("cold-open", "one", "Cold open by one: a tenth of Hocuspocus's time", "ms", 1 / 10),
    beside("cold-open", "thirty", "Cold open by 30: a tenth of Hocuspocus's time", "ms", 1 / 10),
    Goal("idle", "Memory of an idle connection", "kB", figure("idle", US, "kb"), constant(20)),
    Goal("crash", "Characters lost that anyone had seen", "", figure("crash", US, "lost", "sum"), constant(0)),
)


def verdicts(results: Results) -> list[Verdict]:
    return [Verdict(goal, goal.measured(results), goal.allowed(results)) for goal in GOALS]
