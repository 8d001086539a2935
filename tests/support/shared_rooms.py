"""Several instances' room managers over one store, one set of leases and a bus that may fail, in one loop.

Use with `in_virtual_time`: heartbeats and leases take no time then.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from rooms.commands import Command
from rooms.errors import RoomError
from rooms.instance_messages import Told
from rooms.manager import RoomChange, RoomManager
from rooms.models import ChatLine, Participant, Role, RoomKind, RoomState
from rooms.ports import Lease, LeaseHeld, LeasesUnavailable
from rooms.sharing import Sharing
from server.bus.memory_leases import MemoryLeases
from server.bus.room_messages import RoomMessageCodec
from tests.support.clock import STARTED_AT
from tests.support.faulty_bus import FaultyBus, FaultyNetwork
from tests.support.gated_store import Gate, GatedStore


class LeasesEnd:
    """One instance's way to the leases."""

    def __init__(self, leases: MemoryLeases) -> None:
        self._leases = leases
        self.is_cut = False
        self._gate: Gate | None = None

    def hold_answer(self) -> Gate:
        """The next lease that is asked for is told only when the gate is open."""
        self._gate = Gate()
        return self._gate

    def _require(self) -> MemoryLeases:
        if self.is_cut:
            raise LeasesUnavailable("cut off")
        return self._leases

    async def acquire(self, room_id: str, instance_id: str, floor: int = 0) -> Lease | LeaseHeld:
        held = await self._require().acquire(room_id, instance_id, floor)
        gate, self._gate = self._gate, None
        if gate is not None:
            await gate.pass_through()
        return held

    async def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        return await self._require().renew(leases)

    async def pass_on(self, lease: Lease, heir: str) -> Lease | None:
        return await self._require().pass_on(lease, heir)

    async def release(self, lease: Lease) -> None:
        await self._require().release(lease)

    async def close(self) -> None: ...


@dataclass(eq=False)
class Instance:
    name: str
    manager: RoomManager
    sharing: Sharing
    bus: FaultyBus
    leases: LeasesEnd
    store: GatedStore
    changes: list[RoomChange] = field(default_factory=list)
    """What was announced here, in order."""
    open: set[tuple[str, str]] = field(default_factory=set)
    """Room and participant of connections here, as the house knows them; closed when their participant is out."""
    closes: asyncio.Event = field(default_factory=asyncio.Event)
    closes_slowly: bool = False
    """Its connections do not close."""
    is_dead: bool = False
    times_lost: int = 0
    """How often it said that another one fell silent."""

    def state(self, room_id: str) -> RoomState:
        state = self.manager.state_now(room_id)
        assert state is not None
        return state

    def chat(self, room_id: str) -> list[ChatLine]:
        room = self.manager._rooms.get(room_id)
        assert room is not None
        return list(room.chat.lines())

    async def connect(self, room_id: str, participant_id: str, connection: str = "c") -> None:
        await self.manager.connect(room_id, participant_id, f"{self.name}-{connection}-{participant_id}")
        self.open.add((room_id, participant_id))

    async def disconnect(self, room_id: str, participant_id: str, connection: str = "c") -> None:
        await self.manager.disconnect(room_id, participant_id, f"{self.name}-{connection}-{participant_id}")
        self.open.discard((room_id, participant_id))

    def cut_off(self) -> None:
        self.bus.is_cut = self.leases.is_cut = True

    def come_back(self) -> None:
        self.bus.is_cut = self.leases.is_cut = False

    def note_lost(self) -> None:
        self.times_lost += 1

    async def _wait_closed(self, room_id: str, participant_id: str, timeout_s: float) -> bool:
        if self.closes_slowly and (room_id, participant_id) in self.open:
            await asyncio.sleep(timeout_s)
            return False
        self.open.discard((room_id, participant_id))
        return True


