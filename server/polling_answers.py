"""A long answer to a poll of Engine.IO, encoded in pieces as it is written.

The library puts the whole of it together, in base64: of a text of 20 MB, which comes in one message to clients that
take no parts, 27 MB three times over, and the loop stands for a tenth of a second. Here each piece is encoded in a turn
of its own, when the one before has left; what is in memory is the message, which its readers share.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

from aiohttp.web import Response
from engineio.packet import Packet

PIECE_BYTES: Final = 192 * 1024
"""Encoded at once; of three bytes four, so that pieces join. 256 KiB in base64, 1 ms."""
SEPARATOR: Final = b"\x1e"


class LongAnswer:
    """The body, for packets of which nothing changes any more."""

    def __init__(self, packets: Sequence[Packet]) -> None:
        self._parts = [packet.data if packet.binary else packet.encode(b64=True).encode() for packet in packets]
        self._are_binary = [packet.binary for packet in packets]

    @property
    def size_bytes(self) -> int:
        sizes = (
            1 + (len(part) + 2) // 3 * 4 if is_binary else len(part)
            for part, is_binary in zip(self._parts, self._are_binary, strict=True)
        )
        return sum(sizes) + len(self._parts) - 1

    def pieces(self) -> Iterator[bytes]:
        for place, (part, is_binary) in enumerate(zip(self._parts, self._are_binary, strict=True)):
            if place:
                yield SEPARATOR
            if not is_binary:
                yield part
                continue
            yield b"b"
            view = memoryview(part)
            for at in range(0, len(part), PIECE_BYTES):
                yield base64.b64encode(view[at : at + PIECE_BYTES])

    async def in_turns(self) -> AsyncIterator[bytes]:
        """A piece a turn of the loop."""
        for piece in self.pieces():
            yield piece
            await asyncio.sleep(0)

    def response(self, status: str, headers: Sequence[tuple[str, Any]]) -> Response:
        """`status`: the number first."""
        return Response(
            body=self.in_turns(),
            status=int(status.split()[0]),
            headers=[*headers, ("Content-Length", str(self.size_bytes))],
        )


def is_long(packets: Sequence[Packet], most_bytes: int) -> bool:
    """Whether they are longer than that together; strings count their characters."""
    return sum(len(packet.data) for packet in packets if isinstance(packet.data, str | bytes)) > most_bytes
