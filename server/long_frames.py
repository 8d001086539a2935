"""A long message over a WebSocket in fragments (RFC 6455 section 5.4): the next one when the line has taken the last.

Given to the transport whole, a text of 20 MB is written as fast as the system takes it: 2.6 MB at a time to a reader,
and to as many of a class of thirty as have room in the same turn of the event loop, 50 MB in 20 ms. Here one fragment
is written a turn, for all connections together. Pings and a close may go between fragments, and do; messages wait
behind the last one. The fragments are views of the bytes that all readers share.

`_drain_helper` of aiohttp's protocol is not public (its own writer waits with it): the version is pinned.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from server.deflate import frame_head

FRAGMENT_BYTES: Final = 128 * 1024
"""Written in 0.1 ms. Every reader whose line was full may take the rest of one in the same turn: thirty 2 ms."""
BINARY, CONTINUATION, FINAL = 0x02, 0x00, 0x80
"""Of the first byte of a frame."""


class LongMessage:
    """One message, cut as it is sent."""

    def __init__(self, head: bytes, rest: bytes) -> None:
        self._head = head
        self._rest = memoryview(rest)
        self._at = 0
        self._opcode = BINARY

    @property
    def left_bytes(self) -> int:
        return len(self._head) + len(self._rest) - self._at

    def next_fragment(self) -> tuple[bytes, memoryview]:
        """To be written one after the other."""
        start, self._at = self._at, min(self._at + FRAGMENT_BYTES - len(self._head), len(self._rest))
        end = FINAL if self._at == len(self._rest) else 0
        payload, head = self._rest[start : self._at], self._head
        first, self._opcode, self._head = self._opcode | end, CONTINUATION, b""
        return frame_head(first, len(head) + len(payload)) + head, payload


class LongWriting:
    """Of one connection, from a long message until nothing waits behind it."""

    def __init__(
        self,
        transport: asyncio.Transport,
        turn: asyncio.Lock,
        *,
        is_over: Callable[[], bool],
        ended: Callable[[], object],
    ) -> None:
        """`transport`: with aiohttp's protocol. `turn`: one for all connections. `is_over`: no message may be
        sent any more. `ended`: whatever comes now may go to the transport again."""
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._turn = turn
        self._is_over = is_over
        self._ended = ended
        self._waiting: deque[LongMessage | bytes] = deque()
        self._frames_bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def left_bytes(self) -> int:
        """What the transport was not given yet; the caller bounds it."""
        return self._frames_bytes + sum(each.left_bytes for each in self._waiting if isinstance(each, LongMessage))

    def send(self, message: LongMessage) -> None:
        self._waiting.append(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    def put_behind(self, frames: bytes) -> None:
        """Whole frames."""
        self._waiting.append(frames)
        self._frames_bytes += len(frames)

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):  # gone
            while self._waiting:
                async with self._turn:
                    await asyncio.sleep(0)
                    if self._is_over():
                        break
                    self._write_next()
                await self._protocol._drain_helper()
        self._waiting.clear()
        self._frames_bytes = 0
        self._ended()

    def _write_next(self) -> None:
        message = self._waiting[0]
        if isinstance(message, LongMessage):
            for piece in message.next_fragment():
                self._transport.write(piece)
            if message.left_bytes == 0:
                self._waiting.popleft()
            return
        frames = list[bytes]()
        while self._waiting and isinstance(message := self._waiting[0], bytes):
            frames.append(message)
            self._waiting.popleft()
        self._frames_bytes -= sum(map(len, frames))
        self._transport.write(b"".join(frames))