class SharedRooms:
    def __init__(self, seed: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.network = FaultyNetwork(seed)
        self.leases = MemoryLeases(loop.time)
        self.stored = GatedStore(self.clock)
        self.instances: list[Instance] = []
        self.codec = RoomMessageCodec()

    def clock(self) -> float:
        return STARTED_AT + asyncio.get_running_loop().time()

    async def start(self) -> Instance:
        """One more instance."""
        name = "abcdefgh"[len(self.instances)]
        bus, leases = self.network.end(), LeasesEnd(self.leases)
        store = GatedStore(self.clock)
        store.share(self.stored)
        made: list[Instance] = []

        async def closed(room_id: str, participant_id: str, timeout_s: float) -> bool:
            return await made[0]._wait_closed(room_id, participant_id, timeout_s)

        sharing = Sharing(
            store,
            bus,
            leases,
            self.codec,
            clock=self.clock,
            monotonic=asyncio.get_running_loop().time,
            closed=closed,
            instance_lost=lambda: made[0].note_lost(),
            instance_id=name,
        )
        numbers = itertools.count()
        manager = RoomManager(
            store, self.clock, lambda: f"{name}{next(numbers)}", numbers.__next__, sharing=sharing, closed=closed
        )
        instance = Instance(name, manager, sharing, bus, leases, store)
        made.append(instance)
        manager.add_listener(instance.changes.append)
        self.instances.append(instance)
        await manager.start()
        await settled()
        return instance

    async def kill(self, instance: Instance) -> None:
        """It does nothing any more."""
        instance.is_dead = True
        instance.cut_off()
        for task in (*instance.sharing._tasks, *instance.sharing._us.link._tasks):
            task.cancel()

    def home(self, room_id: str) -> Instance:
        """Whose lease it is."""
        held = self.leases._current(room_id)
        assert held is not None
        return next(each for each in self.instances if each.name == held.lease.instance_id)

    def told(self) -> list[Told]:
        """All that any home announced to others."""
        return [message for data in self.network.heard if isinstance(message := self.codec.decode(data), Told)]


async def settled(seconds: float = 0.5) -> None:
    """Everything that is on its way has arrived."""
    await asyncio.sleep(seconds)


@asynccontextmanager
async def shared_rooms(count: int = 2, seed: int = 0) -> AsyncIterator[SharedRooms]:
    rooms = SharedRooms(seed)
    for _ in range(count):
        await rooms.start()
    yield rooms
    for each in rooms.instances:
        each.come_back()
        await each.manager.stop()


@dataclass
class SharedRoom:
    """One room, its host over the first instance and a class over the second."""

    rooms: SharedRooms
    id: str
    host: Participant
    klass: Participant

    @property
    def instances(self) -> list[Instance]:
        return self.rooms.instances

    async def do(self, instance: Instance, command: Command, actor: Participant | None = None) -> RoomState:
        return await instance.manager.execute(self.id, (actor or self.host).id, command)

    async def join(
        self, instance: Instance, role: Role = Role.CLASS, name: str = "Zoé", **terms: object
    ) -> Participant:
        invitation = await instance.manager.create_invitation(self.id, self.host.id, role, **terms)  # type: ignore[arg-type]
        _state, person = await instance.manager.join(name=name, invitation_id=invitation.id)
        return person

    def states(self) -> list[RoomState]:
        return [each.state(self.id) for each in self.instances if not each.is_dead]


@asynccontextmanager
async def shared_room(count: int = 2, kind: RoomKind = RoomKind.INTERCLASS, seed: int = 0) -> AsyncIterator[SharedRoom]:
    async with shared_rooms(count, seed) as rooms:
        first = rooms.instances[0]
        state, host = await first.manager.create_room("Les baleines", kind, "Mme Roy")
        await first.connect(state.id, host.id)
        room = SharedRoom(rooms, state.id, host, host)
        role = Role.PUPIL if kind is RoomKind.CONSULTATION else Role.CLASS
        room.klass = await room.join(rooms.instances[1], role, lobby=False)
        await rooms.instances[1].connect(state.id, room.klass.id)
        await settled()
        yield room


async def refusal(work: Awaitable[object]) -> str:
    with pytest.raises(RoomError) as refused:
        await work
    return refused.value.code
