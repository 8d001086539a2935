"""A real Janus gateway (Debian's) on free ports of the loopback interface, with its own configuration.

Nothing of /etc/janus is read. Janus offers no loopback candidates, and its ICE library answers nobody who
comes from one: media go over the machine's own address, at both ends.
"""

import asyncio
import ipaddress
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.ports import free_port, free_ports
from tests.support.server_process import ROOT

READY_DEADLINE_S = 20 * SECOND
CONFIGURATION = ROOT / "deploy/janus"
"""What an operator is told to run: tests run it too, with other addresses, ports and secrets."""


def own_address() -> str:
    """An IPv4 address of this machine that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: the system only says which address it would send from. TEST-NET-2, RFC 5737.
        probe.connect(("198.51.100.1", 9))
        address: str = probe.getsockname()[0]
    assert not ipaddress.ip_address(address).is_loopback, "Janus needs an address beside 127.0.0.1"
    return address


class JanusServer:
    """One gateway; the same port over its restarts."""

    def __init__(
        self, folder: Path, token_secret: str = "janus-tokens", admin_key: str = "janus-admin", **changed: str
    ) -> None:
        """`changed`: further settings of deploy/janus."""
        program = shutil.which("janus")
        assert program, "no Janus here: make services"
        self._program = program
        self.folder = folder
        self.token_secret = token_secret
        self.admin_key = admin_key
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None
        self._write_configuration(changed)

    def _write_configuration(self, changed_too: Mapping[str, str]) -> None:
        first_port = _free_udp_range()
        changed = {
            "configs_folder": f'"{self.folder}"',
            "debug_level": "4",
            "token_auth_secret": f'"{self.token_secret}"',
            "event_loops": "2",
            "rtp_port_range": f'"{first_port}-{first_port + UDP_PORTS - 1}"',
            "ice_enforce_list": f'"{own_address()}"',
            "ws_ip": '"127.0.0.1"',
            "ws_port": str(self.port),
            "admin_key": f'"{self.admin_key}"',
            **changed_too,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        used = set()
        for path in CONFIGURATION.glob("*.jcfg"):
            text = path.read_text("utf-8")
            for key, value in changed.items():
                text, count = re.subn(
                    rf"^(\t{key}) = .*$", lambda found, v=value: f"{found[1]} = {v}", text, flags=re.M
                )
                used |= {key} if count else set()
            (self.folder / path.name).write_text(text, "utf-8")
        assert used == changed.keys(), "a setting is gone from deploy/janus"

    @property
    def log(self) -> str:
        path = self.folder / "janus.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with (self.folder / "janus.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program, f"--configs-folder={self.folder}", "--disable-colors", stdout=log, stderr=log
            )
        ends_with_tests(self._process.pid)
        async with asyncio.timeout(READY_DEADLINE_S):
            await self._until_it_answers()

    async def _until_it_answers(self) -> None:
        assert self._process is not None
        async with aiohttp.ClientSession() as session:
            while True:
                assert self._process.returncode is None, f"Janus ended at once:\n{self.log[-4_000:]}"
                try:
                    async with session.ws_connect(self.url, protocols=["janus-protocol"]) as socket_:
                        await socket_.send_json({"janus": "ping", "transaction": "ready"})
                        assert (await socket_.receive_json())["janus"] == "pong"
                        return
                except (aiohttp.ClientError, TypeError):
                    # It has no word for "ready": its port is asked again.
                    await asyncio.sleep(0.02)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """As a crash does."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def restart(self) -> None:
        await self.kill()
        await self.start()


UDP_PORTS = 500
"""Of one gateway: a peer connection takes one."""
GATEWAYS_AT_ONCE = 2
_ranges: list[int] = []
"""First ports of those that this process has taken; the one used last at the end."""


def _free_udp_range() -> int:
    """The first of UDP_PORTS that no gateway has; another range than the gateway before, which may not listen yet."""
    if len(_ranges) < GATEWAYS_AT_ONCE:
        _ranges.append(free_ports(UDP_PORTS))
    else:
        _ranges.append(_ranges.pop(0))
    return _ranges[-1]


@asynccontextmanager
async def running_janus(folder: Path, **changed: str) -> AsyncIterator[JanusServer]:
    """A gateway that answers; `folder` takes its files, `changed` are its secrets and settings."""
    server = JanusServer(folder, **changed)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def settings_for(*servers: JanusServer) -> dict[str, str]:
    """The environment of a server whose media go by these gateways (which share their secrets)."""
    return {
        "JANUS_URLS": ",".join(server.url for server in servers),
        "JANUS_TOKEN_SECRET": servers[0].token_secret,
        "JANUS_ADMIN_KEY": servers[0].admin_key,
    }
