"""Whether anybody's packets reach this worker's port: an ICE-lite agent that carries nothing.

Before a visit a school wants to know whether its network lets media through, and nobody has a room yet. So each
worker answers, for all who know one published fragment and password, what ICE asks, and no more: no state is kept of
whoever asks, an answer is no longer than its request (nothing is amplified), and what is not a signed check is
dropped as from any stranger. A browser takes the answer for a connected path (RFC 8445 section 7.2.5).
"""

import secrets

from signaling.engines.sfu.aiortc_seams import PacketBuffer
from signaling.engines.sfu.stun import BindingRequest, binding_response
from signaling.engines.sfu.udp import Source, UdpMux

_UFRAG_BYTES = 6
_PASSWORD_BYTES = 18


class ReachabilityPeer:
    """Implements `signaling.engines.sfu.udp.Peer`. It never asks for a route, so datagrams other than checks never
    come here."""

    def __init__(self, mux: UdpMux) -> None:
        self._mux = mux
        self.ufrag = secrets.token_hex(_UFRAG_BYTES)
        self.password = secrets.token_hex(_PASSWORD_BYTES)
        mux.register(self.ufrag, self)

    def receive_check(self, request: BindingRequest, source: Source) -> None:
        password = self.password.encode("ascii")
        if not request.is_signed_with(password):
            return
        host, port = source.address[:2]
        self._mux.send(binding_response(request, str(host), int(port), password), source)

    def receive_datagram(self, buffer: PacketBuffer, size: int) -> None:
        """Nothing has a route here."""
