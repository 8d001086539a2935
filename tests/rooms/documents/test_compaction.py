"""A long compaction has a process of its own, which never outlives ours."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support.deadlines import SECOND
from tests.support.documents import until

ROOT = Path(__file__).resolve().parents[3]

_BUSY_PARENT = """
import asyncio, multiprocessing
import pycrdt
from rooms.documents.compaction import build_state

async def main():
    doc = pycrdt.Doc()
    doc.get("text", type=pycrdt.Text).insert(0, "a")
    work = asyncio.create_task(build_state(None, [doc.get_update()], 0))
    while not multiprocessing.active_children():
        await asyncio.sleep(0.01)
    print(multiprocessing.active_children()[0].pid, flush=True)
    await work
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_the_process_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_BUSY_PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, script, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(20 * SECOND):
        worker = int(await parent.stdout.readline())
        assert _is_running(worker)
        parent.kill()
        await parent.wait()
        await until(lambda: not _is_running(worker))
