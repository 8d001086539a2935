"""Packets that leave together: one system call for many (sendmmsg(2)).

What a publisher's packet becomes for sixty subscribers is sixty datagrams on one socket. Each is encrypted where
it will be sent from, a slot of the batch; when the slots are full, or nothing more is read, all leave at once.
Nothing is allocated for a packet, and neither its address nor its length is parsed again.
"""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from signaling.engines.sfu.aiortc_seams import OutgoingSession, PacketBuffer, SrtpError, length_place, protect_rtp

SLOTS = 64
"""Packets of one call. Beyond that the call itself costs less than a hundredth of what it does."""
_HEADER_BYTES = 64
"""struct mmsghdr where a pointer has 8 bytes: name, its length, the vector, its length, control (2), flags; sent."""
_VECTOR_BYTES = 16
_NAME, _NAME_LENGTH, _VECTOR, _VECTOR_COUNT = 0, 1, 2, 3
"""Words of a header."""
_NAME_BYTES = 28
"""sockaddr_in6; of a sockaddr_in, which has 16, the kernel reads no further (udp_sendmsg). One length for both need
not be written for each packet."""
_WORDS = _HEADER_BYTES // 8


class Destination(Protocol):
    """Where a packet goes: an address as one of our sockets sees it."""

    socket: socket.socket
    address: tuple[str | int, ...]
    name: "SocketName"


class Way:
    """How RTP gets to one peer: encrypted by its session, sent to its address. Another one when either changes."""

    __slots__ = ("destination", "handle", "place", "session", "socket")

    def __init__(self, session: OutgoingSession, destination: Destination) -> None:
        self.destination = destination
        self.session = session
        self.handle = session.handle
        self.socket = destination.socket
        self.place = destination.name.place
        """Of the address, as the kernel reads it."""


class SocketName:
    """An address as the kernel reads it (sockaddr_in, sockaddr_in6), at a place that does not move."""

    __slots__ = ("_memory", "place")

    def __init__(self, address: tuple[str | int, ...]) -> None:
        host, port = str(address[0]), int(address[1])
        if len(address) > 2:
            flow, scope = int(address[2]), int(address[3])
            packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
            name = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow) + packed
            name += struct.pack("=I", scope)
        else:
            packed = socket.inet_pton(socket.AF_INET, host)
            name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + packed + bytes(8)
        self._memory = ctypes.create_string_buffer(name, _NAME_BYTES)
        self.place = ctypes.addressof(self._memory)


def _find_sendmmsg() -> Any:
    """None where a batch cannot be laid out by hand: not Linux, or a pointer of another size or order."""
    if sys.platform != "linux" or struct.calcsize("P") != 8 or sys.byteorder != "little":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "sendmmsg", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    return function


_sendmmsg = _find_sendmmsg()
CAN_BATCH = _sendmmsg is not None


