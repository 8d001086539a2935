"""The events of a room as an asynchronous iterator."""

import asyncio
from collections import deque

from passerelle_client.errors import PasserelleError
from passerelle_client.protocol import RoomView
from passerelle_client.room_view import RoomEvent

LONGEST_QUEUE = 1_000
"""Events that wait for their reader; past it they give way to the view that contains them."""


class RoomEvents:
    """`async for event in room.events()`: what happens, in order. A RoomView among the events says
    "begin from this": the first one, after a connection was lost, and when the reader was too slow
    for all that happened. Ends when the room is closed; raises Removed or Refused when it is over."""

    def __init__(self, view: RoomView | None) -> None:
        self._queue: deque[RoomEvent | RoomView] = deque([view] if view is not None else [])
        self._changed = asyncio.Event()
        self._is_closed = False
        self._error: PasserelleError | None = None

    def __aiter__(self) -> "RoomEvents":
        return self

    async def __anext__(self) -> RoomEvent | RoomView:
        while not self._queue:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    def begin_from(self, view: RoomView) -> None:
        """For the room: whatever waits is in this view."""
        self._queue.clear()
        self._queue.append(view)
        self._changed.set()

    def put(self, event: RoomEvent, view: RoomView) -> None:
        """For the room: an event, and the view after it."""
        if len(self._queue) >= LONGEST_QUEUE:
            self.begin_from(view)
            return
        self._queue.append(event)
        self._changed.set()

    def close(self, error: PasserelleError | None = None) -> None:
        """For the room: nothing more will come."""
        self._is_closed, self._error = True, error
        self._changed.set()
