"""Connections: who is let in, how many, what becomes of one that is slow, silent or a stranger."""

import asyncio
import errno
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rooms.models import Role
from server.auth import TOKEN_RENEWAL_S, TokenIssuer, load_token_keys
from server.connections import MAX_CONNECTIONS_PER_PARTICIPANT
from server.listener import listen
from server.realtime import connection as connection_module
from server.realtime.connection import MAX_DOCUMENTS
from tests.support.clock import Clock
from tests.support.deadlines import SECOND
from tests.support.gated_store import GatedStore
from tests.support.room_client import ConnectRefused, RoomClient, connected
from tests.support.running_house import Person, RunningHouse, running_house


def issuer(house: RunningHouse) -> TokenIssuer:
    return TokenIssuer(load_token_keys(house.house.settings.data))


# --- tokens -----------------------------------------------------------------------------------------


async def test_connection_needs_a_good_token(house: RunningHouse, enter) -> None:
    host = await house.room()
    tokens = issuer(house)
    expired = tokens.issue(host.room_id, host.id, Role.HOST, time.time() - 40 * 86_400)
    unknown = tokens.issue(host.room_id, "nobody", Role.HOST, time.time())
    elsewhere = tokens.issue("no-such-room", host.id, Role.HOST, time.time())
    for token, code in (
        (None, "token-missing"),
        ("", "token-missing"),
        ("x" * 100, "token-invalid"),
        (host.token[:-3] + "abc", "token-invalid"),
        (expired, "token-expired"),
        (unknown, "not-found"),
        (elsewhere, "not-found"),
        ("x" * 5_000, "invalid"),
        (7, "invalid"),
    ):
        with pytest.raises(ConnectRefused) as refused:
            await enter(token)
        assert refused.value.code == code, token
    assert len(house.house.connections) == 0
    await enter(host)


