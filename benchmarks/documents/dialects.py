"""How each server is spoken to: where its documents are, and what it wraps around a y-protocols message.

A dialect knows bytes only: no socket, no process. The servers that speak them are in `servers`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

SYNC = 0
AWARENESS = 1
PASSERELLE_SAVED = 100
HOCUSPOCUS_AUTH = 2
HOCUSPOCUS_SYNC_STATUS = 8
MAX_VAR_UINT_BYTES = 8
"""Longest number that is read: 2^53, Yjs's largest, takes as many."""


class Dialect(Protocol):
    """What a client needs to know of a server."""

    def path(self, document: str) -> str:
        """Path and query of the next client's WebSocket request for this document."""
        ...

    def opening(self, document: str) -> list[bytes]:
        """Payloads of the binary frames to send once the socket is open, before sync step 1."""
        ...

    def wrap(self, document: str, message: bytes) -> bytes:
        """The payload of the binary frame that carries this y-protocols message."""
        ...

    def unwrap(self, payload: bytes) -> bytes | None:
        """The y-protocols message in a binary frame of the server's; None: neither sync nor awareness."""
        ...

    def acknowledged(self, payload: bytes, before: int) -> int:
        """How many of the connection's messages with an update the server has called saved, after this
        frame; `before`: before it. A server that says nothing of the kind leaves it at 0."""
        ...


class YWebSocketDialect:
    """y-websocket as @y/websocket-server and pycrdt-websocket speak it: the path is the document."""

    def path(self, document: str) -> str:
        return f"/{quote(document)}"

    def opening(self, document: str) -> list[bytes]:
        return []

    def wrap(self, document: str, message: bytes) -> bytes:
        return message

    def unwrap(self, payload: bytes) -> bytes | None:
        return payload if payload[:1] in (b"\x00", b"\x01") else None

    def acknowledged(self, payload: bytes, before: int) -> int:
        return before


class PasserelleDialect(YWebSocketDialect):
    """y-websocket with a room and a token in the address: each client comes as a participant of its own.

    `rooms`: the room of each document. `tokens`: the tokens of each room's participants, handed out in turn.
    """

    def __init__(self, rooms: Mapping[str, str], tokens: Mapping[str, Sequence[str]]) -> None:
        self._rooms = rooms
        self._tokens = tokens
        self._handed_out = dict.fromkeys(tokens, 0)

    def path(self, document: str) -> str:
        """Raises: KeyError for a document of no room, LookupError where nobody was let in."""
        room = self._rooms[document]
        tokens = self._tokens[room]
        if not tokens:
            raise LookupError(f"nobody was let into the room of {document}")
        token = tokens[self._handed_out[room] % len(tokens)]
        self._handed_out[room] += 1
        return f"/yjs/{room}/{quote(document)}?token={token}&ack=1"

    def acknowledged(self, payload: bytes, before: int) -> int:
        """`saved n` (docs/protocol.md): the first n are in the store."""
        if payload[:1] != bytes((PASSERELLE_SAVED,)):
            return before
        return max(before, read_var_uint(payload, 1)[0])


class HocuspocusDialect:
    """Every message, both ways, begins with the document's name; a client first gives a token
    (@hocuspocus/server 4.7, OutgoingMessage.ts and ClientConnection.ts). A server without
    `onAuthenticate` asks for none, but waits for the message."""

    def path(self, document: str) -> str:
        return "/"

    def opening(self, document: str) -> list[bytes]:
        return [self.wrap(document, bytes((HOCUSPOCUS_AUTH, 0)) + _var_string("") + _var_string("4.7.0"))]

    def wrap(self, document: str, message: bytes) -> bytes:
        return _var_string(document) + message

    def unwrap(self, payload: bytes) -> bytes | None:
        message = _behind_name(payload)
        return message if message[:1] in (b"\x00", b"\x01") else None

    def acknowledged(self, payload: bytes, before: int) -> int:
        """`SyncStatus`: one for each update, sent when it was applied to the document in memory."""
        return before + (_behind_name(payload)[:2] == bytes((HOCUSPOCUS_SYNC_STATUS, 1)))


def _behind_name(payload: bytes) -> bytes:
    length, at = read_var_uint(payload, 0)
    return payload[at + length :]


def _var_string(text: str) -> bytes:
    encoded = text.encode()
    return var_uint(len(encoded)) + encoded


def var_uint(number: int) -> bytes:
    """lib0's variable-length unsigned integer: seven bits a byte, low ones first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(0x80 | number & 0x7F)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """The number at this offset, and the offset behind it. Raises: ValueError when it does not end."""
    number = 0
    for place, byte in enumerate(data[at : at + MAX_VAR_UINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number that does not end")
