"""The store's invitations: found, made under a free code, used up, turned. Decides nothing by itself.

Called within the turn of the invitation's room, but for `find`: what two calls for one room do does
not interleave.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_urlsafe

from rooms.errors import InvitationRefused, RoomFull, Unavailable
from rooms.invitations import (
    MAX_INVITATIONS,
    MAX_LIVE_INVITATIONS,
    check_usable,
    fold_code,
    follow_lobby_roles,
    is_live,
    make_invitation,
)
from rooms.keeping import kept
from rooms.models import Invitation, Role, RoomSettings, RoomState
from rooms.ports import RoomStore

CODE_TRIES = 8
"""A code that is taken is drawn again; eight collisions in a row mean that millions of codes live."""
INVITATION_ID_BYTES = 16
"""Random bytes of an id, which is all that a link needs: 128 bits, beyond guessing."""


class InvitationBook:
    """`draw_code` gives random non-negative numbers, of 24 bits or more."""

    def __init__(self, store: RoomStore, draw_code: Callable[[], int]) -> None:
        self._store = store
        self._draw_code = draw_code

    async def find(self, invitation_id: str | None, code: str | None) -> Invitation | None:
        """By its id, else by its code as typed. Raises: Unavailable."""
        if invitation_id is not None:
            return await kept(self._store.load_invitation(invitation_id))
        if code is not None and (folded := fold_code(code)):
            return await kept(self._store.find_invitation_by_code(folded))
        return None

    async def add(
        self,
        state: RoomState,
        *,
        role: Role,
        label: str,
        now: float,
        expires_in_s: float | None,
        uses: int | None,
        lobby: bool | None,
        fence: int | None = None,
    ) -> Invitation:
        """A new one, as `make_invitation` says. Raises: as it does, RoomFull, Unavailable, NotHome."""
        _require_space(await kept(self._store.list_invitations(state.id)), now)
        for _ in range(CODE_TRIES):
            invitation = make_invitation(
                state,
                invitation_id=token_urlsafe(INVITATION_ID_BYTES),
                code_number=self._draw_code(),
                role=role,
                label=label,
                now=now,
                expires_in_s=expires_in_s,
                uses=uses,
                lobby=lobby,
            )
            # ValueError: another live invitation, of any room, has this code.
            with suppress(ValueError):
                await kept(self._store.save_invitation(invitation, fence))
                return invitation
        raise Unavailable

    async def take_use(self, invitation_id: str, now: float) -> None:
        """Raises: InvitationRefused, Unavailable."""
        if await kept(self._store.take_invitation_use(invitation_id, now)) is None:
            check_usable(await kept(self._store.load_invitation(invitation_id)), now)
            raise InvitationRefused("used-up")

    async def recheck(self, invitation_id: str, now: float) -> None:
        """Whether it may still be used by whoever needs no use of it. Raises: InvitationRefused, Unavailable."""
        check_usable(await kept(self._store.load_invitation(invitation_id)), now, needs_use=False)

    async def follow_settings(
        self, state: RoomState, settings: RoomSettings, now: float, fence: int | None = None
    ) -> None:
        """Links already handed out follow a change of who waits. Raises: Unavailable, NotHome, halfway too."""
        before, after = state.settings.lobby_roles, settings.lobby_roles
        if before == after:
            return
        known = await kept(self._store.list_invitations(state.id))
        for changed in follow_lobby_roles(known, before, after, now):
            await kept(self._store.save_invitation(changed, fence))


def _require_space(known: Sequence[Invitation], now: float) -> None:
    if sum(is_live(invitation, now) for invitation in known) >= MAX_LIVE_INVITATIONS:
        raise RoomFull(MAX_LIVE_INVITATIONS, "invitations that can be used")
    if len(known) >= MAX_INVITATIONS:
        raise RoomFull(MAX_INVITATIONS, "invitations, until old ones are forgotten")
