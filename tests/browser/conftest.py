"""One browser and one server for a file's tests that do them no harm: each has a room and contexts of its own.

A test that kills its server, or needs other flags, has its own. The tests of a file that takes these run in one event
loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.chromium import launched_chromium
from tests.support.fake_media import FakeDevice
from tests.support.server_process import ServerProcess, running_server

DEVICE = FakeDevice("Mme Roy", (200, 40, 40), 440.0)
"""The camera and the microphone of everyone in the browser."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with launched_chromium(DEVICE, tmp_path_factory.mktemp("browser")) as launched:
        yield launched


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
