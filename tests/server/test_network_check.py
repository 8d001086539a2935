"""What a visitor gets to try a network with: true to the configuration, and little enough for anybody."""

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.limits import Limit, VisitorShare
from server.network_check import CREDENTIAL_LIFETIME_S, DOWNLOAD_BYTES, MAX_UPLOAD_BYTES, VISITOR_IDS
from signaling.turn import RelayAddress, relay_address
from tests.support.running_house import RunningHouse, running_house

SECRET = "tests-only"
RELAYS = (
    "turn:turn.example.org:3478",
    "turn:turn.example.org:3478?transport=tcp",
    "turns:turn.example.org:443?transport=tcp",
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data", turn_urls=RELAYS, turn_secret=SECRET) as running:
        yield running


async def check(house: RunningHouse) -> Any:
    status, body = await house.request("POST", "/api/network-check", json={})
    assert status == 200, body
    return body


async def test_a_visitor_learns_what_the_server_is_configured_to_use(tmp_path: Path) -> None:
    async with running_house(
        tmp_path / "data",
        media=True,
        turn_urls=RELAYS,
        turn_secret=SECRET,
        media_workers=1,
        public_url="https://passerelle.example.org",
    ) as house:
        body = await check(house)
        assert body["engine"] == "sfu"
        targets = {(each["purpose"], each["host"], each["port"], each["transport"]) for each in body["targets"]}
        (port,) = {each["port"] for each in body["probes"]}
        assert targets == {
            ("page", "passerelle.example.org", 443, "tls"),
            ("media", "127.0.0.1", port, "udp"),
            ("relay", "turn.example.org", 3478, "udp"),
            ("relay", "turn.example.org", 3478, "tcp"),
            ("relay", "turn.example.org", 443, "tls"),
        }
        assert not any(each["lasts"] for each in body["targets"] if each["purpose"] == "media"), "no port was chosen"
        assert all(each["username_fragment"] and each["password"] for each in body["probes"])


async def test_chosen_ports_are_named_whichever_processes_are_ready(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data", media_port=40_000, media_workers=3) as house:
        body = await check(house)
        assert body["probes"] == []
        media = [each for each in body["targets"] if each["purpose"] == "media"]
        assert [(each["host"], each["port"], each["lasts"]) for each in media] == [
            ("127.0.0.1", port, True) for port in (40_000, 40_001, 40_002)
        ]


async def test_a_visitors_credentials_are_short_and_share_few_ids(house: RunningHouse) -> None:
    ids = set()
    for _ in range(12):
        (server,) = (await check(house))["ice_servers"]
        assert server["urls"] == list(RELAYS)
        expiry, _, visitor = server["username"].partition(":")
        assert int(expiry) <= time.time() + CREDENTIAL_LIFETIME_S
        digest = hmac.new(SECRET.encode(), server["username"].encode(), hashlib.sha1).digest()
        assert server["credential"] == base64.b64encode(digest).decode()
        ids.add(visitor)
    assert 1 <= len(ids) <= VISITOR_IDS


async def test_nothing_else_is_taken(house: RunningHouse) -> None:
    assert (await house.request("POST", "/api/network-check", json={"name": "Zoé"}))[0] == 400
    status, body = await house.request("POST", "/api/network-check", json={}, headers={"Origin": "https://evil.test"})
    assert (status, body["error"]["code"]) == (403, "origin-refused")


async def test_bytes_go_both_ways_and_no_more_than_documented(house: RunningHouse) -> None:
    path = f"{house.url}/api/network-check/bytes"
    async with house.http.get(path) as response:
        assert len(await response.read()) == DOWNLOAD_BYTES
        assert response.headers["Cache-Control"] == "no-store"
    binary = {"Content-Type": "application/octet-stream"}
    async with house.http.post(path, data=bytes(MAX_UPLOAD_BYTES), headers=binary) as response:
        assert response.status == 204
    async with house.http.post(path, data=bytes(MAX_UPLOAD_BYTES + 1), headers=binary) as response:
        assert response.status == 413
    async with house.http.post(path, data=b"a=1", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415


async def test_too_many_checks_are_refused_with_a_time(house: RunningHouse) -> None:
    statuses = []
    for _ in range(60):
        async with house.http.post(f"{house.url}/api/network-check", json={}) as response:
            statuses.append(response.status)
            retry_after = response.headers.get("Retry-After")
    assert set(statuses) == {200, 429}
    assert statuses.index(429) >= 30, "one address may use up half of what there is"
    assert retry_after is not None


def test_an_address_counts_only_when_the_others_have_used_up_half() -> None:
    share = VisitorShare(Limit("together", 10, 0.001), Limit("here", 2, 0.001))
    assert [share.take("192.0.2.1", 0.0) for _ in range(6)] == [0.0] * 6, "nobody else wants any"
    assert share.take("192.0.2.1", 0.0) > 0.0, "more than its share, now that it is scarce"
    assert [share.take("192.0.2.2", 0.0) for _ in range(2)] == [0.0] * 2, "another one has its share"
    assert share.take("192.0.2.2", 0.0) > 0.0
    assert [share.take(f"198.51.100.{n}", 0.0) for n in range(2)] == [0.0] * 2
    assert share.take("203.0.113.1", 0.0) > 0.0, "all of it is used up"
    assert share.take("203.0.113.1", 2_000.0) == 0.0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("turn:t.example", RelayAddress("t.example", 3478, "udp")),
        ("turn:t.example:443?transport=udp", RelayAddress("t.example", 443, "udp")),
        ("turn:t.example:80?transport=tcp", RelayAddress("t.example", 80, "tcp")),
        ("turns:t.example?transport=tcp", RelayAddress("t.example", 5349, "tls")),
        ("turn:[2001:db8::1]:3478", RelayAddress("2001:db8::1", 3478, "udp")),
        ("stun:t.example:3478", RelayAddress("t.example", 3478, "udp")),
    ],
)
def test_where_a_relay_is_stands_in_its_url(url: str, expected: RelayAddress) -> None:
    assert relay_address(url) == expected


@pytest.mark.parametrize("url", ["turn:", "turn::3478", "turn:host:port", "turn:?transport=tcp"])
def test_an_address_of_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)host|port"):
        relay_address(url)
