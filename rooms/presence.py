"""Presence: whether somebody is connected now.

True only of this moment, so it is kept by nobody: a room read from the store has nobody in it, and a
change of nothing but presence waits for no store.
"""

from collections.abc import Iterator
from dataclasses import replace

from rooms.events import Event, ParticipantChanged, ParticipantWaited
from rooms.models import Participant, RoomState


class OpenConnections:
    """The connections of one room's participants, counted by id: telling twice changes nothing."""

    def __init__(self) -> None:
        self._by_participant: dict[str, set[str]] = {}

    def __contains__(self, participant_id: str) -> bool:
        return participant_id in self._by_participant

    def __iter__(self) -> Iterator[str]:
        """Ids of who is connected."""
        return iter(self._by_participant)

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._by_participant)

    def add(self, participant_id: str, connection_id: str) -> None:
        self._by_participant.setdefault(participant_id, set()).add(connection_id)

    def discard(self, participant_id: str, connection_id: str) -> bool:
        """Whether this was the participant's last one. False when it was not known."""
        connections = self._by_participant.get(participant_id)
        if connections is None or connection_id not in connections:
            return False
        connections.remove(connection_id)
        if connections:
            return False
        del self._by_participant[participant_id]
        return True


def is_presence_only(before: RoomState, event: Event) -> bool:
    """Whether the event changes nothing but somebody's `connected`."""
    if not isinstance(event, ParticipantChanged | ParticipantWaited):
        return False
    old = before.participants.get(event.participant.id)
    return old is not None and replace(old, connected=event.participant.connected) == event.participant


def nobody_connected(state: RoomState) -> RoomState:
    """The state as it is when it comes from the store."""
    people = {person_id: _away(person) for person_id, person in state.participants.items()}
    return replace(state, participants=people)


def _away(person: Participant) -> Participant:
    return replace(person, connected=False) if person.connected else person