class SendBatch:
    """Write an RTP packet at the start of `bytes`, `send_rtp` it; the next one has another slot. What is encrypted
    otherwise (at `place`) is sent by `commit`.

    `hold` and `release` are put around what makes many packets; outside of them a packet waits for the loop's
    next turn."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        buffers = [PacketBuffer() for _ in range(SLOTS)]
        self._headers = bytearray(_HEADER_BYTES * SLOTS)
        self._vectors = bytearray(_VECTOR_BYTES * SLOTS)
        self._headers_place = _place_of(self._headers)
        header_words = memoryview(self._headers).cast("Q")
        self._names = header_words[_NAME::_WORDS]
        """Where the addresses of the packets are."""
        vector_words = memoryview(self._vectors).cast("Q")
        vectors_place = _place_of(self._vectors)
        self._slots: list[tuple[bytearray, Any, Any]] = []
        """Bytes and place of each packet, and where its length is: libsrtp writes it where the kernel reads it. Of
        the eight bytes there it writes the lower four (little endian)."""
        for index, buffer in enumerate(buffers):
            vector = vectors_place + _VECTOR_BYTES * index
            vector_words[2 * index] = _place_of(buffer.bytes)
            header_words[_WORDS * index + _NAME_LENGTH] = _NAME_BYTES
            header_words[_WORDS * index + _VECTOR] = vector
            header_words[_WORDS * index + _VECTOR_COUNT] = 1
            self._slots.append((buffer.bytes, buffer.place, length_place(vector + 8)))
        self._kept: list[object] = [None] * SLOTS
        """Held until the packets have left: the kernel reads the addresses."""
        self._socket: socket.socket | None = None
        """Of the packets from `_first` on."""
        self._first = self._count = 0
        self._is_held = self._is_scheduled = False
        self.failures = 0
        """Packets that the kernel did not take (its buffer is full, or there is no route), or libsrtp."""
        self.bytes, self.place, self._length = self._slots[0]

    def send_rtp(self, way: Way, size: int) -> None:
        """Encrypt the RTP packet of `size` bytes in the slot, and send it."""
        index, length = self._count, self._length
        length[0] = size
        if protect_rtp(way.handle, self.place, length):
            self.failures += 1
            return
        if way.socket is not self._socket:
            self._turn_to(way.socket)
        self._names[index] = way.place
        self._kept[index] = way
        self._count = index = index + 1
        if index < SLOTS:
            self.bytes, self.place, self._length = self._slots[index]
            if not self._is_held:
                self._schedule()
        else:
            self.flush()

    def commit(self, destination: Destination, length: int) -> None:
        """The packet of `length` bytes in the slot goes there as it is."""
        index = self._count
        self._length[0] = length
        if destination.socket is not self._socket:
            self._turn_to(destination.socket)
        self._names[index] = destination.name.place
        self._kept[index] = destination
        self._count = index = index + 1
        if index == SLOTS:
            self.flush()
            return
        self.bytes, self.place, self._length = self._slots[index]
        if not self._is_held:
            self._schedule()

    def _turn_to(self, sock: socket.socket) -> None:
        self._send()
        self._socket = sock
        self._first = self._count

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._flush_scheduled)

    def hold(self) -> None:
        self._is_held = True

    def release(self) -> None:
        self._is_held = False
        if self._count:
            self.flush()

    def _flush_scheduled(self) -> None:
        self._is_scheduled = False
        if not self._is_held:
            self.flush()

    def flush(self) -> None:
        self._send()
        self._first = self._count = 0
        self.bytes, self.place, self._length = self._slots[0]

    def _send(self) -> None:
        """What waits from `_first` on, by as few calls as the kernel allows."""
        sock, at = self._socket, self._first
        if sock is None or at == self._count:
            return
        descriptor = sock.fileno()
        while at < self._count:
            sent = -1 if descriptor < 0 else self._call(descriptor, at, self._count - at)
            if sent < 0:
                if descriptor < 0 or ctypes.get_errno() in (errno.EAGAIN, errno.ENOBUFS):
                    # To the subscribers lost packets, which they ask for again.
                    self.failures += self._count - at
                    break
                # The first one cannot be sent, or an earlier one was answered by ICMP: the others go on.
                self.failures += 1
                sent = 1
            at += sent
        self._first = self._count

    def _call(self, descriptor: int, at: int, count: int) -> int:
        place = self._headers_place + _HEADER_BYTES * at
        sent: int = _sendmmsg(descriptor, place, count, socket.MSG_DONTWAIT)
        return sent


class SendEach:
    """The same, by one call for each packet: where a batch cannot be laid out."""

    def __init__(self) -> None:
        self._slot = slot = PacketBuffer()
        self.bytes, self.place = slot.bytes, slot.place
        self.failures = 0

    def send_rtp(self, way: Way, size: int) -> None:
        try:
            length = self._slot.protect(way.session, size)
        except SrtpError:
            self.failures += 1
        else:
            self.commit(way.destination, length)

    def commit(self, destination: Destination, length: int) -> None:
        try:
            destination.socket.sendto(self._slot.view[:length], destination.address)
        except OSError:
            self.failures += 1

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def flush(self) -> None: ...


def _place_of(memory: bytearray) -> int:
    # The array holds the bytearray's buffer for as long as it lives, which is not needed after this: nothing
    # resizes it.
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
