"""A real redis-server on a free port of the loopback interface: started, stopped, frozen and emptied by a test."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.ports import free_port

READY_DEADLINE_S = 10 * SECOND


class RedisServer:
    """One process; the same port over its restarts. It keeps nothing on disk."""

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        *,
        settings: Path | None = None,
        is_sentinel: bool = False,
    ) -> None:
        """`options`: as on redis-server's command line, behind ours. `settings`: a file of them."""
        self.port = free_port()
        self.cluster_port = free_port()
        self.folder = folder
        self._settings = settings
        self._is_sentinel = is_sentinel
        self._options = list(options)
        if "--cluster-enabled" in self._options:
            self._options += ["--cluster-port", str(self.cluster_port)]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, **options)

    async def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "no redis-server here: make services"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            program,
            *([str(self._settings)] if self._settings is not None else []),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--logfile", str(self.folder / f"{self.port}.log")),
            *(["--sentinel"] if self._is_sentinel else ["--save", "", "--appendonly", "no"]),
            *self._options,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C is for whoever started it; uvloop, which measures, knows no process_group
        )
        ends_with_tests(self._process.pid)
        async with asyncio.timeout(READY_DEADLINE_S):
            await self._until_it_listens(self._process)

    async def _until_it_listens(self, process: asyncio.subprocess.Process) -> None:
        while True:
            assert process.returncode is None, f"redis-server ended at once:\n{self.log}"
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                # It tells nobody when it is ready: its port is asked again.
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / f"{self.port}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    async def stop(self) -> None:
        """As a crash does: connections end, what was in it is gone."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """It says nothing any more, and every connection stays."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def ask(self, *command: str | bytes) -> Any:
        """What redis-cli would."""
        async with self.client() as client:
            return await client.execute_command(*command)

    async def ask_raw(self, *command: str) -> bytes:
        """The answer as it is, where the library would make something of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"{' '.join(command)}\r\nQUIT\r\n".encode())
            async with asyncio.timeout(READY_DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def subscribers(self) -> int:
        """How many channels somebody listens to."""
        return len(await self.ask("PUBSUB", "CHANNELS"))


@asynccontextmanager
async def running_redis(folder: Path, options: Sequence[str] = ()) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder, options)
    await server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(AssertionError, ProcessLookupError):
            server.thaw()
        await server.stop()
