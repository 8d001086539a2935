"""A replica of a room: follows what its home tells, and notices what it missed."""

import secrets
from collections.abc import Callable

from rooms.chat import ChatHistory
from rooms.difference import Step
from rooms.home import RoomChange
from rooms.instance_messages import Answer, Ask, NoReader, Told
from rooms.loaded_rooms import LoadedRoom
from rooms.membership import Membership
from rooms.orders import Greet, Mark, Snapshot
from rooms.room import apply

ASK_S = 1.5
"""How long one instance is asked before it is looked up whether it is still the home."""


def is_behind(room: LoadedRoom, mark: Mark) -> bool:
    """Whether the home was further than what is here."""
    return (room.fence, room.state.seq) < (mark.fence, mark.seq) or (
        room.fence == mark.fence and room.chats < mark.chats
    )


class Replica:
    """`missed` is called for a room of which something was missed."""

    def __init__(self, us: Membership, missed: Callable[[LoadedRoom], None]) -> None:
        self._us = us
        self._missed = missed

    def follow(self, told: Told) -> None:
        room = self._us.rooms.get(told.room_id)
        if room is None:
            self._us.link.tell(told.sender, NoReader(self._us.instance_id, told.room_id))
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
        self._us.tell_listeners(RoomChange(told.room_id, before, state, tuple(steps), told.chat))

    def install(self, room: LoadedRoom, home: str, snapshot: Snapshot) -> None:
        mark = Mark(snapshot.fence, snapshot.state.seq, snapshot.chats)
        if snapshot.fence < room.fence:
            return
        if snapshot.fence == room.fence and not is_behind(room, mark):
            if self._us.companion is not None:
                self._us.companion.take_extra(room.state.id, snapshot.extra)
            return
        has_moved = snapshot.fence > room.fence
        if has_moved:
            self._us.depose(room)
        room.home, room.fence, room.chats = home, snapshot.fence, snapshot.chats
        self._us.become(room, snapshot.state)
        for line in snapshot.chat:
            self._us.add_line(room, line)
        if self._us.companion is not None:
            if has_moved:
                self._us.companion.moved(room.state.id, home)
            self._us.companion.take_extra(room.state.id, snapshot.extra)

    def make(self, snapshot: Snapshot, home: str) -> LoadedRoom:
        room = LoadedRoom(snapshot.state, snapshot.state.seq, self._us.clock(), ChatHistory(snapshot.chat))
        room.home, room.fence, room.chats = home, snapshot.fence, snapshot.chats
        if self._us.companion is not None:
            self._us.companion.take_extra(snapshot.state.id, snapshot.extra)
        return room

    async def greet(self, room_id: str, home: str, roll: dict[str, list[str]]) -> Answer | None:
        greeting = Greet(self._us.next_number(), roll)
        ask = Ask(secrets.token_urlsafe(9), self._us.instance_id, room_id, None, greeting)
        answer = await self._us.link.ask(home, ask, ASK_S)
        return None if answer is None or answer.is_not_home else answer
