"""A school's line between a browser and the forwarder: it loses, delays, mixes up and cannot carry much.

A relay on the forwarder's address, for kernels without netem; seeded, so that a line is as bad in each run.
"""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_QUEUE_S = 0.4
"""What waits longer for a thin line is dropped, as a router's buffer does."""
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    loss: float = 0.0
    """Share of packets, each way."""
    delay_s: float = 0.0
    """One way."""
    jitter_s: float = 0.0
    """Up to so much more or less."""
    down_bps: float = float("inf")
    up_bps: float = float("inf")


class Direction:
    """Decides what becomes of a packet: None, it is lost; else how long it is under way."""

    def __init__(self, line: Line, rate_bps: float, seed: int, overhead_bytes: int = 28) -> None:
        """`overhead_bytes`: what the line carries beside what `delay_of` is told; of a datagram, IP's and UDP's headers."""
        self._line, self._rate_bps, self._overhead_bytes = line, rate_bps, overhead_bytes
        self._random = random.Random(seed)
        self._free_at = 0.0

    def become(self, line: Line) -> None:
        self._line = line

    def delay_of(self, size: int, now: float) -> float | None:
        line = self._line
        if self._random.random() < line.loss:
            return None
        self._free_at = max(self._free_at, now)
        if self._free_at - now > LONGEST_QUEUE_S:
            return None
        self._free_at += (size + self._overhead_bytes) * 8 / self._rate_bps
        return self._free_at - now + line.delay_s + self._random.uniform(-line.jitter_s, line.jitter_s)


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, address: Address) -> None:
        self._receive(data, address)

    def error_received(self, _error: Exception) -> None:
        """A peer that has gone."""


class BadLine:
    """`await start()`, then give browsers `through(sdp)` instead of the forwarder's description."""

    def __init__(self, line: Line, seed: int = 20_261_128) -> None:
        self._line, self._seed = line, seed
        self._near: asyncio.DatagramTransport | None = None
        self._far: dict[Address, asyncio.DatagramTransport] = {}
        """One for each address of a browser, which the forwarder takes for the browser's."""
        self._waiting: dict[Address, list[bytes]] = {}
        self._target: Address | None = None
        self._up = Direction(line, line.up_bps, seed)
        self._down = Direction(line, line.down_bps, seed + 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.carried = self.lost = 0
        self._is_stopped = False

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._near, _protocol = await loop.create_datagram_endpoint(
            lambda: _Socket(self._from_browser), local_addr=("127.0.0.1", 0)
        )

    def through(self, sdp: str) -> str:
        assert self._near is not None
        found = re.search(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", sdp, re.MULTILINE)
        assert found is not None
        self._target = (found[1], int(found[2]))
        return sdp.replace(
            f" {found[1]} {found[2]} typ host", f" 127.0.0.1 {self._near.get_extra_info('sockname')[1]} typ host"
        )

    def become(self, line: Line) -> None:
        """From now on it is as bad as this."""
        for direction in (self._up, self._down):
            direction.become(line)

    def _from_browser(self, data: bytes, browser: Address) -> None:
        far = self._far.get(browser)
        if far is not None:
            self._pass(self._up, data, lambda: far.sendto(data))
            return
        waiting = self._waiting.setdefault(browser, [])
        waiting.append(data)
        if len(waiting) == 1:
            task = asyncio.get_running_loop().create_task(self._open(browser))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, browser: Address) -> None:
        near = self._near
        assert near is not None
        far, _protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Socket(lambda data, _from: self._pass(self._down, data, lambda: near.sendto(data, browser))),
            remote_addr=self._target,
        )
        self._far[browser] = far
        for data in self._waiting.pop(browser):
            self._from_browser(data, browser)

    def _pass(self, direction: Direction, data: bytes, send: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        delay_s = direction.delay_of(len(data), loop.time())
        if delay_s is None:
            self.lost += 1
            return
        self.carried += 1
        loop.call_later(max(0.0, delay_s), self._deliver, send)

    def _deliver(self, send: Callable[[], None]) -> None:
        if not self._is_stopped:
            send()

    async def stop(self) -> None:
        self._is_stopped = True
        await asyncio.gather(*self._tasks)
        for transport in (*self._far.values(), self._near):
            if transport is not None:
                transport.close()
