"""From the invitation to the room and out of it, over real sockets."""

import asyncio
import time

import pytest

from tests.support.deadlines import SECOND
from tests.support.room_client import ConnectRefused
from tests.support.running_house import RunningHouse

TRANSPORTS = ("websocket", "polling")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_guest_waits_is_admitted_and_sees_the_room(house: RunningHouse, enter, transport: str) -> None:
    host = await house.room()
    amelie = await enter(host, transport)
    assert (await amelie.hear("room_view"))["self_id"] == host.id
    guest = await house.guest(host, name="Musée", lobby=True)
    camille = await enter(guest, transport)
    assert await camille.hear("lobby") == {"state": "waiting"}
    lobby = (await amelie.hear_in_room("lobby_changed", lambda event: event["lobby"][0]["connected"]))["lobby"]
    assert [(person["id"], person["name"]) for person in lobby] == [(guest.id, "Musée")]

    await amelie.do("admit", participant_id=guest.id)

    assert await camille.hear("lobby", 2) == {"state": "admitted"}
    view = await camille.hear("room_view")
    assert {person["id"] for person in view["participants"]} == {host.id, guest.id}
    assert (await amelie.hear_in_room("participant_joined"))["participant"]["id"] == guest.id
    assert (await amelie.hear_in_room("lobby_changed", lambda event: not event["lobby"]))["lobby"] == []


async def test_guest_in_lobby_receives_nothing_of_the_room(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie = await enter(host)
    camille = await enter(await house.guest(host, lobby=True))
    await amelie.do("send_chat", text="Bonjour")
    await amelie.do("set_hand", raised=True)
    await amelie.do("configure", chat_enabled=False)

    assert await camille.refusal("get_room") == "not-admitted"
    assert await camille.refusal("send_chat", text="Bonjour") == "not-admitted"
    assert await camille.refusal("document_open", document="texte") == "permission-denied"
    assert await camille.refusal("media_start") == "permission-denied"
    assert camille.heard == [("lobby", ({"state": "waiting"},))]


async def test_guest_who_is_refused_is_told_and_closed(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie = await enter(host)
    guest = await house.guest(host, lobby=True)
    camille = await enter(guest)
    await camille.hear("lobby")

    await amelie.do("deny", participant_id=guest.id)

    assert await camille.hear("lobby", 2) == {"state": "denied"}
    assert await camille.hear("removed") == {"reason": "denied"}
    async with asyncio.timeout(5 * SECOND):
        await camille.closed.wait()
    with pytest.raises(ConnectRefused, match="denied"):
        await enter(guest)


async def test_two_hosts_click_at_once(house: RunningHouse, enter) -> None:
    host = await house.room()
    second = await house.guest(host, role="host", name="Luc")
    amelie, luc = await enter(host), await enter(second)
    guest, other = await house.guest(host, lobby=True), await house.guest(host, lobby=True)

    both = await asyncio.gather(
        amelie.call("admit", participant_id=guest.id), luc.call("admit", participant_id=guest.id)
    )
    assert both == [{"ok": True}, {"ok": True}]
    opposed = await asyncio.gather(
        amelie.call("admit", participant_id=other.id), luc.call("deny", participant_id=other.id)
    )
    assert sorted("error" in answer for answer in opposed) == [False, True]
    assert [answer["error"]["code"] for answer in opposed if "error" in answer] == ["already-decided"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_removal_reaches_every_connection_at_once(house: RunningHouse, enter, open_yjs, transport: str) -> None:
    host = await house.room()
    amelie = await enter(host)
    guest = await house.guest(host)
    tabs = [await enter(guest, transport), await enter(guest)]
    text = await open_yjs(guest)
    await text.edit("Camille")

    began_at = time.monotonic()
    await amelie.do("remove", participant_id=guest.id)
    acknowledged_after_s = time.monotonic() - began_at

    assert acknowledged_after_s < 1.0 * SECOND
    assert not house.house.connections.of_participant(host.room_id, guest.id)
    for tab in tabs:
        assert await tab.hear("removed") == {"reason": "removed"}
        async with asyncio.timeout(5 * SECOND):
            await tab.closed.wait()
    assert await text.wait_closed() == (4403, "removed")
    with pytest.raises(ConnectRefused, match="removed"):
        await enter(guest)
    status, body = await house.request("GET", f"/api/rooms/{host.room_id}", token=guest.token)
    assert (status, body["error"]["code"]) == (403, "removed")
    late = await open_yjs(guest)
    assert await late.wait_closed() == (4403, "removed")


async def test_revoked_invitation_turns_out_whoever_came_with_it(house: RunningHouse, enter, open_yjs) -> None:
    host = await house.room()
    amelie = await enter(host)
    invitation = await house.invite(host, "pupil")
    pupils = [await house.join(invitation, name) for name in ("Léa", "Noé")]
    other = await enter(await house.guest(host))
    clients = [await enter(pupil) for pupil in pupils]
    text = await open_yjs(pupils[0])

    status, _body = await house.request(
        "DELETE", f"/api/rooms/{host.room_id}/invitations/{invitation['id']}", token=host.token
    )

    assert status == 204
    for pupil, client in zip(pupils, clients, strict=True):
        assert not house.house.connections.of_participant(host.room_id, pupil.id)
        assert await client.hear("removed") == {"reason": "revoked"}
    assert await text.wait_closed() == (4403, "revoked")
    for pupil in pupils:
        left = await amelie.hear_in_room("participant_left", lambda event, who=pupil: event["participant_id"] == who.id)
        assert left["reason"] == "revoked"
    assert (await other.do("ping_room")) == {"ok": True}
    status, body = await house.request("POST", "/api/join", json={"invitation": invitation["id"], "name": "Zoé"})
    assert (status, body["error"]["code"]) == (404, "invitation-unknown")


async def test_leaving_is_answered_and_ends_the_other_tabs(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie = await enter(host)
    guest = await house.guest(host)
    tab, other = await enter(guest), await enter(guest)

    assert await tab.call("leave", {}) == {"ok": True}

    assert await other.hear("removed") == {"reason": "left"}
    async with asyncio.timeout(5 * SECOND):
        await asyncio.gather(tab.closed.wait(), other.closed.wait())
    assert (await amelie.hear_in_room("participant_left"))["reason"] == "left"


async def test_host_comes_later_and_finds_the_lobby(house: RunningHouse, enter) -> None:
    host = await house.room()
    guest = await house.guest(host, lobby=True)
    camille = await enter(guest)
    await camille.hear("lobby")
    amelie = await enter(host)
    view = await amelie.hear("room_view")
    assert [person["id"] for person in view["lobby"]] == [guest.id]


async def test_guest_who_goes_and_comes_back_keeps_the_place(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie = await enter(host)
    first, second = await house.guest(host, lobby=True), await house.guest(host, lobby=True)
    camille = await enter(first)
    await enter(second)
    await camille.close()
    await amelie.hear_in_room("lobby_changed", lambda event: [p["connected"] for p in event["lobby"]] == [False, True])
    await enter(first)
    lobby = await amelie.hear_in_room(
        "lobby_changed", lambda event: [p["connected"] for p in event["lobby"]] == [True] * 2
    )
    assert [person["id"] for person in lobby["lobby"]] == [first.id, second.id]
