"""Rooms that several instances serve: one is a room's home, the others keep a replica of it.

The home has the room's lease (`rooms.ports.RoomLeases`) and is the only one that decides. The others send it
their people's orders (`rooms.orders`), and it tells them in order what happened; whoever misses something,
which any message on the bus may be, sends its roll of connections and gets the room as it stands (`Greet`). A
home that dies, or is cut off, cannot renew its lease; whoever has people in the room, or an order for it, then
takes it over, from the store, which has every change before anyone heard of it. Whatever is decided late under
an older fence is refused by the store and by every replica.

What is known of a home's memory only, who is connected and a consultation's chat, the next home has from its
replica, or from the home before when that one hands the room over.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Protocol

from rooms.chat import CHAT_HISTORY, ChatHistory
from rooms.commands import Connect
from rooms.difference import Step, steps_between
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.home import Home, RoomChange
from rooms.instance_messages import (
    Answer,
    Aside,
    Ask,
    Beat,
    Codec,
    HandOver,
    Message,
    Moved,
    NoReader,
    Told,
)
from rooms.keeping import NotHome, kept
from rooms.link import InstanceLink, Peers
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.models import ChatLine, ParticipantStatus, RoomKind, RoomState
from rooms.orders import (
    Call,
    Called,
    CloseConnection,
    Confirmed,
    ConfirmGone,
    Greet,
    Mark,
    OpenConnection,
    Order,
    Question,
    Reply,
    Roomful,
    Snapshot,
)
from rooms.ports import Bus, Lease, LeaseHeld, LeasesUnavailable, RoomLeases, RoomStore, StaleFence, StoreUnavailable
from rooms.presence import nobody_connected
from rooms.remembered import RememberedAnswers
from rooms.room import apply
from rooms.tenure import Tenure

logger = logging.getLogger("passerelle.rooms")

BEAT_S = 2.0
RENEW_S = 2.0
"""Three times within a lease."""
RETRY_S = 0.3
"""Between two tries at what may work any moment: leases that are away, a home that just died."""
LEASES_TIMEOUT_S = 1.5
ASK_S = 1.5
"""How long one instance is asked before it is looked up whether it is still the home."""
ORDER_DEADLINE_S = 9.0
"""How long an order looks for a home that carries it out: a lease must have lapsed, and the next home have read the
room. After that it fails, and may be given again."""
NO_LEASES_S = 3.0
"""When nobody can say who decides, orders fail after this."""
SETTLE_S = 6.0
"""A home that took over waits so long for the instances to say who is connected there."""
CONFIRM_S = 2.5
"""How long an instance may take to close a participant's connections and say so."""
BEATS_A_ROLL = 15
"""A replica sends its roll at each so many heartbeats, whatever was heard: half a minute."""
SEQ_AFTER_TAKING_OVER = 1_000_000
"""Events that nobody kept, of presence, may have been numbered and told beyond what the next home knows of; it numbers
on from beyond any of them, so that no number is given twice and a kept state is newer than any before it."""


_PRESENT = (ParticipantStatus.ADMITTED, ParticipantStatus.WAITING)


class Companion(Protocol):
    """What accompanies rooms without the domain knowing it: media. Nothing here blocks or raises, but `call`."""

    async def call(self, room_id: str, actor_id: str | None, instance_id: str, call: Call) -> bytes:
        """At the home, for an instance. Raises: RoomError."""

    def aside(self, message: Aside) -> None:
        """What the home's companion said to this one's."""

    def extra(self, room_id: str) -> bytes:
        """At the home: what a replica needs to begin with."""

    def take_extra(self, room_id: str, extra: bytes) -> None: ...

    def moved(self, room_id: str, home: str) -> None:
        """The room has this home from now on; this instance may be it, the one before, or neither."""

    def gone(self, instance_id: str) -> None:
        """The instance, and all its connections."""

    def forgotten(self, room_id: str) -> None:
        """The room left memory."""


