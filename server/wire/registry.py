"""Every Socket.IO event by name: who sends it, what it carries, what answers it.

The adapter decodes by this table, and the schema and the clients' types are generated from it.
"""

from dataclasses import dataclass

import msgspec

from server.wire import document, http, room
from server.wire.common import Accepted, ErrorAnswer
from signaling import messages


@dataclass(frozen=True, slots=True)
class Command:
    """Client to server, acknowledged with `answer` or ErrorAnswer."""

    payload: type[msgspec.Struct]
    answer: type[msgspec.Struct] = Accepted


COMMANDS: dict[str, Command] = {
    "get_room": Command(room.GetRoom, room.RoomView),
    "admit": Command(room.Admit),
    "deny": Command(room.Deny),
    "remove": Command(room.Remove, room.Removal),
    "set_hand": Command(room.SetHand),
    "send_chat": Command(room.SendChat),
    "rename": Command(room.Rename),
    "configure": Command(room.Configure),
    "spotlight": Command(room.Spotlight),
    "mute_other": Command(room.MuteOther, room.Muting),
    "leave": Command(room.Leave),
    "ping_room": Command(room.PingRoom),
    "create_document": Command(document.CreateDocument, document.RoomDocument),
    "rename_document": Command(document.RenameDocument),
    "document_open": Command(document.OpenDocument, document.DocumentOpened),
    "document_close": Command(document.CloseDocument),
    "media_start": Command(messages.StartMedia, messages.MediaStarted),
    "media_description": Command(messages.Description),
    "media_candidate": Command(messages.TrickledCandidate),
    "media_mute": Command(messages.SetTrackMuted),
    "media_unpublish": Command(messages.Unpublish),
    "media_subscribe": Command(messages.Subscribe),
    "media_layout": Command(messages.SetLayout),
    "media_sound": Command(messages.SetSound),
    "media_fallback": Command(messages.SetFallback),
    "media_rebuild": Command(messages.RebuildPeerConnection),
    "media_stop": Command(messages.StopMedia),
}

LATER: dict[str, frozenset[str]] = {
    "seen": frozenset(
        {"set_hand.seen", "rename.seen", "configure.seen", "spotlight.seen", "rename_document.seen"},
    ),
    "parts": frozenset({"document_open.parts"}),
    "paragraph": frozenset({"document_open.paragraph"}),
}
"""What clients may send that the first version refuses, a command or a `command.field`, by the name under which
RoomView's `understands` announces it: beside an older instance a newer client sends only what is announced."""

EVENTS: dict[str, type[msgspec.Struct]] = {
    "room_view": room.RoomView,
    "room_event": room.RoomEventMessage,
    "lobby": room.LobbyState,
    "removed": room.Removed,
    "draining": room.Draining,
    "token": room.TokenRenewed,
    "document_closed": document.DocumentClosed,
    "media_description": messages.ServerDescription,
    "media_candidate": messages.ServerCandidate,
    "media_peer_joined": messages.PeerJoined,
    "media_peer_left": messages.PeerLeft,
    "media_closed": messages.MediaClosed,
    "media_muted": messages.TrackMutedByHost,
    "media_layers": messages.LayersWanted,
}

BINARY_EVENT = "document_message"
"""Both ways: a document's name and one y-protocols message; the only event with two arguments."""

VOICE_EVENT = "media_voice"
"""Both ways: one packet of `signaling.voice_packet`."""

HTTP_BODIES: tuple[type[msgspec.Struct], ...] = (
    http.CreateRoom,
    http.RoomCreated,
    http.CreateInvitation,
    http.Invitation,
    http.InvitationList,
    http.InvitationRevoked,
    http.Join,
    http.Joined,
    http.StartNetworkCheck,
    http.NetworkCheck,
    ErrorAnswer,
)


def wire_types() -> tuple[type[msgspec.Struct], ...]:
    """Every top-level message, each once, in a stable order."""
    everything: tuple[type[msgspec.Struct], ...] = (
        *HTTP_BODIES,
        room.Connect,
        *(command.payload for command in COMMANDS.values()),
        *(command.answer for command in COMMANDS.values()),
        *EVENTS.values(),
    )
    return tuple({kind.__name__: kind for kind in everything}.values())
