"""What carries a media session, whatever the engine: `Media` knows this contract only."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.mediastreams import MediaStreamTrack
from aiortc.sdp import candidate_from_sdp

from passerelle_client.media_tracks import OutgoingTrack
from passerelle_client.protocol import Candidate, IceServer, MediaStarted, SubscribedMedia

Source = Literal["camera", "microphone", "screen", "screen_audio"]
KINDS: dict[str, str] = {"camera": "video", "microphone": "audio", "screen": "video", "screen_audio": "audio"}

LOOK_S = 1.0
SILENT_LOOKS = 4
"""Looks without a single byte, while bytes are due, after which a path is taken for dead: reports come
every second. aiortc itself takes half a minute to say so."""
CONNECT_S = 10.0
"""Longest time from the exchange of descriptions to a connection."""


@dataclass(slots=True, eq=False)
class LocalTrack:
    """A track that this participant publishes."""

    id: str
    source: Source
    media_stream_track: MediaStreamTrack
    """As it was given."""
    outgoing: OutgoingTrack = field(repr=False)

    @property
    def muted(self) -> bool:
        return self.outgoing.is_muted


@dataclass(frozen=True, slots=True)
class ReceivedTrack:
    """What arrives over a line of a peer connection now."""

    media: SubscribedMedia
    kind: str
    media_stream_track: MediaStreamTrack


class LinkHost(Protocol):
    """What a link needs of `Media`."""

    @property
    def local_tracks(self) -> Mapping[str, LocalTrack]: ...
    @property
    def configuration(self) -> RTCConfiguration: ...
    @property
    def without_sound(self) -> bool:
        """No sound is taken from anyone."""

    def expects_media(self, track_ids: Collection[str] | None = None) -> bool:
        """Whether one of these tracks of others (None: of all that are wanted) is not muted, so that it
        ought to reach us."""

    async def signal(self, event: str, **fields: Any) -> Any:
        """A signaling message of this session. Raises: Refused, Disconnected, Removed."""

    def received(self, tracks: Sequence[ReceivedTrack]) -> None:
        """Everything that arrives now."""

    def do_soon(self, work: Callable[[], Awaitable[None]], delay_s: float = 0.0) -> None:
        """Do this in turn with everything else that concerns the session."""

    def begin_anew(self) -> None:
        """The session is beyond mending."""

    def changed(self) -> None:
        """`is_connected` may have changed."""


class MediaLink(Protocol):
    """Every method is called in turn, never two at once."""

    @property
    def is_connected(self) -> bool:
        """Everything that should be connected is."""

    async def local_tracks_changed(self) -> None:
        """What is gone is off its senders when this returns; what is new follows. Raises: Refused."""

    async def receive(self, event: str, payload: Any) -> None:
        """A message of the server."""

    async def lost_by_server(self, pc: str) -> None: ...
    async def resume(self, started: MediaStarted) -> None:
        """The session goes on over a new signaling connection."""

    async def close(self) -> None: ...


class ConnectionWatch:
    """Says once when a peer connection is broken: failed, never connected, or silent while packets are due."""

    def __init__(
        self,
        connection: RTCPeerConnection,
        *,
        changed: Callable[[], None],
        broken: Callable[[], None],
        expects_packets: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._changed = changed
        self._broken = broken
        self._expects_packets = expects_packets
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self._connected = asyncio.Event()
        connection.on("connectionstatechange", self._state_changed)

    def expect_connection(self) -> None:
        """Descriptions were exchanged: from now on it should connect, and stay so."""
        if self._task is None and not self._is_over:
            self._task = asyncio.create_task(self._look())

    def close(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def _state_changed(self) -> None:
        if not self._is_over:
            if self._connection.connectionState == "connected":
                self._connected.set()
            elif self._connection.connectionState == "failed":
                self._break()
            self._changed()

    async def _look(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._connected.wait()
        if not self._connected.is_set():
            self._break()
            return
        received, silent = -1, 0
        while silent < SILENT_LOOKS:
            await asyncio.sleep(LOOK_S)
            now_received = await bytes_received(self._connection)
            silent = silent + 1 if now_received == received and self._expects_packets() else 0
            received = now_received
        self._break()

    def _break(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._broken()


async def bytes_received(connection: RTCPeerConnection) -> int:
    """By its transports, sound, pictures and reports."""
    report = await connection.getStats()
    return sum(stats.bytesReceived for stats in report.values() if stats.type == "transport")


async def add_candidate(connection: RTCPeerConnection, candidate: Candidate | None) -> None:
    """Raises: ValueError, as aiortc does for what it cannot read."""
    if candidate is None or not candidate.candidate:
        return
    parsed = candidate_from_sdp(candidate.candidate.removeprefix("candidate:"))
    parsed.sdpMid = candidate.sdp_mid
    parsed.sdpMLineIndex = candidate.sdp_m_line_index
    await connection.addIceCandidate(parsed)


def configuration_of(servers: Sequence[IceServer]) -> RTCConfiguration:
    """Of every peer connection, towards a server or another participant."""
    return RTCConfiguration(
        iceServers=[
            RTCIceServer(urls=server.urls, username=server.username, credential=server.credential) for server in servers
        ],
        # aiortc 1.16, "balanced": of several tracks of a kind in the first offer those after the first stay with a
        # transport that bundling has put away, unless theirs is the offer's first kind: they are never heard.
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )
