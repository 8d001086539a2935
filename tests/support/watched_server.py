"""The server, with its event loop watched: each turn that takes longer than a few milliseconds is written down.

Run as `python -m tests.support.watched_server`, with TEST_STALLS the file to write to: a line a turn, of three floats.
"""

import asyncio
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import server.app
from server.cli import main
from server.house import House

TICK_S = 0.001
NOTED_S = 0.002

start_house = server.app.start_house


@dataclass(frozen=True, slots=True)
class Stall:
    at: float
    """Its end (CLOCK_MONOTONIC, the same in every process)."""
    waited_s: float
    """Without what the loop's own thread stood in line for a processor."""
    worked_s: float
    """Processor time of the whole process meanwhile: what the machine did for others is no stall of ours."""

    @property
    def own_s(self) -> float:
        return min(self.waited_s, self.worked_s)


def stalls_since(path: Path, since: float) -> list[float]:
    """In seconds, the longest first."""
    lines = path.read_text().splitlines()
    stalls = [Stall(*map(float, line.split())) for line in lines if len(line.split()) == 3]
    return sorted((stall.own_s for stall in stalls if stall.at > since), reverse=True)


async def watch() -> None:
    line = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    with Path(os.environ["TEST_STALLS"]).open("a", buffering=1) as file:
        while True:
            before, worked, stood = time.monotonic(), time.process_time(), _stood_in_line_s(line)
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if now - before - TICK_S > NOTED_S:
                waited = now - before - TICK_S - (_stood_in_line_s(line) - stood)
                file.write(f"{now} {max(0.0, waited)} {time.process_time() - worked}\n")


def _stood_in_line_s(schedstat: Path) -> float:
    """How long the thread could have run and did not, since it began; 0 where the kernel does not say."""
    try:
        return int(schedstat.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


async def start_watched(house: House) -> None:
    server.app.watch = asyncio.create_task(watch())  # type: ignore[attr-defined]
    await start_house(house)


if __name__ == "__main__":
    server.app.start_house = start_watched
    sys.exit(main())
