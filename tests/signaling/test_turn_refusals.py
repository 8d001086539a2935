"""SEC-1: what the relay of deploy/coturn refuses, beside what it does: peers, transports, quotas, credentials."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from signaling.turn import CREDENTIAL_LIFETIME_S, ice_servers, turn_credentials
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address
from tests.support.turn_client import TCP, TurnClient, turn_client
from tests.support.turn_server import CONFIGURATION, DeployedTurnServer, running_deployed_turn_server

SECRET = "tests-only"
TOTAL_QUOTA = 40
FORBIDDEN, WRONG_FAMILY, UNSUPPORTED_TRANSPORT = 403, 443, 442
UNAUTHORIZED, MISMATCH, QUOTA_REACHED = 401, 437, 486

on_its_loop = pytest.mark.asyncio(loop_scope="module")

V4 = {
    "this network": "0.0.0.0",
    "this network, too": "0.1.2.3",
    "loopback": "127.0.0.1",
    "loopback, too": "127.255.255.254",
    "private, 10": "10.0.0.1",
    "private, 172.16": "172.16.0.1",
    "private, 172.31": "172.31.255.255",
    "private, 192.168": "192.168.1.1",
    "carrier's": "100.64.0.1",
    "link-local": "169.254.169.254",
    "protocol assignments": "192.0.0.170",
    "documentation": "198.51.100.7",
    "benchmarks": "198.18.0.1",
    "6to4 relays": "192.88.99.1",
    "multicast": "224.0.0.251",
    "multicast, the last": "239.255.255.250",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
}
V6 = {
    "unspecified": "::",
    "loopback": "::1",
    "v4-compatible loopback": "::7f00:1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "mapped public": "::ffff:8.8.8.8",
    "translated (NAT64)": "64:ff9b::a00:1",
    "translated locally": "64:ff9b:1::a00:1",
    "discarded": "100::1",
    "Teredo": "2001:0:a00:1::1",
    "documentation": "2001:db8::1",
    "6to4 of a private address": "2002:a00:1::1",
    "unique local": "fd00::1",
    "unique local, too": "fc00::1",
    "link-local": "fe80::1",
    "site-local": "fec0::1",
    "multicast": "ff02::1",
    "multicast, everywhere": "ff0e::1",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DeployedTurnServer]:
    folder: Path = tmp_path_factory.mktemp("coturn")
    async with running_deployed_turn_server(folder, SECRET, own_address(), total_quota=str(TOTAL_QUOTA)) as running:
        yield running


def credentials(participant_id: str = "p-17", issued_at: float | None = None) -> tuple[str, str]:
    return turn_credentials(SECRET, participant_id, time.time() if issued_at is None else issued_at)


async def refused(client: TurnClient, peer: str) -> None:
    assert await client.permit(peer) == FORBIDDEN
    assert await client.bind_channel(peer) == FORBIDDEN


# --- peers ----------------------------------------------------------------------------------------


@on_its_loop
@pytest.mark.parametrize("over", ["udp", "tcp"])
async def test_no_private_v4_peer_is_relayed_to_and_the_media_server_is(
    server: DeployedTurnServer, over: Literal["udp", "tcp"]
) -> None:
    async with turn_client(("127.0.0.1", server.plain), *credentials(), over) as client:
        assert await client.allocate() == 0
        assert await client.permit(own_address()) == 0, "the one address that is allowed, though its range is not"
        for name, peer in V4.items():
            assert await client.permit(peer) == FORBIDDEN, name
            assert await client.bind_channel(peer) == FORBIDDEN, name
        assert await client.permit("8.8.8.8") == 0, "a public media server"
        assert await client.bind_channel(own_address(), number=0x4002) == 0


@on_its_loop
@pytest.mark.parametrize("over", ["udp", "tcp"])
async def test_no_private_v6_peer_is_relayed_to_and_a_public_one_is(
    server: DeployedTurnServer, over: Literal["udp", "tcp"]
) -> None:
    async with turn_client(("::1", server.plain), *credentials(), over) as client:
        assert await client.allocate(6) == 0
        for name, peer in V6.items():
            assert await client.permit(peer) == FORBIDDEN, name
            assert await client.bind_channel(peer) == FORBIDDEN, name
        assert await client.permit("2600::1") == 0
        assert await client.permit(own_address()) == WRONG_FAMILY


@on_its_loop
async def test_what_is_sent_to_a_refused_peer_does_not_arrive(server: DeployedTurnServer) -> None:
    """Send indications have no answer: what arrives is looked at."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    class Peer(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            arrived.put_nowait(data)

    ends = [
        await loop.create_datagram_endpoint(Peer, local_addr=(address, 0)) for address in ("127.0.0.1", own_address())
    ]
    denied, allowed = [transport.get_extra_info("sockname")[:2] for transport, _protocol in ends]
    async with turn_client(("127.0.0.1", server.plain), *credentials()) as client:
        assert await client.allocate() == 0
        await refused(client, denied[0])
        assert await client.permit(allowed[0]) == 0
        for number in range(5):
            client.send(denied, b"to the database")
            client.send(allowed, b"media %d" % number)
        async with asyncio.timeout(10 * SECOND):
            assert [await arrived.get() for _ in range(5)] == [b"media %d" % number for number in range(5)]
        assert arrived.empty()
    for transport, _protocol in ends:
        transport.close()


