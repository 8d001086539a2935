"""The sfu's hub in the test's own process, behind the engine's contract as far as the tests need it:
for what cannot be done to a worker process, such as losing every twentieth packet."""

import random
import socket
from collections.abc import Sequence
from typing import Any

from signaling.engines import EngineSink, MediaGrants
from signaling.engines.sfu.aiortc_seams import PacketBuffer
from signaling.engines.sfu.batch import SendEach
from signaling.engines.sfu.hub import MediaHub
from signaling.engines.sfu.udp import Peer, UdpMux
from signaling.messages import PeerConnectionName, PublishedMedia, SessionDescription


class _Loss:
    def __init__(self, share: float) -> None:
        self.share = share
        self.lost = 0
        self._random = random.Random(20_261_123)

    def takes(self, first_byte: int) -> bool:
        """Media only; checks and handshakes pass."""
        if first_byte < 128 or self._random.random() >= self.share:
            return False
        self.lost += 1
        return True


class _LossySocket(socket.socket):
    loss: _Loss

    def sendto(self, data: Any, address: Any) -> int:  # type: ignore[override]
        return len(data) if self.loss.takes(data[0]) else super().sendto(data, address)


class LossyMux(UdpMux):
    """Loses a share of all media packets, in and out."""

    def __init__(self, addresses: Sequence[str], port: int, share: float) -> None:
        super().__init__(addresses, port)
        self.loss = _Loss(share)

    def open(self) -> None:
        super().open()
        # A batch goes past the socket's own methods.
        self.batch = SendEach()

    def _new_socket(self, family: socket.AddressFamily) -> socket.socket:
        lossy = _LossySocket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        lossy.loss = self.loss
        return lossy

    def _give(self, peer: Peer, buffer: PacketBuffer, size: int) -> None:
        if not self.loss.takes(buffer.bytes[0]):
            super()._give(peer, buffer, size)


class LocalSfu:
    def __init__(self, sink: EngineSink, mux: UdpMux) -> None:
        self.hub = MediaHub(mux, sink)

    async def open_session(self, room_id: str, session_id: str, participant_id: str, grants: MediaGrants) -> None:
        self.hub.open_session(room_id, session_id, participant_id, grants)

    async def close_session(self, session_id: str) -> None:
        self.hub.close_session(session_id)

    async def receive_description(
        self,
        session_id: str,
        pc: PeerConnectionName,
        negotiation: int,
        description: SessionDescription,
        media: Sequence[PublishedMedia],
        to_session_id: str | None,
    ) -> None:
        if pc == "publish":
            await self.hub.receive_publish_offer(session_id, negotiation, description.sdp, media)
        else:
            self.hub.receive_subscribe_answer(session_id, negotiation, description.sdp)
