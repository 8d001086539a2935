"""Socket.IO: the room. Commands go up, each with an acknowledgement; events come down in order."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from server.wire.common import MAX_CHAT_CHARACTERS, MAX_TOKEN_CHARACTERS, DisplayName, Identifier, Seen, Timestamp
from server.wire.document import RoomDocument
from server.wire.http import RoleName, RoomSummary
from signaling.messages import Track

Permission = Literal[
    "see_roster",
    "admit",
    "remove",
    "invite",
    "mute_others",
    "configure_room",
    "manage_documents",
    "lower_hands",
    "raise_hand",
    "chat",
    "read_document",
    "write_document",
    "publish_audio",
    "publish_video",
    "publish_screen",
    "subscribe_media",
]


class Connect(msgspec.Struct, kw_only=True):
    """The `auth` payload of the Socket.IO connection."""

    token: Annotated[str, Meta(max_length=MAX_TOKEN_CHARACTERS)]


# --- what a client sees -----------------------------------------------------------------------


class Participant(msgspec.Struct, kw_only=True):
    """One admitted person, class or bot."""

    id: Identifier
    name: str
    role: RoleName
    label: str
    """Of the invitation they came with; empty for the maker of the room."""
    connected: bool
    hand_raised_at: Timestamp | None
    joined_at: Timestamp


class WaitingParticipant(msgspec.Struct, kw_only=True):
    """One person in the lobby, as a host sees them."""

    id: Identifier
    name: str
    role: RoleName
    label: str
    connected: bool
    waiting_since: Timestamp


class RoomSettings(msgspec.Struct, kw_only=True):
    lobby_roles: list[RoleName]
    """Roles that wait in the lobby unless their invitation says otherwise."""
    chat_enabled: bool
    writing_enabled: bool
    """False: only hosts write in the documents."""
    spotlight: Identifier | None = None
    """The participant who is shown large to everyone."""
    needs_adult: bool = True
    """Whether the room freezes when no host is there."""


class Freeze(msgspec.Struct, kw_only=True):
    """A time in which the room stood still, for no adult in charge was there."""

    since: Timestamp
    until: Timestamp | None
    """Null: it lasts."""


class ChatLine(msgspec.Struct, kw_only=True):
    id: Identifier
    participant_id: Identifier
    name: str
    """As it was when the line was written: who has left is not in the roster."""
    text: str
    sent_at: Timestamp


class RoomView(msgspec.Struct, kw_only=True):
    """The room as one participant may see it; also the body of `GET /api/rooms/{room}`."""

    room: RoomSummary
    seq: int
    """Number of the last event that this view contains."""
    self_id: Identifier
    role: RoleName
    permissions: list[Permission]
    settings: RoomSettings
    participants: list[Participant]
    lobby: list[WaitingParticipant]
    """Empty for whoever may not admit."""
    tracks: list[Track]
    chat: list[ChatLine]
    documents: list[RoomDocument]
    """The room's texts, the oldest first; empty for whoever may not read them."""
    freeze: Freeze | None = None
    """The present one, or the last one; null: there was none."""
    understands: list[str] = []
    """Names of what this server reads that came later than the first version: `server.wire.registry.LATER`."""


# --- events: server to client, `room_event` ----------------------------------------------------


class ParticipantJoined(msgspec.Struct, kw_only=True, tag="participant_joined"):
    participant: Participant


class ParticipantChanged(msgspec.Struct, kw_only=True, tag="participant_changed"):
    """Connected or not, hand, role: the whole participant as it is now."""

    participant: Participant


class ParticipantLeft(msgspec.Struct, kw_only=True, tag="participant_left"):
    participant_id: Identifier
    reason: Literal["left", "removed", "revoked"]


class LobbyChanged(msgspec.Struct, kw_only=True, tag="lobby_changed"):
    """To who may admit: the whole lobby as it is now, first come first."""

    lobby: list[WaitingParticipant]


class SettingsChanged(msgspec.Struct, kw_only=True, tag="settings_changed"):
    settings: RoomSettings
    permissions: list[Permission]
    """The receiver's own, as they are now."""


class FreezeChanged(msgspec.Struct, kw_only=True, tag="freeze_changed"):
    """The room froze (`until` is null), or thawed."""

    freeze: Freeze
    permissions: list[Permission]
    """The receiver's own, as they are now."""


