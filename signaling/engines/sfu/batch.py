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

from signaling.engines.sfu.aiortc_seams import PacketBuffer

SLOTS = 64
"""Packets of one call. Beyond that the call itself costs less than a hundredth of what it does."""
_HEADER_BYTES = 64
"""struct mmsghdr where a pointer has 8 bytes: name, its length, the vector, its length, control (2), flags; sent."""
_VECTOR_BYTES = 16
_VECTOR, _VECTOR_COUNT = 2, 3
"""Words of a header; the first two are the name and its length."""
_WORDS = _HEADER_BYTES // 8


class Destination(Protocol):
    """Where a packet goes: an address as one of our sockets sees it."""

    socket: socket.socket
    address: tuple[str | int, ...]
    name: "SocketName"


class SocketName:
    """An address as the kernel reads it (sockaddr_in, sockaddr_in6), at a place that does not move."""

    __slots__ = ("_memory", "length", "place")

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
        self._memory = ctypes.create_string_buffer(name, len(name))
        self.place = ctypes.addressof(self._memory)
        self.length = len(name)


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
    """Write a packet at the start of `bytes`, encrypt it at `place`, `commit` it; the next one has another slot.

    `hold` and `release` are put around what makes many packets; outside of them a packet waits for the loop's
    next turn."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        buffers = [PacketBuffer() for _ in range(SLOTS)]
        self._slots = [(buffer.bytes, buffer.place) for buffer in buffers]
        self._headers = bytearray(_HEADER_BYTES * SLOTS)
        self._vectors = bytearray(_VECTOR_BYTES * SLOTS)
        self._headers_place = _place_of(self._headers)
        self._header_words = memoryview(self._headers).cast("Q")
        self._vector_words = memoryview(self._vectors).cast("Q")
        vectors_place = _place_of(self._vectors)
        for index, buffer in enumerate(buffers):
            self._vector_words[2 * index] = _place_of(buffer.bytes)
            self._header_words[_WORDS * index + _VECTOR] = vectors_place + _VECTOR_BYTES * index
            self._header_words[_WORDS * index + _VECTOR_COUNT] = 1
        self._destinations: list[Destination | None] = [None] * SLOTS
        """Held until the packets have left: the kernel reads their names."""
        self._socket: socket.socket | None = None
        """Of the packets from `_first` on."""
        self._first = self._count = 0
        self._is_held = self._is_scheduled = False
        self.failures = 0
        """Packets that the kernel did not take: its buffer is full, or there is no route."""
        self._take_slot()

    def _take_slot(self) -> None:
        self.bytes, self.place = self._slots[self._count]

    def commit(self, destination: Destination, length: int) -> None:
        """The packet of `length` bytes in the slot goes there."""
        index = self._count
        if destination.socket is not self._socket:
            self._send()
            self._socket = destination.socket
            self._first = index
        words, word, name = self._header_words, index * _WORDS, destination.name
        words[word] = name.place
        words[word + 1] = name.length
        self._vector_words[2 * index + 1] = length
        self._destinations[index] = destination
        self._count = index = index + 1
        if index == SLOTS:
            self.flush()
            return
        self.bytes, self.place = self._slots[index]
        if not self._is_held and not self._is_scheduled:
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
        self._take_slot()

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
        slot = PacketBuffer()
        self._view = slot.view
        self.bytes, self.place = slot.bytes, slot.place
        self.failures = 0

    def commit(self, destination: Destination, length: int) -> None:
        try:
            destination.socket.sendto(self._view[:length], destination.address)
        except OSError:
            self.failures += 1

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def flush(self) -> None: ...


def _place_of(memory: bytearray) -> int:
    # The array holds the bytearray's buffer for as long as it lives, which is not needed after this: nothing
    # resizes it.
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
