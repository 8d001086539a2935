"""The servers that are measured: each a real process with a store of its own, pinned to a core.

Passerelle runs as it is shipped (`python -m server`: rooms, tokens, limits, metrics, the default
durability), its peers as their documentation sets them up, from `peers/`, where `make bench` installs them.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.documents import process_tree
from benchmarks.documents.admission import admit
from benchmarks.documents.dialects import Dialect, HocuspocusDialect, YWebSocketDialect

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
WITH_NODE = str(ROOT / "scripts/with-node.sh")
READY_DEADLINE_S = 30.0
STOP_DEADLINE_S = 15.0


class ServerFailed(Exception):
    """A server did not start, or did not stop; its output says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that can be measured. `start` it on an empty folder, any number of times."""

    key: str
    """What `--servers` calls it."""
    name: str
    """What the report calls it."""
    version: str
    command: Callable[[Path, int], list[str]]
    """From the folder of its store and a port."""
    dialect: Callable[[], Dialect]
    installed: Path
    """There when it can be started."""
    environment: Callable[[Path, int], dict[str, str]] = field(default=lambda _folder, _port: {})
    asks_for_tokens: bool = False

    async def start(self, folder: Path, core: int) -> "RunningServer":
        """Raises: ServerFailed."""
        if not self.installed.exists():
            raise ServerFailed(f"{self.name} is not installed ({self.installed.relative_to(ROOT)}): make bench does it")
        running = RunningServer(self, folder, core)
        await running.launch()
        return running


class RunningServer:
    """A server's process, from `Server.start` until `kill` or `stop`; the same port over its restarts."""

    def __init__(self, server: Server, folder: Path, core: int) -> None:
        self.server = server
        self.folder = folder
        self.dialect = server.dialect()
        self._core = core
        self._port = _free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pids(self) -> list[int]:
        """Of the whole process tree."""
        return [] if self._process is None else process_tree.tree(self._process.pid)

    @property
    def output(self) -> str:
        """All that it wrote, the end of it."""
        log = self.folder / "output.log"
        return log.read_text("utf-8", "replace")[-4_000:] if log.exists() else ""

    async def launch(self) -> None:
        """Start, or start again, on what the store holds. Raises: ServerFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PASSERELLE_")}
        with (self.folder / "output.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.server.command(self.folder, self._port),
                cwd=ROOT,
                env={**inherited, **self.server.environment(self.folder, self._port)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours, and what it starts ends with its group
                preexec_fn=partial(_in_the_child, self._core, os.getpid()),
            )
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                await self._until_ready()
        except (TimeoutError, ServerFailed) as error:
            await self.kill()
            raise ServerFailed(f"{self.server.name} did not start: {error}\n{self.output}") from None

    async def _until_ready(self) -> None:
        assert self._process is not None
        while self._process.returncode is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                status = (await reader.readline()).split(b" ", 2)[1:2]
                writer.close()
                # A peer that knows no such page answers something else, or wants an upgrade.
                if not self.server.asks_for_tokens or status == [b"200"]:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.02)
        raise ServerFailed(f"it ended with {self._process.returncode}")

    async def admit(self, documents: Sequence[str], people_each: int) -> None:
        """Let this many people into each document; call it before anyone opens one. Nothing to do
        where everybody may come in."""
        if self.server.asks_for_tokens:
            self.dialect = await admit(self.url, documents, people_each)

    def cpu_seconds(self) -> float:
        return process_tree.cpu_seconds(self.pids)

    def rss_bytes(self) -> int:
        return process_tree.rss_bytes(self.pids)

    async def kill(self) -> None:
        """As a crash does: SIGKILL to the whole of it, at once."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """As an administrator does. Raises: ServerFailed when it does not end by itself; it is killed then."""
        try:
            await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()
            raise ServerFailed(f"{self.server.name} did not stop in {STOP_DEADLINE_S} s\n{self.output}") from None

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        async with asyncio.timeout(STOP_DEADLINE_S):
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind
        self._process = None
        await self._until_port_is_free()

    async def _until_port_is_free(self) -> None:
        """Its children are killed, but not waited for: one may hold the port for an instant yet."""
        give_up_at = time.monotonic() + STOP_DEADLINE_S
        while time.monotonic() < give_up_at:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with suppress(OSError):
                    probe.bind(("127.0.0.1", self._port))
                    return
            await asyncio.sleep(0.02)


def _in_the_child(core: int, parent: int) -> None:
    """Pin it, and have the system kill it when we die in whatever way (prctl(2), PR_SET_PDEATHSIG)."""
    os.sched_setaffinity(0, {core})
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # we had died before it was said


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _passerelle_environment(folder: Path, port: int) -> dict[str, str]:
    return {
        "PASSERELLE_PORT": str(port),
        "PASSERELLE_DATA": str(folder / "data"),
        "PASSERELLE_MEDIA_ADDRESSES": "127.0.0.1",
    }


def _passerelle(module: str) -> Callable[[Path, int], list[str]]:
    return lambda _folder, _port: [passerelle_python(), "-m", module]


def passerelle_python() -> str:
    """What Passerelle runs on: the environment's, or another one's with the same packages."""
    return _python


def use_python(path: str) -> None:
    """From the next start on."""
    global _python
    _python = path


_python = sys.executable


def _node(folder_name: str, *more: str) -> Callable[[Path, int], list[str]]:
    script = str(PEERS / folder_name / "server.js")
    return lambda folder, port: [WITH_NODE, "node", script, str(folder), str(port), *more]


_PYCRDT_PYTHON = PEERS / "pycrdt_websocket/.venv/bin/python"

PASSERELLE = Server(
    key="passerelle",
    name="Passerelle",
    version="this checkout",
    command=_passerelle("server"),
    dialect=YWebSocketDialect,  # until `admit`
    installed=ROOT / "server/__main__.py",
    environment=_passerelle_environment,
    asks_for_tokens=True,
)
PASSERELLE_UNLIMITED = Server(
    key="passerelle-unlimited",
    name="Passerelle without the limit on messages",
    version="this checkout",
    command=_passerelle("benchmarks.documents.passerelle_unlimited"),
    dialect=YWebSocketDialect,
    installed=ROOT / "server/__main__.py",
    environment=_passerelle_environment,
    asks_for_tokens=True,
)
HOCUSPOCUS = Server(
    key="hocuspocus",
    name="Hocuspocus",
    version="4.7.0, SQLite extension 4.7.0",
    command=_node("hocuspocus"),
    dialect=HocuspocusDialect,
    installed=PEERS / "hocuspocus/node_modules/.ok",
)
HOCUSPOCUS_TUNED = Server(
    key="hocuspocus-15",
    name="Hocuspocus, flushDelay 15",
    version="4.7.0, told to collect for 15 ms",
    command=_node("hocuspocus", "15"),
    dialect=HocuspocusDialect,
    installed=PEERS / "hocuspocus/node_modules/.ok",
)
Y_WEBSOCKET_SERVER = Server(
    key="y-websocket-server",
    name="@y/websocket-server",
    version="0.1.5, y-leveldb 0.2.0",
    command=_node("y_websocket_server"),
    dialect=YWebSocketDialect,
    installed=PEERS / "y_websocket_server/node_modules/.ok",
)
PYCRDT_WEBSOCKET = Server(
    key="pycrdt-websocket",
    name="pycrdt-websocket",
    version="0.16.5, SQLite store 0.1.5",
    command=lambda folder, port: [
        str(_PYCRDT_PYTHON),
        str(PEERS / "pycrdt_websocket/server.py"),
        str(folder),
        str(port),
    ],
    dialect=YWebSocketDialect,
    installed=PEERS / "pycrdt_websocket/.venv/.ok",
)

SERVERS = (PASSERELLE, PASSERELLE_UNLIMITED, HOCUSPOCUS, HOCUSPOCUS_TUNED, Y_WEBSOCKET_SERVER, PYCRDT_WEBSOCKET)
