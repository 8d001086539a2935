"""A long compaction has a process of its own, which never outlives ours."""

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.documents.process_tree import tree
from rooms.documents.byte_file import make_byte_file, read_parts, write_parts
from tests.support.deadlines import SECOND
from tests.support.documents import until

ROOT = Path(__file__).resolve().parents[3]

_BUSY_PARENT = """
import asyncio
from rooms.documents.compaction import build_state
from rooms.documents.encoding import var_uint

# All write at the same place: each has to find its own behind all who did before, which takes minutes.
letters = [b"\\x01\\x01" + var_uint(client) + b"\\x00\\x04\\x01\\x01t\\x01a\\x00" for client in range(1, 150_000)]
asyncio.run(build_state(None, letters, 0))
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
    parent = await asyncio.create_subprocess_exec(sys.executable, script, env=environment)
    try:
        async with asyncio.timeout(20 * SECOND):
            await until(lambda: len(tree(parent.pid)) == 2, seconds=15)
            (worker,) = set(tree(parent.pid)) - {parent.pid}
            parent.kill()
            await parent.wait()
            await until(lambda: not _is_running(worker))
    finally:
        if parent.returncode is None:
            parent.kill()


def test_what_was_written_is_read_again_as_it_was() -> None:
    for parts in ([], [b""], [b"a", b"", b"b" * 3_000_000]):
        descriptor = make_byte_file()
        try:
            write_parts(descriptor, parts)
            assert read_parts(descriptor) == parts
        finally:
            os.close(descriptor)
