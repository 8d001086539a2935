"""The home of rooms: lets one order at a time decide, keeps, then announces.

A change is in the store before anyone hears of it. Two things wait for no store: who is connected,
which is true only of this moment, and a consultation's chat, which leaves no trace. An instance that is
alone is the home of every room. One of several asks before each decision whether it still is
(`may_decide`), and keeps it under its fence, which the store refuses when another one has the room.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rooms.chat import MAX_CLIENT_ID_CHARACTERS, check_text, require_chat
from rooms.commands import AdmitHeld, AskToJoin, ComeBack, Command, Connect, Disconnect, KeepWatch, RemoveInvited
from rooms.difference import Step
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.events import Event, RoomConfigured
from rooms.invitation_book import InvitationBook
from rooms.invitations import makes_wait, revoke
from rooms.keeping import NotHome, kept
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.models import ChatLine, Invitation, Participant, RoomKind, RoomState
from rooms.orders import (
    AddInvitation,
    CloseConnection,
    Enter,
    Entered,
    OpenConnection,
    Order,
    RevokeInvitation,
    SendChat,
)
from rooms.ports import RoomStore
from rooms.presence import HERE, is_presence_only
from rooms.repeats import as_asked_before, participant_id_now
from rooms.roles import Permission
from rooms.room import apply, decide
from rooms.roster import inside, require
from rooms.supervision import held, is_due, is_in_charge


@dataclass(frozen=True, slots=True)
class RoomChange:
    """What listeners are told, after it was kept."""

    room_id: str
    before: RoomState
    after: RoomState
    steps: Sequence[Step] = ()
    """Each event with the state before and after it."""
    chat: ChatLine | None = None

    @property
    def events(self) -> Sequence[Event]:
        return tuple(event for _before, _after, event in self.steps)


class Home:
    """Carries out orders. What `may_decide` raises (NotHome) is raised before anything is decided."""

    def __init__(
        self,
        store: RoomStore,
        rooms: LoadedRooms,
        invitations: InvitationBook,
        announce: Callable[[LoadedRoom, RoomChange], None],
        clock: Callable[[], float],
        may_decide: Callable[[LoadedRoom], None] = lambda _room: None,
        is_there: Callable[[str], bool] = lambda _instance_id: True,
    ) -> None:
        """`is_there`: whether an instance has neither gone nor fallen silent."""
        self._store = store
        self._rooms = rooms
        self._invitations = invitations
        self._announce = announce
        self._clock = clock
        self._may_decide = may_decide
        self._is_there = is_there

    async def carry_out(
        self, room_id: str, actor_id: str | None, order: Order, instance_id: str
    ) -> Invitation | ChatLine | Entered | None:
        """An order that came from that instance. Raises: RoomError, and then nothing changed; NotHome."""
        match order:
            case OpenConnection(connection_id, number, is_editor):
                assert actor_id is not None
                await self.connect(room_id, actor_id, connection_id, instance_id, number, is_editor=is_editor)
            case CloseConnection(connection_id, silent_for_s):
                assert actor_id is not None
                await self.disconnect(room_id, actor_id, connection_id, silent_for_s)
            case SendChat():
                assert actor_id is not None
                return await self.send_chat(room_id, actor_id, order)
            case Enter():
                _state, person = await self.enter(room_id, order)
                return Entered(person.id)
            case AddInvitation():
                return await self.add_invitation(room_id, actor_id, order)
            case RevokeInvitation(invitation_id):
                await self.revoke_invitation(room_id, actor_id, invitation_id)
            case _:
                await self.execute(room_id, actor_id, order)
        return None

    async def execute(self, room_id: str, actor_id: str | None, command: Command) -> RoomState:
        """Decide, keep, announce; the state then."""
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            now = self._clock()
            for event in decide(room.state, command, actor_id, now):
                if isinstance(event, RoomConfigured):
                    # Before the settings are kept: should the store fail halfway, the same command
                    # asked again finds the same to do.
                    await self._invitations.follow_settings(room.state, event.settings, now, room.store_fence)
            return await self.decide_and_keep(room, command, actor_id)

    # --- invitations ------------------------------------------------------------------------

    async def add_invitation(self, room_id: str, actor_id: str | None, order: AddInvitation) -> Invitation:
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            require(room.state, actor_id, Permission.INVITE)
            return await self._invitations.add(
                room.state,
                role=order.role,
                label=order.label,
                now=self._clock(),
                expires_in_s=order.expires_in_s,
                uses=order.uses,
                lobby=order.lobby,
                fence=room.store_fence,
            )

    async def revoke_invitation(self, room_id: str, actor_id: str | None, invitation_id: str) -> RoomState:
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            require(room.state, actor_id, Permission.INVITE)
            invitation = await kept(self._store.load_invitation(invitation_id))
            if invitation is None or invitation.room_id != room_id:
                raise NotFound
            out = RemoveInvited(invitation_id)
            decide(room.state, out, None, self._clock())  # refuses the last host before anything is kept
            if not invitation.revoked:
                await kept(self._store.save_invitation(revoke(invitation), room.store_fence))
            return await self.decide_and_keep(room, out, None)

    # --- joining ----------------------------------------------------------------------------

    async def enter(self, room_id: str, order: Enter) -> tuple[RoomState, Participant]:
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            participant_id = participant_id_now(room.state, order.participant_id, self._clock())
            if (known := room.state.participants.get(participant_id)) is not None:
                # The same request once more, or the same order, carried out by a home that died before it could say so.
                return room.state, as_asked_before(known)
            back = _who_comes_back(room.state, order.invitation, order.returning_id)
            if back is not None:
                state = await self.decide_and_keep(room, ComeBack(back.id, order.name), None)
                return state, state.participants[back.id]
            return await self._enter_anew(room, replace(order, participant_id=participant_id))

    async def _enter_anew(self, room: LoadedRoom, order: Enter) -> tuple[RoomState, Participant]:
        invitation = order.invitation
        ask = AskToJoin(
            participant_id=order.participant_id,
            name=order.name,
            role=invitation.role,
            label=invitation.label,
            invitation_id=invitation.id,
            lobby=makes_wait(invitation, by_code=order.by_code),
        )
        decide(room.state, ask, None, self._clock())  # a full room costs the invitation nothing
        # Within the room's turn, so that a revocation comes wholly before it (and it is refused) or
        # after it (and whoever came is put out).
        if room.uses_owed[invitation.id] > 0:
            await self._invitations.recheck(invitation.id, self._clock())
        else:
            await self._invitations.take_use(invitation.id, self._clock())
            room.uses_owed[invitation.id] += 1
        state = await self.decide_and_keep(room, ask, None)
        room.uses_owed[invitation.id] -= 1
        return state, state.participants[ask.participant_id]

    # --- connections ------------------------------------------------------------------------

    async def connect(
        self,
        room_id: str,
        participant_id: str,
        connection_id: str,
        instance_id: str = HERE,
        number: int = 0,
        *,
        is_editor: bool = False,
    ) -> RoomState:
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            if not self._is_there(instance_id):
                raise Unavailable  # it has gone since it asked, and took its connections with it
            await self.decide_and_keep(room, Connect(is_editor), participant_id)
            if not self._is_there(instance_id):  # while it was kept that somebody who had left is back
                if participant_id not in room.connections:
                    await self.see_away(room, participant_id)
                raise Unavailable
            room.connections.add(participant_id, connection_id, instance_id, number)
            await self._admit_held(room)
            return room.state

    async def disconnect(
        self, room_id: str, participant_id: str, connection_id: str, silent_for_s: float = 0.0
    ) -> None:
        if self._rooms.get(room_id) is None:
            return  # nobody is connected to a room that is not in memory
        async with self._rooms.take_turn(room_id) as room:
            now = self._clock()
            was_last = room.connections.discard(participant_id, connection_id, now - silent_for_s)
            self._may_decide(room)
            person = room.state.participants.get(participant_id)
            is_shown = person is not None and person.connected and participant_id not in room.connections
            if was_last:
                silent_for_s = now - room.connections.take_heard_at(participant_id)
            if was_last or is_shown:  # the latter when the first try found that this was not the home
                await self.see_away(room, participant_id, silent_for_s)

    async def see_away(self, room: LoadedRoom, participant_id: str, silent_for_s: float = 0.0) -> None:
        """Within the room's turn: the participant has no connection any more."""
        room.idle_since = self._clock()
        silent_for_s = max(silent_for_s, room.connections.take_silence(participant_id))
        with suppress(RoomError):  # who left or was removed is not shown as away
            await self.decide_and_keep(room, Disconnect(silent_for_s), participant_id)
        if not room.connections and room.kept_seq < room.state.seq:
            # The last one out: the one moment at which presence is kept, so that the numbers of
            # events go on from here, and retention knows when the room was last used.
            with suppress(Unavailable, NotHome):
                await self._keep(room, room.state)

    # --- the watch over pupils --------------------------------------------------------------

    def is_watch_due(self, room: LoadedRoom) -> bool:
        """Whether `keep_watch` has anything to do. Cheap."""
        now = self._clock()
        return len(room.connections) > 0 and (_adults_are_due(room, now) or is_due(room.state, now))

    async def keep_watch(self, room_id: str) -> None:
        """Freeze the room if pupils are alone in it; let in who waited only for it to thaw."""
        with suppress(NotHome, RoomError):
            async with self._rooms.take_turn(room_id) as room:
                if _adults_are_due(room, self._clock()):
                    room.adults_due_at = None
                    await self.see_adults_away(room)
                await self.decide_and_keep(room, KeepWatch(), None)
                await self._admit_held(room)

    async def see_adults_away(self, room: LoadedRoom) -> None:
        """Within the room's turn: of those in charge who are shown as connected, whoever no instance has told of is
        not. They are not waited for as long as the others are: pupils may be alone meanwhile. Raises: NotHome."""
        for person in tuple(room.state.participants.values()):
            if person.connected and is_in_charge(person.role) and person.id not in room.connections:
                await self.see_away(room, person.id, room.unheard_for_s(self._clock()))

    async def _admit_held(self, room: LoadedRoom) -> None:
        """Within the room's turn. By itself, so that a store that fails holds up nobody who came back."""
        if not room.state.watch.is_frozen and held(room.state):
            with suppress(RoomError):
                await self.decide_and_keep(room, AdmitHeld(), None)

    # --- chat -------------------------------------------------------------------------------

    async def send_chat(self, room_id: str, actor_id: str, order: SendChat) -> ChatLine:
        client_id = order.client_id[:MAX_CLIENT_ID_CHARACTERS] if order.client_id is not None else None
        async with self._rooms.take_turn(room_id) as room:
            self._may_decide(room)
            inside(room.state, actor_id)
            if (before := room.chat.sent_before(actor_id, client_id, order.line_id)) is not None:
                return before
            author = require_chat(room.state, actor_id)
            line = ChatLine(order.line_id, actor_id, author.name, check_text(order.text), self._clock(), client_id)
            fence = room.store_fence
            if room.state.kind is not RoomKind.CONSULTATION:
                await kept(self._store.append_chat(room_id, line, fence))
            if room.store_fence == fence:  # else whoever has the room now has read the line from the store
                room.chat.add(line)
                self._announce(room, RoomChange(room_id, room.state, room.state, chat=line))
            return line

    # --- inside -----------------------------------------------------------------------------

    async def decide_and_keep(self, room: LoadedRoom, command: Command, actor_id: str | None) -> RoomState:
        """Within the room's turn. Raises: RoomError, and then nothing changed; NotHome."""
        self._may_decide(room)
        now = self._clock()
        before = state = room.state
        steps: list[Step] = []
        for event in decide(state, command, actor_id, now):
            after = apply(state, event, now)
            steps.append((state, after, event))
            state = after
        fence = room.store_fence
        if not all(is_presence_only(old, event) for old, _new, event in steps):
            try:
                await self._keep(room, state)
            except Unavailable:
                # The store may have it all the same, or will in a moment: no other change gets its number, so that it
                # is older than whatever is acknowledged from now on.
                if room.store_fence == fence:
                    room.state = replace(before, seq=state.seq)
                raise
        # Deposed while it was kept: it stands, for whoever took over read it from the store, and tells it.
        if steps and room.store_fence == fence:
            room.state = state
            self._announce(room, RoomChange(state.id, before, state, tuple(steps)))
        return state

    async def _keep(self, room: LoadedRoom, state: RoomState) -> None:
        await kept(self._store.save_room(state, room.store_fence))
        room.kept_seq = state.seq


def _adults_are_due(room: LoadedRoom, now: float) -> bool:
    return room.adults_due_at is not None and now >= room.adults_due_at


def _who_comes_back(state: RoomState, invitation: Invitation, returning_id: str | None) -> Participant | None:
    """The participant of before, if it came with this invitation; None: a new one."""
    participant = state.participants.get(returning_id) if returning_id is not None else None
    return participant if participant is not None and participant.invitation_id == invitation.id else None
