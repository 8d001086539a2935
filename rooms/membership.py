"""What this instance is among others: how it reaches them, what it has in memory, what accompanies it.

The parts of `rooms.sharing` share it: `succession` (who decides), `replica` (what follows), `roll_call` (who is
connected), `confirmation` (what is closed).
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Protocol

from rooms.difference import steps_between
from rooms.home import Home, RoomChange
from rooms.instance_messages import Aside
from rooms.keeping import NotHome
from rooms.link import SILENT_S, InstanceLink, Peers
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.models import ChatLine, RoomState
from rooms.orders import Call
from rooms.ports import RoomLeases, RoomStore


class Companion(Protocol):
    """What accompanies rooms without the domain knowing it: media. Nothing here blocks or raises, but `call`."""

    async def call(self, room_id: str, actor_id: str | None, instance_id: str, call: Call) -> bytes:
        """At the home, for an instance. Raises: RoomError."""

    def aside(self, message: Aside) -> None:
        """What the home's companion said to this one's."""

    def extra(self, room_id: str) -> bytes:
        """At the home: what a replica needs to begin with."""

    def take_extra(self, room_id: str, extra: bytes) -> None: ...

    def moved(self, room_id: str, home: str) -> None:
        """The room has this home from now on; this instance may be it, the one before, or neither."""

    def gone(self, instance_id: str) -> None:
        """The instance, and all its connections."""

    def forgotten(self, room_id: str) -> None:
        """The room left memory."""


class Membership:
    """Made by `rooms.sharing.Sharing`, which completes it before anything is asked."""

    link: InstanceLink
    rooms: LoadedRooms
    home: Home
    tell_listeners: Callable[[RoomChange], None]

    def __init__(
        self,
        instance_id: str,
        store: RoomStore,
        leases: RoomLeases,
        clock: Callable[[], float],
        now: Callable[[], float],
        closed: Callable[[str, str, float], Awaitable[bool]],
    ) -> None:
        """`now` is monotonic, and goes on while the process is stopped; `clock` says what time it is."""
        self.instance_id = instance_id
        self.store = store
        self.leases = leases
        self.clock = clock
        self.now = now
        self.closed = closed
        self.peers = Peers()
        self.companion: Companion | None = None
        self.is_leaving = False
        """It takes no room any more."""
        self.lease_changes: Counter[str] = Counter()
        """What became of rooms' leases since the start: "taken_over" from an instance that was gone, "inherited" from
        one that gave it, "handed_over", "lost" to somebody who has it by now. Not those that were nobody's."""
        self.gaps = 0
        """Times that a replica had missed something and asked."""
        self._hears_since = inf
        """Since when nothing that the others say can have been missed; infinite before the start."""
        self._beat_at = -inf
        self._number = 0

    def hears_anew(self) -> None:
        """Something may have been missed."""
        self._hears_since = self.now()

    def beats(self) -> None:
        """Its heart beats now. A longer pause than the others' patience was one in which nothing was heard either."""
        if self.now() - self._beat_at >= SILENT_S:
            self.hears_anew()
        self._beat_at = self.now()

    def knows_everyone(self) -> bool:
        """Whether every instance that lives has been heard: each says so several times in this while."""
        now = self.now()
        return now - self._hears_since >= SILENT_S and now - self._beat_at < SILENT_S and self.link.is_joined

    def next_number(self) -> int:
        """Of what this instance says of its connections: rises."""
        self._number += 1
        return self._number

    def require_home(self, room: LoadedRoom) -> None:
        """Raises: NotHome, when somebody else may be deciding for the room by now."""
        if room.tenure is None or not room.tenure.may_decide(self.now()):
            raise NotHome

    def depose(self, room: LoadedRoom) -> None:
        """Somebody else decides for the room by now."""
        if room.tenure is not None:
            self.lease_changes["lost"] += 1
        self.step_down(room)

    def step_down(self, room: LoadedRoom) -> None:
        room.tenure, room.settles_at, room.home = None, None, ""
        room.adults_due_at = room.unheard_since = None
        room.readers.clear()
        room.connections.keep_only(self.instance_id)

    def add_line(self, room: LoadedRoom, line: ChatLine) -> None:
        """A line that may be here already."""
        if not room.chat.has(line.id):
            room.chat.add(line)
            self.tell_listeners(RoomChange(room.state.id, room.state, room.state, chat=line))

    def become(self, room: LoadedRoom, state: RoomState) -> None:
        """The room is so; those here hear what must have happened."""
        before, room.state = room.state, state
        if replace(before, seq=state.seq, last_active_at=state.last_active_at, words=state.words) != state:
            self.tell_listeners(RoomChange(state.id, before, state, tuple(steps_between(before, state))))
