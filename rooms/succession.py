"""Who decides for a room: finds its home, becomes it, renews that, hands it on."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf

from rooms.chat import CHAT_HISTORY, ChatHistory
from rooms.errors import NotFound, RoomError, Unavailable
from rooms.instance_messages import HandOver, Moved
from rooms.keeping import NotHome, kept
from rooms.loaded_rooms import LoadedRoom
from rooms.membership import Membership
from rooms.models import ChatLine, RoomKind, RoomState
from rooms.orders import (
    Snapshot,
)
from rooms.ports import Lease, LeaseHeld, LeasesUnavailable, StaleFence, StoreUnavailable
from rooms.presence import UNSURE_S, nobody_connected
from rooms.replica import Replica
from rooms.roll_call import RollCall
from rooms.supervision import GRACE_S
from rooms.tenure import Tenure

logger = logging.getLogger("passerelle.rooms")

RENEW_S = 2.0
"""Three times within a lease."""
RETRY_S = 0.3
"""Between two tries at what may work any moment: leases that are away, a home that just died."""
LEASES_TIMEOUT_S = 1.5
ORDER_DEADLINE_S = 9.0
"""How long an order looks for a home that carries it out: a lease must have lapsed, and the next home have read the
room. After that it fails, and may be given again."""
SETTLE_S = 6.0
"""A home that took over waits so long for the instances to say who is connected there."""
ROLLS_S = 2.5
"""Within this every instance that lives has told a home that took over who is connected there: it is told of the new
home at once, and should that be lost, its next heartbeat (2 s) finds the old one silent."""
SEQ_AFTER_TAKING_OVER = 1_000_000
"""Events that nobody kept, of presence, may have been numbered and told beyond what the next home knows of; it numbers
on from beyond any of them, so that no number is given twice and a kept state is newer than any before it."""


class Succession:
    """Each room is sought by one task at a time."""

    def __init__(self, us: Membership, replica: Replica, roll_call: RollCall) -> None:
        self._us = us
        self._replica = replica
        self._roll_call = roll_call
        self._seeking: dict[str, asyncio.Task[bool]] = {}
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._handed: dict[str, HandOver] = {}
        self.leases_away_at = inf
        """Since when nobody can say who decides; infinite while somebody can."""

    async def stop(self) -> None:
        """Rooms that are still this instance's are anybody's."""
        for room in tuple(self._us.rooms):
            if room.tenure is not None:
                await self.release(room.tenure.lease)
        if self._releasing:
            await asyncio.wait(tuple(self._releasing.values()), timeout=LEASES_TIMEOUT_S)
        for seeking in tuple(self._seeking.values()):
            seeking.cancel()

    def release_soon(self, lease: Lease) -> None:
        """A room that left memory; brought again meanwhile, it waits for this."""
        room_id = lease.room_id
        task = self._releasing[room_id] = asyncio.get_running_loop().create_task(self.release(lease))
        task.add_done_callback(lambda _task: self._releasing.pop(room_id, None))

    async def bring(self, room_id: str) -> LoadedRoom:
        """As its home when nobody is, else a replica. Raises: NotFound, Unavailable."""
        if (releasing := self._releasing.get(room_id)) is not None:
            await asyncio.wait([releasing])
        ends_at, floor, former = self._us.now() + ORDER_DEADLINE_S, 0, ""
        while self._us.now() < ends_at:
            asked_at = self._us.now()
            held = await self._acquire(room_id, floor, to_hand_on=True)
            if isinstance(held, Lease):
                try:
                    room = await self._read(held, asked_at, former)
                    self._doubt_everyone(room, former)
                    if self._us.is_leaving:
                        self._us.link.spawn(self._hand_over(room))
                    return room
                except StaleFence as stale:
                    floor = stale.fence
                    continue
                except BaseException:
                    await self.release(held)
                    raise
            if held is not None:
                former = held.instance_id
                answer = await self._replica.greet(room_id, held.instance_id, {})
                if answer is not None and isinstance(answer.reply, Snapshot):
                    return self._replica.make(answer.reply, held.instance_id)
            await asyncio.sleep(RETRY_S)
        raise Unavailable

    async def begin(self, room_id: str) -> None:
        """Take a room that was made just now: nobody is connected to it anywhere."""
        with suppress(RoomError):  # then whoever comes first takes it
            room = await self._us.rooms.load(room_id)
            if room.tenure is not None:
                room.settles_at = None

    async def _acquire(self, room_id: str, floor: int, *, to_hand_on: bool = False) -> Lease | LeaseHeld | None:
        """None: nobody can say now. Raises: Unavailable when this instance takes no room any more, not even to hand it
        on: a proxy that has not noticed yet may still send here who opens a room that nobody has."""
        try:
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                held = await self._us.leases.acquire(room_id, self._us.instance_id, floor)
        except (LeasesUnavailable, TimeoutError):
            self.leases_away_at = min(self.leases_away_at, self._us.now())
            return None
        self.leases_away_at = inf
        if (
            isinstance(held, Lease)
            and self._us.is_leaving
            and not (to_hand_on and self._us.peers.heirs(self._us.now()))
        ):
            await self.release(held)
            raise Unavailable
        return held

    async def _read(self, lease: Lease, asked_at: float, former: str) -> LoadedRoom:
        """`former`: whose lease lapsed; empty when it was free. Raises: NotFound, Unavailable, StaleFence."""
        try:
            state = await self._us.store.claim_room(lease.room_id, lease.fence)
        except StoreUnavailable as error:
            raise Unavailable from error
        if state is None:
            raise NotFound
        lines = await self._stored_chat(state)
        unheard_s = min(self._unheard_for_s(former) or 0.0, GRACE_S - ROLLS_S)
        kept_seq, state = state.seq, nobody_connected(state, self._us.clock() - unheard_s)
        handed = self._handed.get(lease.room_id)
        if handed is not None:
            state, lines = (handed.state if handed.state.seq >= kept_seq else state), handed.chat
        try:
            state = await self._number_on(state, lease)
        except StoreUnavailable as error:
            raise Unavailable from error  # what was handed over is still here for the next try
        if handed is not None:
            self._handed.pop(lease.room_id, None)
            self._us.lease_changes["inherited"] += 1
        room = LoadedRoom(state, state.seq, self._us.clock())
        room.chat = ChatHistory(lines)
        room.home, room.fence, room.tenure = self._us.instance_id, lease.fence, Tenure.of(lease, asked_at)
        room.settles_at = self._us.now() + SETTLE_S
        return room

    async def _number_on(self, state: RoomState, lease: Lease) -> RoomState:
        """Kept before anything is decided: else the next home could number on from where this one did, and what a
        replica of this one still has would pass for newer than what that one acknowledged.
        Raises: StoreUnavailable, StaleFence."""
        state = replace(state, seq=state.seq + SEQ_AFTER_TAKING_OVER)
        await self._us.store.save_room(state, lease.fence)
        return state

    async def _stored_chat(self, state: RoomState) -> Sequence[ChatLine]:
        if state.kind is RoomKind.CONSULTATION:
            return ()
        return await kept(self._us.store.load_chat(state.id, CHAT_HISTORY))

    async def release(self, lease: Lease) -> None:
        with suppress(LeasesUnavailable, TimeoutError):  # then it lapses
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                await self._us.leases.release(lease)

    def missed(self, room: LoadedRoom) -> None:
        self._us.gaps += 1
        self._us.link.spawn(self.seek_on(room))

    async def seek_on(self, room: LoadedRoom) -> None:
        await self.seek(room)

    async def seek(self, room: LoadedRoom) -> bool:
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
        asked_at = self._us.now()
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
            self._us.depose(room)
        room.home = held.instance_id
        answer = await self._replica.greet(room_id, held.instance_id, room.connections.roll_of(self._us.instance_id))
        if answer is None or not isinstance(answer.reply, Snapshot):
            return False
        room.is_roll_due = False
        self._replica.install(room, held.instance_id, answer.reply)
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
            stored = await self._us.store.claim_room(lease.room_id, lease.fence)
            if stored is None:
                await self.release(lease)
                self._us.rooms.forget(lease.room_id)
                return False
            lines = await self._stored_chat(stored)
            handed = self._handed.get(lease.room_id)
            known = [room.state, stored] if handed is None else [handed.state, room.state, stored]
            newest = await self._number_on(max(known, key=lambda each: each.seq), lease)
        except StaleFence as stale:
            # The leases lost their memory: the store knows more.
            room.fence = max(room.fence, stale.fence)
            return False
        except (StoreUnavailable, Unavailable):
            await self.release(lease)
            return False
        self._handed.pop(lease.room_id, None)
        former = room.home
        self._us.step_down(room)
        room.home, room.fence, room.chats = self._us.instance_id, lease.fence, 0
        room.kept_seq, room.tenure = newest.seq, Tenure.of(lease, asked_at)
        room.settles_at = self._us.now() + SETTLE_S
        self._look_for_adults(room, former, is_handed=handed is not None)
        self._doubt(room, newest, former)
        self._us.become(room, newest)
        for line in (*lines, *(handed.chat if handed is not None else ())):
            self._us.add_line(room, line)
        self._us.lease_changes["taken_over" if handed is None else "inherited"] += 1
        if self._us.companion is not None:
            self._us.companion.moved(lease.room_id, self._us.instance_id)
        self._us.link.tell_everyone(Moved(lease.room_id, self._us.instance_id, lease.fence))
        with suppress(NotHome):
            await self._roll_call.show_who_is_here(room)
        return True

    def _unheard_for_s(self, former: str) -> float | None:
        """For how long the home before has been silent. None: not known; or it may be that this one did not hear."""
        return self._us.peers.silent_for_s(former, self._us.now()) if self._us.knows_everyone() else None

    def _look_for_adults(self, room: LoadedRoom, former: str, *, is_handed: bool) -> None:
        """Who looked after the pupils over the home before, and is over no other instance, was last heard with it."""
        now, unheard_s = self._us.clock(), self._unheard_for_s(former)
        if is_handed:
            room.unheard_since, room.adults_due_at = now, now + ROLLS_S
        elif unheard_s is not None:
            room.unheard_since = now - unheard_s
            room.adults_due_at = max(now + ROLLS_S, room.unheard_since + GRACE_S)

    def _doubt(self, room: LoadedRoom, state: RoomState, former: str) -> None:
        """Whoever was connected may be so over the home before, of which nothing is known until it is heard."""
        if former and former != self._us.instance_id:
            for person in state.participants.values():
                if person.connected and person.id not in room.connections:
                    room.connections.doubt(person.id, former, self._us.now())

    def _doubt_everyone(self, room: LoadedRoom, former: str) -> None:
        """Of a room that was not followed here nobody knows who is connected where: over an instance that fell silent
        it may be any of those who were there before it did. `former`: whose lease lapsed; empty when it was free."""
        silent_s = {**self._us.peers.missing(self._us.now()), **({former: 0.0} if former else {})}
        silent_s.pop(self._us.instance_id, None)
        for instance_id, for_s in silent_s.items():
            for person in room.state.participants.values():
                if for_s < UNSURE_S and person.created_at <= self._us.clock() - for_s:
                    room.connections.doubt(person.id, instance_id, self._us.now())

    async def leave(self) -> None:
        """Hand every room over."""
        await asyncio.gather(*(self._hand_over(room) for room in tuple(self._us.rooms) if room.tenure is not None))

    async def _hand_over(self, room: LoadedRoom) -> None:
        heirs = self._us.peers.heirs(self._us.now())
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
                        passed = await self._us.leases.pass_on(lease, heir)
                    self._us.step_down(room)
                    if passed is not None:
                        self._us.lease_changes["handed_over"] += 1
                        room.home = heir
                        chat, us = room.chat.lines(), self._us.instance_id
                        self._us.link.tell(heir, HandOver(us, lease.room_id, passed.fence, room.state, chat))
        finally:
            room.turns_wanted -= 1

    async def inherit(self, handed: HandOver) -> None:
        self._handed[handed.room_id] = handed
        room = self._us.rooms.get(handed.room_id)
        try:
            if room is None:
                await self._us.rooms.load(handed.room_id)
            else:
                await self._take_what_was_handed(room, handed.fence)
        except RoomError as error:
            logger.warning("a room that was handed over could not be taken: %s", error.code)
        finally:
            self._handed.pop(handed.room_id, None)

    async def _take_what_was_handed(self, room: LoadedRoom, fence: int) -> None:
        """A search that was under way may have asked the home before, and found nothing: it is begun anew."""
        ends_at = self._us.now() + ORDER_DEADLINE_S
        while not await self.seek(room):
            if room.fence >= fence or self._us.now() >= ends_at:
                return
            await asyncio.sleep(RETRY_S)

    async def renew_on(self) -> None:
        worked = True
        while True:
            await asyncio.sleep(RENEW_S if worked else RETRY_S)
            worked = await self._renew()

    async def _renew(self) -> bool:
        held = [(room, room.tenure.lease) for room in self._us.rooms if room.tenure is not None]
        asked_at = self._us.now()
        try:
            async with asyncio.timeout(LEASES_TIMEOUT_S):
                renewed = await self._us.leases.renew([lease for _room, lease in held])
        except (LeasesUnavailable, TimeoutError):
            return False
        for (room, lease), is_renewed in zip(held, renewed, strict=True):
            if room.tenure is None or room.tenure.lease != lease:
                continue
            if is_renewed:
                room.tenure.renew(asked_at)
            else:
                self._us.depose(room)
                self.missed(room)
        return True
