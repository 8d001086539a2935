"""The media sessions of this instance: what is known of each, and how it is found."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from signaling.allowance import Allowance
from signaling.mailbox import Mailbox
from signaling.messages import EngineName, MediaPeer
from signaling.negotiation import OfferWatch
from signaling.voice_channel import VoiceChannel

HttpKind = Literal["whip", "whep"]


@dataclass(slots=True, eq=False)
class MediaSession:
    """One share in the media of a room; `signaling.media_session` says what happens to it."""

    id: str
    room_id: str
    participant_id: str
    engine: EngineName
    connection_id: str | None
    """None: in grace, or over HTTP (WHIP, WHEP)."""
    http: HttpKind | None
    """None: over a signaling connection."""
    description_allowance: Allowance
    """Characters of descriptions."""
    mailbox: Mailbox = field(default_factory=Mailbox)
    peers: dict[str, MediaPeer] = field(default_factory=dict)
    """p2p: who is there, by session id."""
    is_without_sound: bool = False
    """By its own wish: see `signaling.messages.SetSound`."""
    is_opening: bool = True
    publish: OfferWatch = field(default_factory=OfferWatch)
    subscribe: OfferWatch = field(default_factory=OfferWatch)
    voice: VoiceChannel | None = None
    """While voice goes by the signaling connection; begins anew with each connection."""
    layers_watched: dict[str, int] = field(default_factory=dict)
    """Track id → how many layers of it are looked at, as its publisher was told last."""
    silenced: set[str] = field(default_factory=set)
    """Its tracks that are muted only because the room is frozen."""
    in_order: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the engine carries out one message: the next one must not overtake it, though it may
    come over another connection."""
    grace: asyncio.TimerHandle | None = None

    @property
    def owner(self) -> tuple[str, str]:
        """The room and the participant in it."""
        return self.room_id, self.participant_id

    @property
    def is_over_http(self) -> bool:
        return self.http is not None

    def end_grace(self) -> None:
        if self.grace is not None:
            self.grace.cancel()
            self.grace = None


class SessionRegister:
    """Finds sessions by id, connection, participant and room."""

    def __init__(self) -> None:
        self._by_id: dict[str, MediaSession] = {}
        self._by_connection: dict[str, MediaSession] = {}
        self._by_room: dict[str, dict[str, MediaSession]] = {}

    def __iter__(self) -> Iterator[MediaSession]:
        return iter(tuple(self._by_id.values()))

    def __contains__(self, session: MediaSession) -> bool:
        return self._by_id.get(session.id) is session

    def add(self, session: MediaSession) -> None:
        self._by_id[session.id] = session
        self._by_room.setdefault(session.room_id, {})[session.id] = session
        if session.connection_id is not None:
            self._by_connection[session.connection_id] = session

    def remove(self, session: MediaSession) -> bool:
        """False when it was removed before."""
        if session not in self:
            return False
        del self._by_id[session.id]
        in_room = self._by_room[session.room_id]
        del in_room[session.id]
        if not in_room:
            del self._by_room[session.room_id]
        self.detach(session)
        return True

    def attach(self, session: MediaSession, connection_id: str) -> None:
        """From now on the session is this connection's, and no other's."""
        self.detach(session)
        session.connection_id = connection_id
        self._by_connection[connection_id] = session

    def detach(self, session: MediaSession) -> None:
        connection_id, session.connection_id = session.connection_id, None
        session.voice = None
        if connection_id is not None and self._by_connection.get(connection_id) is session:
            del self._by_connection[connection_id]

    def get(self, session_id: str | None) -> MediaSession | None:
        return self._by_id.get(session_id) if session_id is not None else None

    def of_connection(self, connection_id: str) -> MediaSession | None:
        return self._by_connection.get(connection_id)

    def of_room(self, room_id: str) -> tuple[MediaSession, ...]:
        return tuple(self._by_room.get(room_id, {}).values())

    def of_participant(self, room_id: str, participant_id: str) -> list[MediaSession]:
        """Oldest first."""
        return [each for each in self.of_room(room_id) if each.participant_id == participant_id]


def new_session_id() -> str:
    """Not to be guessed: whoever has it, and the participant's token, may go on with the session."""
    return secrets.token_urlsafe(12)
