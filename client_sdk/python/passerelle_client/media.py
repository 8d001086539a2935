"""Sound and pictures by aiortc: publish any `MediaStreamTrack`, receive everybody's.

With a server engine (`sfu`, `janus`) there are two peer connections, one offerer each: `publish`
(we offer) and `subscribe` (the server offers). With `p2p` there is one per other session. aiortc
ignores ICE restart, so what failed is built anew.
"""

import asyncio
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from aiortc.sdp import candidate_from_sdp

from passerelle_client.emitter import Emitter
from passerelle_client.errors import PasserelleError
from passerelle_client.protocol import (
    MediaClosed,
    MediaStarted,
    PeerJoined,
    PeerLeft,
    ServerCandidate,
    ServerDescription,
    SubscribedMedia,
    Track,
)

if TYPE_CHECKING:
    from passerelle_client.room import Room

logger = logging.getLogger("passerelle_client")

Source = Literal["camera", "microphone", "screen", "screen_audio"]
MediaState = Literal["idle", "connecting", "connected", "failed"]
KINDS: dict[str, str] = {"camera": "video", "microphone": "audio", "screen": "video", "screen_audio": "audio"}


@dataclass(slots=True)
class LocalTrack:
    """A track that this participant publishes."""

    id: str
    source: Source
    media_stream_track: MediaStreamTrack
    muted: bool = False


@dataclass(frozen=True, slots=True)
class RemoteTrack:
    """A track of somebody else, as it arrives; `await media_stream_track.recv()` for its frames."""

    track: Track
    media_stream_track: MediaStreamTrack


