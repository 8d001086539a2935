"""Media by way of a server (engines sfu and janus): two peer connections with one offerer each."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from aiortc import RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription

from passerelle_client.bundled_sdp import without_repetition
from passerelle_client.errors import Disconnected
from passerelle_client.media_link import (
    ConnectionWatch,
    LinkHost,
    LocalTrack,
    ReceivedTrack,
    add_candidate,
)
from passerelle_client.media_tracks import SenderCopy
from passerelle_client.protocol import MediaStarted, ServerCandidate, ServerDescription

logger = logging.getLogger("passerelle_client")

ANSWER_S = 8.0
"""Longest wait for the answer to an offer."""
LONGEST_PAUSE_S = 10.0
CALM_S = 30.0
"""A connection that was well for so long is built anew at once when it breaks."""

MOST_IDLE_LINES = 6
"""Past it the next track comes with a fresh connection: a sender of aiortc cannot be given another track
whose times or format differ, so each track has a line of its own."""

ServerSide = Literal["publish", "subscribe"]


class _Rebuilding:
    """Builds a peer connection anew, at first at once, then after longer and longer pauses."""

    def __init__(self, host: LinkHost, pc: ServerSide, begin: Callable[[], Awaitable[None]]) -> None:
        self._host = host
        self._pc = pc
        self._begin = begin
        self._pause_s = 0.0
        self.is_due = False

    def ask(self) -> None:
        if not self.is_due:
            self.ask_at_once(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2 or 0.5)
            self._host.do_soon(self._calm_down, CALM_S)

    def ask_at_once(self, pause_s: float = 0.0) -> None:
        """Nothing is broken, so nothing speaks for a pause."""
        if not self.is_due:
            self.is_due = True
            self._host.do_soon(self._rebuild, pause_s)

    async def _calm_down(self) -> None:
        if not self.is_due:
            self._pause_s = 0.0

    async def _rebuild(self) -> None:
        if not self.is_due:
            return
        self.is_due = False
        try:
            await self._host.signal("media_rebuild", pc=self._pc)
        except Disconnected:
            self.is_due = True  # `resume` comes back to it
            return
        await self._begin()

    async def resume(self) -> bool:
        """Whether it was waiting for the signaling connection."""
        was_due = self.is_due
        if was_due:
            await self._rebuild()
        return was_due


@dataclass(slots=True)
class _Line:
    transceiver: RTCRtpTransceiver
    track: LocalTrack | None
    """None: it has had one."""


class PublishConnection:
    """We offer what we send. One negotiation at a time; changes meanwhile make one more."""

    def __init__(self, host: LinkHost) -> None:
        self._host = host
        self._connection: RTCPeerConnection | None = None
        self._watch: ConnectionWatch | None = None
        self._lines: list[_Line] = []
        self._negotiation = 0
        self._is_waiting = False
        self._is_dirty = False
        self._rebuilding = _Rebuilding(host, "publish", self._begin_anew)

    @property
    def is_connected(self) -> bool:
        if not self._host.local_tracks:
            return True
        return self._connection is not None and self._connection.connectionState == "connected"

    async def update(self) -> None:
        """The tracks to send changed. Raises: Refused."""
        self._take_off_gone()
        if self._is_waiting:
            self._is_dirty = True
            return
        if self._connection is None and not self._host.local_tracks:
            return
        if sum(line.track is None for line in self._lines) > MOST_IDLE_LINES:
            self._rebuilding.ask()
            return
        connection = self._connection or self._create()
        self._assign(connection)
        await connection.setLocalDescription(await connection.createOffer())
        self._negotiation += 1
        self._is_waiting, self._is_dirty = True, False
        await self._send_offer()

    async def _send_offer(self) -> None:
        assert self._connection is not None
        number = self._negotiation
        self._host.do_soon(lambda: self._no_answer(number), ANSWER_S)
        description = self._connection.localDescription
        try:
            await self._host.signal(
                "media_description",
                pc="publish",
                negotiation=number,
                description={"type": "offer", "sdp": without_repetition(description.sdp)},
                media=[_named(line.transceiver.mid, line.track) for line in self._lines if line.track is not None],
            )
        except Disconnected:
            return  # `resume` sends it again

    def _create(self) -> RTCPeerConnection:
        connection = self._connection = RTCPeerConnection(self._host.configuration)
        self._watch = ConnectionWatch(
            connection,
            changed=self._host.changed,
            broken=self._rebuilding.ask,
            # The server reports every second on what it receives.
            expects_packets=lambda: any(line.track is not None and not line.track.muted for line in self._lines),
        )
        return connection

    def _take_off_gone(self) -> None:
        for line in self._lines:
            if line.track is not None and line.track.id not in self._host.local_tracks:
                line.transceiver.sender.replaceTrack(None)
                line.track = None

    def _assign(self, connection: RTCPeerConnection) -> None:
        """Every track on a line of its own."""
        carried = {line.track.id for line in self._lines if line.track is not None}
        for track in self._host.local_tracks.values():
            if track.id not in carried:
                transceiver = connection.addTransceiver(SenderCopy(track.outgoing), direction="sendonly")
                self._lines.append(_Line(transceiver, track))

    async def receive_answer(self, message: ServerDescription) -> None:
        connection = self._connection
        if connection is None or not self._is_waiting or message.negotiation != self._negotiation:
            return
        self._is_waiting = False
        await connection.setRemoteDescription(RTCSessionDescription(message.description.sdp, "answer"))
        if self._watch is not None:
            self._watch.expect_connection()
        if self._is_dirty:
            await self.update()

    async def receive_candidate(self, message: ServerCandidate) -> None:
        if self._connection is not None and self._connection.remoteDescription is not None:
            await add_candidate(self._connection, message.candidate)

    async def _no_answer(self, number: int) -> None:
        if self._is_waiting and self._negotiation == number:
            self._rebuilding.ask()

    def rebuild(self) -> None:
        self._rebuilding.ask()

    async def _begin_anew(self) -> None:
        await self.close()
        await self.update()

    async def resume(self) -> None:
        if await self._rebuilding.resume():
            return
        if self._is_waiting and self._connection is not None:
            await self._send_offer()  # under the same number: it, or its answer, may have been lost

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        connection, self._connection = self._connection, None
        self._lines = []
        self._is_waiting = self._is_dirty = False
        if connection is not None:
            await connection.close()


class SubscribeConnection:
    """The server offers what we receive. An offer with another origin (RFC 8866 section 5.2, `o=`) is
    of a fresh connection."""

    def __init__(self, host: LinkHost) -> None:
        self._host = host
        self._connection: RTCPeerConnection | None = None
        self._watch: ConnectionWatch | None = None
        self._origin = ""
        self._answered = -1
        self._ssrcs: dict[str, int] = {}
        """What each line of the connection has brought first."""
        self._rebuilding = _Rebuilding(host, "subscribe", self.close)

    @property
    def is_connected(self) -> bool:
        if self._connection is None:
            return not self._host.expects_media()
        return self._connection.connectionState == "connected"

    async def receive_offer(self, message: ServerDescription) -> None:
        sdp = message.description.sdp
        origin = next((line for line in sdp.splitlines() if line.startswith("o=")), "").rsplit(" ", 5)[0]
        if origin != self._origin:
            await self.close()
            self._origin = origin
        elif message.negotiation < self._answered:
            return
        if not self._can_take(sdp):
            self._rebuilding.ask_at_once()
            return
        connection = self._connection or self._create()
        try:
            if message.negotiation != self._answered:
                await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
                self._answered = message.negotiation
        except Exception:  # aiortc has many for what it cannot use; a fresh connection is the way out of all
            logger.warning("an offer of the server could not be answered", exc_info=True)
            self._rebuilding.ask()
            return
        self._tell_received(connection, message)
        await self._send_answer(connection)
        if self._watch is not None:
            self._watch.expect_connection()

    def _can_take(self, offer: str) -> bool:
        """aiortc (1.16) goes on listening for the SSRC that a line had first. Our server keeps it; a gateway gives a
        line that carries another track another one, and nothing of that would come: a fresh connection takes it."""
        brought = ssrcs_by_mid(offer)
        if any(self._ssrcs.get(mid, ssrc) != ssrc for mid, ssrc in brought.items()):
            return False
        self._ssrcs |= brought
        return True

    async def _send_answer(self, connection: RTCPeerConnection) -> None:
        description = connection.localDescription
        try:
            await self._host.signal(
                "media_description",
                pc="subscribe",
                negotiation=self._answered,
                description={"type": "answer", "sdp": without_repetition(description.sdp)},
            )
        except Disconnected:
            return  # the server offers again what was not answered

    def _create(self) -> RTCPeerConnection:
        connection = self._connection = RTCPeerConnection(self._host.configuration)
        self._answered = -1
        self._watch = ConnectionWatch(
            connection,
            changed=self._host.changed,
            broken=self._rebuilding.ask,
            expects_packets=self._host.expects_media,
        )
        return connection

    def _tell_received(self, connection: RTCPeerConnection, message: ServerDescription) -> None:
        lines = {transceiver.mid: transceiver for transceiver in connection.getTransceivers()}
        self._host.received(
            [
                ReceivedTrack(media, lines[media.mid].kind, lines[media.mid].receiver.track)
                for media in message.media
                if media.mid in lines and lines[media.mid].receiver.track is not None
            ]
        )

    async def receive_candidate(self, message: ServerCandidate) -> None:
        if self._connection is not None and self._connection.remoteDescription is not None:
            await add_candidate(self._connection, message.candidate)

    def rebuild(self) -> None:
        self._rebuilding.ask()

    async def resume(self) -> None:
        await self._rebuilding.resume()

    async def close(self) -> None:
        """The tracks stay: those of a new connection take their place."""
        if self._watch is not None:
            self._watch.close()
        connection, self._connection = self._connection, None
        self._origin, self._ssrcs = "", {}
        if connection is not None:
            await connection.close()


class ServerLink:
    """Implements `media_link.MediaLink`."""

    def __init__(self, host: LinkHost) -> None:
        self.publish = PublishConnection(host)
        self.subscribe = SubscribeConnection(host)

    @property
    def is_connected(self) -> bool:
        return self.publish.is_connected and self.subscribe.is_connected

    async def local_tracks_changed(self) -> None:
        await self.publish.update()

    async def receive(self, event: str, payload: Any) -> None:
        if event == "media_description":
            description = msgspec.convert(payload, ServerDescription)
            if description.pc == "publish":
                await self.publish.receive_answer(description)
            elif description.pc == "subscribe":
                await self.subscribe.receive_offer(description)
        elif event == "media_candidate":
            candidate = msgspec.convert(payload, ServerCandidate)
            side = self.publish if candidate.pc == "publish" else self.subscribe
            await side.receive_candidate(candidate)

    async def lost_by_server(self, pc: str) -> None:
        (self.publish if pc == "publish" else self.subscribe).rebuild()

    async def resume(self, started: MediaStarted) -> None:
        await self.publish.resume()
        await self.subscribe.resume()

    async def close(self) -> None:
        await self.publish.close()
        await self.subscribe.close()


def ssrcs_by_mid(offer: str) -> dict[str, int]:
    """Of each media line that brings something, the first SSRC (RFC 5576 section 4.1)."""
    found: dict[str, int] = {}
    for section in re.split(r"^(?=m=)", offer, flags=re.MULTILINE)[1:]:
        mid, ssrc = (
            re.search(r"^a=mid:(\S+)", section, re.MULTILINE),
            re.search(r"^a=ssrc:(\d+)", section, re.MULTILINE),
        )
        if mid and ssrc and re.search(r"^a=send(only|recv)\s*$", section, re.MULTILINE):
            found[mid[1]] = int(ssrc[1])
    return found


def _named(mid: str | None, track: LocalTrack) -> dict[str, Any]:
    return {"mid": mid, "track_id": track.id, "source": track.source, "muted": track.muted}
