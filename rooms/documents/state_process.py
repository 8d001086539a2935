"""The process in which a large state is built (`state_worker`), as the server sees it.

The engine never lets go of the interpreter, and works for a tenth of a second where 20 MB are built. A fresh process
each time: this is rare, and one that idles would cost its memory for ever.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rooms.documents.byte_file import make_byte_file, read_parts, write_parts
from rooms.documents.errors import DocumentBroken

_SOURCE: Final = str(Path(__file__).resolve().parents[2])


async def run_worker(parts: Sequence[bytes]) -> list[bytes]:
    """What `state_worker` answers to these. Raises: DocumentBroken, OSError."""
    process: list[subprocess.Popen[bytes]] = []
    working = asyncio.create_task(asyncio.to_thread(_run, parts, process))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        for one in process:
            one.kill()
        with contextlib.suppress(Exception):
            await working
        raise


def _run(parts: Sequence[bytes], started: list[subprocess.Popen[bytes]]) -> list[bytes]:
    with contextlib.ExitStack() as stack:
        given, answer = make_byte_file(), make_byte_file()
        stack.callback(os.close, given)
        stack.callback(os.close, answer)
        lifeline, held = os.pipe()  # closed by the system, however this process ends
        stack.callback(os.close, held)
        write_parts(given, parts)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "rooms.documents.state_worker", str(lifeline)],
                stdin=given,
                stdout=answer,
                # The engine writes there why it panics, and may quote the text.
                stderr=subprocess.DEVNULL,
                pass_fds=(lifeline,),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))},
            )
        finally:
            os.close(lifeline)
        started.append(process)
        code = process.wait()
        if code != 0:
            raise DocumentBroken(f"a state could not be built ({code})")
        return read_parts(answer)
