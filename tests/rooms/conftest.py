"""Rooms with a manager and a host."""

from collections.abc import AsyncIterator

import pytest

from rooms.models import RoomKind
from tests.support.managed_room import ManagedRoom, open_managed_room


@pytest.fixture
async def room() -> AsyncIterator[ManagedRoom]:
    room = await open_managed_room()
    yield room
    await room.manager.stop()


@pytest.fixture
async def consultation() -> AsyncIterator[ManagedRoom]:
    room = await open_managed_room(RoomKind.CONSULTATION)
    yield room
    await room.manager.stop()
