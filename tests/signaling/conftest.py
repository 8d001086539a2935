from collections.abc import AsyncIterator

import pytest

from tests.support.media_house import MediaHouse


@pytest.fixture
async def house() -> AsyncIterator[MediaHouse]:
    house = MediaHouse()
    yield house
    house.sfu.gate.set()
    await house.media.stop()
