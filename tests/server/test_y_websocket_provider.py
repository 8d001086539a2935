"""y-websocket's own provider (3.1, unchanged) against the server: what any Yjs editor would use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.storage.sqlite import SqliteStore
from tests.support.room_client import connected
from tests.support.running_house import RunningHouse, running_house
from tests.support.y_websocket_provider import Providers, running_providers


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    async with running_providers() as running:
        yield running


def address(house: RunningHouse) -> str:
    return house.url.replace("http", "ws", 1)


async def test_two_providers_and_a_client_of_the_room_write_one_text(house: RunningHouse, providers: Providers) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with connected(house.url, host.token) as client:
        editor = await client.edit("texte", "e")
        for name, person in (("a", host), ("b", guest)):
            providers.do("open", name, url=address(house), room=host.room_id, document="texte", token=person.token)
            await providers.until(name, lambda report: report.get("synced") is True)
        providers.do("point", "a", person="Amélie")
        providers.do("point", "b", person="Luc")
        providers.do("type", "a", text="Le fleuve ")
        providers.do("type", "b", text="à Rimouski ")
        editor.type("gèle ")
        words = {"Le", "fleuve", "à", "Rimouski", "gèle"}
        for name in "ab":
            await providers.until(name, lambda report: set(report.get("text", "").split()) == words)
            await providers.until(name, lambda report: report.get("people") == ["Amélie", "Luc"])
        await editor.until(lambda: set(editor.text.split()) == words)
        assert providers.latest("a", "text") == providers.latest("b", "text") == editor.text
        providers.do("end", "b")
        await providers.until("a", lambda report: report.get("people") == ["Amélie"])


async def test_provider_comes_back_by_itself_after_a_restart(tmp_path: Path, providers: Providers) -> None:
    data = tmp_path / "data"
    async with running_house(data, store=SqliteStore(data)) as house:
        port = int(house.url.rsplit(":", 1)[1])
        host = await house.room()
        providers.do("open", "a", url=address(house), room=host.room_id, document="texte", token=host.token)
        await providers.until("a", lambda report: report.get("synced") is True)
        providers.do("type", "a", text="avant ")
        await providers.until("a", lambda report: report.get("text") == "avant ")
    await providers.until("a", lambda report: report.get("status") == "disconnected")
    providers.do("type", "a", text="pendant ")
    providers.reports.clear()
    async with running_house(data, store=SqliteStore(data), port=port) as house:
        await providers.until("a", lambda report: report.get("synced") is True)
        async with connected(house.url, host.token) as client:
            editor = await client.edit("texte", "e")
            await editor.until(lambda: editor.text == "avant pendant ")
    assert not [report for report in providers.reports if "closed" in report]


async def test_who_was_cut_off_is_seen_again_at_once(house: RunningHouse, providers: Providers) -> None:
    """Not when its clock rises by itself, which takes 15 s: its neighbours saw it go at the clock it comes back with."""
    host = await house.room()
    guest = await house.guest(host)
    for name, person in (("a", host), ("b", guest)):
        providers.do("open", name, url=address(house), room=host.room_id, document="texte", token=person.token)
        providers.do("point", name, person=name)
    async with connected(house.url, host.token) as client:
        editor = await client.edit("texte", "e")
        for name in "ab":
            await providers.until(name, lambda report: report.get("people") == ["a", "b"])
        for _ in range(2):
            providers.reports.clear()
            providers.do("cut", "a")
            await providers.until("b", lambda report: report.get("people") == ["b"])
            providers.reports.clear()
            await providers.until("b", lambda report: report.get("people") == ["a", "b"])
            await editor.until(lambda: len([state for state in editor.awareness.states.values() if state]) == 2)


async def test_providers_see_each_other_at_once_after_a_restart(tmp_path: Path, providers: Providers) -> None:
    data = tmp_path / "data"
    async with running_house(data, store=SqliteStore(data)) as house:
        port = int(house.url.rsplit(":", 1)[1])
        host = await house.room()
        guest = await house.guest(host)
        for name, person in (("a", host), ("b", guest)):
            providers.do("open", name, url=address(house), room=host.room_id, document="texte", token=person.token)
            providers.do("point", name, person=name)
        for name in "ab":
            await providers.until(name, lambda report: report.get("people") == ["a", "b"])
        providers.reports.clear()
    for name in "ab":
        await providers.until(name, lambda report, name=name: report.get("people") == [name])
    providers.reports.clear()
    async with running_house(data, store=SqliteStore(data), port=port):
        for name in "ab":
            await providers.until(name, lambda report: report.get("people") == ["a", "b"])


async def test_provider_gives_up_where_coming_back_is_of_no_use(house: RunningHouse, providers: Providers) -> None:
    host = await house.room()
    guest = await house.guest(host)
    providers.do("open", "bad", url=address(house), room=host.room_id, document="texte", token="nonsense")
    assert await providers.until("bad", lambda report: "closed" in report) == {
        "name": "bad", "closed": 4401, "reason": "token-invalid",
    }  # fmt: skip
    providers.do("open", "out", url=address(house), room=host.room_id, document="texte", token=guest.token)
    await providers.until("out", lambda report: report.get("synced") is True)
    async with connected(house.url, host.token) as client:
        await client.do("remove", participant_id=guest.id)
    assert await providers.until("out", lambda report: "closed" in report) == {
        "name": "out", "closed": 4403, "reason": "removed",
    }  # fmt: skip
