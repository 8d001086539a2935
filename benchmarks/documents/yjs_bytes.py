"""Yjs updates and y-protocols messages as a typist's editor would send them, made by hand.

Each typist writes its own run of text: every character is one item whose left neighbour is the one it
typed before. That is what a person typing at the end of a paragraph of their own makes, it needs no
engine in the load generator, and every server takes it for what it is.
(Formats: yjs `encoding.js`, y-protocols `PROTOCOL.md`.)
"""

import json
from collections.abc import Iterator

SYNC, AWARENESS = 0, 1
STEP_1, STEP_2, UPDATE = 0, 1, 2
ROOT = b"text"


def var_uint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | number & 0x7F)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_var_uint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and the offset behind it. Raises: IndexError."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def sync_message(kind: int, body: bytes) -> bytes:
    return bytes((SYNC, kind)) + var_uint(len(body)) + body


ASK_FOR_ALL = sync_message(STEP_1, b"\x00")
NOTHING_OF_MINE = sync_message(STEP_2, b"\x00\x00")


def one_character(client: int, clock: int, character: bytes) -> bytes:
    """The update that adds one ASCII character behind this client's last one."""
    own = var_uint(client)
    if clock == 0:
        item = b"\x04\x01" + var_uint(len(ROOT)) + ROOT  # in the root text, with no neighbours
    else:
        item = b"\x84" + own + var_uint(clock - 1)
    return b"\x01\x01" + own + var_uint(clock) + item + b"\x01" + character + b"\x00"


def cursor(client: int, awareness_clock: int, at: int, name: str) -> bytes:
    """The awareness message of an editor: who, in which colour, with the cursor behind `at`."""
    position = {"type": None, "tname": "text", "item": {"client": client, "clock": at}, "assoc": 0}
    state = {"user": {"name": name, "color": "#30bced"}, "cursor": {"anchor": position, "head": position}}
    written = json.dumps(state, separators=(",", ":")).encode()
    update = b"\x01" + var_uint(client) + var_uint(awareness_clock) + var_uint(len(written)) + written
    return b"\x01" + var_uint(len(update)) + update


def update_in(message: bytes) -> bytes | None:
    """The Yjs update that a y-protocols message carries, or None."""
    if len(message) < 3 or message[0] != SYNC or message[1] == STEP_1:
        return None
    length, at = read_var_uint(message, 2)
    return message[at : at + length]


def client_frame(payload: bytes) -> bytes:
    """One masked binary frame (RFC 6455 section 5.2). The key is zero: the server unmasks all the same."""
    length = len(payload)
    if length < 126:
        head = bytes((0x82, 0x80 | length))
    elif length < 65_536:
        head = b"\x82\xfe" + length.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + length.to_bytes(8, "big")
    return head + b"\x00\x00\x00\x00" + payload


FIN, OPCODE = 0x80, 0x0F
PONG = b"\x8a\x80\x00\x00\x00\x00"


class FrameReader:
    """Cuts what a server sends into messages (a long one may come in fragments). Servers send no masks."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun: tuple[int, list[bytes]] | None = None
        """Opcode and fragments of a message that is not whole yet."""

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of each message that is whole now."""
        data = self._rest + data if self._rest else data
        at, size = 0, len(data)
        while size - at >= 2:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            end = at + head + length
            if size < at + head or size < end:
                break
            first, payload = data[at], data[at + head : end]
            at = end
            if first & FIN and first & OPCODE:
                yield first & OPCODE, payload
            elif message := self._joined(first, payload):
                yield message
        self._rest = data[at:]

    def _joined(self, first: int, payload: bytes) -> tuple[int, bytes] | None:
        """The message of which this is the last fragment. (RFC 6455 section 5.4)"""
        opcode, fragments = self._begun or (first & OPCODE, [])
        fragments.append(payload)
        self._begun = None if first & FIN else (opcode, fragments)
        return (opcode, b"".join(fragments)) if first & FIN else None
