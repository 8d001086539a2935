"""Pulls the plug: of TCP by a proxy in between, of a whole browser by stopping its network process."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port


class CuttableProxy:
    """Forwards TCP to a port of this machine, until it is cut: then every connection breaks and
    new ones are refused. Held, nothing passes, and no connection breaks.

    On bare sockets, each ours from the moment it is accepted: an `asyncio.Server` that is closed while it takes a
    connection in leaves that one's socket open and known to nobody (Python 3.11).
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        """Where new connections go."""
        self.source = ""
        """The address of this machine that new connections come from; empty: any."""
        self.delay_s = 0.0
        """How long each piece (64 KiB at most) is on its way, one after the other."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[socket.socket] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Listen (again, on the same port), if it does not."""
        if self._listener is not None:
            return
        self.port = self.port or free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        await _cancelled(self._tasks)
        for open_socket in self._sockets:  # of the lines that were cancelled before they began, too
            open_socket.close()
        self._sockets.clear()

    def hold(self) -> None:
        """As a firewall that drops every packet: who is connected stays so, and hears nothing."""
        self._flows.clear()

    def release(self) -> None:
        """What was held goes on."""
        self._flows.set()

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            near, _ = self._listener.accept()
            self._own(near)
            self._start(self._forward(near))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _own(self, new: socket.socket) -> None:
        new.setblocking(False)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.add(new)

    async def _forward(self, near: socket.socket) -> None:
        far = socket.socket()
        self._own(far)
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._flows.wait()
            if self.source:
                far.bind((self.source, 0))
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self.target_port))
            pumps = [self._start(self._pump(near, far)), self._start(self._pump(far, near))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody listens there: the line breaks
        finally:
            await _cancelled(pumps)
            for end in (near, far):
                end.close()
                self._sockets.discard(end)

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 65_536):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                await loop.sock_sendall(sink, data)


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


@asynccontextmanager
async def cuttable_proxy(target_port: int) -> AsyncIterator[CuttableProxy]:
    proxy = CuttableProxy(target_port)
    proxy.mend()
    try:
        yield proxy
    finally:
        await proxy.cut()


def network_processes(browser_pid: int) -> list[int]:
    """Chromium's network service, which has every socket of the browser, WebRTC's UDP too."""
    return [pid for pid in _descendants(browser_pid) if b"network.mojom.NetworkService" in _command_line(pid)]


@contextlib.contextmanager
def plug_pulled(browser_pid: int):  # type: ignore[no-untyped-def]
    """No packet leaves or enters the browser inside this block."""
    processes = network_processes(browser_pid)
    assert processes, "the browser has no network process"
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if int(fields["PPid"]) == pid:
                child = int(fields["Pid"])
                found += [child, *_descendants(child)]
    return found