@on_its_loop
async def test_no_tcp_connection_is_made_for_anyone(server: DeployedTurnServer) -> None:
    """RFC 6062: the relay would knock at the database's port."""
    async with turn_client(("127.0.0.1", server.plain), *credentials(), "tcp") as client:
        assert await client.allocate(transport=TCP) == UNSUPPORTED_TRANSPORT
        assert await client.connect_to("127.0.0.1") != 0
        assert await client.allocate() == 0
        for peer in ("127.0.0.1", own_address()):
            assert await client.connect_to(peer) != 0


# --- credentials and quotas -------------------------------------------------------------------------


@on_its_loop
async def test_an_expired_credential_is_refused_and_a_fresh_one_is_not(server: DeployedTurnServer) -> None:
    expired = credentials(issued_at=time.time() - CREDENTIAL_LIFETIME_S - 2)
    async with turn_client(("127.0.0.1", server.plain), *expired) as client:
        assert await client.allocate() == UNAUTHORIZED
        assert client.relayed is None
    async with turn_client(("127.0.0.1", server.plain), *credentials()) as client:
        assert await client.allocate() == 0
        assert client.relayed is not None


@on_its_loop
async def test_a_participant_has_so_many_allocations_whatever_credentials_they_were_given(
    server: DeployedTurnServer,
) -> None:
    """A new credential each time, as pages get: it is the participant who is counted."""
    quota = configured("user-quota")
    async with AllocatedClients(server) as clients:
        for number in range(quota):
            assert await clients.allocate(credentials("greedy", time.time() - number)) == 0
        assert await clients.allocate(credentials("greedy")) == QUOTA_REACHED
        assert await clients.allocate(credentials("other")) == 0


@on_its_loop
async def test_all_together_have_so_many_allocations(server: DeployedTurnServer) -> None:
    async with AllocatedClients(server) as clients:
        answers = [await clients.allocate(credentials(f"p-{number}")) for number in range(TOTAL_QUOTA + 5)]
        assert set(answers) == {0, QUOTA_REACHED}
        assert answers.count(0) <= TOTAL_QUOTA
        assert answers[0] == 0


class AllocatedClients:
    """Allocations that are held until the end, and then given back."""

    def __init__(self, server: DeployedTurnServer) -> None:
        self._server = server
        self._open: list[AbstractAsyncContextManager[TurnClient]] = []

    async def __aenter__(self) -> "AllocatedClients":
        return self

    async def allocate(self, given: tuple[str, str]) -> int:
        while True:
            held = turn_client(("127.0.0.1", self._server.plain), *given)
            client = await held.__aenter__()
            self._open.append(held)
            # From a port of this machine that somebody had a moment ago, whose allocation the relay has not forgotten:
            # another port is taken (RFC 8656, section 7.4).
            if (answer := await client.allocate()) != MISMATCH:
                return answer

    async def __aexit__(self, *_error: object) -> None:
        for held in self._open:
            await held.__aexit__(None, None, None)


def configured(name: str) -> int:
    lines = CONFIGURATION.read_text("utf-8").splitlines()
    (value,) = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
    return int(value)


def test_a_browser_gets_every_address_of_the_relay_443_among_them() -> None:
    urls = ["turn:t.example:3478", "turn:t.example:3478?transport=tcp", "turns:t.example:443?transport=tcp"]
    (listed,) = ice_servers(urls, SECRET, "p-17", time.time())
    assert listed.urls == urls
