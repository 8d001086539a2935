"""The other end of a peer connection with nothing in it but what the network sees: ICE checks, DTLS, SRTP.

It sends packets that hold the moment they were sent at, and counts what it receives; one that is told to
also decrypts, and notes how long each packet was under way. So many of them fit into one process that the
server runs out first.
"""

import asyncio
import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from signaling.engines.sfu import rtcp
from signaling.engines.sfu.aiortc_seams import Certificate, OutgoingSession, PacketBuffer, SecureTransport
from signaling.engines.sfu.rtp import write_rtp
from signaling.engines.sfu.sdp import ParsedDescription, TransportDescription
from signaling.engines.sfu.stun import binding_request, binding_response, is_stun, parse_binding_request

RECEIVE_BUFFER_BYTES = 4 << 20
MAX_READ_AT_ONCE = 256
PRIORITY = 110 << 24 | 65_535 << 8 | 255
"""Of a peer-reflexive candidate (RFC 8445 section 5.1.2)."""
_SENT_AT = struct.Struct("!d")
"""The last bytes of every payload."""


class LightPeer:
    def __init__(self, certificate: Certificate, address: str, *, measures: bool = False) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((address, 0))
        self._secure = SecureTransport(certificate, self._send, self._state_changed)
        self._certificate = certificate
        self._in, self._out = PacketBuffer(), PacketBuffer()
        self._remote: tuple[str, int] | None = None
        self._check: Callable[[], bytes] = bytes
        self._start: Callable[[], None] | None = None
        """DTLS begins with the first check that is answered, as in browsers: what comes before it is lost, and
        sent again a second later."""
        self._session: OutgoingSession | None = None
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.connected = asyncio.Event()
        self.received = 0
        """Media packets."""
        self.measures = measures
        self.delays_s: list[float] = []
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def describe(self, setup: Literal["actpass", "active"]) -> TransportDescription:
        return TransportDescription(
            self.ufrag, self.password, self._certificate.fingerprint, setup, [self._socket.getsockname()]
        )

    def connect(self, remote: ParsedDescription, address: tuple[str, int]) -> None:
        """`remote`: the server's description. Who answers with `active` is the DTLS client."""
        section = remote.sections[0]
        self._remote = address
        username = f"{section.ufrag}:{self.ufrag}"
        self._check = lambda: binding_request(
            secrets.token_bytes(12), username, section.password.encode(), nominates=True, priority=PRIORITY
        )
        self._start = partial(
            self._secure.start, "server" if section.setup == "active" else "client", section.fingerprints
        )
        self.check()

    def check(self) -> None:
        """ICE's sign of life."""
        self._send(self._check())

    def allow(self, bitrate_bps: int) -> None:
        """As a browser on a good line: what it could receive (REMB), so that nobody holds anything back."""
        report = rtcp.receiver_report(1, ()) + rtcp.max_bitrate(1, bitrate_bps, ())
        self._out.bytes[: len(report)] = report
        self._send(self._out.view[: self._secure.protect_rtcp(self._out.place, len(report))])

    def _send(self, data: bytes | memoryview) -> None:
        assert self._remote is not None
        self._socket.sendto(data, self._remote)

    def _state_changed(self, state: str) -> None:
        if state == "connected":
            self._session = self._secure.outgoing
            self.connected.set()

    def _readable(self) -> None:
        buffer = self._in
        for _ in range(MAX_READ_AT_ONCE):
            try:
                size = self._socket.recv_into(buffer.bytes)
            except BlockingIOError:
                return
            first = buffer.bytes[0]
            if 128 <= first < 192:
                if not 192 <= buffer.bytes[1] <= 223:
                    self.received += 1
                    if self.measures:
                        self._note_delay(size)
            elif is_stun(buffer.bytes, size):
                self._receive_stun(bytes(buffer.view[:size]))
            else:
                self._secure.feed_dtls(bytes(buffer.view[:size]))

    def _receive_stun(self, data: bytes) -> None:
        """Janus checks back, though its agent is a lite one."""
        start, self._start = self._start, None
        if start is not None:
            start()
        with contextlib.suppress(ValueError):
            request = parse_binding_request(data)
            if self._remote is not None:
                self._send(binding_response(request, *self._remote, self.password.encode()))

    def _note_delay(self, size: int) -> None:
        length = self._secure.unprotect(self._in.place, size)
        (sent_at,) = _SENT_AT.unpack_from(self._in.bytes, length - _SENT_AT.size)
        self.delays_s.append(time.monotonic() - sent_at)

    def send_packet(self, sequence: int, timestamp: int, ssrc: int, block: bytes, payload: bytearray) -> None:
        _SENT_AT.pack_into(payload, len(payload) - _SENT_AT.size, time.monotonic())
        assert self._session is not None
        length = write_rtp(self._out.bytes, 96, sequence, timestamp, ssrc, block, payload)
        self._send(self._out.view[: self._out.protect(self._session, length)])

    async def close(self) -> None:
        await self._secure.stop()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
