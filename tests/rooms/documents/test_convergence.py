"""DOC-1: random histories of Yjs, y-py and pycrdt clients on two instances, over a bus that loses, repeats, delays
and cuts off, and a store that fails now and then: in the end the same document everywhere."""

import asyncio
import random
from typing import Any

import pycrdt
import pytest

from rooms.documents.deletions import digest_of_deletions
from rooms.documents.errors import CannotOpen
from rooms.documents.hub import DocumentHub
from rooms.documents.live import LiveDocument
from tests.support.deadlines import SECOND
from tests.support.documents import Editor, until
from tests.support.instances import Instances, instances
from tests.support.yjs_peers import YjsPeer, YjsProcess, yjs_process
from tests.support.ypy_peer import YPyPeer

Replica = YjsPeer | YPyPeer | Editor


class Overtaking(Editor):
    """An editor whose updates overtake each other on their way."""

    def __init__(self, name: str, chance: random.Random, doc: "pycrdt.Doc[pycrdt.Text]") -> None:
        super().__init__(name, doc=doc)
        self._chance = chance
        self._held: list[bytes] = []

    def tell(self, message: bytes) -> None:
        if not message.startswith(b"\x00\x02"):
            super().tell(message)
            return
        self._held.append(message)
        if self._chance.random() < 0.4:
            self.let_go()

    def let_go(self) -> None:
        held, self._held = self._held, []
        self._chance.shuffle(held)
        for message in held:
            super().tell(message)

    def leave(self) -> None:
        self._held.clear()  # they go with the connection
        super().leave()


class History:
    """One random history: who does what, when, and what goes wrong meanwhile."""

    def __init__(self, seed: int, them: Instances, process: YjsProcess, *, simple: bool) -> None:
        self.chance = random.Random(seed)
        self.them = them
        self.simple = simple
        self.yjs = [process.peer() for _ in range(self.chance.randint(1, 3))]
        self.ypy = [YPyPeer(n) for n in range(self.chance.randint(1, 2))] if simple else []
        self.editors: list[Editor] = [
            Overtaking(f"o{n}", self.chance, self._doc()) for n in range(self.chance.randint(1, 2))
        ]
        self.editors.append(Editor("plain", doc=self._doc()))
        self.replicas: list[Replica] = [*self.yjs, *self.ypy, *self.editors]
        self.hubs: list[DocumentHub] = []

    def _doc(self) -> "pycrdt.Doc[pycrdt.Text]":
        # y-py goes wrong with client ids above 32 bits, as pycrdt makes them (and Yjs never).
        return pycrdt.Doc(client_id=self.chance.randrange(2**32 if self.simple else 2**53))

    async def run(self, turns: int) -> None:
        self.hubs = [await self.them.start(), await self.them.start()]
        for replica in self.replicas:
            await self._join(replica)
        self.them.network.faults = 0.15
        for _ in range(turns):
            await self._turn()
        await self._mend()

    async def _turn(self) -> None:
        replica = self.chance.choice(self.replicas)
        await self._edit(replica)
        event = self.chance.random()
        if event < 0.15:
            await self._come_or_go(replica)
        elif event < 0.20:
            end = self.them.bus(self.chance.choice(self.hubs))
            end.is_cut = not end.is_cut and self.chance.random() < 0.4
        elif event < 0.23:
            self.them.store.is_failing = not self.them.store.is_failing
        elif event < 0.25:
            await self._restart(self.chance.randrange(2))
        elif event < 0.30:
            self.them.beat()
        if self.chance.random() < 0.3:
            await self.yjs[0].ask("id")  # time for all to happen; the rest of the turns follow each other closely

    async def _edit(self, replica: Replica) -> None:
        if isinstance(replica, YjsPeer):
            replica.do("edit", seed=self.chance.randrange(2**31), simple=self.simple)
        elif isinstance(replica, YPyPeer):
            replica.edit(self.chance)
        elif self.simple and len(replica.text) > 3 and self.chance.random() < 0.4:
            at = self.chance.randrange(len(replica.text))  # all of it is ASCII
            del replica.content[at : at + 1]
        else:
            replica.type(self.chance.choice(["x", "yz", "w "] if self.simple else ["é", "📊", "abc"]))

    async def _come_or_go(self, replica: Replica) -> None:
        if replica.opened is None:
            await self._join(replica)
        elif isinstance(replica, Editor):
            replica.leave()
        else:
            if isinstance(replica, YjsPeer) and self.chance.random() < 0.5:
                await replica.ask("id")
            replica.disconnect()

    async def _join(self, replica: Replica) -> None:
        hub = self.chance.choice(self.hubs)
        try:
            if isinstance(replica, Editor):
                await replica.open(hub)
            else:
                await replica.connect(hub)
        except CannotOpen:
            pass  # the store fails just now

    async def _restart(self, index: int) -> None:
        """Its readers are sent away, and come again to any."""
        if self.them.store.is_failing:
            return  # stopping then loses what is unsaved, and says so
        await self.them.stop(self.hubs[index])
        self.hubs[index] = await self.them.start()

    async def _mend(self) -> None:
        self.them.store.is_failing = False
        self.them.network.faults = 0.0
        await self.them.network.release()
        for hub in self.hubs:
            self.them.bus(hub).is_cut = False
        for replica in self.replicas:
            if isinstance(replica, Overtaking):
                replica.let_go()
            if replica.opened is None:
                await self._join(replica)
        await until(lambda: all(replica.opened is not None for replica in self.replicas))


