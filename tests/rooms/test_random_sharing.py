"""Rooms over several instances under random commands, while the bus loses, repeats and delays messages, instances
are cut off, paused in the middle of a change, killed, and the leases lose their memory."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from rooms.commands import Command, Configure, CreateDocument, Remove, Rename, SetHand
from rooms.errors import Outdated, RoomError
from rooms.models import Participant, ParticipantStatus, Role
from rooms.succession import ORDER_DEADLINE_S, SETTLE_S
from tests.support.shared_rooms import Instance, SharedRoom, settled, shared_room
from tests.support.virtual_time import in_virtual_time

STEPS = 120


class Speaker:
    """Somebody who asks for one name after the other, over whichever instance, and may wait for none of them.

    What was acknowledged last is so in the end, or what was asked in vain since."""

    def __init__(self, room: SharedRoom, person: Participant, chance: random.Random) -> None:
        self._room = room
        self._person = person
        self._chance = chance
        self._count = 0
        self._is_speaking = False
        self.allowed: list[str] = []
        self.overtaken = 0

    async def speak(self, instance: Instance) -> None:
        if self._is_speaking:
            return
        self._is_speaking = True
        self._count += 1
        name = f"Mme {self._count}"
        state = instance.manager.state_now(self._room.id)
        seen = state.seq if state is not None else 0
        try:
            # An instance that stands still reads it later, an asker who is elsewhere by then does not wait.
            delay_s, patience_s = self._chance.choice([0.0, 0.0, 3.0, 10.0]), self._chance.choice([0.3, 2.0, 20.0])
            while (later := await self._ask(instance, Rename(name, seen), delay_s, patience_s)) is not None:
                seen, delay_s = later, 0.0
                self.overtaken += 1
            self.allowed = [name]
        except (RoomError, TimeoutError):
            if self.allowed:
                self.allowed.append(name)
        finally:
            self._is_speaking = False

    async def _ask(self, instance: Instance, command: Rename, delay_s: float, patience_s: float) -> int | None:
        """What it would have to know, should it come too late. Raises: RoomError; TimeoutError: it goes on, unheard."""

        async def order() -> None:
            await asyncio.sleep(delay_s)
            await self._room.do(instance, command, self._person)

        task = asyncio.create_task(order())
        task.add_done_callback(lambda task: task.exception())
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.shield(task)
        except Outdated as outdated:
            return outdated.seq
        return None


class Storm:
    """What happens is drawn from the seed; what was acknowledged is remembered."""

    def __init__(self, room: SharedRoom, seed: int) -> None:
        self.room = room
        self.chance = random.Random(seed)
        self.people: dict[str, Participant] = {}
        self.removed: set[str] = set()
        self.lines: set[str] = set()
        self.texts: set[str] = set()
        self.connections: dict[tuple[str, str], Instance] = {}
        self.speaker = Speaker(room, room.host, self.chance)
        self.asked: list[asyncio.Task[None]] = []
        self.acknowledged = self.refused = self.count = 0

    def alive(self) -> list[Instance]:
        return [each for each in self.room.instances if not each.is_dead]

    def ask(self, work: Coroutine[Any, Any, None]) -> None:
        async def ask() -> None:
            try:
                await work
                self.acknowledged += 1
            except RoomError:
                self.refused += 1

        self.asked.append(asyncio.create_task(ask()))

    def step(self) -> None:
        instance = self.chance.choice(self.alive())
        acts: list[Callable[[Instance], Coroutine[Any, Any, None]]]
        acts = [
            self.join,
            self.command,
            self.command,
            self.speaker.speak,
            self.speaker.speak,
            self.chat,
            self.make_text,
            self.remove,
            self.connect,
            self.connect,
            self.drop,
        ]
        self.ask(self.chance.choice(acts)(instance))

    async def join(self, instance: Instance) -> None:
        self.count += 1
        person = await self.room.join(instance, Role.CLASS, f"N {self.count}", lobby=False)
        self.people[person.id] = person

    async def command(self, instance: Instance) -> None:
        command: Command = self.chance.choice([SetHand(True), SetHand(False), Configure(None, True)])
        await self.room.do(instance, command)

    async def make_text(self, instance: Instance) -> None:
        self.count += 1
        name = f"d{self.count}"
        await self.room.do(instance, CreateDocument(name, f"Texte {name}"))
        self.texts.add(name)

    async def chat(self, instance: Instance) -> None:
        line = await instance.manager.send_chat(self.room.id, self.room.host.id, "Bonjour")
        self.lines.add(line.id)

    async def remove(self, instance: Instance) -> None:
        if self.people and self.chance.random() < 0.3:
            person_id = self.chance.choice(sorted(self.people))
            await self.room.do(instance, Remove(person_id))
            self.removed.add(person_id)

    async def connect(self, instance: Instance) -> None:
        if self.people:
            self.count += 1
            person_id, name = self.chance.choice(sorted(self.people)), f"c{self.count}"
            await instance.connect(self.room.id, person_id, name)
            if not instance.is_dead:
                self.connections[person_id, name] = instance

    async def drop(self, instance: Instance) -> None:
        here = sorted(key for key, each in self.connections.items() if each is instance)
        if here:
            person_id, name = self.chance.choice(here)
            del self.connections[person_id, name]
            await instance.disconnect(self.room.id, person_id, name)

    # --- faults -----------------------------------------------------------------------------

    async def trouble(self) -> None:
        network = self.room.rooms.network
        network.faults = self.chance.choice([0.0, 0.0, 0.1, 0.3])
        victim = self.chance.choice(self.alive())
        match self.chance.choice(["cut", "pause", "kill", "forget", "leave", "store"]):
            case "cut":
                victim.cut_off()
                await asyncio.sleep(self.chance.choice([1.0, 5.0, 12.0]))
                victim.come_back()
            case "pause":
                gate = victim.store.hold(self.chance.choice(["save_room", "append_chat", "claim_room"]))
                victim.cut_off()
                await asyncio.sleep(self.chance.choice([3.0, 20.0]))
                victim.come_back()
                gate.open()
            case "kill" if len(self.alive()) > 2:
                await self.room.rooms.kill(victim)
                self.connections = {key: each for key, each in self.connections.items() if each is not victim}
                await self.room.rooms.start()
            case "forget":
                self.room.rooms.leases.lose_memory()
            case "leave" if len(self.alive()) > 2:
                await victim.manager.leave()
                await victim.manager.stop()
                victim.is_dead = True
                self.connections = {key: each for key, each in self.connections.items() if each is not victim}
                await self.room.rooms.start()
            case "store":
                victim.store.available = False
                await asyncio.sleep(2.0)
                victim.store.available = True

    async def calm(self) -> None:
        network = self.room.rooms.network
        network.faults = 0.0
        await network.release()
        for each in self.alive():
            each.come_back()
            each.store.available = True
            for gate in tuple(each.store._gates.values()):
                gate.open()
            each.store._gates.clear()
        await asyncio.wait(self.asked)
        await settled(ORDER_DEADLINE_S + SETTLE_S + 40.0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.timeout(120)
@in_virtual_time
async def test_nothing_acknowledged_is_lost_and_all_agree_in_the_end(seed: int) -> None:
    async with shared_room(3, seed=seed) as room:
        storm = Storm(room, seed)
        for number in range(STEPS):
            if len(room.instances) > 7:
                break
            storm.step()
            await asyncio.sleep(storm.chance.choice([0.0, 0.05, 0.5]))
            if number % 12 == 5:
                await storm.trouble()
        await storm.calm()
        alive = storm.alive()
        for each in alive:
            with suppress(RoomError):
                await each.manager.get_state(room.id)
        await settled(2.0)
        home = room.rooms.home(room.id)
        state = home.state(room.id)
        for each in alive:
            assert each.state(room.id) == state, f"seed {seed}: {each.name} differs from the home {home.name}"
        assert storm.acknowledged > 30, f"seed {seed}: too little was asked"

        # What was acknowledged is there.
        assert storm.people.keys() <= state.participants.keys()
        for person_id in storm.removed:
            assert state.participants[person_id].status is ParticipantStatus.REMOVED
        name = state.participants[room.host.id].name
        assert not storm.speaker.allowed or name in storm.speaker.allowed, f"seed {seed}: {name}"
        stored = {line.id for line in await room.rooms.stored.load_chat(room.id, 1_000)}
        assert storm.lines <= stored
        assert storm.texts <= {one.document for one in state.documents}
        kept = await room.rooms.stored.load_room(room.id)
        assert kept is not None
        assert {p.id: p.status for p in kept.participants.values()} == {
            p.id: p.status for p in state.participants.values()
        }

        # Who is shown as connected is.
        open_now = {person_id for person_id, _name in storm.connections}
        shown = {p.id for p in state.participants.values() if p.connected} - {room.host.id, room.klass.id}
        # Inside, or held in the lobby because the host's instance fell silent and the room froze.
        present = (ParticipantStatus.ADMITTED, ParticipantStatus.WAITING)
        assert shown == {p for p in open_now if state.participants[p].status in present}

        # One fence, one home.
        deciders: dict[int, set[str]] = {}
        for told in room.rooms.told():
            deciders.setdefault(told.mark.fence, set()).add(told.sender)
        assert all(len(names) == 1 for names in deciders.values()), f"seed {seed}: {deciders}"
