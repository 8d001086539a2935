"""The house as a whole: it starts, says how it is, lets parts follow each other, stops, and starts again."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.app import build_house, serve
from server.bus.memory import MemoryBus
from server.bus.redis import RedisBus
from server.bus.redis_address import parse_redis_url
from server.config import Settings
from server.life import drain, start_house, stop_house
from server.operations import set_gauges, what_is_degraded
from server.storage.memory import MemoryStore
from server.storage.sqlite import SqliteStore
from signaling.engines import EngineHealth, EngineUnavailable
from signaling.engines.p2p import P2pEngine
from tests.support.deadlines import SECOND
from tests.support.redis_server import running_redis
from tests.support.room_client import ConnectRefused, connected, yjs_connected
from tests.support.running_house import RunningHouse, running_house

CANARY = "Clémentine"


class EngineThatIsLate(P2pEngine):
    is_up = False

    async def start(self) -> None:
        raise EngineUnavailable("no port is free")

    def health(self) -> EngineHealth:
        return EngineHealth(ready=self.is_up, rooms=0, sessions=0)


# --- how it is ------------------------------------------------------------------------------------


async def test_without_media_the_house_is_ready_and_says_what_is_missing(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        assert await house.request("GET", "/healthz") == (200, {"status": "ok"})
        ready = {"status": "ready", "missing": [], "degraded": ["media"]}
        assert await house.request("GET", "/readyz") == (200, ready)


async def test_store_that_fails_takes_readiness_and_gives_it_back(tmp_path: Path) -> None:
    store = MemoryStore()
    async with running_house(tmp_path / "data", store=store) as house:
        store.available = False
        status, body = await house.request("GET", "/readyz")
        assert (status, body["status"], body["missing"]) == (503, "not-ready", ["store"])
        assert (await house.request("GET", "/healthz"))[0] == 200
        assert await samples(house, "passerelle_store_up") == {"": 0.0}
        store.available = True
        assert (await house.request("GET", "/readyz"))[0] == 200
        assert await samples(house, "passerelle_store_up") == {"": 1.0}


async def test_a_bus_that_was_never_there_takes_readiness_and_one_that_has_gone_does_not(tmp_path: Path) -> None:
    """With a wrong address nobody should be sent here; when Redis goes, it goes for every instance."""
    async with running_redis(tmp_path / "redis") as redis:
        await redis.stop()
        bus = RedisBus(parse_redis_url(redis.url))
        async with running_house(tmp_path / "data", bus=bus) as house:
            status, body = await house.request("GET", "/readyz")
            assert (status, body["missing"]) == (503, ["bus"])
            await redis.start()
            await until_ready_as(house, {"status": "ready", "missing": [], "degraded": ["media"]})
            assert await samples(house, "passerelle_bus_joined") == {"": 1.0}
            await redis.stop()
            await until_ready_as(house, {"status": "ready", "missing": [], "degraded": ["media", "bus"]})
            assert await samples(house, "passerelle_bus_joined") == {"": 0.0}


async def until_ready_as(house: RunningHouse, expected: dict[str, Any]) -> None:
    async with asyncio.timeout(5 * SECOND):
        while (await house.request("GET", "/readyz"))[1] != expected:
            await asyncio.sleep(0.02)


async def test_an_engine_that_is_late_is_told_and_the_rest_goes_on_until_it_is_there(tmp_path: Path) -> None:
    house = build_house(Settings(data=tmp_path / "data", port=0), MemoryStore())
    house.engines["sfu"] = late = EngineThatIsLate(house.media.receive_engine_event)
    await start_house(house)
    try:
        assert what_is_degraded(house) == ["media"]
        late.is_up = True
        assert what_is_degraded(house) == []
    finally:
        await stop_house(house)


async def samples(house: RunningHouse, name: str) -> dict[str, float]:
    """The values of one metric, by their labels as written."""
    status, text = await house.request("GET", "/metrics")
    assert status == 200
    found = re.findall(rf"^{name}(?:\{{([^}}]*)\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


async def test_metrics_count_what_is_there_and_name_nobody(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        host = await house.room(host_name=CANARY)
        pupil = await house.join(await house.invite(host, "pupil", label=CANARY), f"{CANARY} B.")
        async with (
            connected(house.url, host.token) as at_host,
            connected(house.url, pupil.token, "polling") as at_pupil,
            yjs_connected(house.http, house.url, host.room_id, "canari", pupil.token) as yjs,
        ):
            editor = await yjs.edit(CANARY)
            editor.type(f"{CANARY} écrit")
            await editor.until(lambda: editor.all_saved)
            await at_pupil.do("send_chat", text=CANARY)
            await at_host.hear_in_room("chat_sent")
            assert await at_pupil.refusal(CANARY) == "unknown-command"
            await house.request("GET", f"/{CANARY}", token=host.token)
            participants = await samples(house, "passerelle_participants")
            assert (participants['role="host"'], participants['role="pupil"']) == (1.0, 1.0)
            assert await samples(house, "passerelle_rooms") == {"": 1.0}
            assert await samples(house, "passerelle_documents_open") == {"": 1.0}
            assert (await samples(house, "passerelle_document_updates_total"))[""] >= 1.0
            assert (await samples(house, "passerelle_sockets"))['transport="yjs"'] == 1.0
            assert (await samples(house, "passerelle_refusals_total"))['code="unknown-command"'] == 1.0
            _status, text = await house.request("GET", "/metrics")
            for secret in (CANARY, "canari", host.room_id, host.id, pupil.id, host.token[:20]):
                assert secret not in text
            # A polling client that is merely cut off would be missed only at its next ping.
            await at_pupil.say_goodbye()
        async with asyncio.timeout(5 * SECOND):
            while any((await samples(house, "passerelle_sockets")).values()):
                await asyncio.sleep(0.02)
            while (await samples(house, "passerelle_participants"))['role="host"']:
                await asyncio.sleep(0.02)


async def test_updates_are_counted_once_however_often_they_are_asked_for(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        host = await house.room()
        async with connected(house.url, host.token) as client:
            editor = await client.edit("texte", "a")
            editor.type("un")
            await editor.until(lambda: editor.all_saved)
            first = await samples(house, "passerelle_document_updates_total")
            set_gauges(house.house)
            assert await samples(house, "passerelle_document_updates_total") == first


async def test_a_text_open_on_two_houses_is_one_text(tmp_path: Path) -> None:
    """Joined by a bus, over one store; through real sockets."""
    store, bus = MemoryStore(), MemoryBus()
    async with (
        running_house(tmp_path / "data", store=store, bus=bus) as one,
        running_house(tmp_path / "data", store=store, bus=bus) as two,
    ):
        await _write_one_text(one, two)


async def test_a_text_open_on_two_houses_is_one_text_over_redis_too(tmp_path: Path) -> None:
    store = MemoryStore()
    async with running_redis(tmp_path / "redis") as redis:
        buses = [RedisBus(parse_redis_url(redis.url)) for _ in range(2)]
        async with (
            running_house(tmp_path / "data", store=store, bus=buses[0]) as one,
            running_house(tmp_path / "data", store=store, bus=buses[1]) as two,
        ):
            await _write_one_text(one, two)


async def _write_one_text(one: RunningHouse, two: RunningHouse) -> None:
    host = await one.room()
    async with (
        yjs_connected(one.http, one.url, host.room_id, "texte", host.token) as here,
        yjs_connected(two.http, two.url, host.room_id, "texte", host.token) as there,
    ):
        writer, reader = await here.edit("Ada"), await there.edit("Ben")
        writer.type("Bonjour")
        await reader.until(lambda: reader.text == "Bonjour")
        reader.type(" à tous")
        await writer.until(lambda: writer.text == "Bonjour à tous")
        for house in (one, two):
            counted = await samples(house, "passerelle_document_bus_messages_total")
            assert counted['outcome="published"'] > 0
            assert counted['outcome="received"'] > 0
            assert counted['outcome="malformed"'] == 0


async def test_who_is_removed_loses_documents_and_media_too(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        host = await house.room(kind="consultation")
        guest = await house.guest(host)
        async with connected(house.url, host.token) as at_host, connected(house.url, guest.token) as at_guest:
            editor = await at_guest.edit("texte", "g")
            editor.type("lisible")
            await editor.until(lambda: editor.all_saved)
            mine = await at_host.do("media_start")
            theirs = await at_guest.do("media_start")
            await at_host.hear("media_peer_joined")
            await at_host.do("remove", participant_id=guest.id)
            left = await at_host.hear("media_peer_left")
            assert left == {"session_id": mine["session_id"], "peer_session_id": theirs["session_id"]}
            await at_guest.until(at_guest.closed.is_set)
            assert house.house.media.session_counts()["p2p"] == 1
            assert house.house.documents.statistics().readers == 0


async def test_closed_writing_takes_effect_in_open_sockets(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        host = await house.room()
        pupil = await house.guest(host, role="pupil")
        async with (
            connected(house.url, host.token) as at_host,
            yjs_connected(house.http, house.url, host.room_id, "texte", pupil.token) as yjs,
        ):
            text, editor = await at_host.edit("texte", "h"), await yjs.edit("p")
            editor.type("avant")
            await editor.until(lambda: editor.all_saved)
            await at_host.do("configure", writing_enabled=False)
            editor.type(" pendant")
            await editor.until(lambda: "read-only" in editor.denials())
            text.type("!")
            await text.until(lambda: text.all_saved)
            assert "pendant" not in text.text
            await at_host.do("configure", writing_enabled=True)
            await text.until(lambda: "pendant" in text.text)  # nothing was lost: it is asked for
            await editor.until(lambda: editor.all_saved)


# --- it stops, and starts again -------------------------------------------------------------------


async def test_everything_decided_outlives_the_process(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_house(data, store=SqliteStore(data)) as house:
        host = await house.room()
        invitation = await house.invite(host, "guest", lobby=False)
        guest, removed = await house.join(invitation), await house.join(invitation, "Partie")
        waiting = await house.guest(host, name="À la porte", lobby=True)
        async with connected(house.url, host.token) as client:
            await client.do("remove", participant_id=removed.id)
            await client.do("configure", chat_enabled=True, lobby_roles=["guest", "observer"])
            await client.do("send_chat", text="Bonjour à tous")
            await client.do("set_hand", raised=True)
            before = await client.do("get_room")
    async with running_house(data, store=SqliteStore(data)) as house:
        async with connected(house.url, host.token) as client:
            after = await client.hear("room_view")
            assert [each["id"] for each in after["participants"]] == [host.id, guest.id]
            assert [each["id"] for each in after["lobby"]] == [waiting.id]
            for key in ("room", "settings", "chat", "permissions"):
                assert after[key] == before[key]
            assert after["participants"][0]["hand_raised_at"] == before["participants"][0]["hand_raised_at"]
            assert after["seq"] >= before["seq"]
            with pytest.raises(ConnectRefused, match="removed"):
                async with connected(house.url, removed.token):
                    pass
            status, body = await house.request("POST", "/api/join", json={"code": invitation["code"], "name": "Luc"})
            assert (status, body["room"]["id"]) == (200, host.room_id)


async def test_consultation_leaves_no_chat_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_house(data, store=SqliteStore(data)) as house:
        host = await house.room(kind="consultation")
        async with connected(house.url, host.token) as client:
            await client.do("send_chat", text=CANARY)
            assert [line["text"] for line in (await client.do("get_room"))["chat"]] == [CANARY]
    assert not [path for path in data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    async with running_house(data, store=SqliteStore(data)) as house, connected(house.url, host.token) as client:
        assert (await client.hear("room_view"))["chat"] == []


async def test_house_stops_with_nobody_in_it_at_once(tmp_path: Path) -> None:
    house = build_house(Settings(data=tmp_path / "data", port=0), MemoryStore())
    del house.engines["sfu"]
    await start_house(house)
    began_at = time.monotonic()
    await drain(house)
    await stop_house(house)
    assert time.monotonic() - began_at < 2.0 * SECOND


async def test_serve_answers_at_the_address_it_names_until_it_is_stopped(tmp_path: Path) -> None:
    stop, addresses = asyncio.Event(), list[str]()
    ready = asyncio.Event()

    def note(address: str) -> None:
        addresses.append(address)
        ready.set()

    settings = Settings(data=tmp_path / "data", port=0, media_addresses=("127.0.0.1",))
    serving = asyncio.create_task(serve(settings, stop, note))
    try:
        async with asyncio.timeout(30 * SECOND):
            await ready.wait()
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{addresses[0]}/readyz") as response:
                body: Any = await response.json()
            assert (response.status, body["missing"]) == (200, [])
            # The port is its own: nobody else can have it.
            with pytest.raises(OSError, match="in use"):
                await serve(
                    Settings(data=tmp_path / "other", port=int(addresses[0].rsplit(":", 1)[1])), stop, addresses.append
                )
            assert not (tmp_path / "other").exists()
            stop.set()
            async with asyncio.timeout(15 * SECOND):
                await serving
            with pytest.raises(aiohttp.ClientConnectorError):
                await http.get(f"{addresses[0]}/healthz")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
