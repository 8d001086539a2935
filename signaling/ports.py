"""What media sessions need of the house: somewhere to send messages, and what the room says of rights."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from signaling.engines import MediaGrants
from signaling.messages import EngineName, Track


class MediaOutbox(Protocol):
    """Where messages go. Nothing here blocks or raises."""

    def send(self, connection_id: str, event: str, payload: msgspec.Struct) -> None: ...
    def track_changed(self, room_id: str, track: Track) -> None: ...
    def track_gone(self, room_id: str, track_id: str) -> None: ...
    def speakers_changed(self, room_id: str, participant_ids: Sequence[str]) -> None: ...


class MediaRights(Protocol):
    """What the room says of media."""

    def engine_of(self, room_id: str) -> EngineName: ...
    def grants_of(self, room_id: str, participant_id: str) -> MediaGrants: ...
