"""Real peers in the room: Yjs in Node, whole; y-py within what it can do (text, maps, arrays, in order)."""

import random
from typing import Any

import pytest

from rooms.documents.hub import DocumentHub
from rooms.documents.limits import HubLimits
from tests.support.clock import Clock
from tests.support.documents import KEY, Access, Editor, RecordingStore, until
from tests.support.yjs_peers import YjsPeer, YjsProcess, yjs_process
from tests.support.ypy_peer import YPyPeer


async def agreed(peers: list[YjsPeer], hub: DocumentHub) -> dict[str, Any]:
    """What all of them show, once nothing is under way any more."""
    for _ in range(200):
        states = [await peer.ask("read") for peer in peers]
        for state in states:
            state.pop("awareness")
        await until(lambda: hub._flushed.is_set())
        if all(state == states[0] for state in states):
            again = [await peer.ask("read") for peer in peers]
            if [{**state, "awareness": None} for state in again] == [{**state, "awareness": None} for state in states]:
                return states[0]
    raise AssertionError("the peers do not come to agree")


async def fresh_reader(process: YjsProcess, store: RecordingStore) -> dict[str, Any]:
    """What a new Yjs client sees on a new server process."""
    hub = DocumentHub(store)
    await hub.start()
    peer = process.peer()
    await peer.connect(hub)
    state: dict[str, Any] = await peer.ask("read")
    await until(lambda: peer.opened is not None and peer.opened.is_synced)
    state = await peer.ask("read")
    state.pop("awareness")
    await hub.stop()
    return state


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_yjs_clients_going_and_coming_end_with_the_same(
    seed: int, hub: DocumentHub, store: RecordingStore, clock: Clock
) -> None:
    """Every kind of content; offline edits; the document compacted, forgotten and loaded in between."""
    chance = random.Random(seed)
    async with yjs_process() as process:
        peers = [process.peer() for _ in range(4)]
        for peer in peers:
            await peer.connect(hub)
        for turn in range(300):
            peer = chance.choice(peers)
            peer.do("edit", seed=chance.randrange(2**31), simple=False)
            if chance.random() < 0.05:
                if peer.opened is None:
                    await peer.connect(hub)
                else:
                    await peer.ask("id")
                    peer.disconnect()
            if turn == 150:
                for everyone in peers:
                    everyone.disconnect()
                await until(lambda: hub._flushed.is_set())
                clock.now += 1_000
                await until(lambda: hub.statistics().documents == 0)
        for peer in peers:
            if peer.opened is None:
                await peer.connect(hub)
        final = await agreed(peers, hub)
        assert not final["pending"]
        assert len(final["text"]) + len(final["array"]) > 5
        assert [peer.denials for peer in peers] == [[]] * 4
        assert [peer.closed for peer in peers] == [None] * 4
        assert await fresh_reader(process, store) == final


async def test_yjs_awareness_goes_both_ways_and_its_echo_is_harmless(hub: DocumentHub) -> None:
    """A y-websocket client repeats what it hears of others, and this one does too."""
    async with yjs_process() as process:
        one, two = process.peer(), process.peer()
        await one.connect(hub)
        await two.connect(hub)
        editor = await Editor("ada").join(hub)
        one.do("state", state={"user": {"name": "Zoé 📊"}})
        number = str(await one.ask("id"))
        await until(lambda: int(number) in editor.awareness.states)
        assert editor.awareness.states[int(number)] == {"user": {"name": "Zoé 📊"}}
        for _ in range(100):
            if (await two.ask("read"))["awareness"].get(number):
                break
        assert (await two.ask("read"))["awareness"][number] == {"user": {"name": "Zoé 📊"}}
        one.disconnect()
        await until(lambda: int(number) not in editor.awareness.states)
        assert two.closed is None
        assert two.denials == []


async def test_a_yjs_client_understands_a_refusal(hub: DocumentHub) -> None:
    async with yjs_process() as process:
        peer = process.peer()
        peer.opened = await hub.open(KEY, peer, Access(write=False))
        peer.do("connect")
        peer.do("edit", seed=1, simple=False)
        for _ in range(100):
            await peer.ask("id")
            if peer.denials:
                break
        assert set(peer.denials) == {"read-only"}


async def test_yjs_reads_what_pycrdt_writes_and_the_other_way(hub: DocumentHub) -> None:
    async with yjs_process() as process:
        peer = process.peer()
        await peer.connect(hub)
        ada = await Editor("ada").join(hub)
        ada.type("Привет 📊 ")
        ada.content.insert(0, "gras", {"bold": True})
        for seed in range(40):
            peer.do("edit", seed=seed, simple=False)
            if seed % 4 == 0:
                ada.type("é")
        final = await agreed([peer], hub)
        await until(lambda: ada.all_saved)
        shown = "".join(part["insert"] for part in final["text"] if isinstance(part["insert"], str))
        words = "".join(what for what, _attributes in ada.content.diff() if isinstance(what, str))
        assert words == shown


async def test_ypy_and_yjs_write_together_in_what_ypy_can_do(hub: DocumentHub, store: RecordingStore) -> None:
    chance = random.Random(4)
    async with yjs_process() as process:
        yjs = [process.peer() for _ in range(2)]
        for peer in yjs:
            await peer.connect(hub)
        ypy = [YPyPeer(n) for n in range(2)]
        for old in ypy:
            await old.connect(hub)
        for turn in range(150):
            chance.choice(yjs).do("edit", seed=turn, simple=True)
            chance.choice(ypy).edit(chance)
            if turn % 10 == 0:
                await yjs[0].ask("id")
        final = await agreed(yjs, hub)
        for old in ypy:
            assert str(old.doc.get_text("text")) == "".join(part["insert"] for part in final["text"])
            assert list(old.doc.get_array("array")) == final["array"]
        assert await fresh_reader(process, store) == final


async def test_a_reader_with_a_small_buffer_catches_up_with_yjs(store: RecordingStore) -> None:
    """The resynchronisation message is one that real Yjs takes."""
    hub = DocumentHub(store, limits=HubLimits(reader_buffer_bytes=1_000, housekeeping_s=0.005))
    await hub.start()
    async with yjs_process() as process:
        stuck, writer = process.peer(), process.peer()
        await stuck.connect(hub)
        await writer.connect(hub)
        await stuck.ask("id")
        stuck.buffered_bytes = lambda: 5_000  # type: ignore[method-assign]
        for seed in range(60):
            writer.do("edit", seed=seed, simple=False)
        await writer.ask("id")
        await until(lambda: hub._flushed.is_set() and bool(hub._lagging))
        stuck.buffered_bytes = lambda: 0  # type: ignore[method-assign]
        await until(lambda: not hub._lagging)
        final = await agreed([stuck, writer], hub)
        assert not final["pending"]
    await hub.stop()
