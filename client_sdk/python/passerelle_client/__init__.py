"""Join a Passerelle room from Python: hear its events, write in its documents, send and receive media."""

from passerelle_client.api import PasserelleApi
from passerelle_client.document import SaveState, SharedDocument
from passerelle_client.errors import Disconnected, PasserelleError, Refused, Removed
from passerelle_client.room import Room
from passerelle_client.room_events import RoomEvents
from passerelle_client.room_view import RoomEvent
from passerelle_client.voice import Voice
from passerelle_client.voice_packet import VoiceFrame

__all__ = [
    "Disconnected",
    "PasserelleApi",
    "PasserelleError",
    "Refused",
    "Removed",
    "Room",
    "RoomEvent",
    "RoomEvents",
    "SaveState",
    "SharedDocument",
    "Voice",
    "VoiceFrame",
]
