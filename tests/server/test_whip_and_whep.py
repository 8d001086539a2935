"""Publishing and watching by HTTP alone (RFC 9725 and its draft for players), with real RTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from passerelle_client import Room
from signaling.negotiation import MAX_TRIES, RESEND_AFTER_S
from tests.server.test_gateway_api import gateway_settings
from tests.support.janus_server import own_address, running_janus
from tests.support.media_session import loopback_for_aioice
from tests.support.room_client import connected
from tests.support.running_house import Person, RunningHouse, running_house


@pytest.fixture(autouse=True)
def _on_loopback() -> Iterator[None]:
    with loopback_for_aioice():
        yield


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RunningHouse]:
    async with running_house(tmp_path / "data", media=True) as running:
        yield running


async def post_offer(house: RunningHouse, kind: str, person: Person, offer: str) -> tuple[int, str, str | None]:
    """Status, body and Location."""
    async with house.http.post(
        f"{house.url}/{kind}/{person.room_id}",
        data=offer.encode(),
        headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {person.token}"},
    ) as response:
        return response.status, await response.text(), response.headers.get("Location")


async def test_a_museums_encoder_publishes_and_a_screen_in_the_hall_watches(house: RunningHouse) -> None:
    host = await house.room()
    museum, hall = await house.guest(host, name="Musée"), await house.guest(host, role="observer", name="Hall")
    async with connected(house.url, host.token) as amelie:
        view = await amelie.hear("room_view")
        assert view["tracks"] == []
        publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        tracks = [AudioStreamTrack(), VideoStreamTrack()]
        for track in tracks:
            publisher.addTrack(track)
        await publisher.setLocalDescription(await publisher.createOffer())
        status, answer, location = await post_offer(house, "whip", museum, publisher.localDescription.sdp)
        assert status == 201
        assert location is not None
        assert location.startswith(f"{house.url}/whip/{host.room_id}/")
        await publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        for source in ("microphone", "camera"):
            event = await amelie.hear_in_room("track_published", lambda event, s=source: event["track"]["source"] == s)
            assert event["track"]["participant_id"] == museum.id

        viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        received: dict[str, int] = {}
        tasks: list[asyncio.Task[None]] = []

        async def count(track: Any) -> None:
            while True:
                await track.recv()
                received[track.kind] = received.get(track.kind, 0) + 1

        viewer.on("track", lambda track: tasks.append(asyncio.create_task(count(track))))
        for kind in ("audio", "video"):
            viewer.addTransceiver(kind, direction="recvonly")
        await viewer.setLocalDescription(await viewer.createOffer())
        status, answer, watching = await post_offer(house, "whep", hall, viewer.localDescription.sdp)
        assert status == 201
        await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await amelie.until(lambda: received.get("audio", 0) > 5 and received.get("video", 0) > 5, 15)

        assert location is not None
        assert watching is not None
        path = location.removeprefix(house.url)
        foreign, _body = await house.request("DELETE", path, token=hall.token)
        assert foreign == 404
        await nothing_trickles(house, path, museum)
        assert (await house.request("DELETE", path, token=museum.token))[0] == 200
        await amelie.until(lambda: len(amelie.room_events("track_unpublished")) == 2)
        assert (await house.request("DELETE", watching.removeprefix(house.url), token=hall.token))[0] == 200

        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for track in tracks:
            track.stop()
        await publisher.close()
        await viewer.close()


async def nothing_trickles(house: RunningHouse, path: str, person: Person) -> None:
    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/trickle-ice-sdpfrag"}
    async with house.http.patch(house.url + path, data=b"a=end-of-candidates\r\n", headers=headers) as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE")
        assert (await response.json())["error"]["code"] == "method-not-allowed"


@pytest.mark.long
@pytest.mark.parametrize("is_on_janus", [False, True], ids=["sfu", "janus"])
async def test_an_encoder_goes_on_beside_a_camera(tmp_path: Path, is_on_janus: bool) -> None:
    """For longer than an offer may stay without an answer."""
    async with contextlib.AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if is_on_janus:
            settings = gateway_settings(await stack.enter_async_context(running_janus(tmp_path / "janus")))
            stack.enter_context(loopback_for_aioice(own_address()))
        house = await stack.enter_async_context(running_house(tmp_path / "data", media=True, **settings))
        host = await house.room()
        museum = await house.guest(host, name="Musée")
        amelie = await stack.enter_async_context(connected(house.url, host.token))
        publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        stack.push_async_callback(publisher.close)
        publisher.addTrack(VideoStreamTrack())
        await publisher.setLocalDescription(await publisher.createOffer())
        _status, answer, _location = await post_offer(house, "whip", museum, publisher.localDescription.sdp)
        await publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await amelie.hear_in_room("track_published")
        room = await Room.connect(house.url, host.token)
        stack.push_async_callback(room.close)
        await room.media.start()
        await room.media.publish(VideoStreamTrack(), "camera")
        await asyncio.sleep(RESEND_AFTER_S * (MAX_TRIES + 1))  # the length is the test
        assert not amelie.room_events("track_unpublished")
        assert publisher.connectionState == "connected"


async def test_removal_ends_what_was_published_by_http(house: RunningHouse) -> None:
    host = await house.room()
    museum = await house.guest(host)
    async with connected(house.url, host.token) as amelie:
        publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        track = AudioStreamTrack()
        publisher.addTrack(track)
        await publisher.setLocalDescription(await publisher.createOffer())
        status, answer, _location = await post_offer(house, "whip", museum, publisher.localDescription.sdp)
        assert status == 201
        await publisher.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await amelie.hear_in_room("track_published")
        await amelie.do("remove", participant_id=museum.id)
        await amelie.hear_in_room("track_unpublished")
        status, body, _none = await post_offer(house, "whip", museum, publisher.localDescription.sdp)
        assert status == 403
        assert '"removed"' in body
        track.stop()
        await publisher.close()


async def test_who_may_not_is_refused(house: RunningHouse) -> None:
    host = await house.room()
    people = {role: await house.guest(host, role=role) for role in ("class", "pupil", "guest", "observer")}
    waiting = await house.guest(host, lobby=True)
    may = {"whip": {"class", "guest"}, "whep": {"class", "guest", "observer"}}
    for kind, allowed in may.items():
        for role, person in people.items():
            status, body, _location = await post_offer(house, kind, person, "v=0\r\n")
            expected = (400, "invalid-description") if role in allowed else (403, "permission-denied")
            assert (status, expected[1] in body) == (expected[0], True), (kind, role, body)
        status, body, _location = await post_offer(house, kind, waiting, "v=0\r\n")
        assert (status, "not-admitted" in body) == (403, True)
    assert house.house.media.session_counts() == {"p2p": 0, "sfu": 0}


async def test_offers_of_the_wrong_kind_are_refused(house: RunningHouse) -> None:
    host = await house.room()
    url = f"{house.url}/whip/{host.room_id}"
    bearer = {"Authorization": f"Bearer {host.token}"}
    for kind, body, expected in (
        ("application/json", b"{}", (415, "content-type")),
        ("application/sdp", b"\xff\xfe", (400, "invalid-description")),
        ("application/sdp", b"v" * 70_000, (413, "too-large")),
    ):
        async with house.http.post(url, data=body, headers={**bearer, "Content-Type": kind}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == expected
    async with house.http.options(url) as response:
        assert (response.status, response.headers["Accept-Post"]) == (204, "application/sdp")


async def test_ice_servers_are_named_with_their_credentials(tmp_path: Path) -> None:
    turn = {"turn_urls": ("stun:stun.test:3478", "turns:turn.test:443?transport=tcp"), "turn_secret": "0" * 32}
    async with running_house(tmp_path / "turn", media=True, **turn) as house:
        host = await house.room()
        viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        viewer.addTransceiver("audio", direction="recvonly")
        await viewer.setLocalDescription(await viewer.createOffer())
        async with house.http.post(
            f"{house.url}/whep/{host.room_id}",
            data=viewer.localDescription.sdp.encode(),
            headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {host.token}"},
        ) as response:
            stun, relay = response.headers.getall("Link")
        await viewer.close()
    assert stun == '<stun:stun.test:3478>; rel="ice-server"'
    assert relay.startswith('<turns:turn.test:443?transport=tcp>; rel="ice-server"; username="')
    assert f':{host.id}"; credential="' in relay
    assert relay.endswith('; credential-type="password"')


async def test_media_of_a_consultation_touch_no_server(house: RunningHouse) -> None:
    host = await house.room(kind="consultation")
    status, body, _location = await post_offer(house, "whip", host, "v=0\r\n")
    assert (status, "media-unavailable" in body) == (503, True)
    assert (await house.request("GET", "/readyz"))[1]["degraded"] == []
