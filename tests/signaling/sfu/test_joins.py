"""A hundred people arrive together; who is already there hears no gap."""

import asyncio
import time

from benchmarks.media_forwarder import Generator, Load
from signaling.engines.sfu import SfuEngine
from signaling.engines.sfu.pacing import BURST, JOINS_PER_SECOND
from tests.support.deadlines import SECOND

ARRIVING = 100
STALL_S = 0.1
"""What a jitter buffer bridges; a hundred handshakes in a row would be four times as much."""


async def test_a_hundred_who_arrive_together_disturb_nobody() -> None:
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
        assert time.monotonic() - began >= (ARRIVING - 2 * BURST) / JOINS_PER_SECOND
        sent = await sending
        (worker,) = await engine.statistics()
        assert worker.longest_stall_s < STALL_S * SECOND
        assert listener.received >= sent * 0.99
        await generator.close()
    finally:
        await engine.stop()
