"""A media session driven from a test: an engine, its events, and aiortc clients over loopback."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aioice.ice
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from signaling.engines import DescriptionToSend, EngineEvent, MediaEngine, MediaGrants
from signaling.messages import PublishedMedia, SessionDescription, TrackSource
from tests.support.deadlines import SECOND

EVERYTHING = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True)


BUNDLED = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
"""Else aiortc 1.16 is deaf to a second sound that its first offer brings behind a picture: the SDK's media.py says why."""


class RecordedEvents:
    """An engine's sink: keeps every event, wakes who waits, hands them to listeners."""

    def __init__(self) -> None:
        self.all: list[EngineEvent] = []
        self.listeners: list[Callable[[EngineEvent], None]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: EngineEvent) -> None:
        self.all.append(event)
        self._changed.set()
        for listener in list(self.listeners):
            listener(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.all if isinstance(event, kind)]

    async def wait_for(
        self, matches: Callable[[EngineEvent], bool], timeout_s: float = 5.0 * SECOND, since: int = 0
    ) -> Any:
        """The first event at or after position `since` that matches."""
        async with asyncio.timeout(timeout_s):
            while True:
                for event in self.all[since:]:
                    if matches(event):
                        return event
                self._changed.clear()
                await self._changed.wait()


@contextlib.contextmanager
def loopback_for_aioice(address: str = "127.0.0.1") -> Any:
    """aioice offers every address but 127.0.0.1; tests offer that one only, or this."""
    original = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]
    try:
        yield
    finally:
        aioice.ice.get_host_addresses = original


async def eventually(condition: Callable[[], Any], timeout_s: float = 5.0 * SECOND, what: str = "") -> Any:
    """The condition's value once it is true; looked at every 20 ms, for what has no event."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still not: {what or condition}"
        await asyncio.sleep(0.02)


class AiortcClient:
    """A client of one media session: publishes with one peer connection, receives with another."""

    def __init__(self, engine: MediaEngine, events: RecordedEvents, room_id: str, session_id: str) -> None:
        self.engine = engine
        self.room_id = room_id
        self.session_id = session_id
        self.publish: RTCPeerConnection | None = None
        self.receive: RTCPeerConnection | None = None
        self.mids: dict[str, str] = {}
        """mid of the subscribe connection → track id"""
        self.frames: dict[str, int] = {}
        """track id → frames decoded"""
        self._events = events
        self._negotiation = 0
        self._answers: asyncio.Queue[DescriptionToSend] = asyncio.Queue()
        self._offers: asyncio.Queue[DescriptionToSend] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._media: list[MediaStreamTrack] = []
        events.listeners.append(self._hear)

    def _hear(self, event: EngineEvent) -> None:
        if isinstance(event, DescriptionToSend) and event.session_id == self.session_id:
            (self._answers if event.pc == "publish" else self._offers).put_nowait(event)

    async def open(self, grants: MediaGrants = EVERYTHING) -> "AiortcClient":
        await self.engine.open_session(self.room_id, self.session_id, f"p-{self.session_id}", grants)
        self._tasks.append(asyncio.create_task(self._answer_offers()))
        return self

    async def publish_tracks(self, *sources: TrackSource, codec: str = "VP8") -> dict[str, str]:
        """source → track id. A new peer connection each time."""
        if self.publish is not None:
            await self.publish.close()
        pc = self.publish = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        tracks: dict[str, str] = {}
        transceivers = []
        for source in sources:
            media = VideoStreamTrack() if source in ("camera", "screen") else AudioStreamTrack()
            self._media.append(media)
            transceiver = pc.addTransceiver(media, direction="sendonly")
            if media.kind == "video":
                capabilities = RTCRtpReceiver.getCapabilities("video").codecs
                transceiver.setCodecPreferences([each for each in capabilities if each.name in (codec, "rtx")])
            transceivers.append((source, transceiver))
        await pc.setLocalDescription(await pc.createOffer())
        named = []
        for source, transceiver in transceivers:
            tracks[source] = f"{self.session_id}-{source}"
            named.append(PublishedMedia(mid=transceiver.mid, track_id=tracks[source], source=source))
        answer = await self.offer(named)
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return tracks

    async def offer(self, named: Sequence[PublishedMedia]) -> str:
        """The answer to the publish connection's local description."""
        assert self.publish is not None
        self._negotiation += 1
        offer = SessionDescription(type="offer", sdp=self.publish.localDescription.sdp)
        await self.engine.receive_description(self.session_id, "publish", self._negotiation, offer, named, None)
        async with asyncio.timeout(10 * SECOND):
            answer = await self._answers.get()
        assert answer.negotiation == self._negotiation
        return answer.description.sdp

    async def _answer_offers(self) -> None:
        while True:
            offer = await self._offers.get()
            if self.receive is None:
                self.receive = RTCPeerConnection(BUNDLED)
                self.receive.on("track", self._receive_track)
            self.mids = {each.mid: each.track_id for each in offer.media}
            await self.receive.setRemoteDescription(RTCSessionDescription(offer.description.sdp, "offer"))
            await self.receive.setLocalDescription(await self.receive.createAnswer())
            answer = SessionDescription(type="answer", sdp=self.receive.localDescription.sdp)
            await self.engine.receive_description(self.session_id, "subscribe", offer.negotiation, answer, (), None)

    def _receive_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.create_task(self._count(track)))

    async def _count(self, track: MediaStreamTrack) -> None:
        assert self.receive is not None
        transceiver = next(each for each in self.receive.getTransceivers() if each.receiver.track is track)
        with contextlib.suppress(Exception):
            while True:
                await track.recv()
                track_id = self.mids.get(transceiver.mid, "")
                self.frames[track_id] = self.frames.get(track_id, 0) + 1

    async def close(self) -> None:
        self._events.listeners.remove(self._hear)
        for media in self._media:
            media.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pc in (self.publish, self.receive):
            if pc is not None:
                await pc.close()


@contextlib.asynccontextmanager
async def clients(
    engine: MediaEngine, events: RecordedEvents, room_id: str, *session_ids: str
) -> AsyncIterator[list[AiortcClient]]:
    opened: list[AiortcClient] = []
    with loopback_for_aioice():
        try:
            for session_id in session_ids:
                opened.append(await AiortcClient(engine, events, room_id, session_id).open())
            yield opened
        finally:
            await asyncio.gather(*(client.close() for client in opened))


__all__ = [
    "EVERYTHING",
    "AiortcClient",
    "MediaBlackhole",
    "RecordedEvents",
    "clients",
    "eventually",
    "loopback_for_aioice",
]
