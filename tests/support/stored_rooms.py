"""Rooms, invitations, chat lines and document appends with everything filled in, for tests of stores."""

from typing import Any

from rooms.models import (
    ChatLine,
    Invitation,
    Participant,
    ParticipantStatus,
    Role,
    RoomKind,
    RoomSettings,
    RoomState,
)
from rooms.ports import ClientBinding, DocumentAppend, DocumentKey

NOW = 1_800_000_000.0


def make_participant(participant_id: str = "p1", **changes: Any) -> Participant:
    values: dict[str, Any] = {
        "name": "Zoé d'Iqaluit 🐻‍❄️",
        "role": Role.PUPIL,
        "status": ParticipantStatus.ADMITTED,
        "invitation_id": "i1",
        "label": "5e année, Rimouski",
        "created_at": NOW,
        "joined_at": NOW + 0.25,
        "connected": True,
        "hand_raised_at": None,
    }
    return Participant(id=participant_id, **{**values, **changes})


def make_state(room_id: str = "r1", *participants: Participant, **changes: Any) -> RoomState:
    values: dict[str, Any] = {
        "name": "Les baleines",
        "kind": RoomKind.INTERCLASS,
        "created_at": NOW,
        "last_active_at": NOW,
        "settings": RoomSettings(lobby_roles=frozenset({Role.GUEST, Role.PUPIL}), chat_enabled=False),
        "participants": {participant.id: participant for participant in participants},
    }
    return RoomState(id=room_id, **{**values, **changes})


def make_invitation(invitation_id: str = "i1", **changes: Any) -> Invitation:
    values: dict[str, Any] = {
        "room_id": "r1",
        "code": "lune-renard-42",
        "role": Role.GUEST,
        "label": "Musée",
        "lobby": True,
        "created_at": NOW,
        "expires_at": NOW + 3_600,
        "uses_left": 2,
    }
    return Invitation(id=invitation_id, **{**values, **changes})


def make_line(line_id: str = "c1", **changes: Any) -> ChatLine:
    values: dict[str, Any] = {
        "participant_id": "p1",
        "name": "Zoé",
        "text": "Une baleine à bosse !",
        "sent_at": NOW,
        "client_id": None,
    }
    return ChatLine(id=line_id, **{**values, **changes})


def make_append(update: bytes, *bindings: tuple[int, str], document: str = "texte", room: str = "r1") -> DocumentAppend:
    return DocumentAppend(
        key=DocumentKey(room, document), update=update, bindings=[ClientBinding(*binding) for binding in bindings]
    )
