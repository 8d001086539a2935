"""Replicas of documents in processes of their own: Yjs in Node (document_readers.mjs), y-py (ypy_readers.py)."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parents[2]


class DocumentReaders:
    """Any number of documents in one process, by name."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
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
        assert self._process.stdin is not None
        future = self._waiting[name, answer] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"do": command, "name": name, **fields}).encode() + b"\n")
        return await future

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
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
async def yjs_readers() -> AsyncIterator[DocumentReaders]:
    """In Node."""
    node = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT}/.venv/bin")
    assert node is not None, "Node is missing: `make test` installs what it needs"
    assert (ROOT / "client_sdk/browser/dist/index.js").is_file(), "the browser SDK is not built: run `make test`"
    script = (Path(__file__).parent / "document_readers.mjs").read_text("utf-8")
    async with _running([node, "--input-type=module", "--eval", script], "client_sdk/browser") as readers:
        yield readers


@asynccontextmanager
async def ypy_readers() -> AsyncIterator[DocumentReaders]:
    """y-py."""
    async with _running([sys.executable, "-m", "tests.support.ypy_readers"], ".") as readers:
        yield readers


@asynccontextmanager
async def _running(command: Sequence[str], folder: str) -> AsyncIterator[DocumentReaders]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT / folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    readers = DocumentReaders(process)
    try:
        yield readers
    finally:
        await readers.stop()
