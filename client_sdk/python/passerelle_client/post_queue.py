"""What waits to be sent over long polling, handed to engine.io in bodies that a server and its proxies take.

python-engineio puts all that waits into one POST, whatever the `maxPayload` of the server: who wrote much without a
connection would send a body that is refused, lose the connection, and try the same again, for ever.
"""

import asyncio
from collections import deque
from typing import Final

from engineio.packet import Packet

MOST_BODY_BYTES: Final = 1_000_000
"""The server's `maxPayload` (docs/protocol.md, limits)."""
SEPARATOR_BYTES: Final = 2
"""Of a packet in a body: its type or the mark of base64, and what is between two."""


class PostQueue(asyncio.Queue[Packet | None]):
    """For one client of engine.io: it waits with `get` for a first packet, and adds others with `get_nowait` until the
    queue is empty. Ours is so, as far as that one goes, when the next would make the body too long; a packet that
    is too long by itself goes alone. Over WebSocket, where each packet is a message, it makes no difference."""

    _queue: deque[Packet | None]
    """asyncio's own, for those who derive from its queue."""
    _body_bytes = 0
    """Of what was taken since the last `get`."""

    async def get(self) -> Packet | None:
        self._body_bytes = 0
        return await super().get()

    def get_nowait(self) -> Packet | None:
        """Raises: QueueEmpty."""
        size_bytes = _size_bytes(self._queue[0]) if self.qsize() else 0
        if self._body_bytes and self._body_bytes + size_bytes > MOST_BODY_BYTES:
            raise asyncio.QueueEmpty
        self._body_bytes += size_bytes
        return super().get_nowait()


def _size_bytes(packet: Packet | None) -> int:
    data = None if packet is None else packet.data
    if isinstance(data, bytes):
        return (len(data) + 2) // 3 * 4 + SEPARATOR_BYTES  # in base64
    if isinstance(data, str):
        return (len(data) if data.isascii() else len(data.encode())) + SEPARATOR_BYTES
    return 0 if packet is None else len(packet.encode().encode()) + SEPARATOR_BYTES
