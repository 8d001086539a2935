"""Several instances behind a real HAProxy with deploy/haproxy/haproxy.cfg, on one Redis and one PostgreSQL, all on
127.0.0.1. `make run-cluster` (scripts/run_cluster.py) starts the same."""

import asyncio
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer, running_redis
from tests.support.server_process import ROOT, ServerProcess, free_port
from tests.support.turn_server import make_certificate

CONFIGURATION = ROOT / "deploy/haproxy/haproxy.cfg"
API_KEY = "cle-des-essais-en-grappe"
READY_DEADLINE_S = 10 * SECOND
NOTICED_S = 3.0
"""A server that ends, or says that it is stopping, is out of the proxy's list by then."""


class Proxy:
    """HAProxy with the configuration that administrators are given, unchanged but for its variables."""

    def __init__(self, folder: Path, ports: list[int], *, http_port: int = 0, idle: str | None = None) -> None:
        """`ports`: the instances'. `idle`: after what silence it cuts a connection; None: as configured."""
        self.folder = folder
        self.port = http_port or free_port()
        self.tls_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.secure_url = f"https://localhost:{self.tls_port}"
        self._ports = ports
        self._idle = idle
        self._process: asyncio.subprocess.Process | None = None
        # A socket's path has at most 107 bytes.
        self.socket = Path(tempfile.gettempdir()) / f"passerelle-haproxy-{self.port}.sock"

    @property
    def certificate(self) -> Path:
        return self.folder / "turn.pem"

    @property
    def log(self) -> str:
        path = self.folder / "haproxy.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    async def start(self) -> None:
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "no haproxy here: make services"
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate, key = make_certificate(self.folder)
        pem = self.folder / "proxy.pem"
        pem.write_bytes(certificate.read_bytes() + key.read_bytes())
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PASSERELLE_PROXY_LOG": "stdout",
            "PASSERELLE_PROXY_CONNECTIONS": "1500",
            "PASSERELLE_PROXY_SOCKET": str(self.socket),
            "PASSERELLE_PROXY_HTTP": f"127.0.0.1:{self.port}",
            "PASSERELLE_PROXY_HTTPS": f"127.0.0.1:{self.tls_port}",
            "PASSERELLE_CERTIFICATE": str(pem),
            **{f"PASSERELLE_INSTANCE_{n}": f"127.0.0.1:{port}" for n, port in enumerate(self._ports, 1)},
        }
        if self._idle is not None:
            environment["PASSERELLE_PROXY_IDLE"] = self._idle
        if os.geteuid() != 0:
            environment["PASSERELLE_PROXY_UNPRIVILEGED"] = "1"
        with (self.folder / "haproxy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                program, "-db", "-f", str(self._configuration()), env=environment, stdout=log, stderr=log,
                stdin=asyncio.subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
        ends_with_tests(self._process.pid)
        async with asyncio.timeout(READY_DEADLINE_S):
            while not self._is_listening():
                assert self._process.returncode is None, f"haproxy ended at once:\n{self.log}"
                await asyncio.sleep(0.02)  # it tells nobody when it is ready

    def _configuration(self) -> Path:
        """The file itself for the two instances that it has; for another number, with as many lines."""
        count = len(self._ports)
        if count == 2:
            return CONFIGURATION
        text = CONFIGURATION.read_text("utf-8")
        line = re.compile(
            r'^    server i1 "\$\{PASSERELLE_INSTANCE_1-[^"]*" cookie i1\n    server i2 .*$', re.MULTILINE
        )
        lines = "\n".join(f'    server i{n} "${{PASSERELLE_INSTANCE_{n}}}" cookie i{n}' for n in range(1, count + 1))
        text, replaced = line.subn(lambda _found: lines, text)
        assert replaced == 2, "the instances are not in both backends"
        path = self.folder / "haproxy.cfg"
        path.write_text(text, "utf-8")
        return path

    def _is_listening(self) -> bool:
        """To callers and, which it may do a moment later, to its administrator."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0 and self.socket.exists()

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        self.socket.unlink(missing_ok=True)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def command(self, line: str) -> str:
        """As an administrator says it to its socket."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(f"{line}\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.decode()

    async def states(self) -> dict[str, str]:
        """What it thinks of each instance: UP, DOWN, MAINT, DRAIN; by name."""
        rows = [row.split(",") for row in (await self.command("show stat")).lstrip("# ").splitlines() if row]
        place = rows[0].index("status")
        return {row[1]: row[place].split(" ")[0] for row in rows if row[0] == "instances" and row[1] != "BACKEND"}

    async def until(self, **states: str) -> None:
        """Until it thinks so (`i1="DOWN"`). Raises: TimeoutError."""
        async with asyncio.timeout(READY_DEADLINE_S + NOTICED_S):
            while {**await self.states(), **states} != await self.states():
                await asyncio.sleep(0.05)


class Cluster:
    """Made by `running_cluster`. Instances are named as the proxy names them: i1, i2, …"""

    def __init__(self, proxy: Proxy, instances: list[ServerProcess], redis: RedisServer, http: aiohttp.ClientSession):
        self.proxy = proxy
        self.instances = instances
        self.redis = redis
        self.http = http
        self.url = proxy.url

    def name_of(self, server: ServerProcess) -> str:
        return f"i{self.instances.index(server) + 1}"

    async def request(self, method: str, path: str, token: str = "", **body: Any) -> Any:
        """Through the proxy. Raises: AssertionError with the answer when it is a refusal."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, self.url + path, json=body or None, headers=headers) as response:
            content = await response.read()
            assert response.status < 300, (response.status, content)
            return await response.json() if content else None

    async def metric(self, server: ServerProcess, name: str) -> float:
        """A figure of one instance, asked of itself; the sum over its labels."""
        async with self.http.get(f"{server.url}/metrics") as response:
            text = await response.text()
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert found, f"no {name}"
        return sum(map(float, found))


def instance_environment(redis_url: str, database_url: str) -> dict[str, str]:
    """What an instance behind the proxy is given."""
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "PASSERELLE_TRUSTED_PROXIES": "127.0.0.1",
        "PASSERELLE_API_KEY": API_KEY,
    }


@asynccontextmanager
async def running_cluster(
    folder: Path,
    postgres: PostgresServer,
    *,
    count: int = 2,
    http_port: int = 0,
    idle: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """All of it is ready: each instance is up in the proxy's eyes. Nothing is left at the end."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_redis(folder / "redis"))
        given = {**instance_environment(redis.url, await postgres.fresh_tables()), **(environment or {})}
        http = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=30 * SECOND))
        )
        instances = []
        for number in range(1, count + 1):
            place = folder / f"i{number}"
            place.mkdir(parents=True, exist_ok=True)
            instances.append(ServerProcess(place / "data", given))
            stack.push_async_callback(instances[-1].kill)
        await asyncio.gather(*(server.start() for server in instances))
        proxy = Proxy(folder / "proxy", [server.port for server in instances], http_port=http_port, idle=idle)
        stack.push_async_callback(proxy.stop)
        await proxy.start()
        await proxy.until(**{f"i{number}": "UP" for number in range(1, count + 1)})
        yield Cluster(proxy, instances, redis, http)
