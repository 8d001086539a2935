"""Everything that is used of aiortc and pylibsrtp without being promised by them.

Used: `RTCDtlsTransport` over a transport of our own (ICE is ours, see `ice.py`), so that the
handshake, its certificate check and the SRTP keys are aiortc's; then its two SRTP sessions
directly, on buffers that are reused, without aiortc's parsing, queues and tasks per packet
(measured: 16 → 6 to 11 µs per forwarded packet). Pinned to the exact versions below: when one
changes, the check at import names what is different, and `tests/signaling/sfu/test_chromium.py`
shows whether browsers still get through.
"""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Literal

import aiortc.rtcdtlstransport as aiortc_dtls
import pylibsrtp
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from pylibsrtp._binding import ffi, lib

PINNED = {"aiortc": "1.16.0", "pylibsrtp": "1.0.0"}
DTLS_QUEUE_PACKETS = 64
"""Handshake flights are below ten packets; more waiting ones are dropped, DTLS repeats them."""
SRTP_TRAILER_BYTES = 16 + 4
"""Room behind a packet: the longest authentication tag, and SRTCP's index."""


class SeamsChanged(ImportError):
    """A pinned library is not what this file was written for."""


def check_seams() -> None:
    """Raises: SeamsChanged, naming every difference."""
    differences = [
        f"{name} is {version(name)}, not {pinned}" for name, pinned in PINNED.items() if version(name) != pinned
    ]
    differences += [
        f"{owner.__name__}.{name} is gone"
        for owner, names in (
            (RTCDtlsTransport, ("_recv_next", "_write_ssl", "_setup_srtp", "_set_role", "start", "stop")),
            (pylibsrtp.Session, ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp")),
            (lib, ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp")),
        )
        for name in names
        if not hasattr(owner, name)
    ]
    source = inspect.getsource(RTCDtlsTransport)
    differences += [
        f"RTCDtlsTransport no longer has {text!r}"
        for text in ("self.transport._recv()", "self.transport._send(data)", "self._rx_srtp", "self._tx_srtp")
        if text not in source
    ]
    if "self._srtp[0]" not in inspect.getsource(pylibsrtp.Session):
        differences.append("pylibsrtp.Session no longer keeps its handle in _srtp")
    if differences:
        raise SeamsChanged("media libraries have changed: " + "; ".join(differences))


check_seams()

protect_rtp = lib.srtp_protect
"""(session, place, length at) → 0, or libsrtp's error. The RTP packet at the place (PacketBuffer's) is encrypted where
it is; its length is read from `length at` (`length_place`'s) and replaced by the new one. Called for every packet of
every subscriber: nothing of ours stands in between."""


def length_place(address: int) -> Any:
    """Where libsrtp shall keep a packet's length: four bytes of somebody's memory, who keeps it alive."""
    return ffi.cast("int *", address)


def is_usable_fingerprint(algorithm: str, value: str) -> bool:
    """Whether the handshake can check a certificate against it."""
    known = aiortc_dtls.X509_DIGEST_ALGORITHMS.get(algorithm)
    return known is not None and len(value) == known.digest_size * 3 - 1


class Certificate:
    """A worker's DTLS certificate, shared by its peer connections (30 days, as aiortc makes it)."""

    def __init__(self) -> None:
        self.rtc = RTCCertificate.generateCertificate()
        self.fingerprint = next(each.value for each in self.rtc.getFingerprints() if each.algorithm == "sha-256")


class _Pipe:
    """What RTCDtlsTransport believes to be an ICE transport: DTLS packets in and out."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._to_send = send
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(DTLS_QUEUE_PACKETS)

    def feed(self, data: bytes | None) -> None:
        if self._arrived.full():
            if data is not None:
                return
            self._arrived.get_nowait()
        self._arrived.put_nowait(data)

    async def _recv(self) -> bytes:
        data = await self._arrived.get()
        if data is None:
            raise ConnectionError("closed")
        return data

    async def _send(self, data: bytes) -> None:
        self._to_send(data)


class SrtpError(Exception):
    """A packet that is not authentic, was seen before, or cannot be protected."""


class OutgoingSession:
    """libsrtp's session of one connection, which is not freed while this lives."""

    __slots__ = ("_kept", "handle")

    def __init__(self, handle: Any, kept: object) -> None:
        self.handle = handle
        """For `protect_rtp`."""
        self._kept = kept


class SecureTransport:
    """DTLS-SRTP of one peer connection.

    `on_state` hears "connected" once, and "closed" or "failed" once. Until "connected" the
    SRTP methods raise SrtpError."""

    def __init__(
        self, certificate: Certificate, send: Callable[[bytes], None], on_state: Callable[[str], None]
    ) -> None:
        self._pipe = _Pipe(send)
        transport: Any = self._pipe
        self._dtls = RTCDtlsTransport(transport, [certificate.rtc])
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._incoming: Any = None
        self._outgoing: Any = None
        self._length = ffi.new("int *")
        self._ended = False

    def start(self, role: Literal["server", "client"], fingerprints: Sequence[tuple[str, str]]) -> None:
        """Begin the handshake; a peer with another certificate fails it."""
        known = [
            RTCDtlsFingerprint(algorithm, value)
            for algorithm, value in fingerprints
            if is_usable_fingerprint(algorithm, value)
        ]
        self._dtls._set_role(role)
        self._dtls.on("statechange", self._state_changed)
        self._task = asyncio.create_task(self._run(RTCDtlsParameters(fingerprints=known, role="auto")))

    async def _run(self, parameters: RTCDtlsParameters) -> None:
        try:
            await self._dtls.start(parameters)
        except Exception:
            # pyOpenSSL and cryptography raise many kinds for a hostile handshake; all mean one thing.
            self._end("failed")

    def _state_changed(self) -> None:
        state = self._dtls.state
        if state == "connected":
            self._incoming = self._dtls._rx_srtp._srtp[0]
            self._outgoing = self._dtls._tx_srtp._srtp[0]
            self._on_state("connected")
        elif state in ("closed", "failed"):
            self._end(state)

    def _end(self, state: str) -> None:
        self._incoming = self._outgoing = None
        if not self._ended:
            self._ended = True
            self._on_state(state)

    def feed_dtls(self, data: bytes) -> None:
        self._pipe.feed(data)

    @property
    def srtp_profile(self) -> str | None:
        """The profile that DTLS chose, for statistics and tests."""
        if self._outgoing is None or self._dtls._ssl is None:
            return None
        return bytes(self._dtls._ssl.get_selected_srtp_profile()).decode("ascii")

    def _process(self, function: Any, handle: Any, place: Any, length: int) -> int:
        if handle is None:
            raise SrtpError("not connected")
        self._length[0] = length
        if function(handle, place, self._length):
            raise SrtpError("refused by libsrtp")
        return int(self._length[0])

    @property
    def outgoing(self) -> "OutgoingSession":
        """What encrypts RTP to the other side, for this connection's life. Raises: SrtpError when not connected."""
        if self._outgoing is None:
            raise SrtpError("not connected")
        return OutgoingSession(self._outgoing, self._dtls._tx_srtp)

    def protect_rtcp(self, place: Any, length: int) -> int:
        return self._process(lib.srtp_protect_rtcp, self._outgoing, place, length)

    def unprotect(self, place: Any, length: int) -> int:
        return self._process(lib.srtp_unprotect, self._incoming, place, length)

    def unprotect_rtcp(self, place: Any, length: int) -> int:
        return self._process(lib.srtp_unprotect_rtcp, self._incoming, place, length)

    async def stop(self) -> None:
        """Say goodbye (close_notify) and end the handshake or the reading task."""
        self._ended = True
        await self._dtls.stop()
        self._incoming = self._outgoing = None
        self._pipe.feed(None)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class PacketBuffer:
    """Memory that libsrtp works in and Python writes to, without copies between them."""

    def __init__(self, size: int = 2_048) -> None:
        self.bytes = bytearray(size)
        self.place = ffi.from_buffer(self.bytes)
        """Keeps the bytearray from being resized: an assignment that would, raises BufferError."""
        self.view = memoryview(self.bytes)
        self._length = ffi.new("int *")

    def protect(self, session: OutgoingSession, length: int) -> int:
        """Encrypt the RTP packet of `length` bytes; its new length. Raises: SrtpError."""
        self._length[0] = length
        if protect_rtp(session.handle, self.place, self._length):
            raise SrtpError("refused by libsrtp")
        return int(self._length[0])