class Media(Emitter):
    """One media session. Events: `state` (MediaState), `remote_track` (RemoteTrack),
    `remote_track_ended` (track id), `muted_by_host` (track id)."""

    def __init__(self, room: "Room") -> None:
        super().__init__()
        self.state: MediaState = "idle"
        self.engine: str | None = None
        self.local_tracks: dict[str, LocalTrack] = {}
        self.remote_tracks: dict[str, RemoteTrack] = {}
        self._room = room
        self._session_id: str | None = None
        self._configuration = RTCConfiguration(iceServers=[])
        self._peer_connections: dict[str, RTCPeerConnection] = {}
        self._negotiations: dict[str, int] = {}
        self._polite: dict[str, bool] = {}
        self._work: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._off = [
            room.listen(event, lambda payload, event=event: self._work.put_nowait((event, payload)))
            for event in (
                "media_description",
                "media_candidate",
                "media_peer_joined",
                "media_peer_left",
                "media_closed",
                "media_muted",
            )
        ]
        self._off.append(room.on("state", self._connection_state))

    async def start(self) -> None:
        """Begin to receive everything, and to send what is published. Raises: Refused, Disconnected."""
        if self._worker is None:
            self._worker = asyncio.create_task(self._run(), name="passerelle media")
        self._set_state("connecting")
        await self._start()

    async def publish(self, track: MediaStreamTrack, source: Source, *, muted: bool = False) -> LocalTrack:
        """Send a track to the room; before `start` it waits for it.

        Raises: ValueError when the source is not of the track's kind; Refused; Disconnected."""
        if KINDS[source] != track.kind:
            raise ValueError(f"a {source} is {KINDS[source]}, this track is {track.kind}")
        local = LocalTrack(uuid.uuid4().hex, source, track, muted)
        self.local_tracks[local.id] = local
        if self._session_id is not None:
            await self._offer_all()
        return local

    async def unpublish(self, track_id: str) -> None:
        local = self.local_tracks.pop(track_id, None)
        if local is None:
            return
        for connection in self._peer_connections.values():
            for sender in connection.getSenders():
                if sender.track is local.media_stream_track:
                    sender.replaceTrack(None)
        if self._session_id is not None:
            await self._room.command("media_unpublish", session_id=self._session_id, track_id=track_id)

    async def set_muted(self, track_id: str, muted: bool) -> None:
        """Raises: Refused, Disconnected, KeyError."""
        self.local_tracks[track_id].muted = muted
        if self._session_id is not None:
            await self._room.command("media_mute", session_id=self._session_id, track_id=track_id, muted=muted)

    async def stop(self) -> None:
        session_id, self._session_id = self._session_id, None
        await self._drop_all()
        self._set_state("idle")
        if session_id is not None:
            await self._room.command("media_stop", session_id=session_id)

    async def close(self) -> None:
        """For the room: forget everything without a word to the server."""
        for off in self._off:
            off()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self._drop_all()

    # --- the session ------------------------------------------------------------------------

    async def _start(self) -> None:
        answer = await self._room.command("media_start", session_id=self._session_id)
        started = msgspec.convert(answer, MediaStarted)
        if started.resumed:
            return
        await self._drop_all()
        self._session_id, self.engine = started.session_id, started.engine
        self._configuration = RTCConfiguration(
            iceServers=[
                RTCIceServer(urls=server.urls, username=server.username, credential=server.credential)
                for server in started.ice_servers
            ]
        )
        for peer in started.peers:
            self._polite[peer.session_id] = peer.polite
            await self._offer("peer", peer.session_id)
        if self.engine != "p2p" and self.local_tracks:
            await self._offer("publish")

    async def _offer_all(self) -> None:
        if self.engine == "p2p":
            for peer in tuple(self._polite):
                await self._offer("peer", peer)
        else:
            await self._offer("publish")

    async def _offer(self, pc: str, peer: str | None = None) -> None:
        connection = self._connection(pc, peer)
        if connection.signalingState != "stable":
            return  # the answer under way is followed by the next offer
        mids = self._attach(connection, receive=pc == "peer")
        await connection.setLocalDescription(await connection.createOffer())
        key = peer or pc
        self._negotiations[key] = self._negotiations.get(key, -1) + 1
        await self._describe(pc, peer, self._negotiations[key], connection, mids)

    async def _describe(
        self, pc: str, peer: str | None, negotiation: int, connection: RTCPeerConnection, tracks: list[LocalTrack]
    ) -> None:
        mids = {
            transceiver.sender.track.id: transceiver.mid
            for transceiver in connection.getTransceivers()
            if transceiver.sender.track is not None
        }
        media = [
            {
                "mid": mids[local.media_stream_track.id],
                "track_id": local.id,
                "source": local.source,
                "muted": local.muted,
            }
            for local in tracks
        ]
        description = connection.localDescription
        await self._room.command(
            "media_description",
            session_id=self._session_id,
            pc=pc,
            negotiation=negotiation,
            description={"type": description.type, "sdp": description.sdp},
            media=media,
            to=peer,
        )

    def _attach(self, connection: RTCPeerConnection, *, receive: bool) -> list[LocalTrack]:
        """Give every local track a sender; the tracks that have one."""
        sending = {sender.track.id for sender in connection.getSenders() if sender.track is not None}
        for local in self.local_tracks.values():
            if local.media_stream_track.id not in sending:
                connection.addTransceiver(local.media_stream_track, direction="sendrecv" if receive else "sendonly")
        if receive:
            kinds = {transceiver.kind for transceiver in connection.getTransceivers()}
            for kind in {"audio", "video"} - kinds:
                connection.addTransceiver(kind, direction="recvonly")
        return list(self.local_tracks.values())

    def _connection(self, pc: str, peer: str | None) -> RTCPeerConnection:
        key = peer or pc
        connection = self._peer_connections.get(key)
        if connection is None:
            connection = RTCPeerConnection(self._configuration)
            self._peer_connections[key] = connection
            connection.on("connectionstatechange", lambda: self._connection_changed(key, connection))
        return connection

    def _connection_changed(self, key: str, connection: RTCPeerConnection) -> None:
        if self._peer_connections.get(key) is not connection:
            return
        if connection.connectionState == "connected":
            self._set_state("connected")
        elif connection.connectionState == "failed" and key in ("publish", "subscribe"):
            self._work.put_nowait(("rebuild", key))

    def _connection_state(self, state: str) -> None:
        if state == "connected" and self._session_id is not None:
            self._work.put_nowait(("restart", None))

    # --- what arrives, one at a time ----------------------------------------------------------

    async def _run(self) -> None:
        while True:
            event, payload = await self._work.get()
            try:
                await self._handle(event, payload)
            except PasserelleError as error:
                logger.warning("media: %s", error)
            except Exception:  # a description that aiortc cannot use must not stop the others
                logger.exception("media: %s could not be handled", event)

    async def _handle(self, event: str, payload: Any) -> None:
        if event == "restart":
            await self._start()
        elif event == "rebuild":
            await self._rebuild(payload)
        elif event == "media_description":
            message = msgspec.convert(payload, ServerDescription)
            if message.session_id == self._session_id:
                await self._described(message)
        elif event == "media_candidate":
            await self._candidate(msgspec.convert(payload, ServerCandidate))
        elif event == "media_peer_joined":
            joined = msgspec.convert(payload, PeerJoined)
            self._polite[joined.peer.session_id] = joined.peer.polite  # the newcomer offers
        elif event == "media_peer_left":
            peer = msgspec.convert(payload, PeerLeft).peer_session_id
            self._polite.pop(peer, None)
            await self._drop(peer)
        elif event == "media_closed":
            await self._closed(msgspec.convert(payload, MediaClosed))
        elif event == "media_muted":
            track_id = payload["track_id"]
            if (local := self.local_tracks.get(track_id)) is not None:
                local.muted = True
            self.emit("muted_by_host", track_id)

    async def _described(self, message: ServerDescription) -> None:
        peer = message.from_ if message.pc == "peer" else None
        key = peer or message.pc
        description = RTCSessionDescription(sdp=message.description.sdp, type=message.description.type)
        if description.type == "answer":
            connection = self._connection(message.pc, peer)
            if message.negotiation == self._negotiations.get(key) and connection.signalingState == "have-local-offer":
                await connection.setRemoteDescription(description)
                self._learn_tracks(connection, message.media)
                if self._attach_is_needed(connection):
                    await self._offer(message.pc, peer)
            return
        connection = self._connection(message.pc, peer)
        if connection.signalingState != "stable":
            if not self._polite.get(key, True):
                return
            await self._drop(key)  # aiortc has no rollback: answer with a fresh connection
            connection = self._connection(message.pc, peer)
        await connection.setRemoteDescription(description)
        tracks = self._attach_answer(connection) if message.pc == "peer" else []
        await connection.setLocalDescription(await connection.createAnswer())
        self._learn_tracks(connection, message.media)
        self._negotiations[key] = message.negotiation
        await self._describe(message.pc, peer, message.negotiation, connection, tracks)

    def _attach_is_needed(self, connection: RTCPeerConnection) -> bool:
        sending = {sender.track for sender in connection.getSenders()}
        return any(local.media_stream_track not in sending for local in self.local_tracks.values())

    def _attach_answer(self, connection: RTCPeerConnection) -> list[LocalTrack]:
        attached: list[LocalTrack] = []
        for local in self.local_tracks.values():
            for transceiver in connection.getTransceivers():
                if transceiver.kind == local.media_stream_track.kind and transceiver.sender.track is None:
                    transceiver.sender.replaceTrack(local.media_stream_track)
                    transceiver.direction = "sendrecv"
                    attached.append(local)
                    break
        return attached

    def _learn_tracks(self, connection: RTCPeerConnection, media: list[SubscribedMedia]) -> None:
        """Say which received track is whose, from the names of the m-lines."""
        room_tracks = {track.id: track for track in (self._room.view.tracks if self._room.view else [])}
        transceivers = {transceiver.mid: transceiver for transceiver in connection.getTransceivers()}
        for item in media:
            transceiver = transceivers.get(item.mid)
            if transceiver is None or item.track_id in self.remote_tracks:
                continue
            track = room_tracks.get(item.track_id) or Track(
                id=item.track_id,
                participant_id=item.participant_id,
                session_id="",
                source="camera" if transceiver.kind == "video" else "microphone",
                kind="video" if transceiver.kind == "video" else "audio",
                muted=False,
            )
            remote = RemoteTrack(track, transceiver.receiver.track)
            self.remote_tracks[item.track_id] = remote
            self.emit("remote_track", remote)
        if connection is self._peer_connections.get("subscribe"):
            for gone in set(self.remote_tracks) - {item.track_id for item in media}:
                self._forget_remote(gone)

    def _forget_remote(self, track_id: str) -> None:
        if self.remote_tracks.pop(track_id, None) is not None:
            self.emit("remote_track_ended", track_id)

    async def _candidate(self, message: ServerCandidate) -> None:
        key = message.from_ if message.pc == "peer" and message.from_ else message.pc
        connection = self._peer_connections.get(key)
        if connection is None or message.candidate is None or not message.candidate.candidate:
            return
        candidate = candidate_from_sdp(message.candidate.candidate.removeprefix("candidate:"))
        candidate.sdpMid = message.candidate.sdp_mid
        candidate.sdpMLineIndex = message.candidate.sdp_m_line_index
        await connection.addIceCandidate(candidate)

    async def _closed(self, message: MediaClosed) -> None:
        if message.session_id != self._session_id:
            return
        if not message.retry:
            self._session_id = None
            await self._drop_all()
            self._set_state("failed")
        elif message.pc in ("publish", "subscribe"):
            await self._rebuild(message.pc)
        else:
            self._session_id = None
            self._set_state("connecting")
            await self._start()

    async def _rebuild(self, pc: str) -> None:
        """A fresh peer connection in place of one that failed."""
        if self._session_id is None:
            return
        await self._drop(pc)
        await self._room.command("media_rebuild", session_id=self._session_id, pc=pc)
        if pc == "publish":
            await self._offer("publish")

    async def _drop(self, key: str) -> None:
        connection = self._peer_connections.pop(key, None)
        self._negotiations.pop(key, None) if key not in ("publish", "subscribe") else None
        if connection is None:
            return
        received = {transceiver.receiver.track for transceiver in connection.getTransceivers()}
        for track_id, remote in tuple(self.remote_tracks.items()):
            if remote.media_stream_track in received:
                self._forget_remote(track_id)
        await connection.close()

    async def _drop_all(self) -> None:
        for key in tuple(self._peer_connections):
            await self._drop(key)
        self._polite.clear()
        self._negotiations.clear()

    def _set_state(self, state: MediaState) -> None:
        if state != self.state:
            self.state = state
            self.emit("state", state)
