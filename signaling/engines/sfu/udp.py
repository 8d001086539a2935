"""One UDP port for all peers of a worker, on each of its media addresses.

A packet is told apart by the address it comes from, once a STUN check with a peer's user name
fragment has come from there; until then only such checks are looked at. Sockets are read in
batches straight from the loop's reader callback: no queue and no task per packet.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

from signaling.engines.sfu.aiortc_seams import PacketBuffer
from signaling.engines.sfu.batch import CAN_BATCH, SendBatch, SendEach, SocketName
from signaling.engines.sfu.stun import BindingRequest, is_stun, parse_binding_request

log = logging.getLogger(__name__)

SOCKET_BUFFER_BYTES = 4 << 20
"""A burst of key frames from thirty cameras while the loop does a handshake; the kernel may give less."""
MAX_BATCH = 96
"""Packets read before the loop gets its turn: about 5 ms of work with ten subscribers each."""
PORT_TRIES = 10
_MAX_DATAGRAM = 1_500


class Source:
    """An address as one of our sockets sees it; equal for equal pairs."""

    __slots__ = ("_hash", "address", "name", "socket")

    def __init__(self, sock: socket.socket, address: tuple[str | int, ...]) -> None:
        self.socket = sock
        self.address = address
        self.name = SocketName(address)
        self._hash = hash((sock.fileno(), address))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and self.socket is other.socket and self.address == other.address


class Peer(Protocol):
    def receive_check(self, request: BindingRequest, source: Source) -> None: ...
    def receive_datagram(self, buffer: PacketBuffer, size: int) -> None:
        """DTLS, SRTP or SRTCP, from an address that this peer has proven to be its own."""


class PortUnavailable(Exception):
    """None of the tries found the port free on every address."""


class UdpMux:
    """`open()` binds; peers register their fragment and, as checks arrive, their addresses."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        """`port` 0: any that is free on all addresses."""
        self._addresses = list(addresses)
        self._port = port
        self._sockets: list[socket.socket] = []
        self._routes: dict[socket.socket, dict[tuple[str | int, ...], Peer]] = {}
        self._by_ufrag: dict[str, Peer] = {}
        self._buffer = PacketBuffer()
        self.batch: SendBatch | SendEach = SendEach()
        """Media on their way out."""
        self.strangers = 0
        """Datagrams from nobody."""
        self._send_failures = 0

    @property
    def send_failures(self) -> int:
        """Datagrams that the kernel did not take (its buffer is full, or no route)."""
        return self._send_failures + self.batch.failures

    @property
    def candidates(self) -> list[tuple[str, int]]:
        return [(address, self._port) for address in self._addresses]

    def open(self) -> None:
        """Raises: PortUnavailable."""
        for attempt in range(PORT_TRIES):
            try:
                self._bind(self._port)
                break
            except OSError as error:
                self._close_sockets()
                if self._port or attempt == PORT_TRIES - 1:
                    raise PortUnavailable(f"media port {self._port or 'any'}: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        if CAN_BATCH:
            self.batch = SendBatch(loop.call_soon)
        for sock in self._sockets:
            loop.add_reader(sock.fileno(), self._readable, sock)

    def _bind(self, port: int) -> None:
        for address in self._addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = self._new_socket(family)
            self._sockets.append(sock)
            self._routes[sock] = {}
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            sock.bind((address, port))
            port = sock.getsockname()[1]
        self._port = port

    def _new_socket(self, family: socket.AddressFamily) -> socket.socket:
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        self.batch.flush()
        for sock in self._sockets:
            loop.remove_reader(sock.fileno())
        self._close_sockets()
        self._by_ufrag.clear()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._routes.clear()

    # --- peers ----------------------------------------------------------------------------------

    def register(self, ufrag: str, peer: Peer) -> None:
        self._by_ufrag[ufrag] = peer

    def unregister(self, ufrag: str, sources: Sequence[Source]) -> None:
        peer = self._by_ufrag.pop(ufrag, None)
        if peer is None:
            return
        for source in sources:
            routes = self._routes.get(source.socket, {})
            if routes.get(source.address) is peer:
                del routes[source.address]

    def add_route(self, source: Source, peer: Peer) -> None:
        self._routes[source.socket][source.address] = peer

    def remove_route(self, source: Source) -> None:
        self._routes.get(source.socket, {}).pop(source.address, None)

    # --- packets --------------------------------------------------------------------------------

    def _readable(self, sock: socket.socket) -> None:
        self.batch.hold()
        try:
            self._read(sock)
        finally:
            self.batch.release()

    def _read(self, sock: socket.socket) -> None:
        buffer = self._buffer
        routes = self._routes[sock]
        for _ in range(MAX_BATCH):
            try:
                size, address = sock.recvfrom_into(buffer.bytes)
            except BlockingIOError:
                return
            except OSError:
                # ICMP errors of earlier sends (a peer's port is gone) are reported here; the peer's
                # silence says the same.
                continue
            if not 0 < size <= _MAX_DATAGRAM:
                continue
            if is_stun(buffer.bytes, size):
                self._receive_check(sock, address, bytes(buffer.view[:size]))
                continue
            peer = routes.get(address)
            if peer is None:
                self.strangers += 1
            else:
                self._give(peer, buffer, size)

    def _give(self, peer: Peer, buffer: PacketBuffer, size: int) -> None:
        try:
            peer.receive_datagram(buffer, size)
        except Exception:
            # One peer's packet must not end the reading for all others; which one is in the trace.
            log.exception("a datagram could not be handled")

    def _receive_check(self, sock: socket.socket, address: tuple[str | int, ...], data: bytes) -> None:
        try:
            request = parse_binding_request(data)
        except ValueError:
            self.strangers += 1
            return
        peer = self._by_ufrag.get(request.local_ufrag)
        if peer is None:
            self.strangers += 1
            return
        peer.receive_check(request, Source(sock, address))

    def send(self, data: bytes | memoryview, source: Source) -> None:
        try:
            source.socket.sendto(data, source.address)
        except OSError:
            self._send_failures += 1
