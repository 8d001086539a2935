"""Replicas of documents in processes of their own: Yjs in Node (document_readers.mjs), y-py (ypy_readers.py)."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.line_process import LineProcess, start, start_node


class DocumentReaders:
    """Any number of documents in one process, by name."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process
        self._waiting: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def open(self, kind: str, name: str, **where: str) -> None:
        """`kind`: provider (a y-websocket connection) or sdk. Until it has what the server had."""
        await self._ask(kind, name, "opened", where)

    async def until(self, name: str, expected: dict[str, Any]) -> None:
        """Until the document reads so, as far as it can be read there."""
        await self._ask("until", name, "reads", {"expected": expected})

    async def edit(self, name: str, *, at: float, remove: int, insert: str) -> None:
        """In Node only. `at`: the place in the text, from 0 to 1; `remove`: characters behind it."""
        await self._ask("edit", name, "edited", {"at": at, "remove": remove, "insert": insert})

    async def content(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = await self._ask("tell", name, "content", {})
        return content

    async def _ask(self, command: str, name: str, answer: str, fields: dict[str, Any]) -> Any:
        future = self._waiting[name, answer] = asyncio.get_running_loop().create_future()
        self._process.write({"do": command, "name": name, **fields})
        return await future

    async def _read(self) -> None:
        async for said in self._process.lines():
            name = said.pop("name")
            ((answer, value),) = said.items()
            if answer == "error":
                self._fail(f"{name}: {value}")
            elif (future := self._waiting.pop((name, answer), None)) is not None:
                future.set_result(value)
        self._fail("the readers' process has ended: see its error output")

    def _fail(self, reason: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RuntimeError(reason))
        self._waiting.clear()

    async def stop(self) -> None:
        await self._process.stop()
        await self._reader


@asynccontextmanager
async def yjs_readers() -> AsyncIterator[DocumentReaders]:
    """In Node."""
    async with _reading(await start_node("document_readers.mjs", "browser/dist/index.js")) as readers:
        yield readers


@asynccontextmanager
async def ypy_readers() -> AsyncIterator[DocumentReaders]:
    """y-py."""
    async with _reading(await start([sys.executable, "-m", "tests.support.ypy_readers"])) as readers:
        yield readers


@asynccontextmanager
async def _reading(process: LineProcess) -> AsyncIterator[DocumentReaders]:
    readers = DocumentReaders(process)
    try:
        yield readers
    finally:
        await readers.stop()
