"""Ports for the servers that tests start: several test processes choose at the same time.

Whoever chooses one has it until its process ends: a port is a byte of a file that all of them lock (fcntl(2), advisory
record locks), so that none is chosen twice, not even before its server has bound it or while that server is down.
"""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

_LOWEST = 10_000
_FEWEST = 1_000
_RANGES = range(20_000, 30_000)
"""Given as ranges alone: one in the middle of which a port is taken would be none."""
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_file: int | None = None
_ours: set[int] = set()
"""A process's own locks never refuse it anything."""


def free_port() -> int:
    """A port of 127.0.0.1, for TCP and for UDP, that stays free until its server binds it and while that server is down.

    It lies below those that the system gives to whoever asks for any: a connection that some other test opens could
    not be kept off one of them.
    """
    while True:
        port = _LOWEST + secrets.randbelow(max(_first_ephemeral() - _LOWEST, _FEWEST))
        if port not in _RANGES and _is_free(port) and _take(port, 1):
            return port


def free_ports(count: int) -> int:
    """The first of so many in a row, for UDP, as `free_port` gives one. Raises: AssertionError."""
    for first in range(_RANGES.start, _RANGES.stop - count + 1, count):
        if _take(first, count):
            return first
    raise AssertionError(f"no {count} ports in a row that no other test has")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _take(first: int, count: int) -> bool:
    """Whether no test has one of them."""
    global _file
    if _file is None:
        path = Path(tempfile.gettempdir()) / f"passerelle-test-ports-{os.geteuid()}"
        _file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    wanted = range(first, first + count)
    if not _ours.isdisjoint(wanted):
        return False
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
    except OSError:
        return False
    _ours.update(wanted)
    return True


def _first_ephemeral() -> int:
    return int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
