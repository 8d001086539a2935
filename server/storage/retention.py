"""How long what is stored about people is kept, and what a room forgets while it lives on.

Every class of data has its constant here and a line in docs/operations.md; each store's
`forget_before(now)` follows them, and a test moves the clock past each. Pure.

What must stay coherent is left alone while somebody may hold it in memory: participants are
forgotten only in a room without activity for `QUIET_S`.
"""

from collections.abc import Mapping
from dataclasses import replace

from rooms.models import Participant, ParticipantStatus, Role, RoomKind, RoomState

DAY_S = 86_400.0

ROOM_RETENTION_S = 400 * DAY_S
"""A room nobody entered or wrote in, with everything in it: a school year, and the autumn in which
the next one takes the text up again."""
CHAT_RETENTION_S = 30 * DAY_S
"""Chat lines: until the next meetings of the activity; what is to last belongs in a document."""
CONSULTATION_CHAT_RETENTION_S = 1 * DAY_S
"""Chat lines of a consultation, which leaves no trace: just long enough to reconnect into it."""
WAITING_RETENTION_S = 7 * DAY_S
"""Who waited and was never let in, or was refused: until the host could ask who that was."""
LEFT_RETENTION_S = 30 * DAY_S
"""Who left for good. Of a removed participant the name goes too, but not the id: it keeps their
token refused for as long as the room is there."""
INVITATION_RETENTION_S = 30 * DAY_S
"""An invitation past its expiry, with its label: until a host could wonder why it stopped working."""
QUIET_S = 1 * DAY_S

FORGOTTEN_NAME = "…"
"""Stands for the name of a removed participant once it is forgotten; shown to nobody."""


def chat_kept_for_s(kind: RoomKind | None) -> float:
    """How long a room's chat lines are kept; None: the room is not there (any more)."""
    return CONSULTATION_CHAT_RETENTION_S if kind is RoomKind.CONSULTATION else CHAT_RETENTION_S


def is_room_over(last_touched_at: float, now: float) -> bool:
    return now - last_touched_at > ROOM_RETENTION_S


def last_touched_at(state: RoomState, last_written_at: float) -> float:
    """When a room was last used: `last_written_at` is the newest append to one of its documents, or 0."""
    return max(state.created_at, state.last_active_at, last_written_at)


def forget_participants(state: RoomState, now: float) -> tuple[RoomState, int]:
    """The state without the participants (or names) that are no longer kept, and how many those
    were. The same state when there are none, or when the room was active lately."""
    if now - max(state.created_at, state.last_active_at) < QUIET_S:
        return state, 0
    kept: dict[str, Participant] = {}
    forgotten = 0
    for participant_id, participant in state.participants.items():
        remaining = _remember(participant, now)
        if remaining is not None:
            kept[participant_id] = remaining
        forgotten += remaining is not participant
    return (replace(state, participants=kept), forgotten) if forgotten else (state, 0)


_KEPT_FOR_S: Mapping[ParticipantStatus, float] = {
    ParticipantStatus.WAITING: WAITING_RETENTION_S,
    ParticipantStatus.DENIED: WAITING_RETENTION_S,
    ParticipantStatus.LEFT: LEFT_RETENTION_S,
    ParticipantStatus.REMOVED: LEFT_RETENTION_S,
}
"""Admitted participants are the room's people: they are kept as long as the room."""


def _remember(participant: Participant, now: float) -> Participant | None:
    kept_for_s = _KEPT_FOR_S.get(participant.status)
    if participant.role is Role.HOST and participant.status is ParticipantStatus.LEFT:
        # Whoever made the room comes back to it next month: without them nobody could open it.
        return participant
    since = participant.created_at if participant.joined_at is None else participant.joined_at
    if kept_for_s is None or now - since <= kept_for_s:
        return participant
    if participant.status is not ParticipantStatus.REMOVED:
        return None
    if participant.name == FORGOTTEN_NAME:
        return participant
    return replace(participant, name=FORGOTTEN_NAME, label="")
