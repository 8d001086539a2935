"""MED-4: what a media worker uses while it forwards for long is what it used at the beginning."""

import os
import statistics

import pytest

from benchmarks.media.generator import Shape
from benchmarks.media.soak import SAMPLE_EVERY_S, SHAPE, soak
from tests.support.deadlines import SECOND

MOST_BYTES_PER_STREAM_H = 1_000_000
SHORT_GROWTH_BYTES = 4_000_000
"""Of a run that is too short for a slope: what the allocator and the kernel move back and forth."""
LONGEST_STALL_S = 0.2
LONG_S = float(os.environ.get("PASSERELLE_TEST_SOAK_SECONDS", "1200"))


@pytest.mark.parametrize(
    ("shape", "seconds", "every_s"),
    [
        pytest.param(Shape(rooms=2, subscribers_each=5), 6.0, 1.0, id="short"),
        pytest.param(
            SHAPE,
            LONG_S,
            SAMPLE_EVERY_S,
            id="long",
            marks=[pytest.mark.long, pytest.mark.timeout(LONG_S * 2 + 300)],
        ),
    ],
)
async def test_a_worker_that_forwards_for_long_uses_no_more(shape: Shape, seconds: float, every_s: float) -> None:
    samples = [each async for each in soak(shape, seconds, every_s)]
    first, last, streams = samples[0], samples[-1], shape.joins
    assert last.received > 0.9 * last.expected, last
    for kind in ("descriptors", "threads", "tasks"):
        assert {getattr(each, kind) for each in samples} == {getattr(first, kind)}, kind
    grown = max(each.memory_bytes for each in samples[-3:]) - min(each.memory_bytes for each in samples[:3])
    if seconds < 60:
        assert grown < SHORT_GROWTH_BYTES
        return
    slope = statistics.linear_regression([each.at_s for each in samples], [each.memory_bytes for each in samples]).slope
    print(f"{slope * 3600 / streams / 1e3:.1f} kB an hour a stream, {grown / 1e6:.2f} MB in {seconds:.0f} s", first)
    assert slope * 3600 / streams < MOST_BYTES_PER_STREAM_H
    stalls = sorted(each.stall_s for each in samples)
    assert stalls[int(0.999 * (len(stalls) - 1))] < LONGEST_STALL_S * SECOND, stalls[-5:]
