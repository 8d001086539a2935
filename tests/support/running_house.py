"""The whole server in the test's own loop, on a free port: real sockets, nothing replaced but the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from rooms.ports import Bus, RoomLeases, Store
from server.app import build_house
from server.config import Settings
from server.house import House
from server.life import drain, start_house, stop_house
from server.listener import listen
from server.storage.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has a token."""

    id: str
    token: str
    room_id: str
    invitation_id: str | None = None


class RunningHouse:
    """A house, its address, and the HTTP calls that every test needs."""

    def __init__(self, house: House, url: str, http: aiohttp.ClientSession) -> None:
        self.house = house
        self.url = url
        self.http = http

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        json: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """The status and the body: decoded JSON, else text."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, self.url + path, json=json, headers=sent) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def room(self, kind: str = "interclass", host_name: str = "Amélie") -> Person:
        """A new room; its host."""
        status, body = await self.request(
            "POST", "/api/rooms", json={"name": "Rimouski – Montréal", "kind": kind, "host_name": host_name}
        )
        assert status == 201, body
        return Person(body["participant_id"], body["token"], body["room"]["id"])

    async def invite(self, host: Person, role: str, **terms: Any) -> dict[str, Any]:
        status, body = await self.request(
            "POST", f"/api/rooms/{host.room_id}/invitations", token=host.token, json={"role": role, **terms}
        )
        assert status == 201, body
        invitation: dict[str, Any] = body
        return invitation

    async def join(self, invitation: dict[str, Any], name: str = "Camille") -> Person:
        status, body = await self.request("POST", "/api/join", json={"invitation": invitation["id"], "name": name})
        assert status == 200, body
        return Person(body["participant_id"], body["token"], body["room"]["id"], invitation["id"])

    async def guest(self, host: Person, role: str = "guest", name: str = "Camille", *, lobby: bool = False) -> Person:
        """Somebody of that role; inside unless `lobby`."""
        return await self.join(await self.invite(host, role, lobby=lobby), name)


@asynccontextmanager
async def running_house(
    data: Path,
    *,
    store: Store | None = None,
    bus: Bus | None = None,
    leases: RoomLeases | None = None,
    media: bool = False,
    port: int = 0,
    **settings: Any,
) -> AsyncIterator[RunningHouse]:
    """`store` None: one in memory. `bus`, `leases` None: it is alone. Without `media` no worker is started. `port` 0: any."""
    chosen = Settings(**{"media_addresses": ("127.0.0.1",), **settings, "data": data, "port": 0})
    house = build_house(chosen, store if store is not None else MemoryStore(), bus, leases)
    if not media:
        house.engines.pop("sfu", None)
    listener = listen("127.0.0.1", port)
    runner = web.AppRunner(house.web, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await start_house(house)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        async with aiohttp.ClientSession() as http:
            yield RunningHouse(house, f"http://127.0.0.1:{listener.getsockname()[1]}", http)
    finally:
        if not house.draining:
            await drain(house)
            await stop_house(house)
        await runner.cleanup()
        listener.close()