class DocumentCreated(msgspec.Struct, kw_only=True, tag="document_created"):
    """To who may read: it is at the end of the list."""

    document: RoomDocument


class DocumentRenamed(msgspec.Struct, kw_only=True, tag="document_renamed"):
    """To who may read: one of the list, with its new title."""

    document: RoomDocument


class ChatSent(msgspec.Struct, kw_only=True, tag="chat_sent"):
    line: ChatLine


class TrackPublished(msgspec.Struct, kw_only=True, tag="track_published"):
    """Also sent when its `muted` changes: the whole track as it is now."""

    track: Track


class TrackUnpublished(msgspec.Struct, kw_only=True, tag="track_unpublished"):
    track_id: Identifier


class SpeakersChanged(msgspec.Struct, kw_only=True, tag="speakers_changed"):
    """Who is loud now, loudest first; at most 4 times a second. Not numbered: `seq` repeats."""

    participant_ids: list[Identifier]


RoomEvent = (
    ParticipantJoined
    | ParticipantChanged
    | ParticipantLeft
    | LobbyChanged
    | SettingsChanged
    | FreezeChanged
    | DocumentCreated
    | DocumentRenamed
    | ChatSent
    | TrackPublished
    | TrackUnpublished
    | SpeakersChanged
)


class RoomEventMessage(msgspec.Struct, kw_only=True):
    """`room_event`. Numbers rise but not by one (some events are not for every eye); `prev`
    names the last number this receiver should have. When it does not, it asks with `get_room`."""

    seq: int
    prev: int
    event: RoomEvent


class LobbyState(msgspec.Struct, kw_only=True):
    """`lobby`: to one who waits, at connection and at each change. Nothing else is told."""

    state: Literal["waiting", "admitted", "denied"]


class Removed(msgspec.Struct, kw_only=True):
    """`removed`: the participant's connections are closed after this; do not reconnect. "left": by
    themselves, on another connection."""

    reason: Literal["removed", "revoked", "denied", "left", "room_closed", "replaced"]


class Draining(msgspec.Struct, kw_only=True):
    """`draining`: the process is about to stop; reconnect after this long, plus a spread."""

    reconnect_after_ms: int


class TokenRenewed(msgspec.Struct, kw_only=True):
    """`token`: a newer join token, to use at the next connection."""

    token: str


# --- commands: client to server, each acknowledged with Accepted, an answer or ErrorAnswer ------


class GetRoom(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`get_room`, answered with RoomView."""


class Admit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`admit`"""

    participant_id: Identifier


class Deny(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`deny`"""

    participant_id: Identifier


class Remove(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`remove`: acknowledged once every connection of the participant is closed."""

    participant_id: Identifier


class Removal(msgspec.Struct, kw_only=True):
    """The acknowledgement of `remove`."""

    ok: bool = True
    confirmed: bool = True
    """False: they are out of the room, but somewhere a connection of theirs may still be open."""


class SetHand(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`set_hand`: one's own without `participant_id`; a host may lower (not raise) another's."""

    raised: bool
    participant_id: Identifier | None = None
    seen: Seen = None


class SendChat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`send_chat`"""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_CHAT_CHARACTERS)]
    client_id: Annotated[str, Meta(max_length=64)] | None = None
    """Made by the sender, so that sending again after a cut adds no second line."""


class Rename(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`rename`: one's own name."""

    name: DisplayName
    seen: Seen = None


class Configure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`configure`: only what is given changes."""

    lobby_roles: Annotated[list[RoleName], Meta(max_length=8)] | None = None
    chat_enabled: bool | None = None
    writing_enabled: bool | None = None
    needs_adult: bool | None = None
    seen: Seen = None


class Spotlight(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`spotlight`: show a participant large to everyone; null: nobody any more."""

    participant_id: Identifier | None
    seen: Seen = None


class MuteOther(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`mute_other`: a host mutes a track; with a server engine RTP stops, with p2p its owner's
    SDK stops sending. Only the owner unmutes."""

    track_id: Identifier


class Muting(msgspec.Struct, kw_only=True):
    """The acknowledgement of `mute_other`."""

    ok: bool = True
    confirmed: bool = True
    """False: it was asked, and whether the track is silent everywhere is not known."""


class Leave(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`leave`: for good, not a lost connection."""


class PingRoom(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`ping_room`: is anybody there? A socket that died silently is noticed by the missing answer."""
