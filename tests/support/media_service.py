"""A media service and what a test needs around it: what was sent to whom, rights that change, and an
engine that does nothing by itself, for what no real one does on demand."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Literal

import msgspec

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    EngineHealth,
    EngineSink,
    EngineUnavailable,
    Fallback,
    MediaGrants,
    ReachabilityTarget,
    TrackAppeared,
)
from signaling.messages import (
    Candidate,
    Description,
    EngineName,
    PeerConnectionName,
    PublishedMedia,
    SessionDescription,
    ShownTrack,
    Subscription,
    Track,
    TrackSource,
)
from signaling.voice_packet import VoiceRun
from tests.support.media_session import EVERYTHING

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=sendrecv\r\n"


class RecordedOutbox:
    """`signaling.ports.MediaOutbox`."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any]] = []
        """(connection id, event, payload)"""
        self.voice: list[tuple[str, bytes]] = []
        """(connection id, packet)"""
        self.tracks: list[tuple[str, Track]] = []
        self.gone: list[tuple[str, str]] = []
        self.speakers: list[tuple[str, list[str]]] = []

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None:
        self.sent.append((connection_id, event, payload))

    def send_voice(self, connection_id: str, packet: bytes) -> None:
        self.voice.append((connection_id, packet))

    def track_changed(self, room_id: str, track: Track) -> None:
        self.tracks.append((room_id, track))

    def track_gone(self, room_id: str, track_id: str) -> None:
        self.gone.append((room_id, track_id))

    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None:
        self.speakers.append((room_id, list(participant_ids)))

    def to(self, connection_id: str) -> list[tuple[str, Any]]:
        """What one connection was sent."""
        return [(event, payload) for receiver, event, payload in self.sent if receiver == connection_id]

    def events_to(self, connection_id: str) -> list[str]:
        return [event for event, _payload in self.to(connection_id)]


class ChangingRights:
    """`signaling.ports.MediaRights`; everything is allowed until a test says otherwise."""

    def __init__(self) -> None:
        self.engines: dict[str, EngineName] = {}
        self.grants: dict[str, MediaGrants] = {}
        """by participant"""
        self.silenced: set[str] = set()
        """participants in frozen rooms"""

    def is_silenced(self, room_id: str, participant_id: str) -> bool:
        return participant_id in self.silenced

    def engine_of(self, room_id: str) -> EngineName:
        return self.engines.get(room_id, "p2p")

    def grants_of(self, room_id: str, participant_id: str) -> MediaGrants:
        return self.grants.get(participant_id, EVERYTHING)


class PassiveEngine:
    """An engine called `sfu` that records what it is asked. `gate`, when cleared, holds every call back;
    `refusal` is raised by the next description."""

    name: EngineName = "sfu"

    def __init__(self, sink: EngineSink) -> None:
        self._sink = sink
        self.calls: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.held_back: Collection[str] = ()
        """The gate is for these calls alone; empty: for all."""
        self.refusal: Exception | None = None
        self.described: Sequence[PublishedMedia] = ()
        """Of the last description."""
        self.open_sessions: dict[str, str] = {}
        """session id → room id"""
        self.opened_with: dict[str, MediaGrants] = {}
        """session id → what it might do when it was opened."""

    def emit(self, event: EngineEvent) -> None:
        self._sink(event)

    async def _record(self, *call: Any) -> None:
        if not self.held_back or call[0] in self.held_back:
            await self.gate.wait()
        self.calls.append(call)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        await self._record("open", session_id)
        if isinstance(self.refusal, EngineUnavailable):
            raise self.refusal
        self.open_sessions[session_id] = room_id
        self.opened_with[session_id] = grants
        # As the sfu does where somebody publishes already.
        self.offer(session_id, 1)

    async def set_grants(self, session_id: str, grants: MediaGrants) -> None:
        await self._record("grants", session_id, grants)

    async def close_session(self, session_id: str) -> None:
        # Not through the gate: what is closed must not wait behind what is slow.
        self.calls.append(("close", session_id))
        self.open_sessions.pop(session_id, None)

    async def receive_description(
        self,
        session_id: str,
        pc: PeerConnectionName,
        negotiation: int,
        description: SessionDescription,
        media: Sequence[PublishedMedia],
        to_session_id: str | None,
    ) -> None:
        await self._record(pc, session_id, negotiation)
        self.described = media
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal

    async def receive_candidate(
        self, session_id: str, pc: PeerConnectionName, candidate: Candidate | None, to_session_id: str | None
    ) -> None:
        await self._record("candidate", session_id)

    async def set_track_muted(self, session_id: str, track_id: str, muted: bool) -> None:
        await self._record("mute", session_id, track_id, muted)

    async def unpublish(self, session_id: str, track_id: str) -> None:
        await self._record("unpublish", session_id, track_id)

    async def subscribe(self, session_id: str, wanted: Sequence[Subscription] | None) -> None:
        await self._record("subscribe", session_id, wanted)

    async def set_layout(self, session_id: str, shown: Sequence[ShownTrack]) -> None:
        await self._record("layout", session_id, shown)

    async def set_fallback(self, session_id: str, wish: Fallback) -> None:
        await self._record("fallback", session_id, wish)
        if self.refusal is not None:
            raise self.refusal

    def receive_voice(self, session_id: str, runs: Sequence[VoiceRun]) -> None:
        self.calls.append(("voice", session_id, list(runs)))

    async def rebuild(self, session_id: str, pc: Literal["publish", "subscribe"]) -> None:
        await self._record("rebuild", session_id, pc)

    async def accept_whip(self, session_id: str, offer_sdp: str) -> str:
        await self._record("whip", session_id)
        if self.refusal is not None:
            raise self.refusal
        return "answer"

    async def accept_whep(self, session_id: str, offer_sdp: str) -> str:
        await self._record("whep", session_id)
        return "answer"

    def health(self) -> EngineHealth:
        return EngineHealth(ready=True, rooms=0, sessions=len(self.open_sessions))

    def reachability(self) -> Sequence[ReachabilityTarget]:
        return ()

    # --- what a test makes it say ---------------------------------------------------------------

    def offer(self, session_id: str, number: int) -> None:
        self._describe(session_id, "subscribe", "offer", number)

    def answer(self, session_id: str, number: int) -> None:
        self._describe(session_id, "publish", "answer", number)

    def _describe(self, session_id: str, pc: PeerConnectionName, kind: Literal["offer", "answer"], number: int) -> None:
        room_id = self.open_sessions.get(session_id, "room")
        self._sink(DescriptionToSend(room_id, session_id, pc, number, SessionDescription(type=kind, sdp=SDP)))

    def publish(self, session_id: str, track_id: str) -> None:
        track = a_track(track_id, session_id)
        self._sink(TrackAppeared(self.open_sessions.get(session_id, "room"), track))


def a_track(track_id: str, session_id: str) -> Track:
    return Track(id=track_id, participant_id="p", session_id=session_id, source="camera", kind="video", muted=False)


def a_description(
    session_id: str,
    pc: PeerConnectionName,
    kind: Literal["offer", "answer", "rollback"],
    number: int = 1,
    *media: PublishedMedia,
    to: str | None = None,
    sdp: str = SDP,
) -> Description:
    return Description(
        session_id=session_id,
        pc=pc,
        negotiation=number,
        description=SessionDescription(type=kind, sdp=sdp),
        media=list(media),
        to=to,
    )


def named(track_id: str, source: TrackSource = "camera", mid: str = "0") -> PublishedMedia:
    return PublishedMedia(mid=mid, track_id=track_id, source=source)
