"""What was measured: samples of each figure, kept between runs so that one scenario can be measured alone.

A sample is one figure of one run. A server that could not be measured leaves the reason in their place.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.documents.interpreter import describe

Combine = Literal["median", "sum"]


@dataclass(slots=True)
class Measured:
    """One scenario on one server."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    """By figure, one for each run."""
    failures: list[str] = field(default_factory=list)
    """Why a run gave none."""

    def add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.samples.setdefault(name, []).append(value)

    @property
    def fell_behind(self) -> bool:
        """It failed, or had not sent everything long after the end: more runs would say no more."""
        return bool(self.failures) or any(max(self.samples.get(name, [0.0])) > 0 for name in ("missing", "short"))

    def value(self, figure: str, combine: Combine = "median") -> float | None:
        """None: there is no sample of it."""
        samples = self.samples.get(figure)
        if not samples:
            return None
        return sum(samples) if combine == "sum" else statistics.median(samples)

    def spread(self, figure: str) -> tuple[float, float] | None:
        """Smallest and largest sample; None: fewer than two."""
        samples = self.samples.get(figure, [])
        return (min(samples), max(samples)) if len(samples) > 1 else None


@dataclass(slots=True)
class ScenarioResult:
    """One scenario on all servers, and on what it ran."""

    scenario: str
    measured_at: float
    """Seconds since the epoch."""
    machine: str
    load_before: float
    """The system's load average over a minute, before the first run."""
    runs: int
    servers: dict[str, Measured] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    commit: str = ""
    """Of the checkout that was measured; empty where there is no repository."""

    @classmethod
    def begin(cls, scenario: str, runs: int, python: str = sys.executable) -> "ScenarioResult":
        """`python`: what Passerelle runs on."""
        ran_on = f"{machine()}, {describe(python)}"
        return cls(scenario, time.time(), ran_on, os.getloadavg()[0], runs, commit=_commit())

    def value(self, server: str, figure: str, combine: Combine = "median") -> float | None:
        measured = self.servers.get(server)
        return None if measured is None else measured.value(figure, combine)


def machine() -> str:
    """Processor, cores, system: without the host's name."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.machine(),
    )
    system = f"Linux {platform.release().split('-')[0]}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def _commit() -> str:
    """With a + where something is not committed."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()


def save(folder: Path, result: ScenarioResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.scenario}.json").write_text(json.dumps(asdict(result), indent=1), "utf-8")


def load(folder: Path, scenario: str) -> ScenarioResult | None:
    """What was last measured; None: nothing."""
    path = folder / f"{scenario}.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text("utf-8"))
    servers = {key: Measured(**measured) for key, measured in stored.pop("servers").items()}
    return ScenarioResult(**stored, servers=servers)
