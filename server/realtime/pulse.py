"""Whether the adults in charge are still heard: of them it must be known within seconds (`rooms.supervision`).

engine.io asks everyone every 8 s and waits 8 s more, twice as long as pupils may be alone. So whoever is in charge and
has said nothing for a moment is asked besides, with engine.io's own ping, which every client answers by itself; and is
given up when nothing has come for SILENT_S. One timer for all of them, while there are any. A connection that this
process closes for another reason, as at its own end, was heard no later than it was.
"""

import asyncio

from engineio import packet

from server.realtime.connection import SocketConnection

TICK_S = 0.5
ASK_S = 2.5
"""Who was silent for so long is asked; an answer takes a tenth of a second, two on a line that is full."""
SILENT_S = 8.0
"""Who was silent for so long is given up: two seconds before pupils count as alone, in which they may be back."""


class Pulse:
    """Of one event loop."""

    def __init__(self) -> None:
        self._heard_at: dict[SocketConnection, float] = {}
        self._asked_at: dict[SocketConnection, float] = {}
        self._given_up: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ticks_at = 0.0

    def follow(self, connection: SocketConnection) -> None:
        self._hear(connection)
        connection.listen(lambda: self._hear(connection))
        if self._timer is None:
            self._next_tick()

    def forget(self, connection: SocketConnection) -> None:
        if self._heard_at.pop(connection, None) is not None:
            connection.listen(None)
        self._asked_at.pop(connection, None)
        if not self._heard_at:
            self.stop()

    def silence_of(self, connection: SocketConnection) -> float:
        """For how many seconds nothing has been heard over it; 0.0 for one that is not followed."""
        heard_at = self._heard_at.get(connection)
        return 0.0 if heard_at is None else max(0.0, asyncio.get_running_loop().time() - heard_at)

    def ask_all(self) -> None:
        """Before their connections are closed here: whoever is there is heard once more, and counts from then."""
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._heard_at):
            self._ask(connection, now)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hear(self, connection: SocketConnection) -> None:
        self._heard_at[connection] = asyncio.get_running_loop().time()

    def _next_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._ticks_at = loop.time() + TICK_S
        self._timer = loop.call_at(self._ticks_at, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        late_s = now - self._ticks_at
        if late_s > TICK_S:
            # It was this process that did not listen: what they said waits to be read.
            self._heard_at = {connection: heard_at + late_s for connection, heard_at in self._heard_at.items()}
        self._next_tick()
        for connection, heard_at in tuple(self._heard_at.items()):
            if connection.at_work:
                # Their answers wait to be read, for as long as a room without a home lets them wait; then there is a
                # moment to read them.
                self._heard_at[connection] = heard_at = max(heard_at, now - SILENT_S + TICK_S)
            silent_for_s = now - heard_at
            if silent_for_s >= SILENT_S:
                self._give_up(connection, silent_for_s)
            elif silent_for_s >= ASK_S and now - self._asked_at.get(connection, 0.0) >= ASK_S:
                self._ask(connection, now)

    def _ask(self, connection: SocketConnection, now: float) -> None:
        self._asked_at[connection] = now
        connection.put([packet.Packet(packet.PING)])

    def _give_up(self, connection: SocketConnection, silent_for_s: float) -> None:
        self.forget(connection)
        connection.silent_for_s = silent_for_s
        task = asyncio.get_running_loop().create_task(connection.hang_up())
        self._given_up.add(task)
        task.add_done_callback(self._given_up.discard)
