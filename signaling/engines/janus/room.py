"""A room on its gateway: made there when somebody first has something to send, ended with its last session."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from signaling.engines import EngineEvent, SpeakersHeard
from signaling.engines.janus.connection import JanusConnection
from signaling.engines.janus.errors import JanusLost, JanusRefused
from signaling.engines.janus.messages import NO_SUCH_FEED, NO_SUCH_ROOM
from signaling.engines.janus.node import JanusNode

if TYPE_CHECKING:
    from signaling.engines.janus.session import PublishedTrack, Session

MAX_SPEAKERS = 5


class Room:
    """Lives on one gateway, in one connection to it, for as long as it has sessions."""

    def __init__(
        self, room_id: str, node: JanusNode, connection: JanusConnection, emit: Callable[[EngineEvent], None]
    ) -> None:
        self.id = room_id
        self.node = node
        self.connection = connection
        self.sessions: dict[str, Session] = {}
        self.number = 0
        """What the gateway calls it; 0: not made there yet."""
        self._emit = emit
        self._secret = ""
        self._making = asyncio.Lock()
        self._has_ended = False
        self._loudness: dict[str, float] = {}
        """Participants who talk → dB below full scale"""
        self._told: list[str] = []

    async def make(self) -> int:
        """Its number at the gateway, where it is from now on. Raises: JanusLost, JanusRefused."""
        async with self._making:
            if self._has_ended:
                raise JanusRefused(NO_SUCH_ROOM, "")
            if self.number == 0:
                self.number, self._secret = await self.node.create_room(self.connection)
        return self.number

    async def end(self) -> None:
        self._has_ended = True
        async with self._making:
            number, self.number = self.number, 0
            if number:
                try:
                    await self.node.destroy_room(self.connection, number, self._secret)
                except JanusLost:
                    return  # and the room with it

    async def moderate(self, feed: int, mid: str, *, muted: bool) -> None:
        """Raises: JanusLost, JanusRefused."""
        try:
            await self.node.moderate(self.connection, self.number, self._secret, feed, mid, muted=muted)
        except JanusRefused as error:
            if error.code != NO_SUCH_FEED:  # which sends nothing, then
                raise

    # --- tracks ---------------------------------------------------------------------------------

    def find_track(self, track_id: str) -> "PublishedTrack | None":
        for session in self.sessions.values():
            if track_id in session.tracks:
                return session.tracks[track_id]
        return None

    def tracks_for(self, subscriber: "Session") -> "Sequence[PublishedTrack]":
        """Every track of the other sessions, in the order they appeared."""
        others = [track for each in self.sessions.values() if each is not subscriber for track in each.tracks.values()]
        return sorted(others, key=lambda track: track.order)

    def tracks_changed(self) -> None:
        for session in tuple(self.sessions.values()):
            session.refresh_subscription()

    def asked_of(self, publisher: "Session", track: "PublishedTrack") -> int:
        """The most layers of a picture that any page asks for."""
        return max((each.asks_of(track) for each in self.sessions.values() if each is not publisher), default=0)

    def look_at_demand(self, now: float) -> None:
        for session in self.sessions.values():
            session.look_at_demand(now)

    # --- speakers -------------------------------------------------------------------------------

    def talks(self, participant_id: str, is_loud: bool, level: float) -> None:
        """`level`: dB below full scale."""
        if is_loud:
            self._loudness[participant_id] = level
        else:
            self._loudness.pop(participant_id, None)
        speakers = sorted(self._loudness, key=lambda each: self._loudness[each])[:MAX_SPEAKERS]
        if speakers != self._told:
            self._told = speakers
            self._emit(SpeakersHeard(self.id, tuple(speakers)))
