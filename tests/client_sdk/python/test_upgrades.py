"""Instances are upgraded one after the other: a client that is newer than its server is refused nothing, and says what
it may say wherever that is understood."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from passerelle_client import PasserelleApi, Refused, Room
from tests.support.deadlines import SECOND
from tests.support.server_process import ServerProcess, running_server

DEADLINE = 20 * SECOND
OLDER = "tests.support.older_server"


@pytest.fixture
async def upgraded(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with running_server(tmp_path, module=OLDER) as running:
        yield running


def words_of(room: Room) -> list[tuple[str, dict[str, Any]]]:
    """What it asks from now on."""
    words: list[tuple[str, dict[str, Any]]] = []
    call = room._connection.call

    async def note(name: str, fields: dict[str, Any]) -> Any:
        words.append((name, fields))
        return await call(name, fields)

    room._connection.call = note  # type: ignore[method-assign]
    return words


async def exchange(server: ServerProcess, module: str) -> None:
    await server.terminate()
    server.module = module
    await server.start()


async def set_everything(host: Room, number: int) -> None:
    await host.set_hand(number % 2 == 0)
    await host.rename(f"Mme Roy {number}")
    await host.configure(chat_enabled=number % 2 == 0)
    await host.spotlight(host.participant_id if number % 2 == 0 else None)


async def connected_again(room: Room, condition: Callable[[], bool]) -> None:
    """With a view of the new connection."""
    changed = asyncio.Event()
    off = room.on("view", lambda _view: changed.set())
    async with asyncio.timeout(DEADLINE):
        while not condition():
            changed.clear()
            await changed.wait()
    off()


async def came_as(api: PasserelleApi) -> int:
    """How many participants somebody becomes who asks twice to join."""
    created = await api.create_room("Les marées", request_id="f" * 32)
    invitation = await api.create_invitation(created.room.id, created.token, "class")
    came = [await api.join("5e A", invitation=invitation.id, request_id="e" * 32) for _ in range(2)]
    return len({each.participant_id for each in came})


async def test_a_newer_client_says_what_came_later_only_where_it_is_understood(
    upgraded: ServerProcess, make_school: Any
) -> None:
    school = await make_school(upgraded.url)
    host = await school.host()
    made = await host.create_document("Récit")
    words = words_of(host)
    with pytest.raises(Refused) as refused:
        await host.command("rename", name="Mme Roy", seen=host.view.seq)
    assert refused.value.code == "invalid"
    words.clear()
    await set_everything(host, 0)
    await host.rename_document(made.document, "Récit 0")
    assert len(words) == 5
    assert not [fields for _name, fields in words if "seen" in fields]
    with pytest.raises(Refused) as refused:
        await school.api.join("5e A", code="lune-renard-42")
    assert refused.value.code == "invitation-unknown", "not the one for the field that it does not know"
    assert await came_as(school.api) == 2

    await exchange(upgraded, "server")
    await connected_again(host, lambda: "seen" in host.view.understands)
    words.clear()
    await set_everything(host, 1)
    await host.rename_document(made.document, "Récit 1")
    assert len(words) == 5
    assert all("seen" in fields for _name, fields in words)
    assert await came_as(school.api) == 1


async def test_after_a_cut_the_first_word_waits_for_what_the_server_there_understands(
    upgraded: ServerProcess, make_school: Any
) -> None:
    """The other way round, as in an upgrade that is taken back: what the connection before said does not count."""
    await exchange(upgraded, "server")
    school = await make_school(upgraded.url)
    host = await school.host()
    assert "seen" in host.view.understands
    words = words_of(host)
    stands = asyncio.Event()
    lost = asyncio.Event()
    host.on("state", lambda state: (stands.set if state == "connected" else lost.set)())
    await exchange(upgraded, OLDER)
    async with asyncio.timeout(DEADLINE):
        await lost.wait()
        await stands.wait()
    await host.rename("Mme Roy, de retour")
    assert [fields for _name, fields in words] == [{"name": "Mme Roy, de retour"}]
    await host.set_hand(True)
