"""The room as this participant sees it: a view plus an event is the next view. Pure."""

from typing import TypeVar

import msgspec

from passerelle_client.protocol import (
    ChatLine,
    ChatSent,
    DocumentCreated,
    DocumentRenamed,
    FreezeChanged,
    LobbyChanged,
    Participant,
    ParticipantChanged,
    ParticipantJoined,
    ParticipantLeft,
    RoomDocument,
    RoomEventMessage,
    RoomView,
    SettingsChanged,
    SpeakersChanged,
    Track,
    TrackPublished,
    TrackUnpublished,
)

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
"""What may happen in a room, as it is told to those inside."""

Entry = TypeVar("Entry", bound=Participant | ChatLine | Track)

LONGEST_CHAT = 200
"""Lines that a view keeps, as the server does."""


def apply_event(view: RoomView, message: RoomEventMessage) -> RoomView:
    """The view after the event; `view` itself stays as it is."""
    seq = max(view.seq, message.seq)
    match message.event:
        case ParticipantJoined(participant=participant) | ParticipantChanged(participant=participant):
            changed = msgspec.structs.replace(view, participants=_put(view.participants, participant))
        case ParticipantLeft(participant_id=gone):
            changed = msgspec.structs.replace(
                view,
                participants=[participant for participant in view.participants if participant.id != gone],
                tracks=[track for track in view.tracks if track.participant_id != gone],
            )
        case LobbyChanged(lobby=lobby):
            changed = msgspec.structs.replace(view, lobby=lobby)
        case SettingsChanged(settings=settings, permissions=permissions):
            changed = msgspec.structs.replace(view, settings=settings, permissions=permissions)
        case FreezeChanged(freeze=freeze, permissions=permissions):
            changed = msgspec.structs.replace(view, freeze=freeze, permissions=permissions)
        case DocumentCreated(document=document) | DocumentRenamed(document=document):
            changed = msgspec.structs.replace(view, documents=_with(view.documents, document))
        case ChatSent(line=line):
            changed = msgspec.structs.replace(view, chat=_put(view.chat, line)[-LONGEST_CHAT:])
        case TrackPublished(track=track):
            changed = msgspec.structs.replace(view, tracks=_put(view.tracks, track))
        case TrackUnpublished(track_id=gone):
            changed = msgspec.structs.replace(view, tracks=[track for track in view.tracks if track.id != gone])
        case _:
            changed = view
    return msgspec.structs.replace(changed, seq=seq)


def is_frozen(view: RoomView) -> bool:
    """Whether the room stands still now, for no adult in charge is there."""
    return view.freeze is not None and view.freeze.until is None


def _put(entries: list[Entry], entry: Entry) -> list[Entry]:
    """In place of the one with its id, else at the end: who came first stays first."""
    if all(one.id != entry.id for one in entries):
        return [*entries, entry]
    return [entry if one.id == entry.id else one for one in entries]


def _with(documents: list[RoomDocument], changed: RoomDocument) -> list[RoomDocument]:
    """In place of the one of its name, else at the end."""
    if all(one.document != changed.document for one in documents):
        return [*documents, changed]
    return [changed if one.document == changed.document else one for one in documents]
