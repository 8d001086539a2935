"""People of one room over a fleet, all of them with the Python SDK: they write, command, come and go at random, and
what each of them was promised is remembered."""

import asyncio
import contextlib
import random
import string
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Literal

import pycrdt

from passerelle_client import Disconnected, PasserelleApi, Refused, Removed, Room, SharedDocument
from rooms.documents.sync import read_state_vector
from tests.support.deadlines import SECOND
from tests.support.fleet import Fleet, Instance
from tests.support.network_cut import CuttableProxy

DOCUMENTS = ("dictee", "recit")
PEOPLE = (
    ("host", "polling"),
    ("class", "websocket"),
    ("class", "polling"),
    ("observer", "websocket"),
    ("observer", "polling"),
    *(("pupil", transport) for transport in ("websocket", "polling") * 3),
)
"""Besides the host who makes the room."""
MAY_WORK_LATER = frozenset({"store-unavailable", "too-many-requests", "room-frozen"})
"""The last: both hosts may be over an instance that the home does not hear."""
FORBIDDEN = "✗"
"""Typed by nobody but those who are out, and know it."""

Outcome = Literal["done", "unknown"]


class LastWord:
    """What something must be: as acknowledged last, or as asked in vain since."""

    def __init__(self) -> None:
        self._acknowledged: list[Any] = []
        self._in_vain: list[Any] = []

    def note(self, outcome: Outcome, value: Any) -> None:
        if outcome == "done":
            self._acknowledged = [value]
            self._in_vain = []
        else:
            self._in_vain.append(value)

    def allows(self, value: Any) -> bool:
        return not self._acknowledged or value in self._acknowledged or value in self._in_vain

    def __repr__(self) -> str:
        return f"{self._acknowledged} or {self._in_vain}"


@dataclass
class Promises:
    """What was acknowledged. Of what failed nobody knows whether it was done, or will be in a moment."""

    clocks: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """Document → Yjs client → up to where it was called saved."""
    lines: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)
    """Who was let in, and not told to go since."""
    names: dict[str, LastWord] = field(default_factory=lambda: defaultdict(LastWord))
    hands: dict[str, LastWord] = field(default_factory=lambda: defaultdict(LastWord))
    lobby_roles: LastWord = field(default_factory=LastWord)
    confirmed: int = 0
    """Removals."""
    unconfirmed: int = 0
    done: int = 0
    unknown: int = 0

    def expect_nothing_of(self, participant_id: str) -> None:
        self.inside.discard(participant_id)
        self.names.pop(participant_id, None)
        self.hands.pop(participant_id, None)


class Member:
    """One participant: a line to some instance, and a room over it."""

    def __init__(
        self, name: str, role: str, token: str, participant_id: str, transport: Any, promises: Promises
    ) -> None:
        self.name = name
        self.role = role
        self.token = token
        self.id = participant_id
        self.transport = transport
        self.promises = promises
        self.line = CuttableProxy(0)
        self.room: Room | None = None
        self.is_out = False
        """A host has asked to put them out: perhaps they are."""
        self.is_surely_out = False
        self.invitation_id = ""
        self.count = 0

    @property
    def documents(self) -> list[SharedDocument]:
        return [self.room.document(name) for name in DOCUMENTS] if self.room is not None else []

    async def come(self) -> None:
        room = Room(self.line.url, self.token, transports=[self.transport])
        room.on("token", self._keep_token)
        self.room = room
        try:
            await room.open()
        except (Removed, Refused):
            if not self.is_out:
                raise
        for name in DOCUMENTS:
            document = room.document(name)
            document.on("state", lambda state, document=document: self._note(document, state))

    def _keep_token(self, token: str) -> None:
        self.token = token

    def _note(self, document: SharedDocument, state: str) -> None:
        if state == "saved":
            client = document.doc.client_id
            clock = read_state_vector(document.doc.get_state()).get(client, 0)
            self.promises.clocks[document.name][client] = clock

    async def vanish(self) -> None:
        """As a tablet whose battery is empty."""
        room, self.room = self.room, None
        await self.line.cut()
        if room is not None:
            await room.close()
        self.line.mend()

    def write(self, chance: random.Random) -> None:
        document = chance.choice(self.documents)
        text = document.doc.get("text", type=pycrdt.Text)
        length = len(str(text))
        at = chance.randint(0, length)
        with document.doc.transaction():
            if chance.random() < 0.2 and at + 3 < length:
                del text[at : at + 3]
            word = "".join(chance.choices(string.ascii_lowercase, k=chance.choice((1, 1, 1, 8))))
            text.insert(at, word)

    def write_what_is_forbidden(self) -> None:
        for document in self.documents:
            text = document.doc.get("text", type=pycrdt.Text)
            text.insert(0, FORBIDDEN)

    async def attempt(self, work: Awaitable[Any]) -> tuple[Outcome, Any]:
        """Raises: Refused for what would be refused again, unless the participant is out."""
        try:
            answer = await work
        except Refused as refused:
            if refused.code not in MAY_WORK_LATER and not self.is_out:
                raise
        except (Disconnected, Removed):
            pass
        else:
            self.promises.done += 1
            return "done", answer
        self.promises.unknown += 1
        return "unknown", None

    # --- commands -----------------------------------------------------------------------------

    async def raise_hand(self, raised: bool) -> None:
        assert self.room is not None
        outcome, _ = await self.attempt(self.room.set_hand(raised))
        if not self.is_out:  # put out meanwhile: nothing of theirs is left
            self.promises.hands[self.id].note(outcome, raised)

    async def chat(self) -> None:
        assert self.room is not None
        self.count += 1
        text = f"{self.id} {self.count}"
        outcome, _ = await self.attempt(self.room.send_chat(text))
        if outcome == "done":
            self.promises.lines.add(text)

    async def rename(self) -> None:
        assert self.room is not None
        self.count += 1
        name = f"{self.name} {self.count}"
        outcome, _ = await self.attempt(self.room.rename(name))
        if not self.is_out:
            self.promises.names[self.id].note(outcome, name)

    async def configure(self, chance: random.Random) -> None:
        assert self.room is not None
        roles = sorted({"guest", *chance.sample(["observer", "class"], chance.randint(0, 2))})
        outcome, _ = await self.attempt(self.room.configure(lobby_roles=roles))
        self.promises.lobby_roles.note(outcome, roles)

    async def make_text(self) -> None:
        assert self.room is not None
        self.count += 1
        outcome, made = await self.attempt(self.room.create_document(f"Texte {self.id} {self.count}", "Il était"))
        if outcome == "done":
            self.promises.texts.add(made.document)


