"""`python -m benchmarks.media.soak`: does a media worker that forwards for long use what it used at the beginning?

Ten rooms of one publisher and ten viewers each, at the generator's rate, for twenty minutes. What the worker uses at
minute 1, 5, 10 and 20 is kept (build/benchmark-media), and stands in benchmarks/RESULTS-media.md. It is about leaks,
not about speed: other work on the machine does no harm.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.documents import measurement
from benchmarks.documents.measurement import Measured, ScenarioResult
from benchmarks.media.generator import Generator, Shape
from signaling.engines.sfu import SfuEngine
from tests.support.janus_server import own_address
from tests.support.process_use import memory_bytes

KEY = "soak"
KEPT = Path(__file__).resolve().parents[2] / "build/benchmark-media"
SHAPE = Shape(rooms=10, subscribers_each=10)
TITLE = f"{SHAPE.rooms} publishers and {SHAPE.rooms * SHAPE.subscribers_each} viewers, for long"
WARM_UP_S = 9.0
"""Lines are tried out, and the caches, of a second each, are full."""
SAMPLE_EVERY_S = 2.0
SHOWN_MINUTES = (1, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Use:
    """What a worker uses, and how it fared since the last look."""

    at_s: float
    """Since the first look."""
    memory_bytes: int
    descriptors: int
    threads: int
    tasks: int
    stall_s: float
    """The longest."""
    cpu_s: float
    """Since its start."""
    expected: int
    """Packets, since the first look; and so many of them came."""
    received: int


async def soak(
    shape: Shape, seconds: float, every_s: float = SAMPLE_EVERY_S, warm_up_s: float = WARM_UP_S
) -> AsyncIterator[Use]:
    """One worker of the `sfu` engine under load; looked at when it is warm, then every `every_s`."""
    generator = Generator(shape, own_address())
    engine = SfuEngine(generator.hear, [own_address()], workers=1)
    await engine.start()
    try:
        await generator.build(engine)
        await generator.send(1, warm_up_s)
        began_at, expected, received = time.monotonic(), 0, 0
        yield await _look(engine, 0.0, 0, 0)
        while time.monotonic() - began_at < seconds:
            sent = await generator.send(1, every_s)
            expected, received = expected + sent.expected, received + sent.received
            yield await _look(engine, time.monotonic() - began_at, expected, received)
        await generator.close(engine)
    finally:
        await engine.stop()


async def _look(engine: SfuEngine, at_s: float, expected: int, received: int) -> Use:
    (pid,) = engine.worker_pids
    (figures,) = await engine.statistics()
    process = Path(f"/proc/{pid}")
    return Use(
        at_s,
        memory_bytes(pid),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        figures.tasks,
        figures.longest_stall_s,
        figures.cpu_s,
        expected,
        received,
    )


def figures(samples: Sequence[Use], minutes: float) -> dict[str, float]:
    """Of the last sample before that minute's end."""
    until = [each for each in samples if each.at_s <= minutes * 60] or samples[:1]
    last = until[-1]
    return {
        "minutes": last.at_s / 60,
        "memory_mb": last.memory_bytes / 1e6,
        "descriptors": last.descriptors,
        "threads": last.threads,
        "tasks": last.tasks,
        "cpu": (last.cpu_s - samples[0].cpu_s) / max(last.at_s, 1.0) * 100,
        "loss": max(0.0, 1 - last.received / max(1, last.expected)) * 100,
        "stall_ms": max(each.stall_s for each in until) * 1e3,
    }


async def main(arguments: argparse.Namespace) -> None:
    result = ScenarioResult.begin(KEY, 1)
    samples: list[Use] = []
    shown: list[float] = [minute for minute in SHOWN_MINUTES if minute < arguments.minutes] + [arguments.minutes]
    async for use in soak(SHAPE, arguments.minutes * 60):
        samples.append(use)
        if use.at_s // 60 > samples[max(0, len(samples) - 2)].at_s // 60:
            print(
                f"{use.at_s / 60:5.1f} min", {name: f"{value:.4g}" for name, value in asdict(use).items()}, flush=True
            )
    for minutes in shown:
        measured = Measured()
        measured.add(figures(samples, minutes))
        result.servers[f"{minutes:g}"] = measured
    measurement.save(KEPT, result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.media.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    asyncio.run(main(parser.parse_args()))
