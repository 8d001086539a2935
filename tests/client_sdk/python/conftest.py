"""One real server for all tests of the Python SDK that do not stop it, and people who join it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from passerelle_client import PasserelleApi, Room
from passerelle_client.protocol import RoomCreated
from tests.support.server_process import ServerProcess, running_server


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@dataclass
class School:
    """A room made by a host, and whoever joins it; all of them leave at the end."""

    url: str
    api: PasserelleApi
    created: RoomCreated
    rooms: list[Room]

    async def token(self, role: str, name: str = "Élève", *, lobby: bool = False) -> str:
        room = self.created.room.id
        invitation = await self.api.create_invitation(room, self.created.token, role, lobby=lobby)
        return (await self.api.join(name, invitation=invitation.id)).token

    async def connect(self, token: str, **options: Any) -> Room:
        room = await Room.connect(self.url, token, **options)
        self.rooms.append(room)
        return room

    async def host(self, **options: Any) -> Room:
        return await self.connect(self.created.token, **options)

    async def join(self, role: str = "pupil", name: str = "Élève", **options: Any) -> Room:
        return await self.connect(await self.token(role, name), **options)

    async def close(self) -> None:
        for room in self.rooms:
            await room.close()
        await self.api.close()


MakeSchool = Callable[..., Awaitable[School]]


@pytest.fixture
async def make_school(server: ServerProcess) -> AsyncIterator[MakeSchool]:
    """A school on the shared server, or on the one given by `url`."""
    schools: list[School] = []

    async def make(url: str | None = None, kind: str = "interclass") -> School:
        api = PasserelleApi(url or server.url)
        created = await api.create_room("Classe verte", kind=kind, host_name="Mme Roy")
        school = School(url or server.url, api, created, [])
        schools.append(school)
        return school

    yield make
    for school in schools:
        await school.close()


@pytest.fixture
async def school(make_school: MakeSchool) -> School:
    return await make_school()
