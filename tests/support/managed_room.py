"""A room of a real manager on a store that can be held up, and what was announced of it."""

from dataclasses import dataclass, field

import pytest

from rooms.commands import Admit, Command
from rooms.errors import RoomError
from rooms.manager import ResumeClaim, RoomChange, RoomManager
from rooms.models import Invitation, Participant, Role, RoomKind, RoomState
from tests.support.clock import Clock
from tests.support.gated_store import GatedStore


@dataclass
class ManagedRoom:
    """One room of one manager, with its host."""

    manager: RoomManager
    store: GatedStore
    clock: Clock
    state: RoomState
    host: Participant
    changes: list[RoomChange] = field(default_factory=list)
    """What was announced, in order."""

    @property
    def id(self) -> str:
        return self.state.id

    async def now(self) -> RoomState:
        return await self.manager.get_state(self.id)

    async def person(self, participant_id: str) -> Participant:
        return (await self.now()).participants[participant_id]

    async def invite(self, role: Role = Role.CLASS, **terms: object) -> Invitation:
        return await self.manager.create_invitation(self.id, self.host.id, role, **terms)  # type: ignore[arg-type]

    async def join(self, invitation: Invitation, name: str = "Zoé", **by: object) -> Participant:
        by = by or {"invitation_id": invitation.id}
        _state, participant = await self.manager.join(name=name, **by)  # type: ignore[arg-type]
        return participant

    async def come_back(self, invitation: Invitation, participant: Participant) -> Participant:
        claim = ResumeClaim(self.id, participant.id)
        return await self.join(invitation, participant.name, invitation_id=invitation.id, resume=claim)

    async def admit(self, participant: Participant) -> None:
        await self.do(Admit(participant.id))

    async def do(self, command: Command, actor: Participant | None = None) -> RoomState:
        return await self.manager.execute(self.id, (actor or self.host).id, command)

    async def refusal(self, work: object) -> str:
        """The code with which `work` is refused."""
        with pytest.raises(RoomError) as refused:
            await work  # type: ignore[misc]
        return refused.value.code

    def restarted(self) -> "ManagedRoom":
        """The same room in another process on the same store."""
        manager = RoomManager(self.store, self.clock)
        room = ManagedRoom(manager, self.store, self.clock, self.state, self.host)
        manager.add_listener(room.changes.append)
        return room


async def open_managed_room(kind: RoomKind = RoomKind.INTERCLASS) -> ManagedRoom:
    clock = Clock()
    store = GatedStore(clock)
    manager = RoomManager(store, clock)
    state, host = await manager.create_room("Les baleines", kind, "Mme Roy")
    room = ManagedRoom(manager, store, clock, state, host)
    manager.add_listener(room.changes.append)
    store.calls.clear()
    return room