async def agreement(history: History) -> dict[str, Any]:
    """What all replicas show once it is the same, with a heartbeat now and then. Raises: TimeoutError."""
    async with asyncio.timeout(20 * SECOND):
        while True:
            history.them.beat()
            before = await shown(history)
            is_agreed = all(state == before[0] for state in before) and have_equal_copies(history)
            if is_agreed and await shown(history) == before:
                return before[0]
            await asyncio.sleep(0.005)


async def shown(history: History) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = [await content(peer) for peer in history.yjs]
    whole = states[0]
    text = "".join(part["insert"] for part in whole["text"] if isinstance(part["insert"], str))
    for editor in history.editors:
        words = "".join(what for what, _attributes in editor.content.diff() if isinstance(what, str))
        states.append(whole if words == text else {"text": words})
    for peer in history.ypy:
        is_same = str(peer.doc.get_text("text")) == text and list(peer.doc.get_array("array")) == whole["array"]
        states.append(whole if is_same else {"text": str(peer.doc.get_text("text"))})
    return states


async def content(peer: YjsPeer) -> dict[str, Any]:
    state: dict[str, Any] = await peer.ask("read")
    state.pop("awareness")
    return state


def reach(live: LiveDocument) -> tuple[dict[int, int], bytes]:
    """All that is written and all that is deleted, seen or not."""
    assert live.copy is not None
    return live.copy.clocks, digest_of_deletions(live.copy.deletions())


def reaches(history: History) -> list[tuple[dict[int, int], bytes]]:
    return [reach(live) for hub in history.hubs for live in hub._library.documents]


def have_equal_copies(history: History) -> bool:
    copies = reaches(history)
    return all(copy == copies[0] for copy in copies)


async def converge(seed: int, *, simple: bool, turns: int) -> None:
    async with instances() as them, yjs_process() as process:
        history = History(seed, them, process, simple=simple)
        await history.run(turns)
        final = await agreement(history)
        assert not final["pending"]
        assert them.network.lost + them.network.repeated + them.network.delayed > 0
        assert [replica.closed for replica in history.yjs if replica.opened is None] == []
        await until(lambda: all(hub.statistics().unsaved_bytes == 0 for hub in history.hubs))
        fresh = await them.start()
        reader = process.peer()
        them.bus(fresh).is_cut = True  # the store alone
        await reader.connect(fresh)
        await until(lambda: reader.opened is not None and reader.opened.is_synced)
        assert await content(reader) == final
        [reloaded] = fresh._library.documents
        assert reaches(history) == [reach(reloaded)] * len(reaches(history))


@pytest.mark.parametrize("seed", range(3))
async def test_all_kinds_of_clients_end_with_the_same(seed: int) -> None:
    """With y-py, so within what it can do: text, arrays and maps."""
    await converge(seed, simple=True, turns=150)


@pytest.mark.parametrize("seed", range(3))
async def test_all_kinds_of_content_end_the_same(seed: int) -> None:
    await converge(seed, simple=False, turns=150)


@pytest.mark.long
@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize("seed", range(100, 140))
async def test_long_histories_end_with_the_same(seed: int, simple: bool) -> None:
    await converge(seed, simple=simple, turns=600)
