"""A hundred people arrive together; who is already there hears no gap."""

import asyncio
import time

import pytest

from benchmarks.media_forwarder import Generator, Load
from signaling.engines.sfu import SfuEngine
from signaling.engines.sfu.pacing import BURST, JOINS_PER_SECOND
from tests.support.deadlines import SECOND

ARRIVING = 100
STALL_S = 0.1
"""What a jitter buffer bridges; a hundred handshakes in a row would be four times as much."""


async def arrive_together() -> tuple[float, float, float]:
    """How long it took, the worker's longest stall meanwhile, the share that a listener received."""
    generator = Generator()
    engine = SfuEngine(generator.hear, ["127.0.0.1"])
    await engine.start()
    try:
        talking = Load("one who talks to one", 1, 1)
        await generator.build(engine, talking)
        (listener,) = generator.subscribers
        await engine.statistics()  # the stalls of the start belong to nobody
        began = time.monotonic()
        sending = asyncio.create_task(generator.send(talking, ARRIVING / JOINS_PER_SECOND + 1))
        async with asyncio.timeout(40 * SECOND):
            await asyncio.gather(*(generator._subscribe(engine, "room-0", f"late-{n}") for n in range(ARRIVING)))
            for peer in generator.subscribers:
                await peer.connected.wait()
        took_s = time.monotonic() - began
        sent = await sending
        (worker,) = await engine.statistics()
        await generator.close()
        return took_s, worker.longest_stall_s, listener.received / sent
    finally:
        await engine.stop()


async def test_a_hundred_who_arrive_together_wait_for_their_turn() -> None:
    took_s, _, received = await arrive_together()
    assert took_s >= (ARRIVING - 2 * BURST) / JOINS_PER_SECOND
    assert received > 0.95, "nobody who was there is cut off; on a busy machine the test's own socket may overflow"


@pytest.mark.long
async def test_a_hundred_who_arrive_together_disturb_nobody() -> None:
    """By the clock, so on a quiet machine."""
    _, stall_s, received = await arrive_together()
    assert stall_s < STALL_S * SECOND
    assert received > 0.99
