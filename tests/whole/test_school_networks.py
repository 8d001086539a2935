"""What school networks leave over (NET-2): from each of them a class hears and is heard within 8 s.

The class's browser lives in a network namespace from which nothing leads out but what the case opens; the other's
has the whole machine.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.chromium import launched_chromium
from tests.support.closed_network import ClosedNetwork, closed_network
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.janus_server import own_address
from tests.support.sdk_page import GREEN, RED, bundle_sdk, hears_tone, sdk_context, sdk_page
from tests.support.server_process import ServerProcess, free_port, running_server
from tests.support.session_setup import room_of_two
from tests.support.turn_server import DeployedTurnServer, running_deployed_turn_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
SECRET = "a-secret-of-the-relay"
HEARD_WITHIN_S = 8.0 * SECOND
TRUST = "--ignore-certificate-errors"
"""The relay's certificate is the test's own."""


@dataclass(frozen=True)
class Case:
    """One kind of network: what is open, and how media go through it."""

    name: str
    opens: Callable[[ClosedNetwork, ServerProcess, DeployedTurnServer], Awaitable[list[str]]]
    """The browser's flags."""
    state: str


async def all_but_udp(network: ClosedNetwork, server: ServerProcess, turn: DeployedTurnServer) -> list[str]:
    for port in (server.port, turn.plain, turn.tls):
        await network.forward(port)
    return []


async def nothing_but_tls(network: ClosedNetwork, server: ServerProcess, turn: DeployedTurnServer) -> list[str]:
    for port in (server.port, turn.tls):
        await network.forward(port)
    return []


async def https_by_a_proxy(network: ClosedNetwork, server: ServerProcess, turn: DeployedTurnServer) -> list[str]:
    """It lets through what goes to the server, and refuses to CONNECT to anything else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n")
        words = request.decode("latin-1").split()
        target = words[1] if words[0] == "CONNECT" else words[1].partition("//")[2].partition("/")[0]
        if not target.endswith(f":{server.port}"):
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
        elif words[0] == "CONNECT":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await network.join(reader, writer, server.port)
        else:
            await network.join(reader, writer, server.port, first=request)

    port = free_port()
    await network.serve(port, serve)
    return [f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>"]


CASES = [
    Case("all but UDP", all_but_udp, "connected"),
    Case("nothing but TLS", nothing_but_tls, "connected"),
    Case("a proxy for HTTPS alone", https_by_a_proxy, "voice-only"),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bundle_sdk(tmp_path_factory.mktemp("sdk"))


@contextlib.asynccontextmanager
async def inside(
    server: ServerProcess, script: str, folder: Path, device: FakeDevice, token: str, *flags: str, program: str | None
) -> AsyncIterator[Page]:
    async with launched_chromium(device, folder, TRUST, *flags, executable=program) as browser:
        page = await sdk_page(await sdk_context(browser), server, script)
        assert await page.evaluate("(token) => enter(token)", token) == "admitted"
        await page.evaluate("async () => { globalThis.tracks = await publishCamera() }")
        yield page


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_class_is_heard_and_hears_from(case: Case, tmp_path: Path, script: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        turn = await stack.enter_async_context(running_deployed_turn_server(tmp_path, SECRET, own_address()))
        urls = f"turn:localhost:{turn.plain},turn:localhost:{turn.plain}?transport=tcp,turns:localhost:{turn.tls}?transport=tcp"
        environment = {"TURN_URLS": urls, "TURN_SECRET": SECRET, "PASSERELLE_MEDIA_ADDRESSES": own_address()}
        server = await stack.enter_async_context(running_server(tmp_path, environment))
        network = await stack.enter_async_context(closed_network(tmp_path))
        flags = await case.opens(network, server, turn)
        _room, tokens = await room_of_two(server)
        museum = await stack.enter_async_context(inside(server, script, tmp_path, RED, tokens[0], program=None))
        school = await stack.enter_async_context(
            inside(server, script, tmp_path, GREEN, tokens[1], *flags, program=network.executable)
        )
        await museum.evaluate("room.media.start()")
        ids = [await page.evaluate("tracks.microphone") for page in (museum, school)]
        began = time.monotonic()
        await school.evaluate("room.media.start()")
        await asyncio.gather(
            hears_tone(school, ids[0], RED.tone_hz, HEARD_WITHIN_S),
            hears_tone(museum, ids[1], GREEN.tone_hz, HEARD_WITHIN_S),
        )
        print(f"from {case.name}: heard both ways after {time.monotonic() - began:.1f} s")
        assert await school.evaluate("room.media.state") == case.state