class Sharing:
    """This instance's share in rooms that others serve too. Safe to call from any task of one loop."""

    def __init__(
        self,
        store: RoomStore,
        bus: Bus,
        leases: RoomLeases,
        codec: Codec,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        closed: Callable[[str, str, float], Awaitable[bool]],
        instance_id: str | None = None,
    ) -> None:
        """`monotonic` goes on while the process is stopped. `closed`: waits until a participant of a room has no
        connection here any more, for so many seconds; whether so."""
        self.instance_id = instance_id or secrets.token_urlsafe(9)
        self.companion: Companion | None = None
        self._store = store
        self._leases = leases
        self._clock = clock
        self._now = monotonic
        self._closed = closed
        self._link = InstanceLink(bus, codec, self.instance_id, self._receive, self._bus_gap)
        self._peers = Peers()
        self._answers = RememberedAnswers()
        self._rooms: LoadedRooms
        self._home: Home
        self._tell_listeners: Callable[[RoomChange], None]
        self._seeking: dict[str, asyncio.Task[bool]] = {}
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._handed: dict[str, HandOver] = {}
        self._number = 0
        self._beats = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._leases_away_at = inf
        """Since when nobody can say who decides; infinite while somebody can."""
        self.is_leaving = False
        self.takeovers = 0
        """Rooms that this instance became the home of though somebody knew another one."""
        self.gaps = 0
        """Times that a replica had missed something and asked."""

    def wire(self, rooms: LoadedRooms, home: Home, tell_listeners: Callable[[RoomChange], None]) -> None:
        self._rooms, self._home, self._tell_listeners = rooms, home, tell_listeners

    async def start(self) -> None:
        await self._link.start()
        self._beat()
        self._tasks = [asyncio.create_task(self._beat_on()), asyncio.create_task(self._renew_on())]

    async def stop(self) -> None:
        """Rooms that are still this instance's are anybody's; then nothing is said any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for room in tuple(self._rooms):
            if room.tenure is not None:
                await self._release(room.tenure.lease)
        if self._releasing:
            await asyncio.wait(tuple(self._releasing.values()), timeout=LEASES_TIMEOUT_S)
        for seeking in tuple(self._seeking.values()):
            seeking.cancel()
        self._link.tell_everyone(Beat(self.instance_id, True, True, ()))
        await self._answers.stop()
        await self._link.stop()

    # --- who decides ------------------------------------------------------------------------

    def require_home(self, room: LoadedRoom) -> None:
        """Raises: NotHome, when somebody else may be deciding for the room by now."""
        if room.tenure is None or not room.tenure.may_decide(self._now()):
            raise NotHome

    def announce(self, room: LoadedRoom, change: RoomChange) -> None:
        """At the home, what it decided: to those here, and to the other instances."""
        if room.readers:
            before = Mark(room.fence, change.before.seq, room.chats)
            told = Told(
                change.room_id, self.instance_id, before, change.after.last_active_at, change.events, change.chat
            )
            self._link.tell_all_of(room.readers, told)
        if change.chat is not None:
            room.chats += 1
        self._tell_listeners(change)

    def tell_instance(self, instance_id: str, room_id: str, name: str, body: bytes) -> None:
        """The companion's word to another instance's."""
        self._link.tell(instance_id, Aside(room_id, name, body))

    def tell_readers(self, room_id: str, name: str, body: bytes) -> None:
        """Likewise, at the home, to each instance with people in the room."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._link.tell_all_of(room.readers, Aside(room_id, name, body))

    def home_of(self, room_id: str) -> str | None:
        """The instance that decides, as far as is known; None for a room that is not in memory."""
        room = self._rooms.get(room_id)
        return None if room is None else room.home

    def is_home(self, room_id: str) -> bool:
        room = self._rooms.get(room_id)
        return room is not None and room.tenure is not None

    # --- rooms come into memory -------------------------------------------------------------

    async def bring(self, room_id: str) -> LoadedRoom:
        """As its home when nobody is, else a replica. Raises: NotFound, Unavailable."""
        if (releasing := self._releasing.get(room_id)) is not None:
            await asyncio.wait([releasing])
        ends_at, floor = self._now() + ORDER_DEADLINE_S, 0
        while self._now() < ends_at:
            asked_at = self._now()
            held = await self._acquire(room_id, floor)
            if isinstance(held, Lease):
                try:
                    return await self._read(held, asked_at)
                except StaleFence as stale:
                    floor = stale.fence
                    continue
                except BaseException:
                    await self._release(held)
                    raise
            if held is not None:
                answer = await self._greet(room_id, held.instance_id, {})
                if answer is not None and isinstance(answer.reply, Snapshot):
                    return self._replica(answer.reply, held.instance_id)
            await asyncio.sleep(RETRY_S)
        raise Unavailable

    async def begin(self, room_id: str) -> None:
        """Take a room that was made just now: nobody is connected to it anywhere."""
        with suppress(RoomError):  # then whoever comes first takes it
            room = await self._rooms.load(room_id)
            if room.tenure is not None:
                room.settles_at = None

    async def _acquire(self, room_id: str, floor: int) -> Lease | LeaseHeld | None:
        """None: nobody can say now. Raises: Unavailable when this instance takes no room any more."""
        try:
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                held = await self._leases.acquire(room_id, self.instance_id, floor)
        except (LeasesUnavailable, TimeoutError):
            self._leases_away_at = min(self._leases_away_at, self._now())
            return None
        self._leases_away_at = inf
        if isinstance(held, Lease) and self.is_leaving:
            await self._release(held)
            raise Unavailable
        return held

    async def _read(self, lease: Lease, asked_at: float) -> LoadedRoom:
        """Raises: NotFound, Unavailable, StaleFence."""
        try:
            state = await self._store.claim_room(lease.room_id, lease.fence)
        except StoreUnavailable as error:
            raise Unavailable from error
        if state is None:
            raise NotFound
        lines = await self._stored_chat(state)
        kept_seq, state = state.seq, nobody_connected(state)
        handed = self._handed.pop(lease.room_id, None)
        if handed is not None:
            state, lines = (handed.state if handed.state.seq >= kept_seq else state), handed.chat
        room = LoadedRoom(replace(state, seq=state.seq + SEQ_AFTER_TAKING_OVER), kept_seq, self._clock())
        room.chat = ChatHistory(lines)
        room.home, room.fence, room.tenure = self.instance_id, lease.fence, Tenure.of(lease, asked_at)
        room.settles_at = self._now() + SETTLE_S
        return room

    async def _stored_chat(self, state: RoomState) -> Sequence[ChatLine]:
        if state.kind is RoomKind.CONSULTATION:
            return ()
        return await kept(self._store.load_chat(state.id, CHAT_HISTORY))

    def _replica(self, snapshot: Snapshot, home: str) -> LoadedRoom:
        room = LoadedRoom(snapshot.state, snapshot.state.seq, self._clock(), ChatHistory(snapshot.chat))
        room.home, room.fence, room.chats = home, snapshot.fence, snapshot.chats
        if self.companion is not None:
            self.companion.take_extra(snapshot.state.id, snapshot.extra)
        return room

    def forgotten(self, room: LoadedRoom) -> None:
        """It left memory."""
        room_id = room.state.id
        if self.companion is not None:
            self.companion.forgotten(room_id)
        if room.tenure is None:
            if room.home:
                self._link.tell(room.home, NoReader(self.instance_id, room_id))
            return
        task = asyncio.get_running_loop().create_task(self._release(room.tenure.lease))
        self._releasing[room_id] = task
        task.add_done_callback(lambda _task: self._releasing.pop(room_id, None))

    async def _release(self, lease: Lease) -> None:
        with suppress(LeasesUnavailable, TimeoutError):  # then it lapses
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                await self._leases.release(lease)

    # --- orders -----------------------------------------------------------------------------

    async def perform(self, room_id: str, actor_id: str | None, question: Question) -> Reply:
        """What the room's home answers; what it announced before that is seen here by then.

        Raises: RoomError; Unavailable when no home carried it out in time: it may have, or may yet."""
        ask = Ask(secrets.token_urlsafe(9), self.instance_id, room_id, actor_id, question)
        ends_at = self._now() + ORDER_DEADLINE_S
        while True:
            room = await self._rooms.load(room_id)
            with suppress(NotHome):
                if room.tenure is not None:
                    return await self._carry_out(room, ask)
                if room.home:
                    answer = await self._link.ask(room.home, ask, min(ASK_S, ends_at - self._now()))
                    if answer is not None and not answer.is_not_home:
                        return await self._as_answered(room, answer)
            if not await self._seek(room):
                if self._now() >= min(ends_at, self._leases_away_at + NO_LEASES_S):
                    raise Unavailable
                await asyncio.sleep(RETRY_S)
            elif self._now() >= ends_at:
                raise Unavailable

    async def _as_answered(self, room: LoadedRoom, answer: Answer) -> Reply:
        if self._is_behind(room, answer.mark):
            await self._seek(room)
        if answer.error is not None:
            raise answer.error
        return answer.reply

    async def _carry_out(self, room: LoadedRoom, ask: Ask) -> Reply:
        """Here, if this is the home. Raises: RoomError, NotHome."""
        self.require_home(room)
        tenure = room.tenure
        try:
            return await self._carry_out_question(ask)
        except NotHome:
            if tenure is not None and room.tenure is tenure and tenure.may_decide(self._now()):
                self._step_down(room)  # the store knows of a newer home
            raise

    async def _carry_out_question(self, ask: Ask) -> Reply:
        match ask.question:
            case Greet():
                raise NotHome  # only a replica greets
            case ConfirmGone():
                return Confirmed(await self._confirm_everywhere(ask.room_id, ask.question))
            case Call():
                if self.companion is None:
                    raise Unavailable
                return Called(await self.companion.call(ask.room_id, ask.actor_id, ask.sender, ask.question))
            case _:
                order: Order = ask.question
                return await self._home.carry_out(ask.room_id, ask.actor_id, order, ask.sender)

    async def connect(self, room_id: str, participant_id: str, connection_id: str) -> RoomState:
        room = await self._rooms.load(room_id)
        self._number += 1
        # Before the home is told, though that may be here now: a roll that is sent meanwhile has it.
        room.connections.add(participant_id, connection_id, self.instance_id, self._number)
        try:
            await self.perform(room_id, participant_id, OpenConnection(connection_id, self._number))
            room = await self._rooms.load(room_id)
        except BaseException:
            room.connections.discard(participant_id, connection_id)
            raise
        room.connections.add(participant_id, connection_id, self.instance_id, self._number)
        return room.state

    async def disconnect(self, room_id: str, participant_id: str, connection_id: str) -> None:
        room = self._rooms.get(room_id)
        if room is None:
            return
        if room.tenure is None:
            room.connections.discard(participant_id, connection_id)
            room.idle_since = self._clock()
        try:
            await self.perform(room_id, participant_id, CloseConnection(connection_id))
        except RoomError:
            if (room := self._rooms.get(room_id)) is not None:
                room.connections.discard(participant_id, connection_id)
                room.is_roll_due = True

    # --- removals ---------------------------------------------------------------------------

    async def confirm_gone(self, room_id: str, participant_ids: Sequence[str]) -> bool:
        """Whether every connection of these participants, over every instance, is closed; asked after they are out."""
        room = self._rooms.get(room_id)
        if room is None or not participant_ids:
            return True
        try:
            reply = await self.perform(room_id, None, ConfirmGone(participant_ids, room.fence, room.state.seq))
        except RoomError:
            return False
        return isinstance(reply, Confirmed) and reply.everywhere

    async def _confirm_everywhere(self, room_id: str, question: ConfirmGone) -> bool:
        """At the home: here, and at each instance that may have connections to the room."""
        room = self._rooms.get(room_id)
        if room is None:
            raise NotHome
        now = self._now()
        others = (room.readers | set(self._peers.alive(now))) - {self.instance_id}
        mine = replace(question, fence=room.fence, seq=room.state.seq, by_home=True)
        is_sure = room.settles_at is None and all(room.connections.is_sure(each, now) for each in mine.participant_ids)
        answers = await asyncio.gather(
            self._confirm_here(room_id, mine), *(self._ask_to_confirm(each, room_id, mine) for each in others)
        )
        return is_sure and all(answers)

    async def _ask_to_confirm(self, instance_id: str, room_id: str, question: ConfirmGone) -> bool:
        ask = Ask(secrets.token_urlsafe(9), self.instance_id, room_id, None, question)
        answer = await self._link.ask(instance_id, ask, CONFIRM_S)
        return answer is not None and answer.reply == Confirmed(True)

    async def _confirm_here(self, room_id: str, question: ConfirmGone) -> bool:
        room = self._rooms.get(room_id)
        if room is not None and self._is_behind(room, Mark(question.fence, question.seq)):
            await self._seek(room)
            if self._is_behind(room, Mark(question.fence, question.seq)):
                return False
        closed = (self._closed(room_id, each, CONFIRM_S / 2) for each in question.participant_ids)
        return all(await asyncio.gather(*closed))

    # --- the replica --------------------------------------------------------------------------

    def _is_behind(self, room: LoadedRoom, mark: Mark) -> bool:
        return (room.fence, room.state.seq) < (mark.fence, mark.seq) or (
            room.fence == mark.fence and room.chats < mark.chats
        )

    def _follow(self, told: Told) -> None:
        room = self._rooms.get(told.room_id)
        if room is None:
            self._link.tell(told.sender, NoReader(self.instance_id, told.room_id))
            return
        if told.mark.fence < room.fence or (told.mark.fence == room.fence and room.tenure is not None):
            return
        here = Mark(room.fence, room.state.seq, room.chats)
        if told.mark != here:
            if told.mark.fence > here.fence or told.mark.seq > here.seq or told.mark.chats > here.chats:
                self._missed(room)
            return
        steps: list[Step] = []
        before = state = room.state
        for event in told.events:
            after = apply(state, event, told.at)
            steps.append((state, after, event))
            state = after
        room.state = state
        if told.chat is not None:
            room.chat.add(told.chat)
            room.chats += 1
        self._tell_listeners(RoomChange(told.room_id, before, state, tuple(steps), told.chat))

    def _missed(self, room: LoadedRoom) -> None:
        self.gaps += 1
        self._link.spawn(self._seek_on(room))

    async def _seek_on(self, room: LoadedRoom) -> None:
        await self._seek(room)

    async def _greet(self, room_id: str, home: str, roll: dict[str, list[str]]) -> Answer | None:
        self._number += 1
        greeting = Greet(self._number, roll)
        ask = Ask(secrets.token_urlsafe(9), self.instance_id, room_id, None, greeting)
        answer = await self._link.ask(home, ask, ASK_S)
        return None if answer is None or answer.is_not_home else answer

    def _install(self, room: LoadedRoom, home: str, snapshot: Snapshot) -> None:
        mark = Mark(snapshot.fence, snapshot.state.seq, snapshot.chats)
        if snapshot.fence < room.fence or (snapshot.fence == room.fence and not self._is_behind(room, mark)):
            return
        has_moved = snapshot.fence > room.fence
        if has_moved:
            self._step_down(room)
        room.home, room.fence, room.chats = home, snapshot.fence, snapshot.chats
        self._become(room, snapshot.state)
        for line in snapshot.chat:
            if not room.chat.has(line.id):
                room.chat.add(line)
                self._tell_listeners(RoomChange(room.state.id, room.state, room.state, chat=line))
        if self.companion is not None:
            if has_moved:
                self.companion.moved(room.state.id, home)
            self.companion.take_extra(room.state.id, snapshot.extra)

    def _become(self, room: LoadedRoom, state: RoomState) -> None:
        """The room is so; those here hear what must have happened."""
        before, room.state = room.state, state
        if replace(before, seq=state.seq, last_active_at=state.last_active_at) != state:
            self._tell_listeners(RoomChange(state.id, before, state, tuple(steps_between(before, state))))

    def _step_down(self, room: LoadedRoom) -> None:
        room.tenure, room.settles_at, room.home = None, None, ""
        room.readers.clear()
        room.connections.keep_only(self.instance_id)

    # --- the home changes -----------------------------------------------------------------------

    async def _seek(self, room: LoadedRoom) -> bool:
        """Find the room's home, or become it; False when that did not work now. One at a time for each room."""
        room_id = room.state.id
        task = self._seeking.get(room_id)
        if task is None:
            task = self._seeking[room_id] = asyncio.get_running_loop().create_task(self._look_for_home(room))
            task.add_done_callback(lambda _task: self._seeking.pop(room_id, None))
        await asyncio.wait([task])
        return not task.cancelled() and task.exception() is None and task.result()

    async def _look_for_home(self, room: LoadedRoom) -> bool:
        room_id = room.state.id
        asked_at = self._now()
        if room.tenure is not None and room.tenure.may_decide(asked_at):
            return True
        try:
            held = await self._acquire(room_id, room.fence)
        except Unavailable:
            return False
        if isinstance(held, Lease):
            return await self._take_over(room, held, asked_at)
        if held is None:
            return False
        if room.tenure is not None:
            self._step_down(room)
        room.home = held.instance_id
        answer = await self._greet(room_id, held.instance_id, room.connections.roll_of(self.instance_id))
        if answer is None or not isinstance(answer.reply, Snapshot):
            return False
        room.is_roll_due = False
        self._install(room, held.instance_id, answer.reply)
        return True

    async def _take_over(self, room: LoadedRoom, lease: Lease, asked_at: float) -> bool:
        room.turns_wanted += 1
        try:
            async with room.turn:
                if lease.fence <= room.fence:
                    return False
                room.tenure = None
                return await self._claim(room, lease, asked_at)
        finally:
            room.turns_wanted -= 1

    async def _claim(self, room: LoadedRoom, lease: Lease, asked_at: float) -> bool:
        """Within the room's turn."""
        try:
            stored = await self._store.claim_room(lease.room_id, lease.fence)
            if stored is None:
                await self._release(lease)
                self._rooms.forget(lease.room_id)
                return False
            lines = await self._stored_chat(stored)
        except StaleFence as stale:
            # The leases lost their memory: the store knows more.
            room.fence = max(room.fence, stale.fence)
            return False
        except (StoreUnavailable, Unavailable):
            await self._release(lease)
            return False
        handed = self._handed.pop(lease.room_id, None)
        known = [room.state, stored] if handed is None else [handed.state, room.state, stored]
        newest = max(known, key=lambda each: each.seq)
        former = room.home
        self._step_down(room)
        room.home, room.fence, room.chats = self.instance_id, lease.fence, 0
        room.kept_seq, room.tenure = stored.seq, Tenure.of(lease, asked_at)
        room.settles_at = self._now() + SETTLE_S
        self._doubt(room, newest, former)
        self._become(room, replace(newest, seq=newest.seq + SEQ_AFTER_TAKING_OVER))
        for line in (*lines, *(handed.chat if handed is not None else ())):
            if not room.chat.has(line.id):
                room.chat.add(line)
                self._tell_listeners(RoomChange(room.state.id, room.state, room.state, chat=line))
        self.takeovers += 1
        if self.companion is not None:
            self.companion.moved(lease.room_id, self.instance_id)
        self._link.tell_everyone(Moved(lease.room_id, self.instance_id, lease.fence))
        with suppress(NotHome):
            await self._show_who_is_here(room)
        return True

    def _doubt(self, room: LoadedRoom, state: RoomState, former: str) -> None:
        """Whoever was connected may be so over the home before, of which nothing is known until it is heard."""
        if former and former != self.instance_id:
            for person in state.participants.values():
                if person.connected and person.id not in room.connections:
                    room.connections.doubt(person.id, former, self._now())

    async def leave(self) -> None:
        """Every room that is this instance's is given to another one, which goes on with it; where there is none it
        stays until the end. No room is taken any more."""
        self.is_leaving = True
        self._beat()
        await asyncio.gather(*(self._hand_over(room) for room in tuple(self._rooms) if room.tenure is not None))

    async def _hand_over(self, room: LoadedRoom) -> None:
        heirs = self._peers.heirs(self._now())
        if not heirs:
            return
        heir = max(heirs, key=room.connections.count_of)
        room.turns_wanted += 1
        try:
            async with room.turn:
                if room.tenure is None:
                    return
                lease = room.tenure.lease
                with suppress(LeasesUnavailable, TimeoutError):
                    async with asyncio.timeout(LEASES_TIMEOUT_S):
                        passed = await self._leases.pass_on(lease, heir)
                    self._step_down(room)
                    if passed is not None:
                        room.home = heir
                        chat = room.chat.lines()
                        self._link.tell(heir, HandOver(self.instance_id, lease.room_id, passed.fence, room.state, chat))
        finally:
            room.turns_wanted -= 1

    async def _inherit(self, handed: HandOver) -> None:
        self._handed[handed.room_id] = handed
        room = self._rooms.get(handed.room_id)
        try:
            if room is None:
                await self._rooms.load(handed.room_id)
            else:
                await self._seek(room)
        except RoomError as error:
            logger.warning("a room that was handed over could not be taken: %s", error.code)
        finally:
            self._handed.pop(handed.room_id, None)

    # --- what is heard --------------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        match message:
            case Told():
                self._follow(message)
            case Ask():
                self._peers.note(message.sender, self._now())
                if isinstance(message.question, Greet):
                    self._receive_greeting(message, message.question)
                else:
                    self._link.spawn(self._answer(message))
            case Beat():
                self._hear_beat(message)
            case Moved(room_id, home, fence):
                self._hear_of_home(room_id, home, Mark(fence))
            case HandOver():
                self._link.spawn(self._inherit(message))
            case NoReader(sender, room_id):
                if (room := self._rooms.get(room_id)) is not None:
                    room.readers.discard(sender)
            case Aside():
                if self.companion is not None:
                    self.companion.aside(message)

    def _bus_gap(self) -> None:
        for room in self._rooms:
            if room.tenure is None:
                self._missed(room)

    async def _answer(self, ask: Ask) -> None:
        async def work() -> Answer:
            reply: Reply = None
            error, is_not_home = None, False
            try:
                if isinstance(ask.question, ConfirmGone) and ask.question.by_home:
                    reply = Confirmed(await self._confirm_here(ask.room_id, ask.question))
                else:
                    room = self._rooms.get(ask.room_id)
                    if room is None:
                        raise NotHome
                    reply = await self._carry_out(room, ask)
            except RoomError as refused:
                error = refused
            except NotHome:
                is_not_home = True
            room = self._rooms.get(ask.room_id)
            mark = Mark() if room is None else Mark(room.fence, room.state.seq, room.chats)
            return Answer(ask.ask_id, mark, reply, error, is_not_home)

        self._link.tell(ask.sender, await self._answers.once(ask.ask_id, work))

    def _receive_greeting(self, ask: Ask, greeting: Greet) -> None:
        room = self._rooms.get(ask.room_id)
        try:
            if room is None:
                raise NotHome
            self.require_home(room)
        except NotHome:
            self._link.tell(ask.sender, Answer(ask.ask_id, Mark(), is_not_home=True))
            return
        room.readers.add(ask.sender)
        extra = self.companion.extra(ask.room_id) if self.companion is not None else b""
        snapshot = Snapshot(room.fence, room.state, room.chat.lines(), room.chats, extra)
        self._link.tell(ask.sender, Answer(ask.ask_id, Mark(room.fence, room.state.seq, room.chats), snapshot))
        self._link.spawn(self._follow_roll(ask.room_id, ask.sender, greeting))

    async def _follow_roll(self, room_id: str, sender: str, greeting: Greet) -> None:
        if self._rooms.get(room_id) is None:
            return
        with suppress(NotHome, RoomError):
            async with self._rooms.take_turn(room_id) as room:
                self.require_home(room)
                room.connections.follow_roll(sender, greeting.number, greeting.roll)
                await self._show_who_is_here(room)
                if room.settles_at is None:
                    await self._see_who_is_away(room)

    async def _show_who_is_here(self, room: LoadedRoom) -> None:
        """Within the room's turn: whoever is connected is shown so. Raises: NotHome."""
        for participant_id in tuple(room.connections):
            person = room.state.participants.get(participant_id)
            # Not who left: their connection is about to close, and connecting would bring them back.
            if person is not None and not person.connected and person.status in _PRESENT:
                with suppress(RoomError):  # removed meanwhile: that instance will hear it
                    await self._home.decide_and_keep(room, Connect(), participant_id)

    async def _see_who_is_away(self, room: LoadedRoom) -> None:
        """Within the room's turn: whoever is shown as connected is. Raises: NotHome."""
        for person in tuple(room.state.participants.values()):
            if person.connected and person.id not in room.connections:
                await self._home.see_away(room, person.id)

    def _hear_beat(self, beat: Beat) -> None:
        if beat.sender == self.instance_id:
            return
        self._peers.hear(beat, self._now())
        for roomful in beat.rooms:
            self._hear_of_home(roomful.room_id, beat.sender, roomful.mark)
        if beat.is_gone:
            self._without(beat.sender, is_lost=False)

    def _hear_of_home(self, room_id: str, home: str, mark: Mark) -> None:
        room = self._rooms.get(room_id)
        if room is None or home == self.instance_id or not self._is_behind(room, mark):
            return
        if mark.fence > room.fence:
            room.home = home
            if room.tenure is not None:
                self._step_down(room)
        self._missed(room)

    # --- from time to time ------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._beats += 1
            self._beat()
            for instance_id in self._peers.take_silent(self._now()):
                self._without(instance_id, is_lost=True)
            for room in tuple(self._rooms):
                self._tend(room)

    def _beat(self) -> None:
        rooms = [
            Roomful(room.state.id, Mark(room.fence, room.state.seq, room.chats))
            for room in self._rooms
            if room.tenure is not None and room.readers
        ]
        self._link.tell_everyone(Beat(self.instance_id, self.is_leaving, False, rooms))

    def _tend(self, room: LoadedRoom) -> None:
        if room.tenure is not None:
            if room.is_roll_due if room.settles_at is None else self._now() >= room.settles_at:
                self._link.spawn(self._settle(room))
        elif room.is_roll_due or self._beats % BEATS_A_ROLL == 0 or not self._peers.is_alive(room.home, self._now()):
            self._link.spawn(self._seek_on(room))

    async def _settle(self, room: LoadedRoom) -> None:
        with suppress(NotHome, RoomError):
            async with self._rooms.take_turn(room.state.id) as current:
                self.require_home(current)
                current.settles_at, current.is_roll_due = None, False
                await self._show_who_is_here(current)
                await self._see_who_is_away(current)

    def _without(self, instance_id: str, *, is_lost: bool) -> None:
        """The instance fell silent, or has gone."""
        if self.companion is not None:
            self.companion.gone(instance_id)
        for room in self._rooms:
            if room.tenure is not None:
                room.readers.discard(instance_id)
                connections = room.connections
                gone = connections.lose(instance_id, self._now()) if is_lost else connections.leave(instance_id)
                if gone and room.settles_at is None:
                    self._link.spawn(self._settle(room))

    async def _renew_on(self) -> None:
        worked = True
        while True:
            await asyncio.sleep(RENEW_S if worked else RETRY_S)
            worked = await self._renew()

    async def _renew(self) -> bool:
        held = [(room, room.tenure.lease) for room in self._rooms if room.tenure is not None]
        asked_at = self._now()
        try:
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                renewed = await self._leases.renew([lease for _room, lease in held])
        except (LeasesUnavailable, TimeoutError):
            return False
        for (room, lease), is_renewed in zip(held, renewed, strict=True):
            if room.tenure is None or room.tenure.lease != lease:
                continue
            if is_renewed:
                room.tenure.renew(asked_at)
            else:
                self._step_down(room)
                self._missed(room)
        return True
