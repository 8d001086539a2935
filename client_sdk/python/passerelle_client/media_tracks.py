"""Tracks between aiortc and whoever uses this SDK: muted at the source, never piling up."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

FRAMES_KEPT = {"audio": 50, "video": 3}
"""Frames that wait for a reader: a second of sound, a picture or two. Older ones are dropped."""


class OutgoingTrack(MediaStreamTrack):
    """A track of ours as it is sent. While muted or held its frames are taken and dropped: nothing leaves this
    machine, and nothing piles up in the camera's queue."""

    def __init__(self, source: MediaStreamTrack, muted: bool, ended: Callable[[], None]) -> None:
        super().__init__()
        self.kind = source.kind
        self.source = source
        self.is_muted = muted
        self.is_held = False
        """The room is frozen, and no server is in between to keep it silent."""
        self._ended = ended
        self._released = asyncio.Event()

    async def recv(self) -> Any:
        """The next frame to send. Raises: MediaStreamError once the source has ended, or it is released."""
        while self.readyState == "live":
            frame = await self._next()
            if not (self.is_muted or self.is_held):
                return frame
        raise MediaStreamError

    async def _next(self) -> Any:
        reading = asyncio.ensure_future(self.source.recv())
        released = asyncio.ensure_future(self._released.wait())
        try:
            await asyncio.wait((reading, released), return_when=asyncio.FIRST_COMPLETED)
            if released.done():
                raise MediaStreamError
            return reading.result()
        except MediaStreamError:
            if self.readyState == "live":
                self.stop()
                self._ended()
            raise
        finally:
            reading.cancel()
            released.cancel()

    def release(self) -> None:
        """It is sent no more; the source goes on. Whoever waits for a frame is told."""
        self.stop()
        self._released.set()


class SenderCopy(MediaStreamTrack):
    """What one sender of aiortc is given: it stops its track when its connection closes, and ours goes
    on over the next one."""

    def __init__(self, outgoing: OutgoingTrack) -> None:
        super().__init__()
        self.kind = outgoing.kind
        self._outgoing = outgoing

    async def recv(self) -> Any:
        return await self._outgoing.recv()


class IncomingTrack(MediaStreamTrack):
    """A track of somebody else; `await recv()` for its frames. It outlives the peer connections that
    bring it. What nobody takes is dropped, the oldest first."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._is_held = False
        self._frames: deque[Any] = deque(maxlen=FRAMES_KEPT[kind])
        self._changed = asyncio.Event()

    async def recv(self) -> Any:
        """The next frame. Raises: MediaStreamError once the track has ended."""
        while not self._frames:
            if self.readyState != "live":
                raise MediaStreamError
            self._changed.clear()
            await self._changed.wait()
        return self._frames.popleft()

    def put(self, frame: Any) -> None:
        if not self._is_held:
            self._frames.append(frame)
            self._changed.set()

    def hold(self, is_held: bool) -> None:
        """Whether nothing of it may be heard or seen now."""
        self._is_held = is_held
        if is_held:
            self._frames.clear()

    def stop(self) -> None:
        super().stop()
        self._changed.set()


class Reception:
    """Takes frames from the tracks of peer connections and hands each to the incoming track that it
    belongs to now: a line of a peer connection may carry one track today, and another one tomorrow."""

    def __init__(self) -> None:
        self._readers: dict[MediaStreamTrack, asyncio.Task[None]] = {}
        self._targets: dict[MediaStreamTrack, IncomingTrack] = {}

    def connect(self, targets: dict[MediaStreamTrack, IncomingTrack]) -> None:
        """From now on these, and only these."""
        self._targets = dict(targets)
        for source in targets:
            if source not in self._readers:
                self._readers[source] = asyncio.create_task(self._read(source))

    async def _read(self, source: MediaStreamTrack) -> None:
        # Read to its end even while it belongs to nobody: aiortc keeps what is not taken.
        try:
            with contextlib.suppress(MediaStreamError):
                while True:
                    frame = await source.recv()
                    target = self._targets.get(source)
                    if target is not None:
                        target.put(frame)
        finally:
            self._readers.pop(source, None)
            self._targets.pop(source, None)

    async def close(self) -> None:
        readers = list(self._readers.values())
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
