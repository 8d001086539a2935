"""What is measured of each engine: the fixed loads, and the most that one core carries."""

import asyncio
import gc
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.media.generator import Generator, Sent, Shape
from benchmarks.media.servers import SERVERS, Running
from tests.support.janus_server import own_address

MAX_LOSS = 0.01
MAX_P99_S = 0.050
SETTLE_S = 0.5
WARM_UP_S = 8.0
"""The forwarder tries a new line out with 2 Mbit/s, and half as much again each second, until 30 are no bound."""


@dataclass(frozen=True, slots=True)
class Load:
    key: str
    title: str
    shape: Shape
    factors: Sequence[int]
    """Times the fixed rate, tried one after another until one fails; empty: the fixed load only."""
    servers: Sequence[str]


ONE_ROOM = ("passerelle", "janus")
"""A room lives in one worker."""
LOADS = (
    Load("1-20", "One publisher, 20 viewers", Shape(1, 20), (), ONE_ROOM),
    Load(
        "1-60", "One publisher, 60 viewers", Shape(1, 60, tracks=4), (8, 10, 11, 12, 13, 14, 16, 18, 20, 24), ONE_ROOM
    ),
    Load(
        "10-9",
        "Ten rooms of one publisher and 9 viewers",
        Shape(10, 9, tracks=2),
        (4, 5, 6, 7, 8, 9, 10, 12, 14),
        ("passerelle", "passerelle-two", "janus"),
    ),
    Load(
        "slices",
        "Four rooms of one publisher and 9 viewers, by workers with a part of a core",
        Shape(4, 9, tracks=2),
        (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14),
        ("slice", "two-slices"),
    ),
)


@dataclass(frozen=True, slots=True)
class Cores:
    servers: Sequence[int]
    """The first worker's, or the gateway's, and the second worker's."""
    generator: int


def cores() -> Cores:
    """Raises: RuntimeError on a machine with one."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        raise RuntimeError("server and generator need a core each")
    return Cores(found[:2], found[min(2, len(found) - 1)])


async def measure(load: Load, server: str, folder: Path, seconds: float, *, quick: bool) -> dict[str, float]:
    """The figures of one run."""
    generator = Generator(load.shape, own_address())
    on = cores()
    before = os.sched_getaffinity(0)
    try:
        async with SERVERS[server](generator.hear, folder, on.servers) as running:
            os.sched_setaffinity(0, {on.generator})
            figures = await _joins(generator, running, load.shape)
            try:
                figures |= await _fixed(generator, running, seconds)
                figures |= await _most(generator, running, load, seconds, quick=quick)
            finally:
                await generator.close(running.engine)
            return figures
    finally:
        os.sched_setaffinity(0, before)
        gc.unfreeze()


async def _joins(generator: Generator, running: Running, shape: Shape) -> dict[str, float]:
    before = running.cpu_seconds()
    await generator.build(running.engine)
    # What the generator holds by now it holds to the end: looking through it again makes packets late.
    gc.collect()
    gc.freeze()
    await asyncio.sleep(SETTLE_S)
    joined_cpu_s = running.cpu_seconds() - before
    await generator.send(1, WARM_UP_S)
    return {
        "join_ms": joined_cpu_s / shape.joins * 1e3,
        "memory_mb": running.rss_bytes() / 1e6,
    }


async def _fixed(generator: Generator, running: Running, seconds: float) -> dict[str, float]:
    sent, cpu_s, own_cpu_s = await _stretch(generator, running, 1, seconds)
    return {
        "rate": sent.received / sent.seconds,
        "us": cpu_s / max(1, sent.received) * 1e6,
        "cpu": cpu_s / sent.seconds * 100,
        "p99_ms": p99(sent.delays_s) * 1e3,
        "loss": loss(sent) * 100,
        "generator": own_cpu_s / sent.seconds * 100,
    }


async def _most(generator: Generator, running: Running, load: Load, seconds: float, *, quick: bool) -> dict[str, float]:
    """The highest rate that was carried whole and in time, and how it was there."""
    best: dict[str, float] = {}
    for factor in load.factors[:1] if quick else load.factors:
        sent, cpu_s, own_cpu_s = await _stretch(generator, running, factor, seconds)
        if not _carried(sent):
            # One hiccup of the machine makes a stretch late; a rate that is too high is so each time.
            sent, cpu_s, own_cpu_s = await _stretch(generator, running, factor, seconds)
        if not _carried(sent):
            best |= {
                "failed_rate": sent.expected / sent.seconds,
                "failed_us": cpu_s / max(1, sent.received) * 1e6,
                "failed_cpu": cpu_s / sent.seconds * 100,
                "failed_loss": loss(sent) * 100,
                "failed_p99_ms": p99(sent.delays_s) * 1e3,
                "failed_generator": own_cpu_s / sent.seconds * 100,
            }
            break
        best |= {
            "most": sent.received / sent.seconds,
            "most_us": cpu_s / sent.received * 1e6,
            "most_cpu": cpu_s / sent.seconds * 100,
            "most_p99_ms": p99(sent.delays_s) * 1e3,
            "most_generator": own_cpu_s / sent.seconds * 100,
        }
    return best


def _carried(sent: Sent) -> bool:
    return loss(sent) <= MAX_LOSS and p99(sent.delays_s) <= MAX_P99_S


async def _stretch(generator: Generator, running: Running, factor: int, seconds: float) -> tuple[Sent, float, float]:
    before, own_before = running.cpu_seconds(), _own_cpu_s()
    sent = await generator.send(factor, seconds)
    return sent, running.cpu_seconds() - before, _own_cpu_s() - own_before


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def loss(sent: Sent) -> float:
    return max(0.0, 1 - sent.received / sent.expected)


def p99(delays_s: Sequence[float]) -> float:
    """Infinite when nothing arrived."""
    return statistics.quantiles(delays_s, n=100)[98] if len(delays_s) > 1 else float("inf")
