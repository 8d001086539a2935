"""Media from peer to peer (engine p2p): a peer connection to each other session.

Perfect negotiation (W3C webrtc-pc), but for ICE restarts, which aiortc does not know: where a browser
would restart, a new session begins here.
"""

import logging
import re
from typing import Any

import msgspec
from aiortc import RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack

from passerelle_client.aiortc_rollback import roll_back
from passerelle_client.errors import Disconnected
from passerelle_client.media_link import (
    ConnectionWatch,
    LinkHost,
    LocalTrack,
    ReceivedTrack,
    add_candidate,
)
from passerelle_client.protocol import (
    MediaPeer,
    MediaStarted,
    PeerJoined,
    PeerLeft,
    ServerCandidate,
    ServerDescription,
    SubscribedMedia,
)

logger = logging.getLogger("passerelle_client")

ANSWER_S = 8.0
"""Longest wait for the answer to an offer."""
MOST_LINES = 32
"""Past it a new session begins: each track that comes and goes leaves a line behind."""


class _Peer:
    """One other session."""

    def __init__(self, link: "PeerLink", peer: MediaPeer) -> None:
        self.session_id = peer.session_id
        self._link = link
        self._host = link.host
        self._is_polite = peer.polite
        self._connection: RTCPeerConnection | None = None
        self._watch: ConnectionWatch | None = None
        self._sent: dict[RTCRtpTransceiver, LocalTrack] = {}
        self._used: set[RTCRtpTransceiver] = set()
        """Whose sender has had a track; aiortc's cannot be given another one."""
        self._copies: list[MediaStreamTrack] = []
        self._media: list[SubscribedMedia] = []
        self._number = 0
        self._remote_number = 0
        self._remote_ufrag = ""
        self._is_dirty = False

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.connectionState == "connected"

    @property
    def is_waiting(self) -> bool:
        """Whether an offer of ours is unanswered."""
        return self._connection is not None and self._connection.signalingState == "have-local-offer"

    # --- our offers -------------------------------------------------------------------------

    async def update(self) -> None:
        """Our tracks changed: offer, unless an offer is out; then another one follows its answer."""
        # The newcomer, who is the polite one, makes the first offer; ours would only cross it.
        if self.is_waiting or (self._connection is None and not self._is_polite):
            self._is_dirty = True
            return
        self._is_dirty = False
        connection = self._connection or self._create()
        if len(connection.getTransceivers()) > MOST_LINES:
            self._host.begin_anew()
            return
        self.take_off_gone()
        for track in self._unsent():
            transceiver = self._idle_line(connection, track.outgoing.kind, set())
            self._put(track, transceiver or connection.addTransceiver(track.outgoing.kind))
        received = {"video"} if self._host.without_sound else {"audio", "video"}
        for kind in sorted(received - {each.kind for each in connection.getTransceivers()}):
            connection.addTransceiver(kind, direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        self._number += 1
        number = self._number
        self._host.do_soon(lambda: self._no_answer(number), ANSWER_S)
        await self._describe(number)

    async def _no_answer(self, number: int) -> None:
        """It was lost. The same again, under a new number."""
        if self.is_waiting and self._number == number and self._link.peers.get(self.session_id) is self:
            self._number += 1
            again = self._number
            self._host.do_soon(lambda: self._no_answer(again), ANSWER_S)
            await self._describe(again)

    async def receive_answer(self, message: ServerDescription) -> None:
        connection = self._connection
        if connection is None or not self.is_waiting or message.negotiation != self._number:
            return
        await connection.setRemoteDescription(RTCSessionDescription(message.description.sdp, "answer"))
        self._settled(message)
        if self._is_dirty:
            await self.update()

    # --- theirs -----------------------------------------------------------------------------

    async def receive_offer(self, message: ServerDescription) -> None:
        if message.negotiation <= self._remote_number:
            return
        ufrag = _ufrag(message.description.sdp)
        if self._remote_ufrag not in ("", ufrag):
            # An ICE restart, which aiortc cannot follow.
            self._host.begin_anew()
            return
        if self.is_waiting:
            if not self._is_polite:
                return
            await self._take_back()
        self._remote_number = message.negotiation
        connection = self._connection or self._create()
        await connection.setRemoteDescription(RTCSessionDescription(message.description.sdp, "offer"))
        self.take_off_gone()
        self._leave_out_sound(connection)
        offered = {line[6:] for line in message.description.sdp.splitlines() if line.startswith("a=mid:")}
        for track in self._unsent():
            transceiver = self._idle_line(connection, track.outgoing.kind, offered)
            if transceiver is not None:
                self._put(track, transceiver)
        await connection.setLocalDescription(await connection.createAnswer())
        await self._describe(message.negotiation)
        self._settled(message)
        if self._is_dirty or self._unsent() or not all(map(_sends, self._sent)):
            await self.update()

    def _leave_out_sound(self, connection: RTCPeerConnection) -> None:
        for transceiver in connection.getTransceivers():
            if self._host.without_sound and transceiver.kind == "audio":
                transceiver.direction = "inactive"

    async def _take_back(self) -> None:
        """Our own offer, for theirs."""
        assert self._connection is not None
        if self._connection.remoteDescription is None:
            await self._drop_connection()  # nothing is lost yet
        else:
            roll_back(self._connection)
            self._is_dirty = True

    def _settled(self, message: ServerDescription) -> None:
        self._remote_ufrag = _ufrag(message.description.sdp)
        self._media = message.media
        if self._watch is not None:
            self._watch.expect_connection()
        self._link.tell_received()

    def received(self) -> list[ReceivedTrack]:
        if self._connection is None:
            return []
        lines = {transceiver.mid: transceiver for transceiver in self._connection.getTransceivers()}
        return [
            ReceivedTrack(media, lines[media.mid].kind, lines[media.mid].receiver.track)
            for media in self._media
            if media.mid in lines and lines[media.mid].receiver.track is not None
            if not (self._host.without_sound and lines[media.mid].kind == "audio")
        ]

    async def receive_candidate(self, message: ServerCandidate) -> None:
        if self._connection is not None and self._connection.remoteDescription is not None:
            await add_candidate(self._connection, message.candidate)

    # --- the connection ---------------------------------------------------------------------

    def _create(self) -> RTCPeerConnection:
        connection = self._connection = RTCPeerConnection(self._host.configuration)
        self._watch = ConnectionWatch(
            connection,
            changed=self._host.changed,
            broken=self._host.begin_anew,
            expects_packets=lambda: self._host.expects_media([media.track_id for media in self._media]),
        )
        return connection

    def _unsent(self) -> list[LocalTrack]:
        sent = set(map(id, self._sent.values()))
        return [track for track in self._host.local_tracks.values() if id(track) not in sent]

    def take_off_gone(self) -> None:
        wanted = set(map(id, self._host.local_tracks.values()))
        for transceiver, track in list(self._sent.items()):
            if id(track) not in wanted:
                transceiver.sender.replaceTrack(None)
                transceiver.direction = "recvonly"
                del self._sent[transceiver]

    def _put(self, track: LocalTrack, transceiver: RTCRtpTransceiver) -> None:
        # A copy for each peer: whoever takes a frame takes it from the others.
        copy = self._link.relay.subscribe(track.outgoing, buffered=track.outgoing.kind == "audio")
        self._copies.append(copy)
        transceiver.sender.replaceTrack(copy)
        transceiver.direction = "sendrecv"
        self._sent[transceiver] = track
        self._used.add(transceiver)

    def _idle_line(self, connection: RTCPeerConnection, kind: str, offered: set[str]) -> RTCRtpTransceiver | None:
        """A line of this kind over which nothing of ours was sent; only of those offered, if any are named."""
        for transceiver in connection.getTransceivers():
            if (
                transceiver.kind == kind
                and transceiver not in self._used
                and (transceiver.mid in offered or not offered)
            ):
                return transceiver
        return None

    async def _describe(self, number: int) -> None:
        assert self._connection is not None
        description = self._connection.localDescription
        try:
            await self._host.signal(
                "media_description",
                pc="peer",
                to=self.session_id,
                negotiation=number,
                description={"type": description.type, "sdp": description.sdp},
                media=[
                    {"mid": transceiver.mid, "track_id": track.id, "source": track.source, "muted": track.muted}
                    for transceiver, track in self._sent.items()
                    if transceiver.mid is not None
                ],
            )
        except Disconnected:
            return  # an offer is sent again when no answer comes; so does the other side

    async def _drop_connection(self) -> None:
        if self._watch is not None:
            self._watch.close()
        connection, self._connection = self._connection, None
        for copy in self._copies:
            copy.stop()
        self._copies.clear()
        self._sent.clear()
        self._used.clear()
        self._remote_ufrag = ""
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        self._media = []
        await self._drop_connection()


class PeerLink:
    """Implements `media_link.MediaLink`."""

    def __init__(self, host: LinkHost) -> None:
        self.host = host
        self.relay = MediaRelay()
        self.peers: dict[str, _Peer] = {}

    @property
    def is_connected(self) -> bool:
        return all(peer.is_connected for peer in self.peers.values())

    async def greet(self, peers: list[MediaPeer]) -> None:
        """Whoever was there before is offered to by the newcomer."""
        for peer in peers:
            await self._add(peer).update()

    def _add(self, peer: MediaPeer) -> _Peer:
        return self.peers.setdefault(peer.session_id, _Peer(self, peer))

    async def local_tracks_changed(self) -> None:
        for peer in self.peers.values():
            peer.take_off_gone()
        for peer in tuple(self.peers.values()):
            await peer.update()

    async def receive(self, event: str, payload: Any) -> None:
        if event == "media_peer_joined":
            self._add(msgspec.convert(payload, PeerJoined).peer)
        elif event == "media_peer_left":
            await self._leave(msgspec.convert(payload, PeerLeft).peer_session_id)
        elif event == "media_description":
            await self._described(msgspec.convert(payload, ServerDescription))
        elif event == "media_candidate":
            candidate = msgspec.convert(payload, ServerCandidate)
            if (peer := self.peers.get(candidate.from_ or "")) is not None:
                await peer.receive_candidate(candidate)

    async def _described(self, message: ServerDescription) -> None:
        peer = self.peers.get(message.from_ or "")
        if peer is None:
            return
        if message.description.type == "offer":
            await peer.receive_offer(message)
        elif message.description.type == "answer":
            await peer.receive_answer(message)

    async def _leave(self, session_id: str) -> None:
        peer = self.peers.pop(session_id, None)
        if peer is not None:
            await peer.close()
            self.tell_received()
            self.host.changed()

    def tell_received(self) -> None:
        self.host.received([received for peer in self.peers.values() for received in peer.received()])

    async def lost_by_server(self, pc: str) -> None:
        """There is nothing that the server could lose."""

    async def resume(self, started: MediaStarted) -> None:
        present = {peer.session_id for peer in started.peers}
        for session_id in self.peers.keys() - present:
            await self._leave(session_id)
        for peer in started.peers:
            self._add(peer)  # who came meanwhile offers

    async def close(self) -> None:
        for peer in tuple(self.peers.values()):
            await peer.close()
        self.peers.clear()


def _sends(transceiver: RTCRtpTransceiver) -> bool:
    return transceiver.currentDirection in ("sendonly", "sendrecv")


def _ufrag(sdp: str) -> str:
    found = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)
    return found[1] if found else ""
