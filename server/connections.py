"""Every open connection of this instance, by participant: to tell them, count them, close them."""

import asyncio
from collections.abc import Iterator
from typing import Protocol

MAX_CONNECTIONS_PER_PARTICIPANT = 40
"""A class's camera computer with its tabs; with one link for a class, its pupils' devices too."""


class ParticipantConnection(Protocol):
    """A Socket.IO or y-websocket connection."""

    @property
    def connection_id(self) -> str: ...
    @property
    def room_id(self) -> str: ...
    @property
    def participant_id(self) -> str: ...

    def end(self, reason: str) -> None:
        """Say why, and close, at once. Never blocks, never raises."""


class Connections:
    """The register; a connection adds itself when it is authenticated, and removes itself when
    nothing more is taken from it or sent to it."""

    def __init__(self) -> None:
        self._by_participant: dict[tuple[str, str], dict[str, ParticipantConnection]] = {}
        self._gone: dict[tuple[str, str], asyncio.Event] = {}

    def __iter__(self) -> Iterator[ParticipantConnection]:
        return iter([connection for group in self._by_participant.values() for connection in group.values()])

    def __len__(self) -> int:
        return sum(len(group) for group in self._by_participant.values())

    def add(self, connection: ParticipantConnection) -> bool:
        """False when the participant has too many already; then it was not added."""
        group = self._by_participant.setdefault((connection.room_id, connection.participant_id), {})
        if len(group) >= MAX_CONNECTIONS_PER_PARTICIPANT:
            return False
        group[connection.connection_id] = connection
        return True

    def remove(self, connection: ParticipantConnection) -> None:
        key = (connection.room_id, connection.participant_id)
        group = self._by_participant.get(key)
        if group is None:
            return
        group.pop(connection.connection_id, None)
        if not group:
            del self._by_participant[key]
            if (gone := self._gone.pop(key, None)) is not None:
                gone.set()

    def of_participant(self, room_id: str, participant_id: str) -> list[ParticipantConnection]:
        return list(self._by_participant.get((room_id, participant_id), {}).values())

    def end_participant(self, room_id: str, participant_id: str, reason: str) -> None:
        for connection in self.of_participant(room_id, participant_id):
            connection.end(reason)

    async def wait_gone(self, room_id: str, participant_id: str, timeout_s: float) -> bool:
        """Until the participant has no connection any more; False when some are left after the time."""
        key = (room_id, participant_id)
        if key not in self._by_participant:
            return True
        gone = self._gone.setdefault(key, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                await gone.wait()
        except TimeoutError:
            return False
        return True
