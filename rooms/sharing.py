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

from rooms.confirmation import Confirmation
from rooms.errors import RoomError, Unavailable
from rooms.home import Home, RoomChange
from rooms.instance_messages import Answer, Aside, Ask, Beat, Codec, HandOver, Message, Moved, NoReader, Told
from rooms.keeping import NotHome
from rooms.link import InstanceLink
from rooms.loaded_rooms import LoadedRoom, LoadedRooms
from rooms.membership import Companion, Membership
from rooms.models import RoomState
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
from rooms.ports import Bus, RoomLeases, RoomStore
from rooms.remembered import RememberedAnswers
from rooms.replica import ASK_S, Replica, is_behind
from rooms.roll_call import RollCall
from rooms.succession import ORDER_DEADLINE_S, RETRY_S, Succession
from rooms.tenure import Tenure

logger = logging.getLogger("passerelle.rooms")

BEAT_S = 2.0
NO_LEASES_S = 3.0
"""When nobody can say who decides, orders fail after this."""
SEEN_S = 3.0
"""What was carried out elsewhere is waited for so long; a home that took the room says what there is within one."""
TICK_S = 0.001
BEATS_A_ROLL = 15
"""A replica sends its roll at each so many heartbeats, whatever was heard: half a minute."""


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
        instance_lost: Callable[[], None] = lambda: None,
        instance_id: str | None = None,
    ) -> None:
        """`monotonic` goes on while the process is stopped. `closed`: waits until a participant of a room has no
        connection here any more, for so many seconds; whether so. `instance_lost`: another instance fell silent."""
        us = self._us = Membership(instance_id or secrets.token_urlsafe(9), store, leases, clock, monotonic, closed)
        us.link = InstanceLink(bus, codec, us.instance_id, self._receive, self._bus_gap)
        self._roll_call = RollCall(us)
        self._replica = Replica(us, lambda room: self._succession.missed(room))
        self._succession = Succession(us, self._replica, self._roll_call)
        self._confirmation = Confirmation(us, self._succession)
        self._answers = RememberedAnswers()
        self._instance_lost = instance_lost
        self._beats = 0
        self._tasks: list[asyncio.Task[None]] = []

    def wire(self, rooms: LoadedRooms, home: Home, tell_listeners: Callable[[RoomChange], None]) -> None:
        self._us.rooms, self._us.home, self._us.tell_listeners = rooms, home, tell_listeners

    def accompany(self, companion: Companion) -> None:
        self._us.companion = companion

    @property
    def instance_id(self) -> str:
        return self._us.instance_id

    @property
    def lease_changes(self) -> dict[str, int]:
        """What became of leases (`Membership.lease_changes`), since the start; what is not in it did not happen."""
        return dict(self._us.lease_changes)

    @property
    def homes(self) -> int:
        """Rooms that this instance decides for."""
        return sum(room.tenure is not None for room in self._us.rooms)

    @property
    def gaps(self) -> int:
        """Times that something was missed of a room, and asked for, since the start."""
        return self._us.gaps

    async def start(self) -> None:
        await self._us.link.start()
        self._beat()
        self._tasks = [asyncio.create_task(self._beat_on()), asyncio.create_task(self._succession.renew_on())]

    async def leave(self) -> None:
        """Every room that is this instance's is given to another one, which goes on with it; where there is none it
        stays until the end. No room is taken any more."""
        self._us.is_leaving = True
        self._beat()
        await self._succession.leave()

    async def stop(self) -> None:
        """Rooms that are still this instance's are anybody's; then nothing is said any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._succession.stop()
        self._us.link.tell_everyone(Beat(self.instance_id, True, True, ()))
        await self._answers.stop()
        await self._us.link.stop()

    async def bring(self, room_id: str) -> LoadedRoom:
        """A room into memory. Raises: NotFound, Unavailable."""
        return await self._succession.bring(room_id)

    async def begin(self, room_id: str) -> None:
        """Take a room that was made just now."""
        await self._succession.begin(room_id)

    def require_home(self, room: LoadedRoom) -> None:
        """Raises: NotHome, when somebody else may be deciding for the room by now."""
        self._us.require_home(room)

    def is_there(self, instance_id: str) -> bool:
        """Whether it has neither gone nor fallen silent, as far as this one hears."""
        return instance_id == self.instance_id or self._us.peers.is_alive(instance_id, self._us.now())

    def announce(self, room: LoadedRoom, change: RoomChange) -> None:
        """At the home, what it decided: to those here, and to the other instances."""
        if room.readers:
            before = Mark(room.fence, change.before.seq, room.chats)
            told = Told(
                change.room_id, self._us.instance_id, before, change.after.last_active_at, change.events, change.chat
            )
            self._us.link.tell_all_of(room.readers, told)
        if change.chat is not None:
            room.chats += 1
        self._us.tell_listeners(change)

    def tell_instance(self, instance_id: str, room_id: str, name: str, body: bytes) -> None:
        """The companion's word to another instance's."""
        self._us.link.tell(instance_id, Aside(room_id, name, body))

    def tell_readers(self, room_id: str, name: str, body: bytes) -> None:
        """Likewise, at the home, to each instance with people in the room."""
        room = self._us.rooms.get(room_id)
        if room is not None:
            self._us.link.tell_all_of(room.readers, Aside(room_id, name, body))

    def home_of(self, room_id: str) -> str | None:
        """The instance that decides, as far as is known; None for a room that is not in memory."""
        room = self._us.rooms.get(room_id)
        return None if room is None else room.home

    def is_home(self, room_id: str) -> bool:
        room = self._us.rooms.get(room_id)
        return room is not None and room.tenure is not None

    def decides(self, room_id: str) -> bool:
        """Whether this instance is the room's home, and surely so now."""
        room = self._us.rooms.get(room_id)
        return room is not None and room.tenure is not None and room.tenure.may_decide(self._us.now())

    def forgotten(self, room: LoadedRoom) -> None:
        """It left memory."""
        room_id = room.state.id
        if self._us.companion is not None:
            self._us.companion.forgotten(room_id)
        if room.tenure is not None:
            self._succession.release_soon(room.tenure.lease)
        elif room.home:
            self._us.link.tell(room.home, NoReader(self._us.instance_id, room_id))

    async def perform(self, room_id: str, actor_id: str | None, question: Question) -> Reply:
        """What the room's home answers; what it announced before that is seen here by then.

        Raises: RoomError; Unavailable when no home carried it out in time: it may have, or may yet."""
        ask = Ask(secrets.token_urlsafe(9), self._us.instance_id, room_id, actor_id, question)
        with self._us.link.expecting(ask):
            return await self._perform(ask, self._us.now() + ORDER_DEADLINE_S)

    async def _perform(self, ask: Ask, ends_at: float) -> Reply:
        """Until `ends_at`, give or take what no clock can show."""
        while True:
            room = await self._us.rooms.load(ask.room_id)
            with suppress(NotHome):
                if room.tenure is not None:
                    fence, tenure = room.fence, room.tenure
                    reply = await self._carry_out(room, ask)
                    here = Answer(ask.ask_id, _mark_since(room, fence, tenure), reply)
                    return await self._as_answered(room, here, ends_at)
                if (answer := await self._ask_home(room, ask, ends_at)) is not None:
                    return await self._as_answered(room, answer, ends_at)
            if not await self._succession.seek(room):
                if self._us.now() >= min(ends_at - TICK_S, self._succession.leases_away_at + NO_LEASES_S):
                    logger.warning("no home was found for a room, and none could be taken")
                    raise Unavailable
                await asyncio.sleep(RETRY_S)
            elif self._us.now() >= ends_at - TICK_S:
                logger.warning("the home of a room carried out nothing in time")
                raise Unavailable

    async def _ask_home(self, room: LoadedRoom, ask: Ask, ends_at: float) -> Answer | None:
        """None: it is to be looked up who is the home. Not while the one that is known lives: it says itself when it
        is no more, and one that has much to do would be asked for the whole room besides."""
        while room.tenure is None and (home := room.home):
            answer = await self._us.link.ask(home, ask, min(ASK_S, ends_at - self._us.now()))
            if answer is not None:
                return None if answer.is_not_home else answer
            if self._us.now() >= ends_at - TICK_S or not self._us.peers.is_alive(home, self._us.now()):
                return None
        return None

    async def _as_answered(self, room: LoadedRoom, answer: Answer, ends_at: float) -> Reply:
        """What was carried out is seen here before it is said that it was: the home that did it may have given the room
        away since. Raises: the home's refusal."""
        ends_at = min(ends_at, self._us.now() + SEEN_S)
        while is_behind(room, answer.mark):
            await self._succession.seek(room)  # one that was under way may have found what was so before
            is_late = self._us.now() >= ends_at - TICK_S
            if answer.error is not None or is_late or not is_behind(room, answer.mark):
                break
            await asyncio.sleep(RETRY_S)
        if answer.error is not None:
            raise answer.error
        return answer.reply

    async def _carry_out(self, room: LoadedRoom, ask: Ask) -> Reply:
        """Here, if this is the home. Raises: RoomError, NotHome."""
        self._us.require_home(room)
        tenure = room.tenure
        try:
            return await self._carry_out_question(ask)
        except NotHome:
            if tenure is not None and room.tenure is tenure and tenure.may_decide(self._us.now()):
                self._us.depose(room)  # the store knows of a newer home
            raise

    async def _carry_out_question(self, ask: Ask) -> Reply:
        match ask.question:
            case Greet():
                raise NotHome  # only a replica greets
            case ConfirmGone():
                return Confirmed(await self._confirmation.everywhere(ask.room_id, ask.question))
            case Call():
                if self._us.companion is None:
                    raise Unavailable
                return Called(await self._us.companion.call(ask.room_id, ask.actor_id, ask.sender, ask.question))
            case _:
                order: Order = ask.question
                return await self._us.home.carry_out(ask.room_id, ask.actor_id, order, ask.sender)

    async def connect(
        self, room_id: str, participant_id: str, connection_id: str, *, is_editor: bool = False
    ) -> RoomState:
        room = await self._us.rooms.load(room_id)
        number = self._us.next_number()
        # Before the home is told, though that may be here now: a roll that is sent meanwhile has it.
        room.connections.add(participant_id, connection_id, self._us.instance_id, number)
        try:
            await self.perform(room_id, participant_id, OpenConnection(connection_id, number, is_editor))
            room = await self._us.rooms.load(room_id)
        except BaseException:
            room.connections.discard(participant_id, connection_id)
            raise
        room.connections.add(participant_id, connection_id, self._us.instance_id, number)
        return room.state

    async def disconnect(
        self, room_id: str, participant_id: str, connection_id: str, silent_for_s: float = 0.0
    ) -> None:
        room = self._us.rooms.get(room_id)
        if room is None:
            return
        if room.tenure is None:
            room.connections.discard(participant_id, connection_id)
            room.idle_since = self._us.clock()
        try:
            await self.perform(room_id, participant_id, CloseConnection(connection_id, silent_for_s))
        except RoomError:
            if (room := self._us.rooms.get(room_id)) is not None:
                room.is_roll_due = True
        finally:
            # Another instance may have carried it out, which has the room by now: here it would be on each roll.
            if (room := self._us.rooms.get(room_id)) is not None:
                room.connections.discard(participant_id, connection_id)

    async def confirm_gone(self, room_id: str, participant_ids: Sequence[str]) -> bool:
        """Whether every connection of these participants, over every instance, is closed; asked after they are out."""
        room = self._us.rooms.get(room_id)
        if room is None or not participant_ids:
            return True
        try:
            reply = await self.perform(room_id, None, ConfirmGone(participant_ids, room.fence, room.state.seq))
        except RoomError:
            return False
        return isinstance(reply, Confirmed) and reply.everywhere

    def _receive(self, message: Message) -> None:
        match message:
            case Told():
                self._replica.follow(message)
            case Ask():
                if message.sender != self._us.instance_id:
                    self._us.peers.note(message.sender, self._us.now())
                if isinstance(message.question, Greet):
                    self._receive_greeting(message, message.question)
                else:
                    self._us.link.spawn(self._answer(message))
            case Beat():
                self._hear_beat(message)
            case Moved(room_id, home, fence):
                self._hear_of_home(room_id, home, Mark(fence))
            case HandOver():
                self._us.link.spawn(self._succession.inherit(message))
            case NoReader(sender, room_id):
                if (room := self._us.rooms.get(room_id)) is not None:
                    room.readers.discard(sender)
            case Aside():
                if self._us.companion is not None:
                    self._us.companion.aside(message)

    def _bus_gap(self) -> None:
        self._us.hears_anew()
        for room in self._us.rooms:
            if room.tenure is None:
                self._succession.missed(room)

    async def _answer(self, ask: Ask) -> None:
        async def work() -> Answer:
            reply: Reply = None
            error, is_not_home = None, False
            room = self._us.rooms.get(ask.room_id)
            fence, tenure = (room.fence, room.tenure) if room is not None else (0, None)
            try:
                if isinstance(ask.question, ConfirmGone) and ask.question.by_home:
                    reply = Confirmed(await self._confirmation.here(ask.room_id, ask.question))
                else:
                    if room is None:
                        raise NotHome
                    reply = await self._carry_out(room, ask)
            except RoomError as refused:
                error = refused
            except NotHome:
                is_not_home = True
            room = self._us.rooms.get(ask.room_id)
            mark = Mark() if room is None else _mark_since(room, fence, tenure)
            return Answer(ask.ask_id, mark, reply, error, is_not_home)

        self._us.link.tell(ask.sender, await self._answers.once(ask.ask_id, work))

    def _receive_greeting(self, ask: Ask, greeting: Greet) -> None:
        if self._us.peers.is_gone(ask.sender):
            return  # said before its goodbye: it reads nothing any more
        room = self._us.rooms.get(ask.room_id)
        try:
            if room is None:
                raise NotHome
            self._us.require_home(room)
        except NotHome:
            self._us.link.tell(ask.sender, Answer(ask.ask_id, Mark(), is_not_home=True))
            return
        room.readers.add(ask.sender)
        extra = self._us.companion.extra(ask.room_id) if self._us.companion is not None else b""
        snapshot = Snapshot(room.fence, room.state, room.chat.lines(), room.chats, extra)
        self._us.link.tell(ask.sender, Answer(ask.ask_id, Mark(room.fence, room.state.seq, room.chats), snapshot))
        self._us.link.spawn(self._roll_call.follow_roll(ask.room_id, ask.sender, greeting))

    def _hear_beat(self, beat: Beat) -> None:
        if beat.sender == self._us.instance_id:
            return
        self._us.peers.hear(beat, self._us.now())
        for roomful in beat.rooms:
            self._hear_of_home(roomful.room_id, beat.sender, roomful.mark)
        if beat.is_gone:
            self._roll_call.without(beat.sender, is_lost=False)

    def _hear_of_home(self, room_id: str, home: str, mark: Mark) -> None:
        room = self._us.rooms.get(room_id)
        if room is None or home == self._us.instance_id or not is_behind(room, mark):
            return
        if mark.fence > room.fence:
            room.home = home
            if room.tenure is not None:
                self._us.depose(room)
        self._succession.missed(room)

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._beats += 1
            self._beat()
            silent = self._us.peers.take_silent(self._us.now())
            for instance_id in silent:
                self._roll_call.without(instance_id, is_lost=True)
            if silent:
                self._instance_lost()
            for room in tuple(self._us.rooms):
                self._tend(room)

    def _beat(self) -> None:
        self._us.beats()
        rooms = [
            Roomful(room.state.id, Mark(room.fence, room.state.seq, room.chats))
            for room in self._us.rooms
            if room.tenure is not None and room.readers
        ]
        self._us.link.tell_everyone(Beat(self._us.instance_id, self._us.is_leaving, False, rooms))

    def _tend(self, room: LoadedRoom) -> None:
        if room.tenure is not None:
            if room.is_roll_due if room.settles_at is None else self._us.now() >= room.settles_at:
                self._us.link.spawn(self._roll_call.settle(room))
        elif (
            room.is_roll_due
            or self._beats % BEATS_A_ROLL == 0
            or not self._us.peers.is_alive(room.home, self._us.now())
        ):
            self._us.link.spawn(self._succession.seek_on(room))


def _mark_since(room: LoadedRoom, fence: int, tenure: Tenure | None) -> Mark:
    """How far who hears the answer must be: `fence` and `tenure` were the room's when its work began. A home that gave
    the room away meanwhile has told nobody, nor itself, of what it kept then: the next one has, having read it."""
    if tenure is not None and room.tenure is not tenure and room.fence == fence:
        return Mark(fence + 1)
    return Mark(room.fence, room.state.seq, room.chats)
