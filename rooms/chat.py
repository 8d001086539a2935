"""A room's chat: the newest lines, each once.

Who writes must be inside and allowed to; a line sent again after a cut (same author, same
`client_id`) is the line of before, even if the chat was closed meanwhile. Pure.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from rooms.errors import ChatDisabled, InvalidText, PermissionDenied, RoomFrozen
from rooms.models import ChatLine, Participant, RoomState
from rooms.roles import PERMISSIONS, Permission, permissions_of
from rooms.roster import has_permission, inside

CHAT_HISTORY = 200
"""Lines that who comes later still reads, and as many in the memory of each room."""
MAX_CHAT_CHARACTERS = 2_000
"""Longest line: about a page, as on the wire; longer texts belong in a document."""
MAX_CLIENT_ID_CHARACTERS = 64


class ChatHistory:
    """The newest lines of one room, oldest first."""

    def __init__(self, lines: Iterable[ChatLine] = ()) -> None:
        self._lines: deque[ChatLine] = deque(lines, maxlen=CHAT_HISTORY)

    def lines(self) -> Sequence[ChatLine]:
        return tuple(self._lines)

    def sent_before(self, participant_id: str, client_id: str | None, line_id: str | None = None) -> ChatLine | None:
        """The line that this author sent under one of these ids; None is no id."""
        theirs = (line for line in self._lines if line.participant_id == participant_id)
        same = (
            line for line in theirs if line.id == line_id or (client_id is not None and line.client_id == client_id)
        )
        return next(same, None)

    def has(self, line_id: str) -> bool:
        return any(line.id == line_id for line in self._lines)

    def add(self, line: ChatLine) -> None:
        """The oldest falls out when there are too many."""
        self._lines.append(line)


def require_chat(state: RoomState, actor_id: str) -> Participant:
    """The author, who may chat now. Raises: as `roster.inside`, ChatDisabled, RoomFrozen, PermissionDenied."""
    author = inside(state, actor_id)
    if has_permission(state, actor_id, Permission.CHAT):
        return author
    if Permission.CHAT in permissions_of(author.role, state.settings, state.kind):
        raise RoomFrozen(Permission.CHAT)
    if Permission.CHAT in PERMISSIONS[author.role]:
        raise ChatDisabled
    raise PermissionDenied(Permission.CHAT)


def check_text(text: str) -> str:
    """Raises: InvalidText when there is nothing to read, or too much."""
    if not text.strip() or len(text) > MAX_CHAT_CHARACTERS:
        raise InvalidText(MAX_CHAT_CHARACTERS)
    return text
