"""Long messages of one connection's documents on their way in parts: the next one when the one before was taken.

What is taken says engine.io: in long polling a poll takes what waits when it comes, and the next poll comes when its
answer has arrived; over a WebSocket what was written has drained. So a reader costs one part, however long the text,
and pings, answers and the room's events go in between.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from rooms.documents.parts import LongMessage, PartPace
from server.realtime.packets import PacketQueue, Packets, encode


class _Document:
    """Of one document: a long message, and in order what may not overtake it."""

    def __init__(self) -> None:
        self.waiting: deque[LongMessage | Packets] = deque()

    @property
    def left_bytes(self) -> int:
        return sum(
            each.left_bytes if isinstance(each, LongMessage) else sum(len(packet.data) for packet in each)
            for each in self.waiting
        )


class LongSending:
    """Of one connection: it is its queue's source."""

    def __init__(self, queue: PacketQueue, turn: asyncio.Lock) -> None:
        """`turn`: one for all connections of a process: they put a part a turn of the loop, not each one."""
        self._queue = queue
        self._turn = turn
        self._documents: dict[str, _Document] = {}
        """The one whose turn it is first."""
        self._pace = PartPace()
        self._put_at: float | None = None
        queue.source = self

    @property
    def left_bytes(self) -> int:
        """What has not been put into the queue yet."""
        return sum(document.left_bytes for document in self._documents.values())

    def send(self, document: str, pieces: Sequence[bytes]) -> None:
        """One message, which is these pieces one after the other."""
        self._documents.setdefault(document, _Document()).waiting.append(LongMessage(pieces))
        if not self._queue.holds_part:
            self._put_next()

    def put_behind(self, document: str, packets: Packets) -> bool:
        """False: there is nothing that these would overtake."""
        under_way = self._documents.get(document)
        if under_way is None:
            return False
        under_way.waiting.append(packets)
        return True

    def drop(self, document: str) -> None:
        """It was closed, or is opened anew: what is left of it is not wanted."""
        self._documents.pop(document, None)

    def clear(self) -> None:
        self._documents.clear()

    async def refill(self) -> None:
        """Somebody has come to take what waits."""
        if self._put_at is not None and not self._queue.holds_part:
            self._pace.note_taken(time.monotonic() - self._put_at)
            self._put_at = None
        if not self._documents or self._queue.holds_part:
            return
        async with self._turn:
            await asyncio.sleep(0)
            if self._documents and not self._queue.holds_part:
                self._put_next()

    def _put_next(self) -> None:
        name, document = next(iter(self._documents.items()))
        message = document.waiting[0]
        assert isinstance(message, LongMessage)
        self._put_at = time.monotonic()
        part = message.next_part(self._pace.part_bytes)
        self._queue.put_part(encode("document_message", name, part, is_deflated=False))
        self._documents.pop(name)
        if message.left_bytes == 0:
            document.waiting.popleft()
            self._let_go(document)
        if document.waiting:
            self._documents[name] = document  # the others' turn comes first

    def _let_go(self, document: _Document) -> None:
        """What waited behind the message goes, up to the next long one."""
        while document.waiting and not isinstance(packets := document.waiting[0], LongMessage):
            document.waiting.popleft()
            for packet in packets:
                self._queue.put_nowait(packet)
