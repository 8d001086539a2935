"""The pace of a participant's connections: who asks for too much waits, or is told no.

By participant, over all their connections of either kind; nobody else is held up. Waiting happens
where the connection's next message would be read, so a flood stays in its sender's own buffers.
"""

import asyncio
import time

from server.error_answers import Refusal
from server.limits import (
    CHAT,
    COMMAND,
    CONNECTION,
    DOCUMENT_BYTES,
    DOCUMENT_MESSAGE,
    SIGNALING,
    Limit,
    Limiter,
)

MAX_HOLD_S = 2.0
"""Longest time that a command above its allowance waits; beyond, it is refused."""
LONGEST_SLEEP_S = 1.0
"""A waiting connection looks again this often: another one may have used up what came in."""
DRAWN_MESSAGES = 16
DRAWN_BYTES = 4 * 1024
"""What a connection draws at once: a hundredth of the allowances, so that what lies unspent with it matters to
nobody."""


class Pace:
    """One for the process."""

    def __init__(self) -> None:
        self._limiters = {
            limit.name: Limiter(limit)
            for limit in (CONNECTION, COMMAND, CHAT, SIGNALING, DOCUMENT_MESSAGE, DOCUMENT_BYTES)
        }

    def connection(self, participant_id: str) -> None:
        """A new connection. Raises: Refusal."""
        self._take_or_refuse(CONNECTION, participant_id)

    async def command(self, participant_id: str, name: str) -> None:
        """A command of Socket.IO. Raises: Refusal."""
        if name == "send_chat":
            self._take_or_refuse(CHAT, participant_id)
        limit = SIGNALING if name.startswith("media_") else COMMAND
        await self._wait(limit, participant_id, 1.0, give_up_after_s=MAX_HOLD_S)

    async def document_message(self, participant_id: str, size_bytes: int) -> None:
        """A message of a document, of whichever transport. It is never refused: its sender counts
        messages, and one that is left out would never be saved."""
        await self.document_messages(participant_id, 1)
        await self.document_bytes(participant_id, size_bytes)

    async def document_messages(self, participant_id: str, count: int) -> None:
        await self._wait(DOCUMENT_MESSAGE, participant_id, float(count))

    async def document_bytes(self, participant_id: str, size_bytes: int) -> None:
        await self._wait(DOCUMENT_BYTES, participant_id, float(size_bytes))

    def _take_or_refuse(self, limit: Limit, key: str) -> None:
        wait_s = self._limiters[limit.name].take(key, time.monotonic())
        if wait_s > 0.0:
            raise _slower(wait_s)

    async def _wait(self, limit: Limit, key: str, cost: float, give_up_after_s: float | None = None) -> None:
        began_at = time.monotonic()
        while (wait_s := self._limiters[limit.name].take(key, time.monotonic(), cost)) > 0.0:
            if give_up_after_s is not None and time.monotonic() + wait_s - began_at > give_up_after_s:
                raise _slower(wait_s)
            await asyncio.sleep(min(wait_s, LONGEST_SLEEP_S))


class DocumentPurse:
    """A connection's small change: what its participant may send, drawn for several messages at once, so that
    most of them cost no more than a subtraction."""

    def __init__(self, pace: Pace, participant_id: str) -> None:
        self._pace = pace
        self._participant_id = participant_id
        self._messages = 0
        self._bytes = 0

    def spend(self, size_bytes: int) -> bool:
        """For one message. False: `draw` first."""
        if not self._messages or size_bytes > self._bytes:
            return False
        self._messages -= 1
        self._bytes -= size_bytes
        return True

    async def draw(self, size_bytes: int) -> None:
        """Wait for what is lacking for a message of this size, and for some more."""
        if not self._messages:
            await self._pace.document_messages(self._participant_id, DRAWN_MESSAGES)
            self._messages += DRAWN_MESSAGES
        if size_bytes > self._bytes:
            more_bytes = max(DRAWN_BYTES, size_bytes)
            await self._pace.document_bytes(self._participant_id, more_bytes)
            self._bytes += more_bytes


def _slower(wait_s: float) -> Refusal:
    return Refusal("too-many-requests", "Slower, please.", retry_after_s=wait_s)
