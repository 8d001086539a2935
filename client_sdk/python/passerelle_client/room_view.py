"""The room as this participant sees it: a view plus an event is the next view. Pure."""

import msgspec

from passerelle_client.protocol import (
    ChatSent,
    DocumentCreated,
    DocumentRenamed,
    LobbyChanged,
    ParticipantChanged,
    ParticipantJoined,
    ParticipantLeft,
    RoomDocument,
    RoomEventMessage,
    RoomView,
    SettingsChanged,
    SpeakersChanged,
    TrackPublished,
    TrackUnpublished,
)

RoomEvent = (
    ParticipantJoined
    | ParticipantChanged
    | ParticipantLeft
    | LobbyChanged
    | SettingsChanged
    | DocumentCreated
    | DocumentRenamed
    | ChatSent
    | TrackPublished
    | TrackUnpublished
    | SpeakersChanged
)
"""What may happen in a room, as it is told to those inside."""

LONGEST_CHAT = 200
"""Lines that a view keeps, as the server does."""


def apply_event(view: RoomView, message: RoomEventMessage) -> RoomView:
    """The view after the event; `view` itself stays as it is."""
    seq = max(view.seq, message.seq)
    match message.event:
        case ParticipantJoined(participant=participant) | ParticipantChanged(participant=participant):
            others = [other for other in view.participants if other.id != participant.id]
            changed = msgspec.structs.replace(view, participants=[*others, participant])
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
        case DocumentCreated(document=document) | DocumentRenamed(document=document):
            changed = msgspec.structs.replace(view, documents=_with(view.documents, document))
        case ChatSent(line=line):
            others_ = [other for other in view.chat if other.id != line.id]
            changed = msgspec.structs.replace(view, chat=[*others_, line][-LONGEST_CHAT:])
        case TrackPublished(track=track):
            tracks = [other for other in view.tracks if other.id != track.id]
            changed = msgspec.structs.replace(view, tracks=[*tracks, track])
        case TrackUnpublished(track_id=gone):
            changed = msgspec.structs.replace(view, tracks=[track for track in view.tracks if track.id != gone])
        case _:
            changed = view
    return msgspec.structs.replace(changed, seq=seq)


def _with(documents: list[RoomDocument], changed: RoomDocument) -> list[RoomDocument]:
    """In place of the one of its name, else at the end."""
    if all(one.document != changed.document for one in documents):
        return [*documents, changed]
    return [changed if one.document == changed.document else one for one in documents]
