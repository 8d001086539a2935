"""One peer connection's transport on the worker's port: ICE-lite, DTLS, SRTP.

It knows no tracks: decrypted packets go to its owner, what the owner gives it leaves encrypted.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from signaling.engines.sfu.aiortc_seams import (
    Certificate,
    OutgoingSession,
    PacketBuffer,
    SecureTransport,
    SrtpError,
    is_usable_fingerprint,
)
from signaling.engines.sfu.batch import Way
from signaling.engines.sfu.ice import IceLite
from signaling.engines.sfu.rtcp import is_rtcp
from signaling.engines.sfu.sdp import MediaSection, ParsedDescription, SdpError, TransportDescription
from signaling.engines.sfu.stun import BindingRequest
from signaling.engines.sfu.udp import Source, UdpMux

MAX_PAYLOAD_BYTES = 1_500


class TransportOwner(Protocol):
    def transport_connected(self) -> None: ...
    def transport_lost(self) -> None:
        """Failed to connect, fell silent, or the other side closed. Called at most once."""

    def receive_rtp(self, data: bytes) -> None: ...
    def receive_rtcp(self, data: bytes) -> None: ...


@dataclass(slots=True)
class MediaNetwork:
    """What all transports of a worker share."""

    mux: UdpMux
    certificate: Certificate
    clock: Callable[[], float]
    """Monotonic seconds."""
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    """Run it in the background; the worker waits for it at its end."""
    hurry: Callable[[], None]
    """Something is to be asked of a publisher: have `handle_tick` called soon."""
    paced: Callable[[Callable[[], None]], None]
    """Call it when the pacing of joins allows a new peer connection."""
    later: Callable[[float, Callable[[], None]], object]
    """Call it after so many seconds."""


class PeerTransport:
    def __init__(self, network: MediaNetwork, owner: TransportOwner) -> None:
        self._network = network
        self._mux = network.mux
        self._owner = owner
        self._ice = IceLite(network.clock())
        self._secure = SecureTransport(network.certificate, self._send_dtls, self._state_changed)
        self._started = False
        self._handshake: Callable[[], None] | None = None
        """Begins as DTLS client once there is an address to say hello to: a hello that goes nowhere is
        repeated after a second, then after two, and who waits for it (FFmpeg) gives up before."""
        self._closed = False
        self.connected = False
        self._selected: Source | None = None
        self._remote_fingerprints: list[tuple[str, str]] = []
        self._outgoing: OutgoingSession | None = None
        self.out = network.mux.batch
        """Where the owner writes an RTP packet, and sends it by `way`."""
        self.way: Way | None = None
        """None: not connected."""
        self._mux.register(self._ice.ufrag, self)

    # --- descriptions ---------------------------------------------------------------------------

    def describe(self, setup: Literal["actpass", "active", "passive"]) -> TransportDescription:
        return TransportDescription(
            self._ice.ufrag,
            self._ice.password,
            self._network.certificate.fingerprint,
            setup,
            self._mux.candidates,
        )

    def fits(self, description: ParsedDescription) -> bool:
        """Whether a later description is of the same peer connection (same certificate)."""
        section = transport_section(description)
        return not self._remote_fingerprints or section.fingerprints == self._remote_fingerprints

    def start(self, description: ParsedDescription, role: Literal["server", "client"]) -> None:
        """With the other side's first description. A later one changes nothing here, but for a new
        fragment (ICE restart): its checks are taken, ours stay as they are.

        Raises: SdpError."""
        section = transport_section(description)
        self._ice.set_remote_ufrag(section.ufrag)
        if self._started:
            return
        self._started = True
        self._remote_fingerprints = section.fingerprints
        begin = partial(self._secure.start, role, section.fingerprints)
        if role == "client" and self._selected is None:
            self._handshake = begin
        else:
            begin()

    # --- from the mux ---------------------------------------------------------------------------

    def receive_check(self, request: BindingRequest, source: Source) -> None:
        host, port = str(source.address[0]), int(source.address[1])
        answer = self._ice.receive_check(request, source, host, port, self._network.clock())
        if answer is None:
            return
        if answer.is_new_address:
            self._mux.add_route(source, self)
        if isinstance(answer.forget_address, Source):
            self._mux.remove_route(answer.forget_address)
        selected = self._ice.selected
        if selected is not self._selected:
            self._selected = selected if isinstance(selected, Source) else None
            self._find_way()
        self._mux.send(answer.response, source)
        if self._selected is not None and self._handshake is not None and not self._closed:
            begin, self._handshake = self._handshake, None
            begin()

    def receive_datagram(self, buffer: PacketBuffer, size: int) -> None:
        first = buffer.bytes[0]
        if 128 <= first < 192:
            self._receive_secured(buffer, size)
        elif 20 <= first < 64:
            self._secure.feed_dtls(bytes(buffer.view[:size]))

    def _receive_secured(self, buffer: PacketBuffer, size: int) -> None:
        if size < 12:
            return
        try:
            if is_rtcp(buffer.bytes[1]):
                size = self._secure.unprotect_rtcp(buffer.place, size)
                receive = self._owner.receive_rtcp
            else:
                size = self._secure.unprotect(buffer.place, size)
                receive = self._owner.receive_rtp
        except SrtpError:
            return
        if self._closed:
            return
        self._ice.heard(self._network.clock())
        receive(bytes(buffer.view[:size]))

    def _send_dtls(self, data: bytes) -> None:
        if self._selected is not None:
            self._mux.send(data, self._selected)

    def _state_changed(self, state: str) -> None:
        if self._closed:
            return
        if state == "connected":
            self._outgoing = self._secure.outgoing
            self._find_way()
            self.connected = True
            self._owner.transport_connected()
        else:
            self._lose()

    def _lose(self) -> None:
        self.close()
        self._owner.transport_lost()

    def _unregister(self) -> None:
        self._mux.unregister(self._ice.ufrag, [each for each in self._ice.addresses if isinstance(each, Source)])

    # --- to the other side ----------------------------------------------------------------------

    def _find_way(self) -> None:
        known = self._outgoing is not None and self._selected is not None and not self._closed
        self.way = Way(self._outgoing, self._selected) if known else None  # type: ignore[arg-type]

    def send_rtcp(self, data: bytes) -> None:
        batch = self.out
        if self._selected is None or not self.connected or len(data) > MAX_PAYLOAD_BYTES:
            return
        batch.bytes[: len(data)] = data
        try:
            length = self._secure.protect_rtcp(batch.place, len(data))
        except SrtpError:
            return
        batch.commit(self._selected, length)

    # --- time and end ---------------------------------------------------------------------------

    @property
    def srtp_profile(self) -> str | None:
        return self._secure.srtp_profile

    def handle_timer(self, now: float) -> None:
        """About every second."""
        if not self._closed and self._ice.is_lost(now):
            self._lose()

    def close(self) -> None:
        """Nothing is sent or received any more but DTLS's goodbye, which leaves in the background."""
        if self._closed:
            return
        self._closed = True
        self.connected = False
        self._outgoing = self.way = None
        self._network.spawn(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        try:
            await self._secure.stop()
        finally:
            self._unregister()


def transport_section(description: ParsedDescription) -> MediaSection:
    """The m-line whose transport all others share. Raises: SdpError when it has none."""
    for section in description.sections:
        if section.mid in description.bundled and section.ufrag and section.fingerprints and section.port != 0:
            if section.is_media and not section.rtcp_mux:
                raise SdpError("rtcp-mux is needed")
            if not any(is_usable_fingerprint(*fingerprint) for fingerprint in section.fingerprints):
                raise SdpError("no usable DTLS fingerprint")
            return section
    raise SdpError("no m-line with ICE user name fragment and DTLS fingerprint")