async def test_bad_tokens_are_slowed_and_good_ones_of_the_same_address_are_not(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data") as house:
        host = await house.room()
        invitation = await house.invite(host, "pupil")
        path = f"/api/rooms/{host.room_id}"

        async def fail() -> float:
            began_at = time.monotonic()
            await house.request("GET", path, token="wrong.wrong.wrong")
            return time.monotonic() - began_at

        async def succeed(number: int) -> tuple[float, Person]:
            began_at = time.monotonic()
            person = await house.join(invitation, f"Élève {number}")
            return time.monotonic() - began_at, person

        failures = [asyncio.create_task(fail()) for _ in range(100)]
        joins = await asyncio.gather(*(succeed(number) for number in range(35)))
        slowest_join_s = max(duration for duration, _person in joins)
        async with connected(house.url, joins[0][1].token) as client:
            assert await client.do("ping_room") == {"ok": True}
        held_s = await asyncio.gather(*failures)

        assert slowest_join_s < 2.0 * SECOND
        # The first failures are typing errors and answered at once; the last ones wait seconds.
        assert min(held_s) < 2.0 * SECOND
        assert max(held_s) > 3.0
        assert len({person.id for _duration, person in joins}) == 35


async def test_an_old_token_is_renewed_over_the_live_connection(house: RunningHouse, enter) -> None:
    host = await house.room()
    old = issuer(house).issue(host.room_id, host.id, Role.HOST, time.time() - TOKEN_RENEWAL_S - 1)
    client = await enter(old)
    renewed = (await client.hear("token"))["token"]
    claims = issuer(house).verify(renewed, time.time())
    assert (claims.participant_id, claims.room_id) == (host.id, host.room_id)
    assert time.time() - claims.issued_at < 60
    house.house.realtime.renew_tokens()
    await client.do("ping_room")
    assert len(client.all("token")) == 1
    await enter(renewed)


async def test_a_fresh_token_is_left_alone(house: RunningHouse, enter) -> None:
    client = await enter(await house.room())
    house.house.realtime.renew_tokens()
    await client.do("ping_room")
    assert client.all("token") == []


# --- how many ---------------------------------------------------------------------------------------


async def test_connections_of_one_participant_are_bounded(house: RunningHouse, enter, open_yjs) -> None:
    host = await house.room()
    first = await enter(host)
    (own,) = house.house.connections.of_participant(host.room_id, host.id)

    class Another:
        def __init__(self, number: int) -> None:
            self.connection_id = f"c-{number}"
            self.room_id, self.participant_id = host.room_id, host.id

        def end(self, reason: str) -> None: ...

    others = [Another(number) for number in range(MAX_CONNECTIONS_PER_PARTICIPANT - 1)]
    for other in others:
        assert house.house.connections.add(other)
    with pytest.raises(ConnectRefused, match="too-many-requests"):
        await enter(host)
    assert (await (await open_yjs(host)).wait_closed())[0] == 4529
    house.house.connections.remove(others[0])
    await enter(host)
    assert await first.do("ping_room") == {"ok": True}
    assert own in house.house.connections.of_participant(host.room_id, host.id)


async def test_presence_ends_with_the_last_connection(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie = await enter(host)
    guest = await house.guest(host)
    tabs = [await enter(guest), await enter(guest, "polling")]
    await amelie.hear_in_room("participant_changed", lambda event: event["participant"]["connected"])
    await tabs[0].close()
    await tabs[1].do("ping_room")
    assert not [event for event in amelie.room_events("participant_changed") if not event["participant"]["connected"]]
    await tabs[1].say_goodbye()
    gone = await amelie.hear_in_room("participant_changed", lambda event: not event["participant"]["connected"])
    assert gone["participant"]["id"] == guest.id


# --- races ------------------------------------------------------------------------------------------


async def test_client_gone_while_the_room_is_read_leaves_no_ghost(tmp_path: Path) -> None:
    store = GatedStore(Clock())
    async with running_house(tmp_path / "data", store=store) as house:
        host = await house.room()
        house.house.rooms._rooms._rooms.clear()  # as after a restart: the room must be read
        gate = store.hold("load_room")
        client = RoomClient()
        connecting = asyncio.create_task(client.connect(house.url, host.token, "polling"))
        await gate.reached.wait()
        (engine_socket,) = house.house.realtime.server.eio.sockets.values()
        await engine_socket.close(wait=False)
        gate.open()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await client.close()
        await client.until(lambda: not len(house.house.connections))
        assert house.house.realtime.socket_count == 0
        async with connected(house.url, host.token) as back:
            await back.hear("room_view")
            await back.say_goodbye()
            await back.until(lambda: not house.house.rooms._rooms.get(host.room_id).connections)


async def test_participant_removed_while_connecting_stays_out(tmp_path: Path) -> None:
    store = GatedStore(Clock())
    async with running_house(tmp_path / "data", store=store) as house:
        host = await house.room()
        guest = await house.guest(host)
        async with connected(house.url, host.token) as amelie:
            gate = store.hold("save_room")
            removing = asyncio.create_task(amelie.call("remove", participant_id=guest.id))
            await gate.reached.wait()
            client = RoomClient()
            connecting = asyncio.create_task(client.connect(house.url, guest.token))
            await amelie.until(lambda: house.house.connections.of_participant(host.room_id, guest.id))
            gate.open()
            with pytest.raises(ConnectRefused, match="removed"):
                await connecting
            assert await removing == {"ok": True, "confirmed": True}
        assert not house.house.connections.of_participant(host.room_id, guest.id)


# --- strangers, floods, the silent ----------------------------------------------------------------


async def test_engine_connections_without_a_token_are_hung_up_on(house: RunningHouse, enter) -> None:
    client = await enter(await house.room())
    url = house.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    async with house.http.ws_connect(url) as stranger:
        await stranger.receive()
        async with house.http.get(house.url + "/socket.io/?EIO=4&transport=polling") as answer:
            assert answer.status == 200
        house.house.realtime.close_strangers()
        assert not stranger.closed
        house.house.realtime.close_strangers()
        async with asyncio.timeout(5 * SECOND):
            while (await stranger.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                pass
    assert await client.do("ping_room") == {"ok": True}
    await client.until(
        lambda: sum(not socket.closed for socket in house.house.realtime.server.eio.sockets.values()) == 1
    )


async def test_a_connection_that_reads_nothing_is_given_up(
    house: RunningHouse, enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_OUTBOX_BYTES", 200_000)
    host = await house.room()
    amelie = await enter(host)
    silent = await enter(await house.guest(host, name="Silence"), "polling")
    await silent.hear("room_view")
    # Its polls are not answered any more, as when a tablet sleeps with its sockets open.
    silent.sio.eio.read_loop_task.cancel()
    (connection,) = house.house.connections.of_participant(host.room_id, await _id_of(silent))
    for number in range(150):
        connection.emit("room_event", {"seq": 1, "prev": 1, "event": {"type": "x", "filler": "é" * 2_000, "n": number}})
    await amelie.until(lambda: not house.house.connections.of_participant(host.room_id, connection.participant_id))
    assert connection.buffered_bytes() < 10_000
    assert await amelie.do("ping_room") == {"ok": True}


async def test_what_is_opened_by_several_posts_at_once_is_open_once_and_ends_with_the_connection(
    house: RunningHouse, enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is slow; over WebSocket nothing of one connection is read meanwhile."""
    client = await enter(await house.room(), "polling")
    address = f"{house.url}/socket.io/?EIO=4&transport=polling&sid={client.sio.eio.sid}"

    async def open_by_post(document: str) -> None:
        async with house.http.post(address, data=f'42["document_open",{{"document":"{document}"}}]') as answer:
            assert answer.status == 200

    documents, statistics = house.house.documents, house.house.documents.statistics
    open_one, asked, may_open = documents.open, list[Any](), asyncio.Event()

    async def open_late(key: Any, *arguments: Any) -> Any:
        asked.append(key)
        await may_open.wait()
        return await open_one(key, *arguments)

    monkeypatch.setattr(documents, "open", open_late)
    names = ["texte"] * 3 + [f"cahier-{number}" for number in range(MAX_DOCUMENTS + 5)]
    posts = [asyncio.create_task(open_by_post(name)) for name in names]
    await client.until(lambda: len(asked) == len(names))
    may_open.set()
    await asyncio.gather(*posts)
    assert statistics().readers == MAX_DOCUMENTS
    await client.close()
    await client.until(lambda: statistics().readers == 0)


async def _id_of(client: RoomClient) -> str:
    return str((await client.hear("room_view"))["self_id"])


async def test_answers_to_ones_own_commands_count_as_waiting(
    house: RunningHouse, enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await house.room()
    greedy = await house.guest(host)
    client = await enter(greedy, "polling")
    await client.hear("room_view")
    client.sio.eio.read_loop_task.cancel()
    monkeypatch.setattr(connection_module, "MAX_OUTBOX_BYTES", 20_000)
    for _ in range(100):
        await client.sio.emit("get_room", {}, callback=lambda *_answer: None)
    await client.until(lambda: not house.house.connections.of_participant(host.room_id, greedy.id))


async def test_queue_knows_its_bytes() -> None:
    from engineio.packet import MESSAGE, Packet

    from server.realtime.packets import PacketQueue

    queue = PacketQueue()
    for data in ("abc", b"\x00" * 10, {"a": 1}, None):
        queue.put_nowait(Packet(MESSAGE, data=data))
    queue.put_nowait(None)
    assert queue.waiting_bytes == 13
    queue.get_nowait()
    assert queue.waiting_bytes == 10
    queue.throw_away()
    assert (queue.waiting_bytes, queue.qsize()) == (0, 0)


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_draining_tells_everyone_and_lets_nobody_in(tmp_path: Path, transport: str) -> None:
    from server.life import drain, stop_house

    async with running_house(tmp_path / "data") as house:
        host = await house.room()
        async with connected(house.url, host.token, transport) as amelie:
            editor = await amelie.edit("texte", "Amélie")
            editor.type("dernier mot")
            began_at = time.monotonic()
            await drain(house.house)
            assert (await amelie.hear("draining"))["reconnect_after_ms"] > 0
            status, body = await house.request("GET", "/readyz")
            assert (status, body["missing"]) == (503, ["draining"])
            for path in ("/socket.io/?EIO=4&transport=polling", f"/yjs/{host.room_id}/texte?token={host.token}"):
                status, body = await house.request("GET", path)
                assert (status, body["error"]["code"]) == (503, "draining"), "a proxy asks the next instance"
            await stop_house(house.house)
            async with asyncio.timeout(5 * SECOND):
                await amelie.closed.wait()
            assert time.monotonic() - began_at < 5 * SECOND
            assert amelie.all("removed") == []
            assert (await amelie.hear("document_closed"))["reason"] == "draining"
            assert editor.all_saved


async def test_stopping_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    from server.life import drain, stop_house

    store = GatedStore(Clock())
    async with running_house(tmp_path / "data", store=store, shutdown_s=2.0) as house:
        host = await house.room()
        async with connected(house.url, host.token) as amelie:
            store.hold("save_room")
            hanging: asyncio.Task[Any] = asyncio.create_task(amelie.call("rename", name="Amélie B."))
            await store._gates["save_room"].reached.wait()
            began_at = time.monotonic()
            await drain(house.house)
            await stop_house(house.house)
            assert time.monotonic() - began_at < 2.0 + 2.0 * SECOND  # what it may take, and the rest
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)


def test_a_peer_that_takes_nothing_is_cut_off_by_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every probe is answered, nothing is read: without the limit this would wait for ever."""
    monkeypatch.setattr("server.listener.UNREAD_MS", 300)
    listener = listen("127.0.0.1", 0)
    with listener, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.connect(listener.getsockname())
        listener.setblocking(True)
        accepted, _address = listener.accept()
        with accepted:
            accepted.settimeout(20)
            with pytest.raises(TimeoutError) as cut:
                while True:
                    accepted.sendall(b"\x00" * 65_536)
            assert cut.value.errno == errno.ETIMEDOUT
