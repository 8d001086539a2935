"""Who is connected to a room, at its home: what the instances tell, and those that fall silent."""

from contextlib import suppress

from rooms.commands import Connect
from rooms.errors import RoomError
from rooms.keeping import NotHome
from rooms.link import SILENT_S
from rooms.loaded_rooms import LoadedRoom
from rooms.membership import Membership
from rooms.models import ParticipantStatus
from rooms.orders import Greet

_PRESENT = (ParticipantStatus.ADMITTED, ParticipantStatus.WAITING)


class RollCall:
    def __init__(self, us: Membership) -> None:
        self._us = us

    async def follow_roll(self, room_id: str, sender: str, greeting: Greet) -> None:
        if self._us.rooms.get(room_id) is None:
            return
        with suppress(NotHome, RoomError):
            async with self._us.rooms.take_turn(room_id) as room:
                self._us.require_home(room)
                if not self._us.peers.is_alive(sender, self._us.now()):
                    return  # it has gone since it sent this, and took its connections with it
                room.connections.follow_roll(sender, greeting.number, greeting.roll)
                await self.show_who_is_here(room)
                if room.settles_at is None:
                    await self._see_who_is_away(room)

    async def show_who_is_here(self, room: LoadedRoom) -> None:
        """Within the room's turn: whoever is connected is shown so. Raises: NotHome."""
        for participant_id in tuple(room.connections):
            person = room.state.participants.get(participant_id)
            # Not who left: their connection is about to close, and connecting would bring them back.
            if person is not None and not person.connected and person.status in _PRESENT:
                with suppress(RoomError):  # removed meanwhile: that instance will hear it
                    await self._us.home.decide_and_keep(room, Connect(), participant_id)

    async def _see_who_is_away(self, room: LoadedRoom) -> None:
        """Within the room's turn: whoever is shown as connected is. Raises: NotHome."""
        for person in tuple(room.state.participants.values()):
            if person.connected and person.id not in room.connections:
                await self._us.home.see_away(room, person.id, room.unheard_for_s(self._us.clock()))

    async def settle(self, room: LoadedRoom) -> None:
        with suppress(NotHome, RoomError):
            async with self._us.rooms.take_turn(room.state.id) as current:
                self._us.require_home(current)
                current.settles_at, current.is_roll_due = None, False
                await self.show_who_is_here(current)
                await self._see_who_is_away(current)
                current.adults_due_at = current.unheard_since = None

    def without(self, instance_id: str, *, is_lost: bool) -> None:
        """The instance fell silent, or has gone."""
        if self._us.companion is not None:
            self._us.companion.gone(instance_id)
        silent_for_s = self._us.peers.silent_for_s(instance_id, self._us.now()) or SILENT_S
        for room in self._us.rooms:
            if room.tenure is not None:
                room.readers.discard(instance_id)
                connections = room.connections
                gone = (
                    connections.lose(instance_id, self._us.now(), silent_for_s)
                    if is_lost
                    else connections.leave(instance_id)
                )
                if gone and room.settles_at is None:
                    self._us.link.spawn(self.settle(room))
                elif gone:
                    self._look_for_adults(room, is_lost=is_lost)

    def _look_for_adults(self, room: LoadedRoom, *, is_lost: bool) -> None:
        """An instance with people in it has gone before the room settled."""
        now = self._us.clock()
        if not is_lost:
            room.unheard_since = now  # they were heard until then
        room.adults_due_at = max(room.adults_due_at or now, now)
