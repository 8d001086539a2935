"""Every room of this instance, as the rest of the house sees it.

Alone, it is the home of every room (`rooms.home`); one of several (`rooms.sharing`), it is the home of some,
and of others it has a replica, from which it answers at once, and sends orders to their home. What an order
began is finished even when whoever asked goes away, for the store may have it already.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from rooms.chat import CHAT_HISTORY, ChatHistory
from rooms.commands import AskToJoin, Command
from rooms.errors import NotFound, Unavailable
from rooms.home import Home, RoomChange
from rooms.invitation_book import InvitationBook
from rooms.invitations import check_usable
from rooms.keeping import kept
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.models import ChatLine, Invitation, Participant, Role, RoomKind, RoomState
from rooms.names import clean_name
from rooms.orders import AddInvitation, Enter, Entered, RevokeInvitation, SendChat
from rooms.ports import RoomStore
from rooms.presence import HERE, nobody_connected
from rooms.repeats import REPEAT_S, as_asked_before, id_made_by, next_id
from rooms.roles import Permission, default_settings
from rooms.room import apply, decide
from rooms.roster import has_permission, require
from rooms.sharing import Sharing
from rooms.supervision import is_silenced

__all__ = ["ResumeClaim", "RoomChange", "RoomManager"]

T = TypeVar("T")
logger = logging.getLogger("passerelle.rooms")

WATCH_S = 0.5
"""How often it is looked whether pupils are alone somewhere: a twentieth of the time after which their room freezes."""
STOP_TIMEOUT_S = 5.0
"""How long what is under way may take to finish at the end: a store that hangs does not hold it up."""


@dataclass(frozen=True, slots=True)
class ResumeClaim:
    """Who says to come back, proven by a token of before."""

    room_id: str
    participant_id: str


async def _nothing_is_open(_room_id: str, _participant_id: str, _timeout_s: float) -> bool:
    return True


class RoomManager:
    """Safe to call from any task of one loop."""

    def __init__(
        self,
        store: RoomStore,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(12),
        draw_code: Callable[[], int] = lambda: secrets.randbits(64),
        *,
        sharing: Sharing | None = None,
        closed: Callable[[str, str, float], Awaitable[bool]] = _nothing_is_open,
    ) -> None:
        """`sharing`: with other instances. `closed`: waits until a participant of a room has no connection here any
        more, for so many seconds; whether so."""
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._closed = closed
        self._sharing = sharing
        self._invitations = InvitationBook(store, draw_code)
        self._listeners: list[Callable[[RoomChange], None]] = []
        self._under_way: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._looked_after: set[str] = set()
        """Rooms of which it is being looked whether pupils are alone: once at a time, should the store be slow."""
        if sharing is None:
            self._rooms = LoadedRooms(self._read_room, clock)
            self._home = Home(store, self._rooms, self._invitations, self._announce_alone, clock)
        else:
            self._rooms = LoadedRooms(sharing.bring, clock, sharing.forgotten)
            self._home = Home(
                store, self._rooms, self._invitations, sharing.announce, clock, sharing.require_home, sharing.is_there
            )
            sharing.wire(self._rooms, self._home, self._tell_listeners)

    def add_listener(self, listener: Callable[[RoomChange], None]) -> None:
        """Called in order, after each change, without an await between: it must not block."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Before anything else."""
        if self._sharing is not None:
            await self._sharing.start()
        self._watching = asyncio.get_running_loop().create_task(self._watch_on())

    async def leave(self) -> None:
        """Before the end: rooms are handed over to other instances, if there are any."""
        if self._sharing is not None:
            await self._sharing.leave()

    async def stop(self) -> None:
        """What is under way is finished; then nothing is held any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._under_way:
            _done, unfinished = await asyncio.wait(self._under_way, timeout=STOP_TIMEOUT_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        if self._sharing is not None:
            await self._sharing.stop()
        await self._rooms.stop()

    # --- from memory, at once ---------------------------------------------------------------

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    def participant_counts(self) -> dict[Role, int]:
        """Who is connected to this instance, in all rooms, by role: for the metrics."""
        counts = dict.fromkeys(Role, 0)
        here = HERE if self._sharing is None else self._sharing.instance_id
        for room in self._rooms:
            for participant_id in room.connections:
                participant = room.state.participants.get(participant_id)
                if participant is not None and room.connections.is_of(participant_id, here):
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

    def is_silenced(self, room_id: str, participant_id: str) -> bool:
        """Whether nothing of what this participant publishes may reach anybody now."""
        room = self._rooms.get(room_id)
        return room is not None and is_silenced(room.state, participant_id)

    def frozen_count(self) -> int:
        """Rooms that this instance decides for and in which pupils wait for an adult: for the metrics."""
        return sum(room.state.watch.is_frozen and len(room.connections) > 0 for room in self._own_rooms())

    def kind_of(self, room_id: str) -> RoomKind | None:
        """None for a room that is not in memory."""
        room = self._rooms.get(room_id)
        return room.state.kind if room is not None else None

    def forget_idle(self) -> int:
        """Let go of rooms that nobody was connected to for a while; how many went. Call it now and then."""
        return self._rooms.forget_idle()

    # --- rooms ------------------------------------------------------------------------------

    async def create_room(
        self, name: str, kind: RoomKind, host_name: str, request_id: str | None = None
    ) -> tuple[RoomState, Participant]:
        """A room and its first host; of a request that comes again those of before. Raises: InvalidName, Unavailable,
        and, for a host who was put out meanwhile, Removed."""
        if request_id is None:
            return await self._create_room(name, kind, host_name, self._new_id(), self._new_id())
        asked = (kind.value, clean_name(name), clean_name(host_name))
        room_id, host_id = (id_made_by(request_id, "room", *asked), id_made_by(request_id, "host", *asked))
        while True:
            with suppress(ValueError):
                return await self._create_room(name, kind, host_name, room_id, host_id)
            before = await self.get_state(room_id)
            if self._clock() - before.created_at <= REPEAT_S and host_id in before.participants:
                return before, as_asked_before(before.participants[host_id])
            room_id, host_id = next_id(room_id), next_id(host_id)

    async def _create_room(
        self, name: str, kind: RoomKind, host_name: str, room_id: str, host_id: str
    ) -> tuple[RoomState, Participant]:
        """Raises: ValueError when there is such a room; InvalidName, Unavailable."""
        now = self._clock()
        state = RoomState(
            id=room_id,
            name=clean_name(name),
            kind=kind,
            created_at=now,
            settings=default_settings(kind),
            last_active_at=now,
        )
        ask = AskToJoin(host_id, host_name, Role.HOST, label="", invitation_id=None, lobby=False)
        for event in decide(state, ask, None, now):
            state = apply(state, event, now)
        await kept(self._store.create_room(state))
        if self._sharing is None:
            self._rooms.add(LoadedRoom(state, kept_seq=state.seq, idle_since=now))
        else:
            await self._sharing.begin(state.id)
        return state, state.participants[host_id]

    async def get_state(self, room_id: str) -> RoomState:
        """Raises: NotFound, Unavailable."""
        return (await self._rooms.load(room_id)).state

    async def execute(self, room_id: str, actor_id: str, command: Command) -> RoomState:
        """Decide, keep, announce; the state then. Raises: RoomError, and then nothing changed."""
        if self._sharing is None:
            return await self._finish(self._home.execute(room_id, actor_id, command))
        await self._finish(self._sharing.perform(room_id, actor_id, command))
        return await self.get_state(room_id)

    async def wait_gone(self, room_id: str, participant_ids: Sequence[str], timeout_s: float) -> bool:
        """Of participants who are out: whether all that they had open is closed, on every instance; False when that
        is not known after the time (here; a few seconds more for other instances)."""
        if self._sharing is not None:
            return await self._finish(self._sharing.confirm_gone(room_id, participant_ids))
        closed = (self._closed(room_id, each, timeout_s) for each in participant_ids)
        return all(await asyncio.gather(*closed))

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
        order = AddInvitation(role, label, expires_in_s, uses, lobby)
        if self._sharing is None:
            return await self._home.add_invitation(room_id, actor_id, order)
        made = await self._finish(self._sharing.perform(room_id, actor_id, order))
        assert isinstance(made, Invitation)
        return made

    async def list_invitations(self, room_id: str, actor_id: str) -> Sequence[Invitation]:
        """The oldest first, revoked and expired ones too. Raises: RoomError."""
        require((await self._rooms.load(room_id)).state, actor_id, Permission.INVITE)
        return await kept(self._store.list_invitations(room_id))

    async def revoke_invitation(self, room_id: str, actor_id: str, invitation_id: str) -> None:
        """Whoever came with it is out at once, inside or waiting. Asked again after a failure of the
        store, it finishes what was begun. Raises: RoomError."""
        if self._sharing is None:
            await self._finish(self._home.revoke_invitation(room_id, actor_id, invitation_id))
        else:
            await self._finish(self._sharing.perform(room_id, actor_id, RevokeInvitation(invitation_id)))

    # --- joining ----------------------------------------------------------------------------

    async def join(
        self,
        *,
        name: str,
        invitation_id: str | None = None,
        code: str | None = None,
        resume: ResumeClaim | None = None,
        request_id: str | None = None,
    ) -> tuple[RoomState, Participant]:
        """A new participant of an invitation, or, with a claim that is one of its room, the one of
        before: that takes no use of it, nor does a request that comes again (`rooms.repeats`). Raises: RoomError."""
        return await self._finish(self._join(clean_name(name), invitation_id, code, resume, request_id))

    async def _join(
        self,
        name: str,
        invitation_id: str | None,
        code: str | None,
        resume: ResumeClaim | None,
        request_id: str | None,
    ) -> tuple[RoomState, Participant]:
        found = await self._invitations.find(invitation_id, code)
        invitation = check_usable(found, self._clock(), needs_use=False)
        order = Enter(
            participant_id=id_made_by(request_id, "participant", invitation.id, name) if request_id else self._new_id(),
            name=name,
            invitation=invitation,
            by_code=invitation_id is None,
            returning_id=resume.participant_id if resume and resume.room_id == invitation.room_id else None,
        )
        if self._sharing is None:
            return await self._home.enter(invitation.room_id, order)
        entered = await self._sharing.perform(invitation.room_id, None, order)
        state = await self.get_state(invitation.room_id)
        if not isinstance(entered, Entered) or entered.participant_id not in state.participants:
            raise Unavailable  # it is, but the room's home went away before this instance heard it
        return state, state.participants[entered.participant_id]

    # --- connections ------------------------------------------------------------------------

    async def connect(
        self, room_id: str, participant_id: str, connection_id: str, *, is_editor: bool = False
    ) -> RoomState:
        """One more connection of a participant, waiting or inside; who left comes back by it. `is_editor`: it shows a
        document, and nothing of the room.

        Presence waits for no store. Call `disconnect` when it closes, unless this raised.
        Raises: RoomError."""
        home = self._home if self._sharing is None else self._sharing
        try:
            return await self._finish(home.connect(room_id, participant_id, connection_id, is_editor=is_editor))
        except asyncio.CancelledError:
            # It is finished nevertheless, and nobody will tell of its end.
            self._begin(home.disconnect(room_id, participant_id, connection_id))
            raise

    async def disconnect(
        self, room_id: str, participant_id: str, connection_id: str, silent_for_s: float = 0.0
    ) -> None:
        """One connection less, over which nothing had been heard for so long; at a participant's last one the others
        see it. Does nothing when unknown."""
        home = self._home if self._sharing is None else self._sharing
        await self._finish(home.disconnect(room_id, participant_id, connection_id, silent_for_s))

    # --- chat -------------------------------------------------------------------------------

    async def send_chat(self, room_id: str, actor_id: str, text: str, client_id: str | None = None) -> ChatLine:
        """The line, which is the one of before when `client_id` was sent already. Raises: RoomError."""
        order = SendChat(self._new_id(), text, client_id)
        if self._sharing is None:
            return await self._finish(self._home.send_chat(room_id, actor_id, order))
        line = await self._finish(self._sharing.perform(room_id, actor_id, order))
        assert isinstance(line, ChatLine)
        return line

    async def chat_history(self, room_id: str, actor_id: str) -> Sequence[ChatLine]:
        """The newest lines, oldest first; nothing for whoever may not see what happens. Raises: RoomError."""
        room = await self._rooms.load(room_id)
        return room.chat.lines() if has_permission(room.state, actor_id, Permission.SEE_ROSTER) else ()

    # --- inside -----------------------------------------------------------------------------

    async def _watch_on(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for room in self._own_rooms():
                if room.state.id not in self._looked_after and self._home.is_watch_due(room):
                    self._begin(self._look_after(room.state.id))

    async def _look_after(self, room_id: str) -> None:
        self._looked_after.add(room_id)
        try:
            await self._home.keep_watch(room_id)
        finally:
            self._looked_after.discard(room_id)

    def _own_rooms(self) -> list[LoadedRoom]:
        """Those that this instance decides for."""
        sharing = self._sharing
        return [room for room in self._rooms if sharing is None or sharing.is_home(room.state.id)]

    def _announce_alone(self, _room: LoadedRoom, change: RoomChange) -> None:
        self._tell_listeners(change)

    def _tell_listeners(self, change: RoomChange) -> None:
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
            nobody_connected(state, self._clock()),
            kept_seq=state.seq,
            idle_since=self._clock(),
            chat=ChatHistory(lines),
        )

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; it goes on when the caller is cancelled."""
        return await asyncio.shield(self._begin(work))
