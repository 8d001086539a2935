"""A server whose media go by Janus: what it says of its gateways, and who may drain them."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadlines import SECOND
from tests.support.janus_server import JanusServer, running_janus
from tests.support.media_session import eventually
from tests.support.room_client import connected
from tests.support.running_house import RunningHouse, running_house

DEADLINE = 15 * SECOND
KEY = "une-cle-assez-longue"


def gateway_settings(*servers: JanusServer) -> dict[str, Any]:
    return {
        "janus_urls": tuple(server.url for server in servers),
        "janus_token_secret": servers[0].token_secret,
        "janus_admin_key": servers[0].admin_key,
    }


async def gateways(house: RunningHouse) -> Any:
    status, body = await house.request("GET", "/api/media/gateways")
    assert status == 200, body
    return body["gateways"]


async def test_rooms_go_by_janus_but_for_consultations(tmp_path: Path) -> None:
    async with (
        running_janus(tmp_path / "janus") as server,
        running_house(tmp_path / "data", media=True, **gateway_settings(server)) as house,
    ):
        assert "sfu" not in house.house.engines
        for kind, engine in (("interclass", "janus"), ("community", "janus"), ("consultation", "p2p")):
            host = await house.room(kind=kind)
            async with connected(house.url, host.token) as client:
                started = await client.do("media_start")
                assert started["engine"] == engine
                count = 1 if engine == "janus" else 0
                here = {"index": 0, "state": "ready", "rooms": count, "sessions": count}
                assert await gateways(house) == [here]
                await client.do("media_stop", session_id=started["session_id"])


async def test_a_gateway_that_is_gone_degrades_and_one_that_comes_mends(tmp_path: Path) -> None:
    async with (
        running_janus(tmp_path / "janus") as server,
        running_house(tmp_path / "data", media=True, **gateway_settings(server)) as house,
    ):
        assert (await house.request("GET", "/readyz"))[1]["degraded"] == []
        assert 'passerelle_janus_gateways{state="ready"} 1.0' in (await house.request("GET", "/metrics"))[1]
        await server.kill()
        engine = house.house.engines["janus"]
        await eventually(lambda: not engine.health().ready, DEADLINE, "the gateway is missed")
        assert (await house.request("GET", "/readyz")) == (
            200,
            {"status": "ready", "missing": [], "degraded": ["media"]},
        )
        assert 'passerelle_janus_gateways{state="connecting"} 1.0' in (await house.request("GET", "/metrics"))[1]
        await server.start()
        await eventually(lambda: engine.health().ready, DEADLINE, "the gateway is found")
        assert (await house.request("GET", "/readyz"))[1]["degraded"] == []


async def test_an_administrator_drains_a_gateway_and_nobody_else(tmp_path: Path) -> None:
    async with (
        running_janus(tmp_path / "janus") as server,
        running_house(tmp_path / "data", media=True, api_key=KEY, **gateway_settings(server)) as house,
    ):
        for method, path in (
            ("GET", "/api/media/gateways"),
            ("PUT", "/api/media/gateways/0/drain"),
            ("DELETE", "/api/media/gateways/0/drain"),
        ):
            for token, code in ((None, "api-key-required"), ("une-autre-cle-longue", "api-key-invalid")):
                status, body = await house.request(method, path, token=token)
                assert (status, body["error"]["code"]) == (401, code)
        for state, method in (("draining", "PUT"), ("ready", "DELETE")):
            assert (await house.request(method, "/api/media/gateways/0/drain", token=KEY))[0] == 204
            _status, body = await house.request("GET", "/api/media/gateways", token=KEY)
            assert [each["state"] for each in body["gateways"]] == [state]


@pytest.mark.parametrize("index", ["1", "-1", "zero", "٠", "9" * 40])
async def test_a_gateway_that_is_not_there_is_not_found(tmp_path: Path, index: str) -> None:
    async with (
        running_janus(tmp_path / "janus") as server,
        running_house(tmp_path / "data", media=True, **gateway_settings(server)) as house,
    ):
        status, body = await house.request("PUT", f"/api/media/gateways/{index}/drain")
        assert (status, body["error"]["code"]) == (404, "not-found")


async def test_without_janus_there_are_no_gateways(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        assert await gateways(house) == []
        assert (await house.request("PUT", "/api/media/gateways/0/drain"))[0] == 404


async def test_whoever_watches_by_whep_is_told_that_janus_cannot(tmp_path: Path) -> None:
    async with (
        running_janus(tmp_path / "janus") as server,
        running_house(tmp_path / "data", media=True, **gateway_settings(server)) as house,
    ):
        host = await house.room()
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {host.token}"}
        async with house.http.post(f"{house.url}/whep/{host.room_id}", data="v=0\r\n", headers=headers) as response:
            body = await response.json()
        assert (response.status, body["error"]["code"]) == (503, "media-unavailable")
        assert "no WHEP by Janus" in body["error"]["message"], "why, and what to do"


async def test_a_gateway_that_hangs_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    async with running_janus(tmp_path / "janus") as server:
        async with running_house(tmp_path / "data", media=True, **gateway_settings(server)) as house:
            host = await house.room()
            async with connected(house.url, host.token) as client:
                await client.do("media_start")
                server.send_signal(signal.SIGSTOP)
        server.send_signal(signal.SIGCONT)
