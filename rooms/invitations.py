"""Invitations, and join codes that a seven-year-old can type.

A code is two French words and two digits, `lune-renard-42`, typed without accents, in any case, with
any separator or none. 322 x 322 x 100 codes make ten million. With a hundred rooms of four codes each
alive at a time, a guess hits one in 25,000; the server slows whoever guesses wrong to two guesses a
second (`server.limits.FailureBrake`), which is one hit in some hours, in a room that cannot be chosen.
So a code alone opens little: guests wait in the lobby, as do hosts and observers who come by code
(`rooms.roles.WAITS_BY_CODE`) and everyone in a consultation. What a hit may open is a pupil's or a
class's place in a room whose host sees them arrive. A link, 128 random bits, cannot be guessed.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from rooms.code_words import WORDS
from rooms.errors import InvalidTerms, InvitationRefused, RoleNotHere
from rooms.models import Invitation, Role, RoomState
from rooms.names import clean_label
from rooms.roles import ROLES_OF_KIND, WAITS_BY_CODE

DEFAULT_LIFETIME_S = 30 * 86_400.0
"""An activity of a few weeks."""
MAX_LIFETIME_S = 366 * 86_400.0
"""A school year; as on the wire."""
MAX_USES = 10_000
"""As on the wire; more than a room ever holds means "no limit"."""
MAX_LIVE_INVITATIONS = 200
"""A room's invitations that can be used: thirty classes, their pupils and guests."""
MAX_INVITATIONS = 1_000
"""A room's invitations, revoked and expired ones too, until their retention is over: a script that
makes and revokes them does not fill the store."""
MAX_TYPED_CHARACTERS = 64
"""What is looked at of a typed code: the longest has 20."""


def fold_code(typed: str) -> str:
    """The code as it is compared: lower case, no accents, no separators. Anything may be given."""
    text = unicodedata.normalize("NFKD", typed[:MAX_TYPED_CHARACTERS]).casefold().replace("œ", "oe").replace("æ", "ae")
    letters = (character for character in text if character.isascii() and character.isalnum())
    # Again: one character may stand for many (㋿).
    return "".join(letters)[:MAX_TYPED_CHARACTERS]


def make_code(number: int) -> str:
    """The code of a random number; any non-negative one will do."""
    number, digits = divmod(number, 100)
    number, second = divmod(number, len(WORDS))
    return f"{WORDS[number % len(WORDS)]}-{WORDS[second]}-{digits:02d}"


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
    """An invitation to this room; None: the default lifetime, no limit of uses, the lobby as the room's
    settings have it for the role.

    Raises: RoleNotHere, InvalidName (the label), InvalidTerms.
    """
    if role not in ROLES_OF_KIND[state.kind]:
        raise RoleNotHere(role, state.kind)
    lifetime_s = DEFAULT_LIFETIME_S if expires_in_s is None else expires_in_s
    if not 0.0 < lifetime_s <= MAX_LIFETIME_S:
        raise InvalidTerms("expires_in_s", MAX_LIFETIME_S)
    if uses is not None and not 0 < uses <= MAX_USES:
        raise InvalidTerms("uses", MAX_USES)
    return Invitation(
        id=invitation_id,
        room_id=state.id,
        code=make_code(code_number),
        role=role,
        label=clean_label(label),
        lobby=role in state.settings.lobby_roles if lobby is None else lobby,
        created_at=now,
        expires_at=now + lifetime_s,
        uses_left=uses,
    )


def check_usable(invitation: Invitation | None, now: float, *, needs_use: bool = True) -> Invitation:
    """The invitation itself, if it may be used now; who comes back needs no use left.

    Raises: InvitationRefused. An unknown and a revoked one are not told apart to a stranger."""
    if invitation is None or invitation.revoked:
        raise InvitationRefused("unknown")
    if now >= invitation.expires_at:
        raise InvitationRefused("expired")
    if needs_use and invitation.uses_left is not None and invitation.uses_left <= 0:
        raise InvitationRefused("used-up")
    return invitation


def is_live(invitation: Invitation, now: float) -> bool:
    """Whether it could still bring somebody in, uses apart."""
    return not invitation.revoked and now < invitation.expires_at


def makes_wait(invitation: Invitation, *, by_code: bool) -> bool:
    """Whether who comes with it, by its link or its code, waits in the lobby."""
    return invitation.lobby or (by_code and invitation.role in WAITS_BY_CODE)


def revoke(invitation: Invitation) -> Invitation:
    return replace(invitation, revoked=True)


def follow_lobby_roles(
    invitations: Iterable[Invitation], before: frozenset[Role], after: frozenset[Role], now: float
) -> list[Invitation]:
    """The live invitations that change, as they are then, when other roles wait from now on.

    The host's latest word counts for links already handed out: "classes wait" said at the door would
    otherwise hold for nobody who stands there."""
    turned = before ^ after
    return [
        replace(invitation, lobby=invitation.role in after)
        for invitation in invitations
        if is_live(invitation, now) and invitation.role in turned and invitation.lobby != (invitation.role in after)
    ]
