"""The socket that a server listens on, and the address that it tells people."""

import socket

from server.config import Settings

UNREAD_MS = 30_000
"""A peer that takes nothing of what was sent to it for so long is cut off by the system (TCP_USER_TIMEOUT):
a socket that reads nothing, and answers every probe, would keep what waits for it for ever."""


def listen(host: str, port: int) -> socket.socket:
    """Before anything else is made: a port that is taken ends the start at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(settings: Settings, listener: socket.socket) -> str:
    if settings.public_url is not None:
        return settings.public_url
    port = listener.getsockname()[1]
    host = "localhost" if settings.listens_on_loopback else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
