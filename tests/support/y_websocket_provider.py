"""y-websocket's own provider in Node, unchanged; see y_websocket_provider.mjs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.deadlines import SECOND
from tests.support.line_process import LineProcess, start_node


class Providers:
    """Any number of providers in one Node process, by name; what they reported, in order."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process
        self._news = asyncio.Condition()
        self.reports: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for report in self._process.lines():
            self.reports.append(report)
            async with self._news:
                self._news.notify_all()

    def do(self, command: str, name: str, **fields: object) -> None:
        self._process.write({"do": command, "name": name, **fields})

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
        await self._process.stop()
        await self._reader


@asynccontextmanager
async def running_providers() -> AsyncIterator[Providers]:
    providers = Providers(await start_node("y_websocket_provider.mjs", "node_modules/y-websocket"))
    try:
        yield providers
    finally:
        await providers.stop()
