"""The sfu's hub in the test's own process, behind the engine's contract as far as the tests need it:
for what cannot be done to a worker process, such as losing every twentieth packet."""

import random
from collections.abc import Sequence

from signaling.engines import EngineSink, MediaGrants
from signaling.engines.sfu.aiortc_seams import PacketBuffer
from signaling.engines.sfu.hub import MediaHub
from signaling.engines.sfu.udp import Peer, Source, UdpMux
from signaling.messages import PeerConnectionName, PublishedMedia, SessionDescription


class LossyMux(UdpMux):
    """Loses a share of all media packets, in and out; checks and handshakes pass."""

    def __init__(self, addresses: Sequence[str], port: int, share: float) -> None:
        super().__init__(addresses, port)
        self.share = share
        self.lost = 0
        self._random = random.Random(20_261_123)

    def _loses(self, first_byte: int) -> bool:
        if first_byte < 128 or self._random.random() >= self.share:
            return False
        self.lost += 1
        return True

    def _give(self, peer: Peer, buffer: PacketBuffer, size: int) -> None:
        if not self._loses(buffer.bytes[0]):
            super()._give(peer, buffer, size)

    def send(self, data: bytes | memoryview, source: Source) -> None:
        if not self._loses(data[0]):
            super().send(data, source)


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
