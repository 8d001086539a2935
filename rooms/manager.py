"""The shell around the rooms: loads them, lets one command at a time decide, keeps, then announces.

A change is in the store before anyone hears of it, except presence: whether somebody is connected
is true only of this moment, and is neither kept nor held up by a store that fails. The manager holds
a room in memory while somebody is connected to it, and a while longer.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rooms.commands import AskToJoin, ComeBack, Command, Connect, Disconnect, RemoveInvited
from rooms.errors import InvitationRefused, NotFound, RoomError, RoomFull, Unavailable
from rooms.events import Event, ParticipantAdmitted
from rooms.invitations import MAX_INVITATIONS_PER_ROOM, check_usable, fold_code, make_invitation, revoke
from rooms.models import ChatLine, Invitation, Participant, Role, RoomKind, RoomState
from rooms.names import clean_name
from rooms.ports import Bus, RoomStore, StoreUnavailable
from rooms.roles import Permission
from rooms.room import apply, decide, has_permission, require

T = TypeVar("T")
logger = logging.getLogger("passerelle.rooms")

CHAT_HISTORY = 200
"""Lines that who comes later still reads; as many in the memory of each room."""
ROOM_IDLE_S = 600.0
"""A room without connections stays in memory this long: a class between two links."""
MAX_ROOMS_IN_MEMORY = 5_000
"""Idle rooms beyond this leave at once; 5,000 take some 50 MB."""
CODE_TRIES = 8
"""A code that is taken is drawn again; eight collisions in a row do not happen below millions of codes."""


@dataclass(frozen=True, slots=True)
class RoomChange:
    """What listeners are told, after it was kept."""

    room_id: str
    before: RoomState
    after: RoomState
    steps: Sequence[tuple[RoomState, RoomState, Event]] = ()
    """Each event with the state before and after it."""
    chat: ChatLine | None = None


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """Who says to come back, proven by a token of before."""

    room_id: str
    participant_id: str


@dataclass(slots=True)
class _LiveRoom:
    state: RoomState
    chat: deque[ChatLine]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connections: dict[str, set[str]] = field(default_factory=dict)
    """participant id → connection ids"""
    idle_since: float = 0.0


class RoomManager:
    """Every room of this instance."""

    def __init__(
        self,
        store: RoomStore,
        bus: Bus,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._rooms: dict[str, _LiveRoom] = {}
        self._loading: dict[str, asyncio.Task[_LiveRoom]] = {}
        self._listeners: list[Callable[[RoomChange], None]] = []

    def add_listener(self, listener: Callable[[RoomChange], None]) -> None:
        """Called in order, after each change, without an await between: it must not block."""
        self._listeners.append(listener)

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    def participant_counts(self) -> dict[Role, int]:
        """Connected participants of all rooms, by role: for the metrics."""
        counts = dict.fromkeys(Role, 0)
        for live in self._rooms.values():
            for participant_id in live.connections:
                participant = live.state.participants.get(participant_id)
                if participant is not None:
                    counts[participant.role] += 1
        return counts

    async def stop(self) -> None:
        for task in tuple(self._loading.values()):
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        self._rooms.clear()

    # --- rooms and invitations --------------------------------------------------------------

    async def create_room(self, name: str, kind: RoomKind, host_name: str) -> tuple[RoomState, Participant]:
        """A room and its first host. Raises: InvalidName, Unavailable."""
        now = self._clock()
        state = RoomState(id=self._new_id(), name=clean_name(name), kind=kind, created_at=now, last_active_at=now)
        host_id = self._new_id()
        ask = AskToJoin(host_id, host_name, Role.HOST, label="", invitation_id=None, lobby=False)
        for event in decide(state, ask, None, now):
            state = apply(state, event, now)
        await _kept(self._store.create_room(state))
        self._rooms[state.id] = _LiveRoom(state, deque(maxlen=CHAT_HISTORY), idle_since=now)
        return state, state.participants[host_id]

    async def get_state(self, room_id: str) -> RoomState:
        """Raises: NotFound, Unavailable."""
        return (await self._live(room_id)).state

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
        """Raises: RoomError."""
        live = await self._allowed(room_id, actor_id, Permission.INVITE)
        label = clean_name(label) if label.strip() else ""
        usable = [
            invitation for invitation in await _kept(self._store.list_invitations(room_id)) if not invitation.revoked
        ]
        if len(usable) >= MAX_INVITATIONS_PER_ROOM:
            raise RoomFull(f"{MAX_INVITATIONS_PER_ROOM} invitations")
        for _ in range(CODE_TRIES):
            invitation = make_invitation(
                live.state,
                invitation_id=secrets.token_urlsafe(16),
                code_number=secrets.randbits(64),
                role=role,
                label=label,
                now=self._clock(),
                expires_in_s=expires_in_s,
                uses=uses,
                lobby=lobby,
            )
            try:
                await _kept(self._store.save_invitation(invitation))
            except ValueError:
                continue
            return invitation
        raise Unavailable("no free join code was found")

    async def list_invitations(self, room_id: str, actor_id: str) -> Sequence[Invitation]:
        """Raises: RoomError."""
        await self._allowed(room_id, actor_id, Permission.INVITE)
        return await _kept(self._store.list_invitations(room_id))

    async def revoke_invitation(self, room_id: str, actor_id: str, invitation_id: str) -> None:
        """Whoever came with it is out at once. Raises: RoomError."""
        await self._allowed(room_id, actor_id, Permission.INVITE)
        invitation = await _kept(self._store.load_invitation(invitation_id))
        if invitation is None or invitation.room_id != room_id:
            raise NotFound
        if not invitation.revoked:
            await _kept(self._store.save_invitation(revoke(invitation)))
        await self._run(room_id, RemoveInvited(invitation_id), None)

    async def join(
        self,
        *,
        name: str,
        invitation_id: str | None = None,
        code: str | None = None,
        resume: ResumeClaim | None = None,
    ) -> tuple[RoomState, Participant]:
        """A participant made of an invitation, or the one of before. Raises: RoomError."""
        now = self._clock()
        name = clean_name(name)
        invitation = await self._find_invitation(invitation_id, code)
        back = await self._come_back(invitation, resume, name, now)
        if back is not None:
            return back
        invitation = check_usable(invitation, now)
        live = await self._live(invitation.room_id)
        participant_id = self._new_id()
        ask = AskToJoin(participant_id, name, invitation.role, invitation.label, invitation.id, invitation.lobby)
        # Decided before the use is taken, so that a full room costs the invitation nothing.
        decide(live.state, ask, None, now)
        if await _kept(self._store.take_invitation_use(invitation.id, now)) is None:
            check_usable(await _kept(self._store.load_invitation(invitation.id)), now)
            raise InvitationRefused("used-up")
        state = await self._run(invitation.room_id, ask, None)
        return state, state.participants[participant_id]

    async def _find_invitation(self, invitation_id: str | None, code: str | None) -> Invitation | None:
        if invitation_id is not None:
            return await _kept(self._store.load_invitation(invitation_id))
        if code is not None and (folded := fold_code(code)):
            return await _kept(self._store.find_invitation_by_code(folded))
        return None

    async def _come_back(
        self, invitation: Invitation | None, resume: ResumeClaim | None, name: str, now: float
    ) -> tuple[RoomState, Participant] | None:
        """The participant of before, if the claim is one of this invitation; None: a new one."""
        if resume is None or invitation is None or resume.room_id != invitation.room_id:
            return None
        live = await self._live(resume.room_id)
        participant = live.state.participants.get(resume.participant_id)
        if participant is None or participant.invitation_id != invitation.id:
            return None
        check_usable(invitation, now, coming_back=True)
        state = await self._run(resume.room_id, ComeBack(participant.id, name), None)
        return state, state.participants[participant.id]

    # --- commands ---------------------------------------------------------------------------

    async def execute(self, room_id: str, actor_id: str, command: Command) -> RoomState:
        """Decide, keep, announce. Raises: RoomError."""
        return await self._run(room_id, command, actor_id)

    def can(self, room_id: str, participant_id: str, permission: Permission) -> bool:
        """Now, from memory; False for a room that is not loaded. Cheap: asked at every write."""
        live = self._rooms.get(room_id)
        return live is not None and has_permission(live.state, participant_id, permission)

    def kind_of(self, room_id: str) -> RoomKind | None:
        """From memory; None for a room that is not loaded."""
        live = self._rooms.get(room_id)
        return live.state.kind if live is not None else None

    async def connect(self, room_id: str, participant_id: str, connection_id: str) -> RoomState:
        """One more connection of a participant, waiting or inside. Raises: RoomError."""
        live = await self._live(room_id)
        state = await self._run(room_id, Connect(), participant_id, keep=False)
        live.connections.setdefault(participant_id, set()).add(connection_id)
        return state

    async def disconnect(self, room_id: str, participant_id: str, connection_id: str) -> None:
        """One connection less; at the last one the others see it. Does nothing when unknown."""
        live = self._rooms.get(room_id)
        if live is None:
            return
        connections = live.connections.get(participant_id, set())
        connections.discard(connection_id)
        if not connections:
            live.connections.pop(participant_id, None)
            live.idle_since = self._clock()
            try:
                await self._run(room_id, Disconnect(), participant_id, keep=False)
            except RoomError:
                pass  # they left or were removed: nobody is there to be shown as away

    async def send_chat(self, room_id: str, actor_id: str, text: str, client_id: str | None = None) -> ChatLine:
        """Raises: RoomError."""
        live = await self._allowed(room_id, actor_id, Permission.CHAT)
        async with live.lock:
            if client_id is not None:
                for line in live.chat:
                    if line.participant_id == actor_id and line.client_id == client_id:
                        return line  # sent again after a cut
            author = live.state.participants[actor_id]
            line = ChatLine(self._new_id(), actor_id, author.name, text, self._clock(), client_id)
            if live.state.kind is not RoomKind.CONSULTATION:
                await _kept(self._store.append_chat(room_id, line))
            live.chat.append(line)
            self._announce(RoomChange(room_id, live.state, live.state, chat=line))
        return line

    async def chat_history(self, room_id: str, actor_id: str) -> Sequence[ChatLine]:
        """The newest lines, oldest first; nothing for whoever may not chat. Raises: RoomError."""
        live = await self._live(room_id)
        return tuple(live.chat) if has_permission(live.state, actor_id, Permission.SEE_ROSTER) else ()

    def forget_idle(self) -> int:
        """Drop rooms that nobody has been connected to for a while; how many went."""
        now = self._clock()
        idle = sorted(
            (live.idle_since, room_id)
            for room_id, live in self._rooms.items()
            if not live.connections and not live.lock.locked()
        )
        surplus = len(self._rooms) - MAX_ROOMS_IN_MEMORY
        gone = [room_id for at, (since, room_id) in enumerate(idle) if at < surplus or now - since > ROOM_IDLE_S]
        for room_id in gone:
            del self._rooms[room_id]
        return len(gone)

    # --- inside -----------------------------------------------------------------------------

    async def _allowed(self, room_id: str, actor_id: str, permission: Permission) -> _LiveRoom:
        live = await self._live(room_id)
        require(live.state, actor_id, permission)
        return live

    async def _run(self, room_id: str, command: Command, actor_id: str | None, *, keep: bool = True) -> RoomState:
        live = await self._live(room_id)
        async with live.lock:
            now = self._clock()
            before = state = live.state
            steps: list[tuple[RoomState, RoomState, Event]] = []
            for event in decide(state, command, actor_id, now):
                event = self._with_presence(live, event)
                after = apply(state, event, now)
                steps.append((state, after, event))
                state = after
            if not steps:
                return state
            if keep:
                await _kept(self._store.save_room(state))
            live.state = state
            self._announce(RoomChange(room_id, before, state, tuple(steps)))
            return state

    def _with_presence(self, live: _LiveRoom, event: Event) -> Event:
        """Who is admitted from the lobby is connected already."""
        if isinstance(event, ParticipantAdmitted):
            connected = event.participant.id in live.connections
            return replace(event, participant=replace(event.participant, connected=connected))
        return event

    def _announce(self, change: RoomChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # a listener's defect must not stop the others, nor undo what was kept
                logger.exception("a listener failed", extra={"room_id": change.room_id})

    async def _live(self, room_id: str) -> _LiveRoom:
        live = self._rooms.get(room_id)
        if live is not None:
            return live
        task = self._loading.get(room_id)
        if task is None:
            task = asyncio.create_task(self._load(room_id))
            self._loading[room_id] = task
            task.add_done_callback(lambda _task: self._loading.pop(room_id, None))
        # Shielded: the first asker may go away, the others still want the room.
        return await asyncio.shield(task)

    async def _load(self, room_id: str) -> _LiveRoom:
        state = await _kept(self._store.load_room(room_id))
        if state is None:
            raise NotFound
        lines = await _kept(self._store.load_chat(room_id, CHAT_HISTORY))
        # Nobody is connected to a room that was not in memory, whatever was kept of it.
        people = {
            person_id: replace(person, connected=False) if person.connected else person
            for person_id, person in state.participants.items()
        }
        live = _LiveRoom(
            replace(state, participants=people), deque(lines, maxlen=CHAT_HISTORY), idle_since=self._clock()
        )
        self._rooms[room_id] = live
        return live


async def _kept(work: Awaitable[T]) -> T:
    """The store's answer, its failure in the domain's words. Raises: Unavailable."""
    try:
        return await work
    except StoreUnavailable as error:
        raise Unavailable from error
