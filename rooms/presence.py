"""Presence: whether somebody is connected now, over whichever instance.

True only of this moment, so it is kept by nobody: a room read from the store has nobody in it, and a
change of nothing but presence waits for no store. An instance tells the home of each connection that
opens or closes, and its whole roll whenever one of the two may have missed something.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from rooms import supervision
from rooms.events import Event, ParticipantChanged, ParticipantWaited, WatchChanged
from rooms.models import Participant, RoomState

HERE = ""
"""The instance of a house that is alone."""
MAX_CLOSED = 1_024
"""Connections remembered as closed, so that word of their opening that comes late opens none: more than close in the
few seconds for which a message can be on its way."""
UNSURE_S = 600.0
"""An instance that fell silent may still show a room to whoever is connected there, for as long as that is believed."""


@dataclass(slots=True)
class _Connection:
    participant_id: str
    instance_id: str
    number: int


class OpenConnections:
    """The connections of one room's participants, by id: telling twice changes nothing."""

    def __init__(self) -> None:
        self._by_participant: dict[str, dict[str, _Connection]] = {}
        self._rolls: dict[str, int] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._silences: dict[str, float] = {}
        """Participant → for how long their last connection had been silent when it was given up."""
        self._heard_at: dict[str, float] = {}
        """Participant → when the last of their connections that are closed by now was heard, while they have others."""
        self._lost: dict[str, dict[str, float]] = {}
        """Participant → instances that fell silent while they were connected there, and until when that counts."""

    def __contains__(self, participant_id: str) -> bool:
        return participant_id in self._by_participant

    def __iter__(self) -> Iterator[str]:
        """Ids of who is connected."""
        return iter(self._by_participant)

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._by_participant)

    def add(self, participant_id: str, connection_id: str, instance_id: str = HERE, number: int = 0) -> None:
        """`number`: rises with each thing that an instance tells."""
        if connection_id not in self._closed:
            opened = _Connection(participant_id, instance_id, number)
            self._by_participant.setdefault(participant_id, {}).setdefault(connection_id, opened)

    def discard(self, participant_id: str, connection_id: str, heard_at: float = -inf) -> bool:
        """Whether this was the participant's last one. False when it was not known. `heard_at`: when it was heard
        last, for `take_heard_at`."""
        self._closed[connection_id] = None
        if len(self._closed) > MAX_CLOSED:
            self._closed.popitem(last=False)
        connections = self._by_participant.get(participant_id)
        if connections is None or connections.pop(connection_id, None) is None:
            return False
        self._heard_at[participant_id] = max(heard_at, self._heard_at.get(participant_id, -inf))
        if connections:
            return False
        del self._by_participant[participant_id]
        return True

    def take_heard_at(self, participant_id: str) -> float:
        """When the participant, whose last connection was closed just now, was heard over any of them."""
        return self._heard_at.pop(participant_id, -inf)

    # --- by instance ------------------------------------------------------------------------

    def is_of(self, participant_id: str, instance_id: str) -> bool:
        return any(each.instance_id == instance_id for each in self._by_participant.get(participant_id, {}).values())

    def count_of(self, instance_id: str) -> int:
        """Participants who are connected there."""
        return sum(self.is_of(participant_id, instance_id) for participant_id in self._by_participant)

    def roll_of(self, instance_id: str) -> dict[str, list[str]]:
        """Participant → their connections there."""
        roll: dict[str, list[str]] = {}
        for participant_id, connections in self._by_participant.items():
            there = [name for name, each in connections.items() if each.instance_id == instance_id]
            if there:
                roll[participant_id] = there
        return roll

    def follow_roll(
        self, instance_id: str, number: int, roll: Mapping[str, Sequence[str]]
    ) -> tuple[set[str], set[str]]:
        """Whoever is connected there is on the roll; who came by it, and who is not connected at all any more."""
        if number <= self._rolls.get(instance_id, -1):
            return set(), set()
        self._rolls[instance_id] = number
        for lost in self._lost.values():
            lost.pop(instance_id, None)
        before = set(self._by_participant)
        for participant_id, connections in tuple(self._by_participant.items()):
            for name, each in tuple(connections.items()):
                is_missing = each.instance_id == instance_id and name not in roll.get(participant_id, ())
                if is_missing and each.number < number:
                    self.discard(participant_id, name)
        for participant_id, names in roll.items():
            for name in names:
                self.add(participant_id, name, instance_id, number)
        after = set(self._by_participant)
        return after - before, before - after

    def lose(self, instance_id: str, now: float, silent_for_s: float = 0.0) -> set[str]:
        """The instance fell silent that long ago; who is not connected at all any more, as far as is known."""
        gone = set()
        for participant_id in self.roll_of(instance_id):
            self.doubt(participant_id, instance_id, now)
            gone |= self._without(participant_id, instance_id)
        self._silences.update(dict.fromkeys(gone, silent_for_s))
        return gone

    def take_silence(self, participant_id: str) -> float:
        """For how many seconds whoever is not connected any more had been silent before that was known."""
        return self._silences.pop(participant_id, 0.0)

    def leave(self, instance_id: str) -> set[str]:
        """The instance has gone, and has closed its connections; who is not connected at all any more."""
        for lost in self._lost.values():
            lost.pop(instance_id, None)
        gone = [self._without(participant_id, instance_id) for participant_id in self.roll_of(instance_id)]
        return set().union(*gone)

    def keep_only(self, instance_id: str) -> None:
        """What others told is another home's affair from now on."""
        for participant_id in tuple(self._by_participant):
            for each in {each.instance_id for each in self._by_participant[participant_id].values()} - {instance_id}:
                self._without(participant_id, each)
        self._rolls.clear()
        self._lost.clear()
        self._heard_at.clear()

    def doubt(self, participant_id: str, instance_id: str, now: float) -> None:
        """The participant may be connected there, and nobody can tell."""
        self._lost.setdefault(participant_id, {})[instance_id] = now + UNSURE_S

    def is_sure(self, participant_id: str, now: float, closed_at: Collection[str] = ()) -> bool:
        """Whether all that is known of this participant's connections is all there are. `closed_at`: instances that
        have just said that the participant has none there."""
        doubts = self._lost.pop(participant_id, {}).items()
        lost = {each: until for each, until in doubts if until > now and each not in closed_at}
        if lost:
            self._lost[participant_id] = lost
        return not lost

    def _without(self, participant_id: str, instance_id: str) -> set[str]:
        connections = self._by_participant.get(participant_id, {})
        kept = {name: each for name, each in connections.items() if each.instance_id != instance_id}
        if kept:
            self._by_participant[participant_id] = kept
            return set()
        self._by_participant.pop(participant_id, None)
        self._heard_at.pop(participant_id, None)
        return {participant_id}


def is_presence_only(before: RoomState, event: Event) -> bool:
    """Whether the event changes nothing but somebody's `connected`, or follows from that: pupils are neither left
    alone nor kept waiting because a store cannot be written."""
    if isinstance(event, WatchChanged):
        return True
    if not isinstance(event, ParticipantChanged | ParticipantWaited):
        return False
    old = before.participants.get(event.participant.id)
    return old is not None and replace(old, connected=event.participant.connected) == event.participant


def nobody_connected(state: RoomState, now: float) -> RoomState:
    """The state as it is when it comes from the store."""
    people = {person_id: _away(person) for person_id, person in state.participants.items()}
    return replace(state, participants=people, watch=supervision.from_store(state.watch, now))


def _away(person: Participant) -> Participant:
    return replace(person, connected=False) if person.connected else person
