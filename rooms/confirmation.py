"""Whether those who are out have nothing open any more, on any instance."""

import asyncio
import secrets
from dataclasses import replace

from rooms.instance_messages import Ask
from rooms.keeping import NotHome
from rooms.membership import Membership
from rooms.orders import (
    Confirmed,
    ConfirmGone,
    Mark,
)
from rooms.replica import is_behind
from rooms.succession import Succession

CONFIRM_S = 2.5
"""How long an instance may take to close a participant's connections and say so."""


class Confirmation:
    def __init__(self, us: Membership, succession: Succession) -> None:
        self._us = us
        self._succession = succession

    async def everywhere(self, room_id: str, question: ConfirmGone) -> bool:
        """At the home: here, and at each instance that may have connections to the room."""
        room = self._us.rooms.get(room_id)
        if room is None:
            raise NotHome
        now = self._us.now()
        others = sorted((room.readers | set(self._us.peers.alive(now))) - {self._us.instance_id})
        mine = replace(question, fence=room.fence, seq=room.state.seq, by_home=True)
        # Just after a room was taken over no roll has come; but every instance that lives is asked all the same.
        is_settled = room.settles_at is None or self._us.knows_everyone()
        closed_here, *answers = await asyncio.gather(
            self.here(room_id, mine), *(self._ask_to_confirm(each, room_id, mine) for each in others)
        )
        confirmed = {each for each, is_closed in zip(others, answers, strict=True) if is_closed}
        is_sure = [room.connections.is_sure(each, now, confirmed) for each in mine.participant_ids]
        return is_settled and closed_here and all(answers) and all(is_sure)

    async def _ask_to_confirm(self, instance_id: str, room_id: str, question: ConfirmGone) -> bool:
        ask = Ask(secrets.token_urlsafe(9), self._us.instance_id, room_id, None, question)
        answer = await self._us.link.ask(instance_id, ask, CONFIRM_S)
        return answer is not None and answer.reply == Confirmed(True)

    async def here(self, room_id: str, question: ConfirmGone) -> bool:
        room = self._us.rooms.get(room_id)
        if room is not None and is_behind(room, Mark(question.fence, question.seq)):
            await self._succession.seek(room)
            if is_behind(room, Mark(question.fence, question.seq)):
                return False
        closed = (self._us.closed(room_id, each, CONFIRM_S / 2) for each in question.participant_ids)
        return all(await asyncio.gather(*closed))
