"""The process around the loop: signals, the deep stack, how it ends. A small server stands in for
the whole one, in a process of its own."""

import asyncio
import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from rooms.ports import StoreUnavailable
from server.auth import KeyUnusable
from server.config import Settings
from server.process import explain_failure, greeting
from server.storage.folder import FolderInUse
from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
import asyncio, socket, sys, threading
from server.config import Settings
from server.process import run

async def drains(settings, stop, ready):
    ready("http://localhost:1")
    await stop.wait()
    print("draining", flush=True)

async def never_ends(settings, stop, ready):
    ready("http://localhost:1")
    await asyncio.Event().wait()

async def fails(settings, stop, ready):
    raise RuntimeError("Clémentine")

async def ends_by_itself(settings, stop, ready):
    pass

async def goes_deep(settings, stop, ready):
    # A Yjs update whose value is a list in a list in a list, 50,000 deep. Our own scan refuses it
    # long before; the stack is for what no scan foresaw.
    import pycrdt
    nested = bytes([1, 1, 1, 0, 8, 1, 1, 0x61, 1]) + b"\\x75\\x01" * 50_000 + b"\\x7e\\x00"
    document = pycrdt.Doc()
    document.get("a", type=pycrdt.Array)
    document.apply_update(nested)
    assert len(document.get_update()) > 100_000
    ready(threading.current_thread().name)

async def starts_a_child(settings, stop, ready):
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print('from the child', flush=True)")
    ready(str(await child.wait()))

async def complains(settings, stop, ready):
    def fail(name): raise ValueError(name)
    asyncio.get_running_loop().call_soon(fail, "Clémentine")
    await asyncio.sleep(0.01)

async def says_its_loop(settings, stop, ready):
    ready(type(asyncio.get_running_loop()).__module__)

async def opens_three_hundred_sockets(settings, stop, ready):
    pairs = [socket.socketpair() for _ in range(150)]
    ready(str(len(pairs)))

sys.exit(run(Settings(log_format="json"), globals()[sys.argv[1]]))
"""


async def _start(which: str, *under: str) -> asyncio.subprocess.Process:
    """`under`: a command that runs it."""
    return await asyncio.create_subprocess_exec(
        *under,
        sys.executable,
        "-c",
        _SCRIPT,
        which,
        cwd=ROOT,
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _end(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(20 * SECOND):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _wait_until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(20 * SECOND):
        while b"Passerelle is ready" not in await process.stdout.readline():
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends_with_0(number: signal.Signals) -> None:
    process = await _start("drains")
    await _wait_until_ready(process)
    process.send_signal(number)
    code, out, error = await _end(process)
    assert code == 0
    assert "draining" in out
    assert error.index("Arrêt") < error.index("Stopping")
    assert '"server_stopped"' in error


async def test_a_second_signal_ends_at_once() -> None:
    process = await _start("never_ends")
    await _wait_until_ready(process)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    async with asyncio.timeout(20 * SECOND):
        while b"Stopping" not in await process.stderr.readline():
            pass
    process.send_signal(signal.SIGTERM)
    code, _, _ = await _end(process)
    assert code == 128 + signal.SIGTERM


async def test_a_server_that_fails_ends_with_1_and_says_so_without_its_words() -> None:
    code, _, error = await _end(await _start("fails"))
    assert code == 1
    assert "RuntimeError" in error
    assert "Clémentine" not in error


async def test_a_server_that_ends_by_itself_ends_with_0() -> None:
    code, _, _ = await _end(await _start("ends_by_itself"))
    assert code == 0


async def test_the_loop_has_a_deep_stack() -> None:
    """In an ordinary thread of 8 MiB pycrdt ends the process on this update (SIGSEGV)."""
    code, out, error = await _end(await _start("goes_deep"))
    assert code == 0, error[-2_000:]
    assert "open server\n" in out


async def test_children_can_be_started_from_the_loops_thread() -> None:
    code, out, _ = await _end(await _start("starts_a_child"))
    assert code == 0
    assert "from the child" in out
    assert "open 0\n" in out


async def test_what_fails_in_a_callback_is_logged_without_its_words() -> None:
    code, out, error = await _end(await _start("complains"))
    assert code == 0
    assert '"unhandled_exception"' in error
    assert "Clémentine" not in out + error


async def test_uvloop_is_used_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    _, out, _ = await _end(await _start("says_its_loop"))
    assert "open uvloop" in out


async def test_as_many_connections_as_the_system_allows_not_as_it_gives_unasked() -> None:
    """A service or a shell is given 1,024 descriptors and may ask for half a million."""
    code, out, error = await _end(await _start("opens_three_hundred_sockets", "prlimit", "--nofile=128:8192"))
    assert code == 0, error[-2_000:]
    assert "open 150\n" in out
    assert "few_descriptors" not in error


async def test_a_system_that_allows_too_few_connections_is_named() -> None:
    code, _, error = await _end(await _start("ends_by_itself", "prlimit", "--nofile=128:512"))
    assert code == 0
    (line,) = [line for line in error.splitlines() if "few_descriptors" in line]
    assert json.loads(line)["limit"] == 512


def test_the_greeting_names_the_public_address() -> None:
    public = Settings(public_url="https://passerelle.example.org", data=Path("/var/lib/passerelle"))
    said = greeting(public, "http://127.0.0.1:8080")
    assert said.count("https://passerelle.example.org") == 2
    assert said.count("/var/lib/passerelle") == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, "x"), ("Le port est déjà pris", "The port is taken")),
        (OSError(errno.EADDRNOTAVAIL, "x"), ("n'a pas l'adresse", "does not have the address")),
        (PermissionError(errno.EACCES, "x"), ("Permission refusée", "Permission denied")),
        (FolderInUse("x"), ("sert déjà", "in use")),
        (StoreUnavailable("SQLITE_FULL"), ("SQLITE_FULL", "cannot be read or written")),
        (KeyUnusable("token.key n'est pas / is not"), ("n'est pas", "is not")),
        (RuntimeError("Clémentine"), ("RuntimeError", "ended with an error")),
    ],
)
def test_every_failure_has_a_sentence_in_both_languages(error: Exception, words: tuple[str, str]) -> None:
    sentence = explain_failure(error, Settings())
    assert all(word in sentence for word in words)
    assert "Clémentine" not in sentence
