"""The people of the load: sockets that write, and probes that see.

A writer's socket is emptied in sweeps (the kernel holds what came in between), because the load must not
be what limits a server that sends each reader each keystroke. A probe is an asyncio protocol: it reads at
once, and what it times is what a person at a screen would see.
"""

import asyncio
import base64
import os
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from benchmarks.documents.dialects import Dialect
from benchmarks.documents.yjs_bytes import ASK_FOR_ALL, NOTHING_OF_MINE, PONG, FrameReader, client_frame

OPENING_DEADLINE_S = 30.0
RECEIVE_BYTES = 1 << 18


def request(url: str, path: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class ConnectionRefused(Exception):
    """The server did not answer the upgrade with 101."""


class Writer:
    """One socket that types. Call `open`, then `send`; call `drain` now and then."""

    def __init__(self, url: str, dialect: Dialect, document: str) -> None:
        self._url = url
        self.dialect = dialect
        self.document = document
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received_bytes = 0
        self._unsent = b""

    async def open(self) -> None:
        """Connect, upgrade, ask for the document. Raises: ConnectionRefused, TimeoutError."""
        loop = asyncio.get_running_loop()
        parts = urlsplit(self._url)
        async with asyncio.timeout(OPENING_DEADLINE_S):
            await loop.sock_connect(self.socket, (parts.hostname, parts.port))
            await loop.sock_sendall(self.socket, request(self._url, self.dialect.path(self.document)))
            head = b""
            while b"\r\n\r\n" not in head:
                data = await loop.sock_recv(self.socket, RECEIVE_BYTES)
                if not data:
                    raise ConnectionRefused(head[:200])
                head += data
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise ConnectionRefused(head[:200])
            opening = [*self.dialect.opening(self.document), *self._first_messages()]
            await loop.sock_sendall(self.socket, b"".join(map(client_frame, opening)))

    def _first_messages(self) -> list[bytes]:
        return [self.dialect.wrap(self.document, message) for message in (ASK_FOR_ALL, NOTHING_OF_MINE)]

    def send(self, frames: bytes) -> None:
        """Never waits; what the kernel does not take goes out with the next call."""
        if self._unsent:
            frames, self._unsent = self._unsent + frames, b""
        try:
            sent = self.socket.send(frames)
        except BlockingIOError:
            sent = 0
        if sent < len(frames):
            self._unsent = frames[sent:]

    @property
    def is_blocked(self) -> bool:
        return bool(self._unsent)

    def frame(self, message: bytes) -> bytes:
        return client_frame(self.dialect.wrap(self.document, message))

    def drain(self) -> None:
        """Take what has come. Raises: ConnectionError when the server has hung up."""
        if self._unsent:
            self.send(b"")
        while True:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            if not data:
                raise ConnectionResetError("the server closed a writer's connection")
            self.received_bytes += len(data)
            if len(data) < RECEIVE_BYTES:
                return

    def close(self) -> None:
        self.socket.close()


class Probe(asyncio.Protocol):
    """Reads at once. `on_message(y_message, at)`: each y-protocols message, and when its bytes came."""

    def __init__(
        self,
        url: str,
        dialect: Dialect,
        document: str,
        on_message: Callable[[bytes, float], None],
        *,
        asks: bool = True,
    ) -> None:
        self._url = url
        self._dialect = dialect
        self._document = document
        self._on_message = on_message
        self._asks = asks
        self._frames = FrameReader()
        self._head: bytes | None = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()
        self.received_bytes = 0
        self.acknowledged = 0
        """How many of its messages with an update the server has called saved, where it says so."""

    @classmethod
    async def open(
        cls, url: str, dialect: Dialect, document: str, on_message: Callable[[bytes, float], None]
    ) -> "Probe":
        """Raises: ConnectionRefused, TimeoutError."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(OPENING_DEADLINE_S):
            _transport, probe = await loop.create_connection(
                lambda: cls(url, dialect, document, on_message), parts.hostname, parts.port
            )
            await probe._opened
        return probe

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(request(self._url, self._dialect.path(self._document)))  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        self.received_bytes += len(data)
        if self._head is not None:
            data = self._read_head(data)
        for opcode, payload in self._frames.receive(data):
            if opcode == 2:
                message = self._dialect.unwrap(payload)
                if message is not None:
                    self._on_message(message, at)
                else:
                    self.acknowledged = self._dialect.acknowledged(payload, self.acknowledged)
            elif opcode == 9 and self.transport is not None:
                self.transport.write(PONG)

    def _read_head(self, data: bytes) -> bytes:
        self._head = (self._head or b"") + data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return b""
        self._head = None
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            self._opened.set_exception(ConnectionRefused(head[:200]))
            return b""
        opening = self._dialect.opening(self._document)
        first = [self._dialect.wrap(self._document, message) for message in (ASK_FOR_ALL, NOTHING_OF_MINE)]
        self.transport.write(b"".join(map(client_frame, [*opening, *first])))  # type: ignore[union-attr]
        self._opened.set_result(None)
        return rest

    def send(self, message: bytes) -> None:
        """A y-protocols message. Raises: ConnectionResetError when the server has hung up."""
        assert self.transport is not None
        if self.transport.is_closing():
            raise ConnectionResetError("the server closed a reader's connection")
        self.transport.write(client_frame(self._dialect.wrap(self._document, message)))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()
        if not self._opened.done():
            self._opened.set_exception(ConnectionRefused(str(error)))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
