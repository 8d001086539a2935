"""A real coturn on a free port of the loopback interface, with credentials by shared secret."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.deadlines import SECOND
from tests.support.server_process import free_port

READY_DEADLINE_S = 10 * SECOND
REALM = "passerelle.test"


@asynccontextmanager
async def running_turn_server(folder: Path, secret: str) -> AsyncIterator[int]:
    """Its port, for UDP and TCP; `folder` takes its files. It relays to this machine only for tests."""
    program = shutil.which("turnserver")
    assert program, "no coturn here: make services"
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        "-n",
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        f"--listening-port={port}",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--allow-loopback-peers",
        "--use-auth-secret",
        f"--static-auth-secret={secret}",
        f"--realm={REALM}",
        f"--pidfile={folder / 'turnserver.pid'}",
        f"--userdb={folder / 'turn.db'}",
        "--log-file=stdout",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            await _until_it_listens(process, port)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        assert process.returncode is None, "coturn ended at once"
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            # It has no word for "ready": its port is asked again.
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
