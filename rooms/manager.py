"""The shell around the rooms: loads them, lets one command at a time decide, keeps, then announces.

A change is in the store before anyone hears of it. Two things wait for no store: who is connected,
which is true only of this moment, and a consultation's chat, which leaves no trace. What a command
began is finished even when whoever asked goes away, for the store may have it already.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from rooms.chat import CHAT_HISTORY, MAX_CLIENT_ID_CHARACTERS, ChatHistory, check_text, require_chat
from rooms.commands import AskToJoin, ComeBack, Command, Connect, Disconnect, RemoveInvited
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.events import Event, RoomConfigured
from rooms.invitation_book import InvitationBook
from rooms.invitations import check_usable, makes_wait, revoke
from rooms.keeping import kept
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.models import ChatLine, Invitation, Participant, Role, RoomKind, RoomState
from rooms.names import clean_name
from rooms.ports import Bus, RoomStore
from rooms.presence import is_presence_only, nobody_connected
from rooms.roles import Permission, default_settings
from rooms.room import apply, decide
from rooms.roster import has_permission, inside, require

T = TypeVar("T")
logger = logging.getLogger("passerelle.rooms")

STOP_TIMEOUT_S = 5.0
"""How long what is under way may take to finish at the end: a store that hangs does not hold it up."""


@dataclass(frozen=True, slots=True)
class RoomChange:
    """What listeners are told, after it was kept."""

    room_id: str
    before: RoomState
    after: RoomState
    steps: Sequence[tuple[RoomState, RoomState, Event]] = ()
    """Each event with the state before and after it."""
    chat: ChatLine | None = None

    @property
    def events(self) -> Sequence[Event]:
        return tuple(event for _before, _after, event in self.steps)


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """Who says to come back, proven by a token of before."""

    room_id: str
    participant_id: str


class RoomManager:
    """Every room of this instance. Safe to call from any task of one loop."""

    def __init__(
        self,
        store: RoomStore,
        bus: Bus,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(12),
        draw_code: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._invitations = InvitationBook(store, draw_code)
        self._rooms = LoadedRooms(self._read_room, clock)
        self._listeners: list[Callable[[RoomChange], None]] = []
        self._under_way: set[asyncio.Task[Any]] = set()

    def add_listener(self, listener: Callable[[RoomChange], None]) -> None:
        """Called in order, after each change, without an await between: it must not block."""
        self._listeners.append(listener)

    async def stop(self) -> None:
        """What is under way is finished; then nothing is held any more."""
        if self._under_way:
            _done, unfinished = await asyncio.wait(self._under_way, timeout=STOP_TIMEOUT_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._rooms.stop()

    # --- from memory, at once ---------------------------------------------------------------

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    def participant_counts(self) -> dict[Role, int]:
        """Connected participants of all rooms, by role: for the metrics."""
        counts = dict.fromkeys(Role, 0)
        for room in self._rooms:
            for participant_id in room.connections:
                participant = room.state.participants.get(participant_id)
                if participant is not None:
                    counts[participant.role] += 1
        return counts

    def can(self, room_id: str, participant_id: str, permission: Permission) -> bool:
        """Now; False for a room that is not in memory. Cheap: asked at every write."""
        room = self._rooms.get(room_id)
        return room is not None and has_permission(room.state, participant_id, permission)

    def state_now(self, room_id: str) -> RoomState | None:
        """The room as it is; another object after each change. None for a room that is not in memory."""
        room = self._rooms.get(room_id)
        return room.state if room is not None else None

    def kind_of(self, room_id: str) -> RoomKind | None:
        """None for a room that is not in memory."""
        room = self._rooms.get(room_id)
        return room.state.kind if room is not None else None

    def forget_idle(self) -> int:
        """Let go of rooms that nobody was connected to for a while; how many went. Call it now and then."""
        return self._rooms.forget_idle()

    # --- rooms ------------------------------------------------------------------------------

    async def create_room(self, name: str, kind: RoomKind, host_name: str) -> tuple[RoomState, Participant]:
        """A room and its first host. Raises: InvalidName, Unavailable."""
        now = self._clock()
        state = RoomState(
            id=self._new_id(),
            name=clean_name(name),
            kind=kind,
            created_at=now,
            settings=default_settings(kind),
            last_active_at=now,
        )
        host_id = self._new_id()
        ask = AskToJoin(host_id, host_name, Role.HOST, label="", invitation_id=None, lobby=False)
        for event in decide(state, ask, None, now):
            state = apply(state, event, now)
        await kept(self._store.create_room(state))
        self._rooms.add(LoadedRoom(state, kept_seq=state.seq, idle_since=now))
        return state, state.participants[host_id]

    async def get_state(self, room_id: str) -> RoomState:
        """Raises: NotFound, Unavailable."""
        return (await self._rooms.load(room_id)).state

    async def execute(self, room_id: str, actor_id: str, command: Command) -> RoomState:
        """Decide, keep, announce; the state then. Raises: RoomError, and then nothing changed."""
        return await self._finish(self._execute(room_id, actor_id, command))

    async def _execute(self, room_id: str, actor_id: str, command: Command) -> RoomState:
        async with self._rooms.take_turn(room_id) as room:
            now = self._clock()
            for event in decide(room.state, command, actor_id, now):
                if isinstance(event, RoomConfigured):
                    # Before the settings are kept: should the store fail halfway, the same command
                    # asked again finds the same to do.
                    await self._invitations.follow_settings(room.state, event.settings, now)
            return await self._decide_and_keep(room, command, actor_id)

    # --- invitations ------------------------------------------------------------------------

    async def create_invitation(
        self,
        room_id: str,
        actor_id: str,
        role: Role,
        label: str = "",
        expires_in_s: float | None = None,
        uses: int | None = None,
        lobby: bool | None = None,
    ) -> Invitation:
        """None: as `make_invitation` says. Raises: RoomError."""
        async with self._rooms.take_turn(room_id) as room:
            require(room.state, actor_id, Permission.INVITE)
            return await self._invitations.add(
                room.state,
                role=role,
                label=label,
                now=self._clock(),
                expires_in_s=expires_in_s,
                uses=uses,
                lobby=lobby,
            )

    async def list_invitations(self, room_id: str, actor_id: str) -> Sequence[Invitation]:
        """The oldest first, revoked and expired ones too. Raises: RoomError."""
        require((await self._rooms.load(room_id)).state, actor_id, Permission.INVITE)
        return await kept(self._store.list_invitations(room_id))

    async def revoke_invitation(self, room_id: str, actor_id: str, invitation_id: str) -> None:
        """Whoever came with it is out at once, inside or waiting. Asked again after a failure of the
        store, it finishes what was begun. Raises: RoomError."""
        await self._finish(self._revoke(room_id, actor_id, invitation_id))

    async def _revoke(self, room_id: str, actor_id: str, invitation_id: str) -> None:
        async with self._rooms.take_turn(room_id) as room:
            require(room.state, actor_id, Permission.INVITE)
            invitation = await kept(self._store.load_invitation(invitation_id))
            if invitation is None or invitation.room_id != room_id:
                raise NotFound
            out = RemoveInvited(invitation_id)
            decide(room.state, out, None, self._clock())  # refuses the last host before anything is kept
            if not invitation.revoked:
                await kept(self._store.save_invitation(revoke(invitation)))
            await self._decide_and_keep(room, out, None)

    # --- joining ----------------------------------------------------------------------------

    async def join(
        self,
        *,
        name: str,
        invitation_id: str | None = None,
        code: str | None = None,
        resume: ResumeClaim | None = None,
    ) -> tuple[RoomState, Participant]:
        """A new participant of an invitation, or, with a claim that is one of its room, the one of
        before: that takes no use of it. Raises: RoomError."""
        return await self._finish(self._join(clean_name(name), invitation_id, code, resume))

    async def _join(
        self, name: str, invitation_id: str | None, code: str | None, resume: ResumeClaim | None
    ) -> tuple[RoomState, Participant]:
        found = await self._invitations.find(invitation_id, code)
        invitation = check_usable(found, self._clock(), needs_use=False)
        async with self._rooms.take_turn(invitation.room_id) as room:
            back = _who_comes_back(room.state, invitation, resume)
            if back is not None:
                state = await self._decide_and_keep(room, ComeBack(back.id, name), None)
                return state, state.participants[back.id]
            ask = AskToJoin(
                participant_id=self._new_id(),
                name=name,
                role=invitation.role,
                label=invitation.label,
                invitation_id=invitation.id,
                lobby=makes_wait(invitation, by_code=invitation_id is None),
            )
            decide(room.state, ask, None, self._clock())  # a full room costs the invitation nothing
            # Within the room's turn, so that a revocation comes wholly before it (and it is refused) or
            # after it (and whoever came is put out).
            if room.uses_owed[invitation.id] > 0:
                await self._invitations.recheck(invitation.id, self._clock())
            else:
                await self._invitations.take_use(invitation.id, self._clock())
                room.uses_owed[invitation.id] += 1
            state = await self._decide_and_keep(room, ask, None)
            room.uses_owed[invitation.id] -= 1
            return state, state.participants[ask.participant_id]

    # --- connections ------------------------------------------------------------------------

    async def connect(self, room_id: str, participant_id: str, connection_id: str) -> RoomState:
        """One more connection of a participant, waiting or inside; who left comes back by it.

        Presence waits for no store. Call `disconnect` when it closes, unless this raised.
        Raises: RoomError."""
        try:
            return await self._finish(self._connect(room_id, participant_id, connection_id))
        except asyncio.CancelledError:
            # It is finished nevertheless, and nobody will tell of its end.
            self._begin(self._disconnect(room_id, participant_id, connection_id))
            raise

    async def _connect(self, room_id: str, participant_id: str, connection_id: str) -> RoomState:
        async with self._rooms.take_turn(room_id) as room:
            state = await self._decide_and_keep(room, Connect(), participant_id)
            room.connections.add(participant_id, connection_id)
            return state

    async def disconnect(self, room_id: str, participant_id: str, connection_id: str) -> None:
        """One connection less; at a participant's last one the others see it. Does nothing when unknown."""
        await self._finish(self._disconnect(room_id, participant_id, connection_id))

    async def _disconnect(self, room_id: str, participant_id: str, connection_id: str) -> None:
        if self._rooms.get(room_id) is None:
            return  # nobody is connected to a room that is not in memory
        async with self._rooms.take_turn(room_id) as room:
            if not room.connections.discard(participant_id, connection_id):
                return
            room.idle_since = self._clock()
            with suppress(RoomError):  # who left or was removed is not shown as away
                await self._decide_and_keep(room, Disconnect(), participant_id)
            if not room.connections and room.kept_seq < room.state.seq:
                # The last one out: the one moment at which presence is kept, so that the numbers of
                # events go on from here, and retention knows when the room was last used.
                with suppress(Unavailable):
                    await self._keep(room, room.state)

    # --- chat -------------------------------------------------------------------------------

    async def send_chat(self, room_id: str, actor_id: str, text: str, client_id: str | None = None) -> ChatLine:
        """The line, which is the one of before when `client_id` was sent already. Raises: RoomError."""
        return await self._finish(self._send_chat(room_id, actor_id, text, client_id))

    async def _send_chat(self, room_id: str, actor_id: str, text: str, client_id: str | None) -> ChatLine:
        client_id = client_id[:MAX_CLIENT_ID_CHARACTERS] if client_id is not None else None
        async with self._rooms.take_turn(room_id) as room:
            inside(room.state, actor_id)
            if (before := room.chat.sent_before(actor_id, client_id)) is not None:
                return before
            author = require_chat(room.state, actor_id)
            line = ChatLine(self._new_id(), actor_id, author.name, check_text(text), self._clock(), client_id)
            if room.state.kind is not RoomKind.CONSULTATION:
                await kept(self._store.append_chat(room_id, line))
            room.chat.add(line)
            self._announce(RoomChange(room_id, room.state, room.state, chat=line))
            return line

    async def chat_history(self, room_id: str, actor_id: str) -> Sequence[ChatLine]:
        """The newest lines, oldest first; nothing for whoever may not see what happens. Raises: RoomError."""
        room = await self._rooms.load(room_id)
        return room.chat.lines() if has_permission(room.state, actor_id, Permission.SEE_ROSTER) else ()

    # --- inside -----------------------------------------------------------------------------

    async def _decide_and_keep(self, room: LoadedRoom, command: Command, actor_id: str | None) -> RoomState:
        """Within the room's turn. Raises: RoomError, and then nothing changed."""
        now = self._clock()
        before = state = room.state
        steps: list[tuple[RoomState, RoomState, Event]] = []
        for event in decide(state, command, actor_id, now):
            after = apply(state, event, now)
            steps.append((state, after, event))
            state = after
        if not all(is_presence_only(old, event) for old, _new, event in steps):
            await self._keep(room, state)
        if steps:
            room.state = state
            self._announce(RoomChange(state.id, before, state, tuple(steps)))
        return state

    async def _keep(self, room: LoadedRoom, state: RoomState) -> None:
        await kept(self._store.save_room(state))
        room.kept_seq = state.seq

    def _announce(self, change: RoomChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # a listener's defect must not stop the others, nor undo what was kept
                logger.exception("a listener failed", extra={"room_id": change.room_id})

    async def _read_room(self, room_id: str) -> LoadedRoom:
        state = await kept(self._store.load_room(room_id))
        if state is None:
            raise NotFound
        lines: Sequence[ChatLine] = ()
        if state.kind is not RoomKind.CONSULTATION:
            lines = await kept(self._store.load_chat(room_id, CHAT_HISTORY))
        return LoadedRoom(
            nobody_connected(state), kept_seq=state.seq, idle_since=self._clock(), chat=ChatHistory(lines)
        )

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; it goes on when the caller is cancelled."""
        return await asyncio.shield(self._begin(work))


def _who_comes_back(state: RoomState, invitation: Invitation, resume: ResumeClaim | None) -> Participant | None:
    """The participant of before, if the claim is one of this invitation; None: a new one."""
    if resume is None or resume.room_id != invitation.room_id:
        return None
    participant = state.participants.get(resume.participant_id)
    return participant if participant is not None and participant.invitation_id == invitation.id else None
