"""A bad line that carries everything: whole IP packets between a network of its own and the machine, through this process.

For kernels without netem. TCP over it is the kernels' own, with its retransmissions; needs root.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass

from tests.support.bad_line import Direction, Line

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MAX_PACKET_BYTES = 65_536
AT_ONCE = 64
"""Packets that are taken before others have their turn."""


@dataclass(eq=False)
class _End:
    """A tun device: what the kernel sends into it we read, and what we write it receives."""

    name: str
    direction: Direction
    """Of what comes out of it."""
    fd: int = -1

    def open(self) -> None:
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH14x", self.name.encode(), IFF_TUN | IFF_NO_PI))


class TunLine:
    """`open`, move the far device where it belongs, then `start`."""

    def __init__(self, near: str, far: str, line: Line, seed: int = 20_261_128) -> None:
        """`near`, `far`: names of the devices, the machine's and the other network's."""
        self._near = _End(near, Direction(line, line.down_bps, seed, overhead_bytes=0))
        self._far = _End(far, Direction(line, line.up_bps, seed + 1, overhead_bytes=0))
        self.carried = self.lost = 0

    def open(self) -> None:
        self._near.open()
        self._far.open()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._near.fd, self._take, self._near, self._far)
        loop.add_reader(self._far.fd, self._take, self._far, self._near)

    def _take(self, source: _End, sink: _End) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                packet = os.read(source.fd, MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            delay_s = source.direction.delay_of(len(packet), loop.time())
            if delay_s is None:
                self.lost += 1
                continue
            self.carried += 1
            loop.call_later(max(0.0, delay_s), self._deliver, sink, packet)

    def _deliver(self, sink: _End, packet: bytes) -> None:
        # The device is gone with its network, or its queue is full: as lost as any.
        if sink.fd >= 0:
            with contextlib.suppress(OSError):
                os.write(sink.fd, packet)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for end in (self._near, self._far):
            if end.fd >= 0:
                loop.remove_reader(end.fd)
                os.close(end.fd)
                end.fd = -1
