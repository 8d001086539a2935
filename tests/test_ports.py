"""Ports that several test processes choose at the same time."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parent.parent
CHOOSE = """
import json
from tests.support import ports

ports._LOWEST, ports._FEWEST, ports._first_ephemeral = 30_100, 60, lambda: 0
print(json.dumps([[ports.free_port() for _ in range(15)], ports.free_ports(500)]), flush=True)
input()
"""


async def test_no_port_is_given_to_two_while_nobody_has_bound_it() -> None:
    choosing = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", CHOOSE, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        for _ in range(3)
    ]
    try:
        async with asyncio.timeout(20 * SECOND):
            chosen = [json.loads(await process.stdout.readline()) for process in choosing if process.stdout]
    finally:
        await asyncio.gather(*(process.communicate(b"\n") for process in choosing))
    ports = [port for singles, _first in chosen for port in singles]
    assert len(set(ports)) == 45
    assert len({first for _singles, first in chosen}) == 3
