"""One text over Socket.IO, long polling and y-websocket at once; refusals, a restart."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rooms.models import Role
from server import deflate, keep_alive
from server.auth import TokenIssuer, load_token_keys
from server.storage.sqlite import SqliteStore
from tests.support.deadlines import SECOND
from tests.support.room_client import connected, yjs_connected
from tests.support.running_house import RunningHouse, running_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data") as running:
        yield running


async def test_every_transport_writes_the_same_text(house: RunningHouse) -> None:
    host = await house.room()
    pupil, guest = await house.guest(host, role="pupil"), await house.guest(host)
    async with (
        connected(house.url, host.token) as by_websocket,
        connected(house.url, pupil.token, "polling") as by_polling,
        yjs_connected(house.http, house.url, host.room_id, "texte", guest.token) as by_yjs,
        yjs_connected(house.http, house.url, host.room_id, "texte", pupil.token, ack=False) as plain,
    ):
        editors = [
            await by_websocket.edit("texte", "a"),
            await by_polling.edit("texte", "b"),
            await by_yjs.edit("c"),
            await plain.edit("d"),
        ]
        for number in range(10):
            for name, editor in zip("abcd", editors, strict=True):
                editor.type(f"{name}{number} ")
        for editor in editors:
            await editor.until(lambda editor=editor: len(editor.text.split()) == 40)
        assert len({editor.text for editor in editors}) == 1
        for editor in editors[:3]:
            await editor.until(lambda editor=editor: editor.all_saved)
        # A plain y-websocket client would log an error for each message it does not know.
        assert not any(frame[0] in (100, 101) for frame in plain.frames)
        assert any(frame[0] == 100 for frame in by_yjs.frames)


async def test_text_survives_a_restart_on_both_transports(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_house(data, store=SqliteStore(data)) as house:
        host = await house.room()
        guest = await house.guest(host)
        async with (
            connected(house.url, host.token) as client,
            yjs_connected(house.http, house.url, host.room_id, "texte", guest.token) as yjs,
        ):
            first, second = await client.edit("texte", "a"), await yjs.edit("b")
            first.type("Le fleuve ")
            second.type("à Rimouski ")
            await first.until(lambda: first.all_saved)
            await second.until(lambda: second.all_saved)
            await first.until(lambda: len(first.text) == len("Le fleuve à Rimouski "))
            text = first.text
    async with running_house(data, store=SqliteStore(data)) as house:
        async with (
            connected(house.url, host.token, "polling") as client,
            yjs_connected(house.http, house.url, host.room_id, "texte", guest.token) as yjs,
        ):
            assert (await client.edit("texte", "a")).text == text
            assert (await yjs.edit("b")).text == text
            view = await client.hear("room_view")
            assert {person["id"] for person in view["participants"]} == {host.id, guest.id}


# --- y-websocket: who is let in ---------------------------------------------------------------------


async def close_of(house: RunningHouse, path: str, **options: Any) -> tuple[int | None, str]:
    address = house.url.replace("http", "ws", 1) + path
    async with house.http.ws_connect(address, autoclose=False, **options) as websocket:
        async with asyncio.timeout(8 * SECOND):
            while True:
                message = await websocket.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data, message.extra or ""
                assert message.type is aiohttp.WSMsgType.BINARY


async def test_yjs_refusals_have_their_close_codes(house: RunningHouse) -> None:
    host = await house.room()
    other = await house.room()
    waiting = await house.guest(host, lobby=True)
    tokens = TokenIssuer(load_token_keys(house.house.settings.data))
    old = tokens.issue(host.room_id, host.id, Role.HOST, time.time() - 40 * 86_400)
    unknown = tokens.issue("no-room", "nobody", Role.HOST, time.time())
    room = host.room_id
    assert await close_of(house, f"/yjs/{room}/texte") == (4401, "token-invalid")
    assert await close_of(house, f"/yjs/{room}/texte?token=nonsense") == (4401, "token-invalid")
    assert await close_of(house, f"/yjs/{room}/texte?token={old}") == (4401, "token-expired")
    assert await close_of(house, f"/yjs/{room}/texte?token={other.token}") == (4401, "token-invalid")
    assert await close_of(house, f"/yjs/{room}/texte?token={waiting.token}") == (4403, "forbidden")
    assert await close_of(house, f"/yjs/no-room/texte?token={unknown}") == (4404, "not-found")
    assert len(house.house.connections) == 0


async def test_yjs_store_that_fails_asks_to_come_back(tmp_path: Path) -> None:
    from server.storage.memory import MemoryStore

    store = MemoryStore()
    async with running_house(tmp_path / "data", store=store) as house:
        host = await house.room()
        store.available = False
        assert await close_of(house, f"/yjs/{host.room_id}/texte?token={host.token}") == (4503, "unavailable")
        house.house.rooms._rooms._rooms.clear()
        assert await close_of(house, f"/yjs/{host.room_id}/texte?token={host.token}") == (4503, "store-unavailable")
        status, body = await house.request("GET", "/readyz")
        assert (status, body["missing"]) == (503, ["store"])
        store.available = True
        async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as back:
            await back.edit("a")


async def test_yjs_hostile_frames_close_their_own_connection_only(house: RunningHouse) -> None:
    host = await house.room()
    guest = await house.guest(host)
    async with yjs_connected(house.http, house.url, host.room_id, "texte", guest.token) as peaceful:
        editor = await peaceful.edit("a")
        for frames, code in (
            ([b"\xff" * 200] * 3, 4400),
            ([b"\x00\x02\x05abc"] * 3, 4400),
            (["du texte"], 4400),
            ([b"\x00" * 1_000_001], 1009),
        ):
            async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as hostile:
                for frame in frames:
                    if isinstance(frame, str):
                        await hostile.socket.send_str(frame)
                    else:
                        await hostile.socket.send_bytes(frame)
                assert (await hostile.wait_closed())[0] == code
        editor.type("tranquille")
        await editor.until(lambda: editor.all_saved)


async def test_pages_of_other_sites_may_not_use_a_visitors_browser(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data", allowed_origins=("https://ecole.example.org",)) as house:
        host = await house.room()
        path = f"/yjs/{host.room_id}/texte?token={host.token}"
        address = house.url.replace("http", "ws", 1)
        for where in (path, "/socket.io/?EIO=4&transport=websocket"):
            for origin in ("https://evil.example", "null", "http://[", "http://localhost.evil.example"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await house.http.ws_connect(address + where, headers={"Origin": origin})
                assert refused.value.status == 403
            for origin in (house.url, "https://ecole.example.org"):
                async with house.http.ws_connect(address + where, headers={"Origin": origin}) as websocket:
                    assert (await websocket.receive()).type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)


# --- y-websocket: alone, told to go -----------------------------------------------------------


async def test_who_writes_alone_is_kept_connected(house: RunningHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_alive, "ROUND_S", 0.4)
    host = await house.room()
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as yjs:
        editor = await yjs.edit("seule")
        await editor.until(lambda: yjs.frames.count(b"\x01\x01\x00") >= 2)


async def test_frames_are_what_a_browser_expects(house: RunningHouse) -> None:
    for size in (0, 125, 126, 65_535, 65_536, 200_000):
        message = bytes(size)
        frame = deflate.plain_frame(message)
        header = 2 if size < 126 else 4 if size < 65_536 else 10
        assert (frame[0], frame[header:]) == (0x82, message)
    host = await house.room()
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as writer:
        await writer.edit("a")
        assert writer.editor is not None
        for size in (100, 126, 60_000, 300_000):
            writer.editor.type("x" * size)
        async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as reader:
            editor = await reader.edit("b")
            await editor.until(lambda: len(editor.text) == 100 + 126 + 60_000 + 300_000)


async def test_draining_closes_with_service_restart(tmp_path: Path) -> None:
    from server.life import drain, stop_house

    async with running_house(tmp_path / "data") as house:
        host = await house.room()
        async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as yjs:
            editor = await yjs.edit("a")
            editor.type("juste avant")
            await drain(house.house)
            await stop_house(house.house)
            assert await yjs.wait_closed() == (1012, "draining")
            assert editor.all_saved


async def test_no_log_line_holds_a_token(house: RunningHouse, capfd: pytest.CaptureFixture[str]) -> None:
    host = await house.room()
    async with yjs_connected(house.http, house.url, host.room_id, "texte", host.token) as yjs:
        await yjs.edit("a")
    await close_of(house, f"/yjs/{host.room_id}/texte?token=secretsecret")
    said = "".join(capfd.readouterr())
    assert "/yjs/{room}/{document}" in said
    assert host.token not in said
    assert "secretsecret" not in said
