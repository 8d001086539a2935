"""TURN credentials, as coturn takes them."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aioice import stun
from aioice.turn import create_turn_endpoint

from signaling.turn import CREDENTIAL_LIFETIME_S, ice_servers, turn_credentials
from tests.support.deadlines import SECOND
from tests.support.turn_server import running_turn_server

SECRET = "tests-only"
NOW = 1_800_000_000.0
DEADLINE = 10 * SECOND


def test_a_credential_is_an_expiry_an_id_and_their_hmac() -> None:
    username, password = turn_credentials(SECRET, "p-17", NOW)
    assert username == f"{1_800_000_000 + CREDENTIAL_LIFETIME_S}:p-17"
    expected = hmac.new(SECRET.encode(), username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(password) == expected
    assert CREDENTIAL_LIFETIME_S <= 3_600


def test_servers_are_ours_alone() -> None:
    assert ice_servers([], SECRET, "p", NOW) == []
    assert ice_servers(["turn:t.example:3478"], None, "p", NOW) == [], "without a secret there is no credential"
    stun_server, turn_server = ice_servers(
        ["turn:t.example:3478", "turns:t.example:443?transport=tcp", "stun:t.example:3478"], SECRET, "p", NOW
    )
    assert (stun_server.urls, stun_server.username) == (["stun:t.example:3478"], None)
    assert turn_server.urls == ["turn:t.example:3478", "turns:t.example:443?transport=tcp"]
    assert turn_server.username is not None
    assert turn_server.username.endswith(":p")


on_its_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def turn_port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    folder: Path = tmp_path_factory.mktemp("coturn")
    async with running_turn_server(folder, SECRET) as port:
        yield port


async def allocate(port: int, username: str, password: str, transport: str) -> None:
    """An allocation, made and released. Raises: stun.TransactionFailed when it is refused."""
    async with asyncio.timeout(DEADLINE):
        relayed, _protocol = await create_turn_endpoint(
            asyncio.DatagramProtocol, ("127.0.0.1", port), username, password, transport=transport
        )
        assert relayed.get_extra_info("sockname")[0] == "127.0.0.1"
        relayed.close()


@on_its_loop
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_coturn_takes_what_we_hand_out(turn_port: int, transport: str) -> None:
    (server,) = ice_servers([f"turn:127.0.0.1:{turn_port}"], SECRET, "p-17", time.time())
    assert server.username is not None
    assert server.credential is not None
    await allocate(turn_port, server.username, server.credential, transport)


@on_its_loop
async def test_coturn_refuses_what_has_expired(turn_port: int) -> None:
    long_ago = time.time() - CREDENTIAL_LIFETIME_S - 5
    with pytest.raises(stun.TransactionFailed) as refused:
        await allocate(turn_port, *turn_credentials(SECRET, "p-17", long_ago), "udp")
    assert refused.value.response.error_code == 401


@on_its_loop
@pytest.mark.parametrize("wrong", ["another secret", "another id", "a longer life", "no password"])
async def test_coturn_refuses_what_we_did_not_hand_out(turn_port: int, wrong: str) -> None:
    username, password = turn_credentials(SECRET, "p-17", time.time())
    if wrong == "another secret":
        username, password = turn_credentials("guessed", "p-17", time.time())
    elif wrong == "another id":
        username = username.replace("p-17", "p-18")
    elif wrong == "a longer life":
        username = f"{int(username.split(':')[0]) + 86_400}:p-17"
    else:
        password = "x"
    with pytest.raises(stun.TransactionFailed) as refused:
        await allocate(turn_port, username, password, "udp")
    assert refused.value.response.error_code == 401
