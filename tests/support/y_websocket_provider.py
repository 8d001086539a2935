"""y-websocket's own provider in Node, unchanged; see y_websocket_provider.mjs."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parents[2]


class Providers:
    """Any number of providers in one Node process, by name; what they reported, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._news = asyncio.Condition()
        self.reports: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.reports.append(json.loads(line))
            async with self._news:
                self._news.notify_all()

    def do(self, command: str, name: str, **fields: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, "name": name, **fields}).encode() + b"\n")

    async def until(
        self, name: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 10
    ) -> dict[str, Any]:
        """The first report of that provider for which the condition holds. Raises: TimeoutError."""

        def found() -> list[dict[str, Any]]:
            return [report for report in self.reports if report["name"] == name and condition(report)]

        async with asyncio.timeout(seconds * SECOND), self._news:
            await self._news.wait_for(lambda: bool(found()))
        return found()[0]

    def latest(self, name: str, field: str) -> Any:
        return next(
            (report[field] for report in reversed(self.reports) if report["name"] == name and field in report), None
        )

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5 * SECOND):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader


@asynccontextmanager
async def running_providers() -> AsyncIterator[Providers]:
    node = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT}/.venv/bin")
    assert node is not None, "Node is missing: `make test` installs what it needs"
    assert (ROOT / "client_sdk/node_modules/y-websocket").is_dir(), "run `make client_sdk/node_modules/.ok`"
    process = await asyncio.create_subprocess_exec(
        node,
        str(ROOT / "tests/support/y_websocket_provider.mjs"),
        cwd=ROOT / "client_sdk/browser",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    providers = Providers(process)
    try:
        yield providers
    finally:
        await providers.stop()
