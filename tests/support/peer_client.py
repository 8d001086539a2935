"""A client of a p2p media session: one aiortc peer connection to each other session, over loopback."""

import asyncio
import contextlib

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from signaling.engines import DescriptionToSend, EngineEvent, MediaEngine, MediaGrants
from signaling.messages import PublishedMedia, SessionDescription, TrackSource
from tests.support.deadlines import SECOND
from tests.support.media_session import EVERYTHING, RecordedEvents


class PeerClient:
    """Offers what it publishes to one peer, answers what peers offer, counts what it decodes."""

    def __init__(self, engine: MediaEngine, events: RecordedEvents, room_id: str, session_id: str) -> None:
        self.engine = engine
        self.room_id = room_id
        self.session_id = session_id
        self.frames: dict[str, int] = {}
        """track id → frames decoded"""
        self._events = events
        self._connections: dict[str, RTCPeerConnection] = {}
        self._negotiations: dict[str, int] = {}
        self._media: list[MediaStreamTrack] = []
        self._named: dict[str, list[tuple[MediaStreamTrack, str, TrackSource]]] = {}
        self._answered = asyncio.Event()
        self._has_sound = True
        self._incoming: asyncio.Queue[DescriptionToSend] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        events.listeners.append(self._hear)

    def _hear(self, event: EngineEvent) -> None:
        if isinstance(event, DescriptionToSend) and event.session_id == self.session_id:
            self._incoming.put_nowait(event)

    async def open(self, grants: MediaGrants = EVERYTHING) -> "PeerClient":
        self._has_sound = grants.sound
        await self.engine.open_session(self.room_id, self.session_id, f"p-{self.session_id}", grants)
        self._tasks.append(asyncio.create_task(self._negotiate()))
        return self

    def _connection(self, peer: str) -> RTCPeerConnection:
        if peer not in self._connections:
            self._connections[peer] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            self._named[peer] = []
        return self._connections[peer]

    async def publish_to(self, peer: str, *sources: TrackSource) -> dict[str, str]:
        """source → track id, once the peer has answered. Raises: ValueError as the engine does."""
        connection = self._connection(peer)
        tracks: dict[str, str] = {}
        for source in sources:
            media = VideoStreamTrack() if source in ("camera", "screen") else AudioStreamTrack()
            self._media.append(media)
            connection.addTransceiver(media, direction="sendrecv")
            tracks[source] = f"{self.session_id}-{source}"
            self._named[peer].append((media, tracks[source], source))
        await connection.setLocalDescription(await connection.createOffer())
        number = self._negotiations[peer] = self._negotiations.get(peer, 0) + 1
        self._answered.clear()
        offer = SessionDescription(type="offer", sdp=connection.localDescription.sdp)
        await self.engine.receive_description(self.session_id, "peer", number, offer, self.media_for(peer), peer)
        async with asyncio.timeout(10 * SECOND):
            await self._answered.wait()
        return tracks

    def media_for(self, peer: str) -> list[PublishedMedia]:
        mids = {each.sender.track: each.mid for each in self._connection(peer).getTransceivers()}
        return [
            PublishedMedia(mid=mids[media], track_id=track_id, source=source)
            for media, track_id, source in self._named[peer]
        ]

    async def _negotiate(self) -> None:
        while True:
            event = await self._incoming.get()
            peer = event.from_session_id
            assert peer is not None
            connection = self._connection(peer)
            description = RTCSessionDescription(event.description.sdp, event.description.type)
            await connection.setRemoteDescription(description)
            if description.type == "answer":
                assert event.negotiation == self._negotiations[peer]
                self._answered.set()
                continue
            for transceiver in connection.getTransceivers():
                if transceiver.kind == "audio" and not self._has_sound:
                    transceiver.direction = "inactive"
            await connection.setLocalDescription(await connection.createAnswer())
            answer = SessionDescription(type="answer", sdp=connection.localDescription.sdp)
            await self.engine.receive_description(self.session_id, "peer", event.negotiation, answer, [], peer)
            tracks = {each.mid: each.receiver.track for each in connection.getTransceivers()}
            for one in event.media:
                self._tasks.append(asyncio.create_task(self._count(one.track_id, tracks[one.mid])))

    async def _count(self, track_id: str, track: MediaStreamTrack) -> None:
        with contextlib.suppress(Exception):
            while True:
                await track.recv()
                self.frames[track_id] = self.frames.get(track_id, 0) + 1

    async def close(self) -> None:
        self._events.listeners.remove(self._hear)
        for media in self._media:
            media.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections.values():
            await connection.close()
