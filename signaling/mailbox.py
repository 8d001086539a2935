"""What waits for a client that cannot hear now: its session opens, or its connection was lost.

Bounded in number and size. What does not fit ends the waiting: the mailbox overflows, and the session
must begin anew, for a message left out in the middle would break what follows it.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from signaling.messages import ServerDescription

MAX_MESSAGES = 256
"""Candidates of three peers that look for a new way, several times over."""
MAX_CHARACTERS = 1024 * 1024
"""Of descriptions: dozens of the longest a browser makes."""
_SMALL = 1_024
"""What any message but a description counts as, its most."""

Message = tuple[str, msgspec.Struct]
"""Event name and payload."""


class Mailbox:
    """Holds messages in order, for as long as `is_holding`."""

    def __init__(self) -> None:
        self.is_holding = True
        self.is_overflowed = False
        self._messages: deque[Message] = deque()
        self._characters = 0

    def hold(self) -> None:
        self.is_holding = True

    def put(self, event: str, payload: msgspec.Struct) -> None:
        """Keep a message for later. The one that does not fit empties the box for good."""
        if self.is_overflowed:
            return
        self._characters += _size(payload)
        if len(self._messages) >= MAX_MESSAGES or self._characters > MAX_CHARACTERS:
            self.is_overflowed = True
            self._messages.clear()
            return
        self._messages.append((event, payload))

    def release(self) -> Sequence[Message]:
        """Everything that waited, in order; from now on nothing does."""
        self.is_holding = False
        self._characters = 0
        messages = tuple(self._messages)
        self._messages.clear()
        return messages


def _size(payload: msgspec.Struct) -> int:
    return _SMALL + (len(payload.description.sdp) if isinstance(payload, ServerDescription) else 0)
