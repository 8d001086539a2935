"""A helper program that is told lines of JSON and says lines of JSON, most often in Node."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests

ROOT = Path(__file__).resolve().parents[2]
_LONGEST_LINE = 2**24


class LineProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Until it ends; why it did, it has written to the error output."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            yield json.loads(line)

    async def stop(self) -> None:
        """It ends when there is nothing more to be told."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5 * SECOND):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def start(command: Sequence[str], folder: str = ".") -> LineProcess:
    """`folder`: of this project, where it runs."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT / folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    ends_with_tests(process.pid)
    return LineProcess(process)


async def start_node(script: str, needs: str) -> LineProcess:
    """A script of this folder, where the browser SDK finds its packages; `needs`: a path that must be there first."""
    node = shutil.which("node", path=f"{os.environ['PATH']}:{ROOT}/.venv/bin")
    assert node is not None, "Node is missing: `make test` installs what it needs"
    assert (ROOT / "client_sdk" / needs).exists(), f"client_sdk/{needs} is missing: `make test` makes it"
    source = (Path(__file__).parent / script).read_text("utf-8")
    return await start([node, "--input-type=module", "--eval", source], "client_sdk/browser")
