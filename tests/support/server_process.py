"""A real server process: started on a free port, killed, restarted on the same data."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.documents.process_tree import tree
from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.ports import free_port
from tests.support.process_use import stands_still

ROOT = Path(__file__).resolve().parents[2]
READY_DEADLINE_S = 30 * SECOND
EXIT_DEADLINE_S = 20 * SECOND


class EndedAtStart(AssertionError):
    """The process ended by itself before it was ready; its output says why."""


class ServerProcess:
    """`python -m server` (or another module that runs it) with its own data folder; the same port over its restarts."""

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str] | None = None,
        module: str = "server",
        under: Sequence[str] = (),
    ) -> None:
        """`under`: a command that runs it, and ends with it."""
        self.data = data
        self._under = under
        self.module = module
        """What runs at the next start."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None
        self._log = data.parent / f"server-{self.port}.log"

    @property
    def log(self) -> str:
        """All that it wrote, over its restarts."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """By itself, or by somebody else's hand."""
        return self._process is not None and self._process.returncode is not None

    async def start(self) -> None:
        """Raises: AssertionError with its output when it does not become ready."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PASSERELLE_")},
            "PASSERELLE_PORT": str(self.port),
            "PASSERELLE_DATA": str(self.data),
            "PASSERELLE_MEDIA_ADDRESSES": "127.0.0.1",
            # Each takes most of a second to start; those that need more say so.
            "PASSERELLE_MEDIA_WORKERS": "1",
            **self._environment,
        }
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._under,
                sys.executable,
                "-m",
                self.module,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl+C is for whoever started it, who then ends it in good order
            )
        ends_with_tests(self._process.pid)
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                await self._wait_until_ready()
        except TimeoutError:
            raise AssertionError(f"the server did not become ready:\n{self.log}") from None

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        async with aiohttp.ClientSession() as session:
            while self._process.returncode is None:
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                # A process that starts gives no event to wait for: its port is asked again.
                await asyncio.sleep(0.05)
        raise EndedAtStart(f"the server ended with {self._process.returncode}:\n{self.log}")

    async def kill(self) -> None:
        """As a crash does."""
        await self._signal(signal.SIGKILL)

    async def terminate(self) -> int:
        """As an administrator does; the exit code."""
        return await self._signal(signal.SIGTERM)

    async def stand_still(self) -> None:
        """As a process that is stopped, until SIGCONT. Its loop is not in the thread that takes the signal, and runs on
        for as long as that one waits for a processor: this returns when all of them stand. Raises: TimeoutError."""
        self.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(10 * SECOND):
            while not stands_still(self.pid):
                await asyncio.sleep(0.001)  # the system is asked, it does not tell

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _signal(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            self._send(process, number)
        try:
            async with asyncio.timeout(EXIT_DEADLINE_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"the server did not stop:\n{self.log[-4_000:]}") from None
        self._process = None
        return code

    def _send(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        """What runs it ends with it; killed alone, it would leave it behind."""
        if self._under:
            for pid in tree(process.pid)[1:2]:
                os.kill(pid, number)
        else:
            process.send_signal(number)

    async def restart(self) -> None:
        await self.kill()
        await self.start()


@asynccontextmanager
async def running_server(
    tmp_path: Path, environment: Mapping[str, str] | None = None, module: str = "server", under: Sequence[str] = ()
) -> AsyncIterator[ServerProcess]:
    """A server that is ready; killed at the end if it still runs."""
    server = ServerProcess(tmp_path / "data", environment, module, under)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
