"""A camera that sees one colour, for the Python SDK, and how to know it again at the other end."""

import asyncio
from typing import Any

import av
from aiortc.mediastreams import MediaStreamError, VideoStreamTrack

from passerelle_client import Room
from passerelle_client.media import Media, RemoteTrack
from passerelle_client.media_tracks import IncomingTrack
from tests.support.deadlines import SECOND

DEADLINE = 15 * SECOND


class ColourTrack(VideoStreamTrack):
    """A camera that sees one colour, as (Y, U, V)."""

    def __init__(self, colour: tuple[int, int, int]) -> None:
        super().__init__()
        self.colour = colour
        self.left: int | None = None
        """Frames until its end; None: it has none."""

    async def recv(self) -> Any:
        if self.left is not None:
            if self.left == 0:
                raise MediaStreamError
            self.left -= 1
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(160, 120, "yuv420p")
        for plane, value in zip(frame.planes, self.colour, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


RED, GREEN, BLUE = (81, 90, 240), (145, 54, 34), (41, 240, 110)


async def shows(track: IncomingTrack, colour: tuple[int, int, int]) -> None:
    """Frames of that colour arrive."""
    async with asyncio.timeout(DEADLINE):
        while True:
            frame = await track.recv()
            rows = [bytes(plane)[plane.line_size * 20 :][:60] for plane in frame.planes]
            seen = [sum(row) // len(row) for row in rows]
            if all(abs(one - other) < 25 for one, other in zip(seen, colour, strict=True)):
                return


async def remote(media: Media, source: str, owner: Room) -> RemoteTrack:
    """The owner's track of that source, once it arrives."""
    arrived = asyncio.Event()
    off = media.on("remote_track", lambda _remote: arrived.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                for one in media.remote_tracks.values():
                    if one.track.participant_id == owner.participant_id and one.track.source == source:
                        return one
                arrived.clear()
                await arrived.wait()
    finally:
        off()
