"""The rooms in this process's memory: read once however many ask, one turn at a time each, and let go.

Of some this instance is the home, of others it has a replica (`rooms.sharing`). A room leaves when nobody was
connected to it for a while and no turn is under way or waited for: two copies of one room would decide against
each other.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rooms.chat import ChatHistory
from rooms.models import RoomState
from rooms.presence import OpenConnections
from rooms.tenure import Tenure

IDLE_S = 600.0
"""A room without connections stays in memory this long: a class between two links."""
MAX_ROOMS = 5_000
"""Above it, rooms without connections leave early, the longest idle first; 5,000 take some 50 MB."""
MIN_IDLE_S = 5.0
"""Even then a room stays this long: whoever had it read is about to use it."""


@dataclass(slots=True)
class LoadedRoom:
    """One room; only the holder of its turn writes here."""

    state: RoomState
    """As announced: what listeners were told, and what `can` answers from."""
    kept_seq: int
    """`seq` of the newest state that the store has."""
    idle_since: float
    chat: ChatHistory = field(default_factory=ChatHistory)
    connections: OpenConnections = field(default_factory=OpenConnections)
    uses_owed: Counter[str] = field(default_factory=Counter)
    """Uses taken from an invitation for somebody whom the store then could not keep: the next one who
    comes with it takes no other."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    turns_wanted: int = 0
    tenure: Tenure | None = None
    """By which this instance decides for the room; None: it has a replica, or is alone."""
    home: str = ""
    """The instance that decides, as far as is known."""
    fence: int = 0
    """Under which what is here was decided; 0: alone."""
    chats: int = 0
    """Lines written under that fence."""
    readers: set[str] = field(default_factory=set)
    """At the home: other instances with people in the room."""
    settles_at: float | None = None
    """At a home that took over: until then (monotonic) who was connected is believed to be."""
    adults_due_at: float | None = None
    """At a home that took over: until then (as the clock says) an adult in charge of whom no instance has told is
    believed to be connected; None: there is none to look for."""
    unheard_since: float | None = None
    """At a home that took over: when who was connected over the home before was heard last, as the clock says. None:
    that is not known."""
    is_roll_due: bool = False
    """At a replica: the home may not know who is connected here."""

    def unheard_for_s(self, now: float) -> float:
        """For how long whoever was connected over the home before, and is over no other instance, was not heard."""
        return 0.0 if self.unheard_since is None else max(0.0, now - self.unheard_since)

    @property
    def store_fence(self) -> int | None:
        return None if self.tenure is None else self.tenure.lease.fence


class LoadedRooms:
    """By id. `read` brings one from the store, or raises."""

    def __init__(
        self,
        read: Callable[[str], Awaitable[LoadedRoom]],
        clock: Callable[[], float],
        on_forgotten: Callable[[LoadedRoom], None] = lambda _room: None,
    ) -> None:
        self._read = read
        self._clock = clock
        self._on_forgotten = on_forgotten
        self._rooms: dict[str, LoadedRoom] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[LoadedRoom]:
        return iter(self._rooms.values())

    def get(self, room_id: str) -> LoadedRoom | None:
        """None when it is not in memory."""
        return self._rooms.get(room_id)

    def add(self, room: LoadedRoom) -> None:
        if len(self._rooms) >= MAX_ROOMS:
            self.forget_idle()
        self._rooms[room.state.id] = room

    async def load(self, room_id: str) -> LoadedRoom:
        """From memory, or read. Raises: whatever `read` does."""
        while (room := self._rooms.get(room_id)) is None:
            task = self._reading.get(room_id)
            if task is None:
                task = self._reading[room_id] = asyncio.create_task(self._bring(room_id))
            # Shielded: the first asker may go away, the others still want the room.
            await asyncio.shield(task)
        return room

    async def _bring(self, room_id: str) -> None:
        try:
            self.add(await self._read(room_id))
        finally:
            del self._reading[room_id]

    @asynccontextmanager
    async def take_turn(self, room_id: str) -> AsyncIterator[LoadedRoom]:
        """The room, alone, in the order of asking; it stays in memory meanwhile. Raises: as `load`."""
        room = await self.load(room_id)
        room.turns_wanted += 1
        try:
            async with room.turn:
                yield room
        finally:
            room.turns_wanted -= 1

    def forget_idle(self) -> int:
        """Let go of rooms that nobody was connected to for a while; how many went."""
        now = self._clock()
        idle = sorted(
            (room.idle_since, room_id)
            for room_id, room in self._rooms.items()
            if not room.connections and not room.turns_wanted
        )
        surplus = len(self._rooms) - MAX_ROOMS + 1
        gone = [
            room_id
            for place, (since, room_id) in enumerate(idle)
            if now - since >= (MIN_IDLE_S if place < surplus else IDLE_S)
        ]
        for room_id in gone:
            self.forget(room_id)
        return len(gone)

    def forget(self, room_id: str) -> None:
        """Now, whoever is connected; does nothing when it is not in memory."""
        room = self._rooms.pop(room_id, None)
        if room is not None:
            self._on_forgotten(room)

    async def stop(self) -> None:
        """No room is read any more, none is held."""
        reading = tuple(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        self._rooms.clear()