class Throng:
    """All of them. Use `running_throng`."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.chance = random.Random(seed)
        self.promises = Promises()
        self.members: list[Member] = []
        self.room_id = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = asyncio.Event()

    @property
    def host(self) -> Member:
        return self.members[0]

    def inside(self) -> list[Member]:
        return [each for each in self.members if not each.is_out]

    def victims(self) -> list[Member]:
        return [each for each in self.members if each.role == "pupil" and not each.is_out][2:]

    def some_instance(self) -> Instance:
        return self.chance.choice([each for each in self.fleet.instances if each.takes_people])

    async def make_room(self) -> None:
        async with PasserelleApi(self.fleet.instances[0].url) as api:
            made = await api.create_room("Dictée", host_name="Mme Roy")
        self.room_id = made.room.id
        await self.bring(Member("Mme Roy", "host", made.token, made.participant_id, "websocket", self.promises))

    async def invite(self, name: str, role: str, transport: str) -> Member:
        """Raises: Refused, Disconnected."""
        async with PasserelleApi(self.host.line.url) as api:
            invitation = await api.create_invitation(self.room_id, self.host.token, role, lobby=False)
            joined = await api.join(name, invitation=invitation.id)
        self.promises.inside.add(joined.participant_id)
        member = Member(name, role, joined.token, joined.participant_id, transport, self.promises)
        member.invitation_id = invitation.id
        return member

    async def bring(self, member: Member) -> None:
        self.members.append(member)
        member.line.target_port = 0
        member.line.mend()
        self.fleet.lead(member.line, self.some_instance())
        await member.come()

    async def gather(self) -> None:
        """The room, and everybody in it."""
        await self.make_room()
        for number, (role, transport) in enumerate(PEOPLE):
            await self.bring(await self.invite(f"Personne {number}", role, transport))

    async def end(self) -> None:
        """Everybody goes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self.members:
            await member.line.cut()
            if member.room is not None:
                await member.room.close()

    async def begin(self) -> None:
        """Everybody acts from now on."""
        self._tasks = [asyncio.create_task(self._live(each)) for each in self.members]
        self._tasks.append(asyncio.create_task(self._moderate()))

    async def rest(self) -> None:
        """Nobody begins anything any more. Raises: whatever one of them met that must not be."""
        self._is_over.set()
        async with asyncio.timeout(60 * SECOND):
            await asyncio.gather(*self._tasks)

    async def _pause(self, least_s: float, most_s: float) -> bool:
        """Whether to go on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.chance.uniform(least_s, most_s)):
                await self._is_over.wait()
        return not self._is_over.is_set()

    async def _live(self, member: Member) -> None:
        while await self._pause(0.1, 0.7):
            if member.is_surely_out:
                member.write_what_is_forbidden()
            if member.is_out:
                continue
            what = self.chance.random()
            if member.role != "observer":
                if what < 0.70:
                    member.write(self.chance)
                elif what < 0.80:
                    await member.raise_hand(self.chance.random() < 0.5)
                elif what < 0.90:
                    await member.chat()
                elif what < 0.93:
                    await member.rename()
            if what > 0.985 and not self._is_over.is_set():
                await member.vanish()
                self.fleet.lead(member.line, self.some_instance())
                await member.come()

    async def _moderate(self) -> None:
        """What hosts do besides."""
        while await self._pause(0.5, 1.5):
            host = self.chance.choice([each for each in self.members if each.role == "host"])
            if host.room is None:
                continue
            what = self.chance.random()
            if what < 0.3 and host is self.host:
                await host.configure(self.chance)
            elif what < 0.5:
                await host.make_text()
            elif what < 0.6:
                await self._somebody_more()
            elif what < 0.7 and (victims := self.victims()):
                await self._put_out(host, self.chance.choice(victims))

    async def _somebody_more(self) -> None:
        if len(self.members) < 16:
            transport = self.chance.choice(("websocket", "polling"))
            outcome, member = await self.host.attempt(self.invite("Nouvelle", "pupil", transport))
            if outcome == "done":
                await self.bring(member)
                self._tasks.append(asyncio.create_task(self._live(member)))

    async def _put_out(self, host: Member, victim: Member) -> None:
        """One way or the other. What is confirmed holds from that moment."""
        assert host.room is not None
        victim.is_out = True  # from now on it may be
        self.promises.expect_nothing_of(victim.id)
        if self.chance.random() < 0.5:
            outcome, confirmed = await host.attempt(host.room.remove(victim.id))
        else:
            async with PasserelleApi(host.line.url) as api:
                revoking = api.revoke_invitation(self.room_id, host.token, victim.invitation_id)
                outcome, confirmed = await host.attempt(revoking)
        if outcome == "done":
            self.promises.removed.add(victim.id)
            if confirmed:
                victim.is_surely_out = True
                self.promises.confirmed += 1
            else:
                self.promises.unconfirmed += 1
