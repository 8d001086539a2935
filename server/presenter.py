"""From the domain to the wire: what a participant sees and hears, as messages."""

from collections.abc import Sequence

from rooms import visibility
from rooms.models import ChatLine, Freeze, Invitation, Participant, RoomDocument, RoomSettings, RoomState
from rooms.roles import Permission
from server.wire import document as wire_document
from server.wire import http, room
from server.wire.registry import LATER
from signaling.messages import Track


def summary(state: RoomState) -> http.RoomSummary:
    return http.RoomSummary(id=state.id, name=state.name, kind=state.kind.value)


def participant(person: Participant) -> room.Participant:
    return room.Participant(
        id=person.id,
        name=person.name,
        role=person.role.value,
        label=person.label,
        connected=person.connected,
        hand_raised_at=person.hand_raised_at,
        joined_at=person.joined_at or person.created_at,
    )


def waiting(people: Sequence[Participant]) -> list[room.WaitingParticipant]:
    return [
        room.WaitingParticipant(
            id=person.id,
            name=person.name,
            role=person.role.value,
            label=person.label,
            connected=person.connected,
            waiting_since=person.created_at,
        )
        for person in people
    ]


def settings(given: RoomSettings) -> room.RoomSettings:
    return room.RoomSettings(
        lobby_roles=sorted(role.value for role in given.lobby_roles),
        chat_enabled=given.chat_enabled,
        writing_enabled=given.writing_enabled,
        spotlight=given.spotlight,
        needs_adult=given.needs_adult,
    )


def freeze(given: Freeze) -> room.Freeze:
    return room.Freeze(since=given.since, until=given.until)


def permissions(given: frozenset[Permission]) -> list[room.Permission]:
    return sorted(permission.value for permission in given)


def chat_line(line: ChatLine) -> room.ChatLine:
    return room.ChatLine(
        id=line.id, participant_id=line.participant_id, name=line.name, text=line.text, sent_at=line.sent_at
    )


def document(given: RoomDocument) -> wire_document.RoomDocument:
    return wire_document.RoomDocument(document=given.document, title=given.title, created_at=given.created_at)


def room_view(seen: visibility.RoomSeen, tracks: Sequence[Track], chat: Sequence[ChatLine]) -> room.RoomView:
    return room.RoomView(
        room=summary(seen.state),
        seq=seen.state.seq,
        self_id=seen.viewer.id,
        role=seen.viewer.role.value,
        permissions=permissions(seen.permissions),
        settings=settings(seen.state.settings),
        participants=[participant(person) for person in seen.participants],
        lobby=waiting(seen.lobby),
        tracks=list(tracks) if Permission.SEE_ROSTER in seen.permissions else [],
        chat=[chat_line(line) for line in chat],
        documents=[document(each) for each in seen.documents],
        freeze=freeze(seen.state.watch.freeze) if seen.state.watch.freeze is not None else None,
        understands=list(LATER),
    )


def room_event(heard: visibility.Heard) -> room.RoomEvent | None:
    """None: what concerns the viewer alone is told in another way."""
    match heard:
        case visibility.Joined(person):
            return room.ParticipantJoined(participant=participant(person))
        case visibility.Changed(person):
            return room.ParticipantChanged(participant=participant(person))
        case visibility.Left(participant_id, reason):
            return room.ParticipantLeft(participant_id=participant_id, reason=reason)
        case visibility.Lobby(people):
            return room.LobbyChanged(lobby=waiting(people))
        case visibility.Listed(listed):
            return room.DocumentCreated(document=document(listed))
        case visibility.Retitled(listed):
            return room.DocumentRenamed(document=document(listed))
        case visibility.Configured(changed, own):
            return room.SettingsChanged(settings=settings(changed), permissions=permissions(own))
        case visibility.FreezeChanged(frozen, own):
            return room.FreezeChanged(freeze=freeze(frozen), permissions=permissions(own))
    return None


def invitation(given: Invitation, base_url: str) -> http.Invitation:
    return http.Invitation(
        id=given.id,
        url=f"{base_url}/entrer#{given.id}",
        code=given.code,
        role=given.role.value,
        label=given.label,
        lobby=given.lobby,
        created_at=given.created_at,
        expires_at=given.expires_at,
        uses_left=given.uses_left,
        revoked=given.revoked,
    )
