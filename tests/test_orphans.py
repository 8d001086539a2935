"""Tests that are killed leave no service behind."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.support import orphans
from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parent.parent
START_A_SERVICE = """
import asyncio, sys
from pathlib import Path
from tests.support.postgres_server import running_postgres
from tests.support.redis_server import running_redis

async def main():
    async with running_redis(Path(sys.argv[1])) as redis:
        with running_postgres() as postgres:
            print(postgres._folder, redis.pid, *postgres.processes(), flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""
STAND_STILL = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"


def has_ended(pid: int) -> bool:
    fields = orphans._stat(pid)
    return not fields or fields[0] == "Z"


async def until_ended(*pids: int) -> None:
    async with asyncio.timeout(20 * SECOND):
        while not all(map(has_ended, pids)):
            await asyncio.sleep(0.02)  # of somebody else's child one is told nothing


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_services_end_with_tests_that_are_killed(tmp_path: Path, how: signal.Signals) -> None:
    tests = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_A_SERVICE, str(tmp_path), cwd=ROOT, stdout=PIPE
    )
    assert tests.stdout is not None
    async with asyncio.timeout(60 * SECOND):
        folder, *pids = (await tests.stdout.readline()).decode().split()
    services = list(map(int, pids))
    assert len(services) > 2
    assert not any(map(has_ended, services))
    tests.send_signal(how)
    await tests.communicate()
    await until_ended(*services)
    shutil.rmtree(folder)


async def test_what_a_service_started_ends_with_it_and_nobody_else_does() -> None:
    """Not even who has the number of a service that has ended."""
    services = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", STAND_STILL, stdin=PIPE, stdout=PIPE)
        for _ in range(2)
    ]
    ours, other = services
    try:
        for service in services:
            assert service.stdout is not None
            await service.stdout.readline()  # its child's
        told = f"{ours.pid} {orphans._began(ours.pid)}\n{other.pid} 1\n"
        children = [pid for pid in orphans._tree(ours.pid) if pid != ours.pid]
        assert len(children) == 1
        subprocess.run(
            [sys.executable, "-I", "-S", orphans.__file__], input=told.encode(), check=True, timeout=60 * SECOND
        )
        assert await ours.wait() == -signal.SIGKILL
        await until_ended(*children)
        assert other.returncode is None
        assert not has_ended(other.pid)
    finally:
        for pid in list(orphans._tree(other.pid)):
            os.kill(pid, signal.SIGKILL)
        for service in services:
            await service.communicate()
