"""Two houses, one room: real sockets, one store, leases and a bus in this process."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp

from tests.support.room_client import RoomClient, connected, yjs_connected
from tests.support.running_house import Person, RunningHouse
from tests.support.two_houses import two_houses


def at(house: RunningHouse, person: Person) -> AbstractAsyncContextManager[RoomClient]:
    return connected(house.url, person.token)


async def test_people_of_one_room_meet_over_two_instances(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both:
        first, second, host = both.first, both.second, both.host
        guest = await second.guest(host, lobby=True, name="Musée")
        async with at(first, host) as at_host, at(second, guest) as at_guest:
            await at_guest.hear("lobby")
            waiting = await at_host.hear_in_room("lobby_changed", lambda event: event["lobby"])
            assert waiting["lobby"][0]["name"] == "Musée"
            await at_host.do("admit", participant_id=guest.id)
            view = await at_guest.hear("room_view")
            assert {person["id"] for person in view["participants"]} == {host.id, guest.id}
            assert all(person["connected"] for person in view["participants"])
            await at_guest.do("set_hand", raised=True)
            raised = await at_host.hear_in_room(
                "participant_changed", lambda event: event["participant"]["hand_raised_at"]
            )
            assert raised["participant"]["id"] == guest.id
            await at_guest.do("send_chat", text="Bonjour", client_id="1")
            for client in (at_host, at_guest):
                assert (await client.hear_in_room("chat_sent"))["line"]["text"] == "Bonjour"
            assert (await second.request("GET", f"/api/rooms/{host.room_id}", token=host.token))[1]["chat"]
            assert await at_host.do("remove", participant_id=guest.id) == {"ok": True, "confirmed": True}
            assert await at_guest.hear("removed") == {"reason": "removed"}
            await at_host.hear_in_room("participant_left")


async def test_numbers_of_events_follow_each_other_over_either_instance(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both:
        klass = await both.second.guest(both.host, "class")
        async with at(both.first, both.host) as at_host, at(both.second, klass) as at_class:
            for client in (at_host, at_class):
                await client.hear("room_view")
            for up in (True, False) * 5:
                await at_class.do("set_hand", raised=up)
            for client in (at_host, at_class):
                await client.until(lambda client=client: len(client.room_events("participant_changed")) >= 10)
                seq = client.all("room_view")[0]["seq"]
                for message in client.all("room_event"):
                    assert message["prev"] == seq
                    assert message["seq"] >= seq
                    seq = message["seq"]


async def test_who_is_removed_writes_no_more_over_any_instance(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both, aiohttp.ClientSession() as http:
        pupil = await both.first.guest(both.host, "pupil")
        async with (
            at(both.first, both.host) as at_host,
            yjs_connected(http, both.second.url, pupil.room_id, "texte", pupil.token) as written,
        ):
            await written.edit("Zoé")
            assert (await at_host.do("remove", participant_id=pupil.id))["confirmed"]
            assert (await written.wait_closed())[0] == 4403


async def test_a_revocation_closes_what_is_open_elsewhere(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both:
        guest = await both.first.guest(both.host)
        async with at(both.second, guest) as at_guest:
            path = f"/api/rooms/{both.host.room_id}/invitations/{guest.invitation_id}"
            status, _body = await both.first.request("DELETE", path, token=both.host.token)
            assert status == 204
            assert await at_guest.hear("removed") == {"reason": "revoked"}


async def test_a_removal_that_another_instance_cannot_confirm_says_so(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both:
        guest, other = await both.first.guest(both.host), await both.first.guest(both.host)
        async with at(both.first, both.host) as at_host, at(both.second, guest):
            both.network.ends[1].is_cut = True
            answer = await at_host.do("remove", participant_id=guest.id)
            assert answer == {"ok": True, "confirmed": False}
            path = f"/api/rooms/{both.host.room_id}/invitations/{other.invitation_id}"
            assert await both.first.request("DELETE", path, token=both.host.token) == (200, {"confirmed": False})
            both.network.ends[1].is_cut = False


async def test_a_text_made_by_a_home_that_then_went_away_is_not_called_unknown(tmp_path: Path) -> None:
    """Asked again with the same id, it is the one that was made."""
    async with two_houses(tmp_path) as both:
        host = await both.second.guest(both.host, "host")
        async with at(both.first, both.host), at(both.second, host) as elsewhere:
            wanted = {"document": "recit", "title": "Récit", "template": "Il était"}
            both.network.is_lost = lambda message: b"Told" in message or b"Snapshot" in message
            assert (await elsewhere.call("create_document", **wanted))["error"]["code"] == "store-unavailable"
            both.network.is_lost = lambda _message: False
            assert (await elsewhere.do("create_document", **wanted))["document"] == "recit"


async def test_a_house_that_leaves_hands_its_room_over(tmp_path: Path) -> None:
    async with two_houses(tmp_path) as both:
        klass = await both.second.guest(both.host, "class")
        async with at(both.first, both.host) as at_host, at(both.second, klass) as at_class:
            await at_class.do("set_hand", raised=True)
            await both.first.house.rooms.leave()
            await at_class.do("set_hand", raised=False)
            await at_class.do("set_hand", raised=True)
            await at_host.until(lambda: len(at_host.room_events("participant_changed")) >= 3)
            await at_host.do("send_chat", text="Nous continuons")
            await at_class.hear_in_room("chat_sent")


async def test_media_of_one_room_meet_at_its_home(tmp_path: Path) -> None:
    """p2p, whose engine only passes messages on: two people over two instances negotiate."""
    async with two_houses(tmp_path) as both:
        status, made = await both.first.request(
            "POST", "/api/rooms", json={"name": "Suivi", "kind": "consultation", "host_name": "Mme Roy"}
        )
        assert status == 201
        host = Person(made["participant_id"], made["token"], made["room"]["id"])
        pupil = await both.second.guest(host, "pupil", lobby=False)
        async with at(both.first, host) as at_host, at(both.second, pupil) as at_pupil:
            await at_pupil.hear("room_view")
            mine = await at_host.do("media_start")
            theirs = await at_pupil.do("media_start")
            assert [peer["session_id"] for peer in theirs["peers"]] == [mine["session_id"]]
            joined = await at_host.hear("media_peer_joined")
            assert joined["peer"]["session_id"] == theirs["session_id"]
            offer = {"type": "offer", "sdp": OFFER}
            await at_pupil.do(
                "media_description",
                session_id=theirs["session_id"],
                pc="peer",
                to=mine["session_id"],
                negotiation=1,
                description=offer,
                media=[],
            )
            heard = await at_host.hear("media_description")
            assert heard["description"]["sdp"] == OFFER
            refused = await at_pupil.refusal("media_stop", session_id="unknown")
            assert refused == "unknown-session"
            await both.first.house.rooms.leave()
            for client in (at_host, at_pupil):
                closed = await client.hear("media_closed")
                assert (closed["reason"], closed["retry"]) == ("failed", True)
            again = await at_host.do("media_start", session_id=mine["session_id"])
            theirs = await at_pupil.do("media_start", session_id=theirs["session_id"])
            assert not again["resumed"]
            assert [peer["session_id"] for peer in theirs["peers"]] == [again["session_id"]]


OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\n"
)
