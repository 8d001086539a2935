"""One of two instances lives in a network of its own, and a firewall (nftables) drops every packet between it and what
instances share: no connection ends, nothing is refused. Its people are still connected to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pycrdt
import pytest

from passerelle_client import Disconnected, PasserelleApi, Refused, Room
from rooms.ports import LEASE_S
from tests.support.closed_network import ClosedNetwork, closed_network
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import running_redis
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
API_KEY = "a-key-of-the-administrator"
CUT_OFF_S = 20.0
TAKEN_OVER_S = LEASE_S + 4.0
CONVERGED_S = 5.0
SLACK_S = 2.0 * SECOND - 2.0
"""For a machine on which everything takes longer."""
INSIDE = ("sh", "-c", '"$@"; exit $?', "sh", "ip", "netns", "exec")
"""A shell that waits for what it runs in there (ServerProcess ends what runs the server with it)."""


@dataclass
class Installation:
    network: ClosedNetwork
    machine: str
    """The address of this machine for the one that is inside."""
    shared_ports: tuple[int, ...]
    """Redis and PostgreSQL."""
    inside: ServerProcess
    outside: ServerProcess

    def cut(self) -> None:
        self.network.close_to(self.machine, *self.shared_ports)


@asynccontextmanager
async def installation(folder: Path, postgres: PostgresServer) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_redis(folder / "redis"))
        network = await stack.enter_async_context(closed_network(folder))
        machine = network.lay_line()
        for port in (redis.port, postgres.port):
            await network.open_on_line(machine, port)
        tables = await postgres.fresh_tables()
        servers = []
        for name, address, under in (("inside", machine, (*INSIDE, network.name)), ("outside", "127.0.0.1", ())):
            environment = {
                "REDIS_URL": redis.url.replace("127.0.0.1", address),
                "DATABASE_URL": tables.replace("127.0.0.1", address),
                "PASSERELLE_API_KEY": API_KEY,
            }
            if under:
                environment["PASSERELLE_HOST"] = network.address
            (folder / name).mkdir()
            server = ServerProcess(folder / name / "data", environment, under=under)
            if under:
                server.url = f"http://{network.address}:{server.port}"
            stack.push_async_callback(server.kill)
            await server.start()
            servers.append(server)
        yield Installation(network, machine, (redis.port, postgres.port), *servers)


def text_of(room: Room) -> str:
    return str(room.document("texte").doc.get("text", type=pycrdt.Text))


def write(room: Room, word: str) -> None:
    text = room.document("texte").doc.get("text", type=pycrdt.Text)
    text += word


async def until(condition: Callable[[], Any], seconds: float) -> None:
    async with asyncio.timeout(seconds + SLACK_S):
        while not condition():
            await asyncio.sleep(0.02)


async def lost_leases(server: ServerProcess) -> float:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{server.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    [line] = [each for each in lines if each.startswith('passerelle_room_lease_changes_total{change="lost"}')]
    return float(line.split()[1])


async def asked_in_time(order: Callable[[], Any], seconds: float) -> None:
    """Asked again for as long as nobody can say who decides."""
    async with asyncio.timeout(seconds + SLACK_S):
        while True:
            try:
                return await order()
            except Refused as refused:
                if refused.code != "store-unavailable":
                    raise


async def test_a_home_that_a_firewall_cuts_off_is_deposed_and_nothing_is_lost(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with installation(tmp_path, postgres) as house, AsyncExitStack() as stack:
        async with PasserelleApi(house.inside.url) as api:
            made = await api.create_room("Les marées", host_name="Mme Roy", api_key=API_KEY)
            invitation = await api.create_invitation(made.room.id, made.token, "pupil", lobby=False)
            joined = await api.join("Léo", invitation=invitation.id)
        host = await stack.enter_async_context(Room(house.outside.url, made.token))
        pupil = await stack.enter_async_context(Room(house.inside.url, joined.token))
        for room in (host, pupil):
            await room.open()
            await room.document("texte").when_synced()
        write(pupil, "avant ")
        await until(lambda: text_of(host) == "avant " and pupil.document("texte").state == "saved", 5.0)

        house.cut()
        began = asyncio.get_running_loop().time()
        with pytest.raises((Refused, Disconnected)) as failed:
            await pupil.rename("Personne n’en décide")
        assert not isinstance(failed.value, Refused) or failed.value.code == "store-unavailable"
        write(pupil, "dedans ")
        write(host, "dehors ")
        await until(lambda: host.document("texte").state == "saved", 5.0)
        await asked_in_time(lambda: host.set_hand(True), TAKEN_OVER_S)
        await asyncio.sleep(max(0.0, began + CUT_OFF_S - asyncio.get_running_loop().time()))
        assert pupil.document("texte").state == "unsaved"
        assert text_of(host) == "avant dehors "

        house.network.reopen()
        both = {"dedans ", "dehors "}
        await until(lambda: {text_of(host), text_of(pupil)} <= {"avant " + "".join(order) for order in _orders(both)}
                    and text_of(host) == text_of(pupil), CONVERGED_S)  # fmt: skip
        await until(lambda: pupil.document("texte").state == "saved", CONVERGED_S)
        await until(lambda: pupil.view is not None and pupil.view.participants == host.view.participants, CONVERGED_S)
        assert [person.hand_raised_at is not None for person in pupil.view.participants] == [True, False]
        assert [person.name for person in pupil.view.participants] == ["Mme Roy", "Léo"]
        assert await lost_leases(house.inside) == 1.0
        await asked_in_time(lambda: pupil.rename("Léo B."), CONVERGED_S)
        await until(lambda: [person.name for person in host.view.participants] == ["Mme Roy", "Léo B."], CONVERGED_S)


def _orders(words: set[str]) -> list[list[str]]:
    first, second = sorted(words)
    return [[first, second], [second, first]]
