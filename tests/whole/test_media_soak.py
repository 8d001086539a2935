"""MED-4: what a media worker uses while it forwards for long is what it used at the beginning."""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.media.generator import Generator, Shape
from signaling.engines.sfu import SfuEngine
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address
from tests.support.process_use import memory_bytes

MOST_BYTES_PER_STREAM_H = 1_000_000
SHORT_GROWTH_BYTES = 4_000_000
"""Of a run that is too short for a slope: what the allocator and the kernel move back and forth."""
LONGEST_STALL_S = 0.2
WARM_UP_S = 9.0
"""Lines are tried out, and the caches, of a second each, are full."""
LONG_S = float(os.environ.get("PASSERELLE_TEST_SOAK_SECONDS", "1200"))


@dataclass(frozen=True, slots=True)
class Use:
    at: float
    memory_bytes: int
    descriptors: int
    threads: int
    tasks: int
    stall_s: float


async def use(engine: SfuEngine) -> Use:
    (pid,) = engine.worker_pids
    (figures,) = await engine.statistics()
    process = Path(f"/proc/{pid}")
    return Use(
        time.monotonic(),
        memory_bytes(pid),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        figures.tasks,
        figures.longest_stall_s,
    )


@pytest.mark.parametrize(
    ("shape", "seconds", "every_s"),
    [
        pytest.param(Shape(rooms=2, subscribers_each=5), 6.0, 1.0, id="short"),
        pytest.param(
            Shape(rooms=10, subscribers_each=10),
            LONG_S,
            2.0,
            id="long",
            marks=[pytest.mark.long, pytest.mark.timeout(LONG_S * 2 + 300)],
        ),
    ],
)
async def test_a_worker_that_forwards_for_long_uses_no_more(shape: Shape, seconds: float, every_s: float) -> None:
    generator = Generator(shape, own_address())
    engine = SfuEngine(generator.hear, [own_address()], workers=1)
    await engine.start()
    try:
        await generator.build(engine)
        await generator.send(1, WARM_UP_S)
        samples = [await use(engine)]
        expected = received = 0
        while samples[-1].at - samples[0].at < seconds:
            sent = await generator.send(1, every_s)
            expected, received = expected + sent.expected, received + sent.received
            samples.append(await use(engine))
        await generator.close(engine)
    finally:
        await engine.stop()
    first, streams = samples[0], shape.joins
    assert received > 0.9 * expected, (received, expected)
    for kind in ("descriptors", "threads", "tasks"):
        assert {getattr(each, kind) for each in samples} == {getattr(first, kind)}, kind
    grown = max(each.memory_bytes for each in samples[-3:]) - min(each.memory_bytes for each in samples[:3])
    if seconds < 60:
        assert grown < SHORT_GROWTH_BYTES
        return
    slope = statistics.linear_regression([each.at for each in samples], [each.memory_bytes for each in samples]).slope
    print(f"{slope * 3600 / streams / 1e3:.1f} kB an hour a stream, {grown / 1e6:.2f} MB in {seconds:.0f} s", first)
    assert slope * 3600 / streams < MOST_BYTES_PER_STREAM_H
    stalls = sorted(each.stall_s for each in samples)
    assert stalls[int(0.999 * (len(stalls) - 1))] < LONGEST_STALL_S * SECOND, stalls[-5:]
