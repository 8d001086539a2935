"""Invitations, and join codes that a seven-year-old can type.

A code is two French words and two digits, `lune-renard-42`. The words are short, common, friendly,
and told apart by more than an accent; they are typed without accents, in any case, with any or no
separator. 350 x 350 x 100 codes make 12 million: with a hundred rooms of four codes each alive at a
time, a guess hits one in 30,000, and the server slows whoever guesses wrong long before that. What a
hit opens is a lobby, for every role but pupils and classes.
"""

import unicodedata
from dataclasses import replace

from rooms.code_words import WORDS
from rooms.errors import InvitationRefused, PermissionDenied
from rooms.models import Invitation, Role, RoomState
from rooms.roles import ROLES_OF_KIND

DEFAULT_LIFETIME_S = 30 * 86_400
"""An activity of a few weeks."""
MAX_INVITATIONS_PER_ROOM = 200
"""Thirty classes, their pupils and guests, renewed now and then."""


def fold_code(typed: str) -> str:
    """The code as it is compared: lower case, no accents, no separators. Anything may be given."""
    text = unicodedata.normalize("NFKD", typed[:64]).casefold().replace("œ", "oe").replace("æ", "ae")
    return "".join(character for character in text if character.isascii() and character.isalnum())


def make_code(number: int) -> str:
    """The code of a random number; any non-negative one will do."""
    digits, number = number % 100, number // 100
    first, number = number % len(WORDS), number // len(WORDS)
    return f"{WORDS[first]}-{WORDS[number % len(WORDS)]}-{digits:02d}"


def make_invitation(
    state: RoomState,
    *,
    invitation_id: str,
    code_number: int,
    role: Role,
    label: str,
    now: float,
    expires_in_s: float | None = None,
    uses: int | None = None,
    lobby: bool | None = None,
) -> Invitation:
    """An invitation to this room. Raises: PermissionDenied when its kind has no such role."""
    if role not in ROLES_OF_KIND[state.kind]:
        raise PermissionDenied(f"to invite a {role} to a room of kind {state.kind}")
    return Invitation(
        id=invitation_id,
        room_id=state.id,
        code=make_code(code_number),
        role=role,
        label=label.strip(),
        lobby=role in state.settings.lobby_roles if lobby is None else lobby,
        created_at=now,
        expires_at=now + (expires_in_s if expires_in_s is not None else DEFAULT_LIFETIME_S),
        uses_left=uses,
    )


def check_usable(invitation: Invitation | None, now: float, *, coming_back: bool = False) -> Invitation:
    """The invitation itself, if it may be used now; who comes back needs no use left.

    Raises: InvitationRefused. An unknown and a revoked one are not told apart to a stranger."""
    if invitation is None or invitation.revoked:
        raise InvitationRefused("unknown")
    if now >= invitation.expires_at:
        raise InvitationRefused("expired")
    if not coming_back and invitation.uses_left is not None and invitation.uses_left <= 0:
        raise InvitationRefused("used-up")
    return invitation


def revoke(invitation: Invitation) -> Invitation:
    return replace(invitation, revoked=True)
