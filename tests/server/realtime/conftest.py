"""A running server for each test, and clients that are closed at its end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.room_client import RoomClient, YjsSocket, connected, yjs_connected
from tests.support.running_house import Person, RunningHouse, running_house

Enter = Callable[..., Awaitable[RoomClient]]
OpenYjs = Callable[..., Awaitable[YjsSocket]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def enter(house: RunningHouse) -> AsyncIterator[Enter]:
    """Connects a person over Socket.IO: `await enter(person, transport="polling")`."""
    async with AsyncExitStack() as stack:

        async def connect(person: Person | str | None, transport: str = "websocket") -> RoomClient:
            token = person.token if isinstance(person, Person) else person
            return await stack.enter_async_context(connected(house.url, token, transport))

        yield connect


@pytest.fixture
async def open_yjs(house: RunningHouse) -> AsyncIterator[OpenYjs]:
    """Connects a person to a document: `await open_yjs(person, "texte")`."""
    async with AsyncExitStack() as stack:

        async def connect(person: Person, document: str = "texte", **options: Any) -> YjsSocket:
            token = options.pop("token", person.token)
            room = options.pop("room", person.room_id)
            return await stack.enter_async_context(
                yjs_connected(house.http, house.url, room, document, token, **options)
            )

        yield connect
