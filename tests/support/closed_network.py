"""A network of its own for one browser, from which nothing leads out but what a test opens: the ports that a school's
proxy leaves over, or a line to the machine. A Linux network namespace with a loopback and no route; needs root."""

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.bad_line import Line
from tests.support.chromium import chromium_path
from tests.support.tun_line import TunLine

CLONE_NEWNET = 0x40000000
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class ClosedNetwork:
    """`executable` is a Chromium that lives in it; `forward` and `serve` open ports of its 127.0.0.1."""

    def __init__(self, name: str, executable: Path) -> None:
        self.name = name
        self.executable = str(executable)
        self.address = ""
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._bad_line: TunLine | None = None

    async def forward(self, port: int, target_port: int | None = None) -> None:
        """To a port of the machine's own 127.0.0.1; the same number unless told."""

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.join(reader, writer, target_port or port)

        await self.serve(port, pass_on)

    async def serve(self, port: int, serve: Serve) -> None:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> object:
            self._writers.add(writer)
            return serve(reader, writer)

        listener = self._listener(port)
        self._servers.append(await asyncio.start_server(accepted, sock=listener))

    async def join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes = b""
    ) -> None:
        """Both ways, until either side ends; `first` goes to the port before all else."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        self._writers.add(far_writer)
        far_writer.write(first)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    def _listener(self, port: int) -> socket.socket:
        """A socket belongs to the network in which it was made, whoever then uses it."""
        made: list[socket.socket | BaseException] = []

        def make() -> None:
            try:
                with open(f"/run/netns/{self.name}") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                listener = socket.create_server(("127.0.0.1", port))
                listener.setblocking(False)
                made.append(listener)
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        [result] = made
        if isinstance(result, BaseException):
            raise result
        return result

    def lay_line(self) -> str:
        """To the machine, for UDP too; the browser's own address on it is `address`, the answer is the machine's."""
        device = self._device
        _ip("link", "add", device, "type", "veth", "peer", "name", "line", "netns", self.name)
        return self._number_line(device)

    def lay_bad_line(self, line: Line) -> str:
        """Likewise, as bad as this."""
        device, far = self._device, f"pt{self.name[-6:]}"
        self._bad_line = TunLine(device, far, line)
        self._bad_line.open()
        _ip("link", "set", far, "netns", self.name, "name", "line")
        machine = self._number_line(device)
        self._bad_line.start()
        return machine

    @property
    def _device(self) -> str:
        return f"pv{self.name[-6:]}"

    def _number_line(self, device: str) -> str:
        subnet = f"10.{os.getpid() % 200 + 20}.{int(self.name[-4:], 16) % 250}"
        _ip("addr", "add", f"{subnet}.1/24", "dev", device)
        _ip("link", "set", device, "up")
        _ip("-n", self.name, "link", "set", "line", "up")
        self.address = f"{subnet}.2"
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "line")
        return f"{subnet}.1"

    async def open_on_line(self, machine: str, port: int) -> None:
        """A port of the machine's 127.0.0.1, at its address on the line."""

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> object:
            self._writers.add(writer)
            return self.join(reader, writer, port)

        self._servers.append(await asyncio.start_server(accepted, machine, port))

    def close_to(self, machine: str, *ports: int) -> None:
        """No packet passes any more between here and these ports of the machine (nftables); nobody is told."""
        wanted = ", ".join(map(str, ports))
        self._filter(f"""
            add table inet closed
            add chain inet closed out {{ type filter hook output priority 0; }}
            add chain inet closed in {{ type filter hook input priority 0; }}
            add rule inet closed out ip daddr {machine} tcp dport {{ {wanted} }} drop
            add rule inet closed in ip saddr {machine} tcp sport {{ {wanted} }} drop
        """)

    def reopen(self) -> None:
        self._filter("delete table inet closed")

    def _filter(self, rules: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name, "nft", "-f", "-"], input=rules.encode(), check=True)

    def change_address(self) -> None:
        """Another Wi-Fi: the address of before is nobody's any more."""
        before = self.address
        self.address = before.rpartition(".")[0] + f".{int(before.rpartition('.')[2]) + 1}"
        # First out, then in: with the first address of a subnet the kernel takes away the others.
        _ip("-n", self.name, "addr", "del", f"{before}/24", "dev", "line")
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "line")

    async def close(self) -> None:
        if self._bad_line is not None:
            self._bad_line.close()
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def closed_network(folder: Path) -> AsyncIterator[ClosedNetwork]:
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    name = f"passerelle-{os.getpid()}-{os.urandom(3).hex()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system gives no network of its own to anybody")
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        executable = folder / f"{name}.sh"
        executable.write_text(f'#!/bin/sh\nexec ip netns exec {name} {chromium_path(whole=True)} "$@"\n')
        executable.chmod(0o755)
        network = ClosedNetwork(name, executable)
        try:
            yield network
        finally:
            await network.close()
    finally:
        _ip("netns", "del", name)
