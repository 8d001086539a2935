"""Tracks of the Python SDK, without any network: what is dropped, and what is kept."""

import asyncio
from typing import Any

import pytest
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

from passerelle_client.media_tracks import FRAMES_KEPT, IncomingTrack, OutgoingTrack, Reception


class CountingTrack(AudioStreamTrack):
    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    async def recv(self) -> Any:
        self.taken += 1
        await asyncio.sleep(0)
        return self.taken


async def test_a_muted_source_is_emptied_so_that_it_does_not_pile_up() -> None:
    source = CountingTrack()
    outgoing = OutgoingTrack(source, True, lambda: None)
    reading = asyncio.create_task(outgoing.recv())
    while source.taken < 20:
        await asyncio.sleep(0)
    assert not reading.done()
    outgoing.is_muted = False
    assert await reading >= 20


async def test_what_nobody_takes_is_dropped_and_the_newest_kept() -> None:
    source, target, reception = CountingTrack(), IncomingTrack("audio"), Reception()
    reception.connect({source: target})
    while source.taken < 500:
        await asyncio.sleep(0)
    reception.connect({})
    frames = [await target.recv() for _ in range(FRAMES_KEPT["audio"])]
    assert frames[0] > 400
    assert frames == sorted(frames)
    waiting = asyncio.create_task(target.recv())
    await asyncio.sleep(0)
    target.stop()
    with pytest.raises(MediaStreamError):
        await waiting
    await reception.close()
