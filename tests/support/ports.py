"""Ports for the servers that tests start: several test processes choose at the same time."""

import secrets
import socket
from pathlib import Path

_LOWEST = 10_000
_FEWEST = 1_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of 127.0.0.1, for TCP and for UDP, that stays free until its server binds it and while that server is down.

    It lies below those that the system gives to whoever asks for any: a connection that some other test opens could
    not be kept off one of them.
    """
    while True:
        port = _LOWEST + secrets.randbelow(max(_first_ephemeral() - _LOWEST, _FEWEST))
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _first_ephemeral() -> int:
    return int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
