"""Sound and pictures from Python, by way of the server and from peer to peer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from typing import Any

import av
import pytest
import pytest_asyncio
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

from passerelle_client import Refused, Room
from passerelle_client.media import Media, RemoteTrack
from passerelle_client.media_tracks import IncomingTrack
from tests.support.colour_track import BLUE, GREEN, RED, ColourTrack, remote, shows
from tests.support.deadlines import SECOND
from tests.support.media_session import eventually, loopback_for_aioice
from tests.support.two_houses import two_houses

DEADLINE = 15 * SECOND
KINDS_OF_ROOM = pytest.mark.parametrize("kind", ["interclass", "consultation"])
"""By way of the server, and from peer to peer."""


@pytest.fixture(autouse=True)
def _on_loopback() -> Iterator[None]:
    with loopback_for_aioice():
        yield


async def event_of(media: Media, event: Any) -> Any:
    """What comes with the next such event."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    off = media.on(event, lambda value: future.done() or future.set_result(value))
    try:
        async with asyncio.timeout(DEADLINE):
            return await future
    finally:
        off()


async def state_is(media: Media, wanted: str) -> None:
    changed = asyncio.Event()
    off = media.on("state", lambda _state: changed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while media.state != wanted:
                changed.clear()
                await changed.wait()
    finally:
        off()


async def in_view(room: Room, condition: Any) -> None:
    changed = asyncio.Event()
    off = room.on("view", lambda _view: changed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition({track.id: track for track in room.view.tracks}):
                changed.clear()
                await changed.wait()
    finally:
        off()


@pytest_asyncio.fixture
async def meet(make_school: Any) -> AsyncIterator[Any]:
    """Rooms of a host and guests, with their media started."""

    async def make(kind: str, guests: int = 1) -> list[Room]:
        school = await make_school(kind=kind)
        rooms = [await school.host(), *[await school.join("guest", f"Invité {n}") for n in range(guests)]]
        for room in rooms:
            await room.media.start()
        return rooms

    yield make


@KINDS_OF_ROOM
async def test_each_sees_and_hears_the_other(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    assert host.media.engine == ("p2p" if kind == "consultation" else "sfu")
    await host.media.publish(ColourTrack(RED), "camera")
    await host.media.publish(AudioStreamTrack(), "microphone")
    await guest.media.publish(ColourTrack(BLUE), "camera")
    hosts, guests = await remote(guest.media, "camera", host), await remote(host.media, "camera", guest)
    await asyncio.gather(shows(hosts.media_stream_track, RED), shows(guests.media_stream_track, BLUE))
    sound = await remote(guest.media, "microphone", host)
    async with asyncio.timeout(DEADLINE):
        assert isinstance(await sound.media_stream_track.recv(), av.AudioFrame)
    await asyncio.gather(state_is(host.media, "connected"), state_is(guest.media, "connected"))
    with pytest.raises(ValueError, match="audio"):
        await host.media.publish(AudioStreamTrack(), "camera")


@KINDS_OF_ROOM
async def test_a_device_without_sound_is_sent_pictures_alone(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    await guest.media.stop()
    await guest.media.start(without_sound=True)
    await host.media.publish(AudioStreamTrack(), "microphone")
    await host.media.publish(ColourTrack(RED), "camera")
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
    assert [each.track.source for each in guest.media.remote_tracks.values()] == ["camera"]
    with pytest.raises(Refused):
        await guest.media.publish(AudioStreamTrack(), "microphone")


async def test_who_comes_late_sees_and_hears_everyone_of_the_first_offer(meet: Any) -> None:
    host, guest, late = await meet("interclass", guests=2)
    await late.media.stop()
    colours = {host: RED, guest: BLUE}
    for room, colour in colours.items():
        await room.media.publish(ColourTrack(colour), "camera")
        await room.media.publish(AudioStreamTrack(), "microphone")
    await in_view(late, lambda tracks: len(tracks) == 4)
    await late.media.start()
    for room, colour in colours.items():
        await shows((await remote(late.media, "camera", room)).media_stream_track, colour)
        sound = await remote(late.media, "microphone", room)
        async with asyncio.timeout(DEADLINE):
            assert isinstance(await sound.media_stream_track.recv(), av.AudioFrame)


async def test_three_peers_all_get_every_frame_they_should(meet: Any) -> None:
    """One source feeds two senders: none takes the other's frames."""
    rooms = await meet("consultation", guests=2)
    colours = dict(zip(rooms, (RED, GREEN, BLUE), strict=True))
    await asyncio.gather(*(room.media.publish(ColourTrack(colour), "camera") for room, colour in colours.items()))
    for viewer in rooms:
        for owner in rooms:
            if owner is not viewer:
                await shows((await remote(viewer.media, "camera", owner)).media_stream_track, colours[owner])


@KINDS_OF_ROOM
async def test_tracks_come_and_go(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    for colour in (RED, BLUE, GREEN):
        local = await host.media.publish(ColourTrack(colour), "camera")
        received = await remote(guest.media, "camera", host)
        await shows(received.media_stream_track, colour)
        gone = asyncio.create_task(event_of(guest.media, "remote_track_ended"))
        await asyncio.sleep(0)
        await host.media.unpublish(local.id)
        assert await gone == local.id
        with pytest.raises(MediaStreamError):
            while True:
                await received.media_stream_track.recv()
        await in_view(guest, lambda tracks: not tracks)


@KINDS_OF_ROOM
async def test_a_muted_track_is_silent_and_everyone_is_told(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    local = await guest.media.publish(ColourTrack(GREEN), "camera")
    received = await remote(host.media, "camera", guest)
    await shows(received.media_stream_track, GREEN)
    told = asyncio.create_task(event_of(guest.media, "muted_by_host"))
    await asyncio.sleep(0)
    # Between browsers only the owner's device can stop it.
    assert await host.mute_other(local.id) == (kind == "interclass")
    assert await told == local.id
    assert local.muted
    await in_view(host, lambda tracks: tracks[local.id].muted)
    await is_still(received.media_stream_track)
    await guest.media.set_muted(local.id, False)
    await in_view(host, lambda tracks: not tracks[local.id].muted)
    await shows(received.media_stream_track, GREEN)
    with pytest.raises(KeyError):
        await guest.media.set_muted("unknown", True)


@pytest.mark.long
async def test_a_publisher_hears_whether_anybody_looks(meet: Any) -> None:
    host, guest = await meet("interclass")
    local = await guest.media.publish(ColourTrack(GREEN), "camera")
    await shows((await remote(host.media, "camera", guest)).media_stream_track, GREEN)
    told: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    guest.media.on("layers_wanted", lambda track_id, layers: told.put_nowait((track_id, layers)))
    async with asyncio.timeout(DEADLINE):
        await host.media.set_layout({})
        assert await told.get() == (local.id, 0)
        await host.media.set_layout({local.id: (320, 180)})
        assert await told.get() == (local.id, 1)


@KINDS_OF_ROOM
async def test_sound_comes_back_after_a_mute(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    local = await guest.media.publish(AudioStreamTrack(), "microphone")
    received = (await remote(host.media, "microphone", guest)).media_stream_track
    async with asyncio.timeout(DEADLINE):
        await received.recv()
        await guest.media.set_muted(local.id, True)
        await is_still(received)
        await guest.media.set_muted(local.id, False)
        for _ in range(20):
            await received.recv()


async def is_still(track: IncomingTrack) -> None:
    """What was under way arrives, and then nothing for half a second."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                # Not stretched: a path that is built anew within two seconds would never be still.
                async with asyncio.timeout(0.5):
                    await track.recv()
            except TimeoutError:
                return


async def test_a_track_that_begins_muted_is_announced_so(meet: Any) -> None:
    host, guest = await meet("interclass")
    local = await guest.media.publish(AudioStreamTrack(), "microphone", muted=True)
    await in_view(host, lambda tracks: local.id in tracks and tracks[local.id].muted)


@KINDS_OF_ROOM
async def test_a_file_that_is_at_its_end_is_unpublished(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    ended = asyncio.create_task(event_of(host.media, "local_track_ended"))
    file = ColourTrack(RED)
    local = await host.media.publish(file, "screen")
    await remote(guest.media, "screen", host)
    file.left = 20
    assert await ended == local.id
    await in_view(guest, lambda tracks: not tracks)
    assert host.media.local_tracks == {}


@KINDS_OF_ROOM
async def test_a_playlist_longer_than_a_connection_has_lines(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    for number in range(9):
        colour = (RED, BLUE)[number % 2]
        local = await host.media.publish(ColourTrack(colour), "screen")
        await shows((await remote_of(guest.media, local.id)).media_stream_track, colour)
        await host.media.unpublish(local.id)


async def remote_of(media: Media, track_id: str) -> RemoteTrack:
    arrived = asyncio.Event()
    off = media.on("remote_track", lambda _remote: arrived.set())
    async with asyncio.timeout(DEADLINE):
        while track_id not in media.remote_tracks:
            arrived.clear()
            await arrived.wait()
    off()
    return media.remote_tracks[track_id]


async def test_a_real_file_is_played(meet: Any, tmp_path: Any) -> None:
    from aiortc.contrib.media import MediaPlayer

    host, guest = await meet("interclass")
    path = tmp_path / "clip.mp4"
    write_clip(path)
    player = MediaPlayer(str(path), loop=True)  # a busy machine may be slower than ten seconds
    await host.media.publish(player.video, "screen")
    await shows((await remote(guest.media, "screen", host)).media_stream_track, BLUE)
    player.video.stop()


def write_clip(path: Any) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 160, 120, "yuv420p", Fraction(1, 20)
        for number in range(200):
            frame = av.VideoFrame(160, 120, "yuv420p")
            for plane, value in zip(frame.planes, BLUE, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


async def test_tracks_are_received_as_wanted(meet: Any) -> None:
    host, guest = await meet("interclass")
    await guest.media.subscribe({})
    local = await host.media.publish(ColourTrack(RED), "camera")
    await in_view(guest, lambda tracks: local.id in tracks)
    assert guest.media.remote_tracks == {}
    await guest.media.subscribe({local.id: 180})
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)


async def test_what_may_not_be_published_is_refused_and_the_rest_goes_on(make_school: Any) -> None:
    school = await make_school()
    host, observer = await school.host(), await school.join("observer", "Parent")
    await host.media.start()
    await observer.media.start()
    await host.media.publish(ColourTrack(RED), "camera")
    with pytest.raises(Refused) as refused:
        await observer.media.publish(ColourTrack(BLUE), "camera")
    assert refused.value.code == "permission-denied"
    assert observer.media.local_tracks == {}
    await shows((await remote(observer.media, "camera", host)).media_stream_track, RED)


@KINDS_OF_ROOM
async def test_a_lost_signaling_connection_does_not_stop_the_pictures(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    await host.media.publish(ColourTrack(RED), "camera")
    received = await remote(guest.media, "camera", host)
    await shows(received.media_stream_track, RED)
    for room in (host, guest):
        await room.connected()
        lost = asyncio.create_task(_connected_again(room))
        await asyncio.sleep(0)
        await room._connection._client.eio.disconnect(abort=True)
        await lost
    await guest.media.publish(ColourTrack(BLUE), "camera")
    await shows((await remote(host.media, "camera", guest)).media_stream_track, BLUE)
    assert guest.media.remote_tracks[received.track.id] is received, "the same session goes on"
    await shows(received.media_stream_track, RED)


async def _connected_again(room: Room) -> None:
    async with asyncio.timeout(DEADLINE):
        await room._waiting.until(lambda: room.connection_state != "connected")
        await room._waiting.until(lambda: room.connection_state == "connected")


@KINDS_OF_ROOM
async def test_a_broken_path_is_built_anew(meet: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("passerelle_client.media_link.LOOK_S", 0.3)
    host, guest = await meet(kind)
    await host.media.publish(ColourTrack(RED), "camera")
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
    cut_paths(host)
    cut_paths(guest)
    await is_still((await remote(guest.media, "camera", host)).media_stream_track)
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                async with asyncio.timeout(SECOND):
                    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
                    break
            except (TimeoutError, MediaStreamError):
                continue


def cut_paths(room: Room) -> None:
    """From now on nothing passes over its present peer connections."""
    link: Any = room.media._link
    connections = (
        [peer._connection for peer in link.peers.values()]
        if room.media.engine == "p2p"
        else [link.publish._connection, link.subscribe._connection]
    )
    for connection in filter(None, connections):
        for transceiver in connection.getTransceivers():
            ice = transceiver.receiver.transport.transport._connection
            for protocol in ice._protocols:
                protocol.transport.sendto = lambda *_arguments: None
                protocol.datagram_received = lambda *_arguments: None


async def test_a_new_server_gets_the_media_again(tmp_path: Any, make_school: Any) -> None:
    from tests.support.server_process import running_server

    async with running_server(tmp_path) as server:
        school = await make_school(server.url)
        host, guest = await school.host(), await school.join("guest")
        for room in (host, guest):
            await room.media.start()
        await host.media.publish(ColourTrack(RED), "camera")
        await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
        ended = asyncio.create_task(event_of(guest.media, "remote_track_ended"))
        await asyncio.sleep(0)
        await server.restart()
        async with asyncio.timeout(2 * DEADLINE):
            await ended
            await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)


async def test_a_session_of_a_connection_that_was_replaced_is_begun_anew(
    meet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between `media_start` and what is said next another connection took its place: the server knows no such session
    of this one."""
    host, guest = await meet("interclass")
    await host.media.stop()
    command, refused = host.command, asyncio.Event()

    async def refuse_once(name: str, **fields: Any) -> Any:
        if name == "media_description" and not refused.is_set():
            refused.set()
            raise Refused("unknown-session", "not this connection's")
        return await command(name, **fields)

    monkeypatch.setattr(host, "command", refuse_once)
    await host.media.publish(ColourTrack(RED), "camera")
    await host.media.start()
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
    assert refused.is_set()


async def test_the_layout_is_told_to_a_new_session(meet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host, guest = await meet("interclass")
    local = await host.media.publish(ColourTrack(RED), "camera")
    await remote(guest.media, "camera", host)
    said: list[Any] = []
    command = guest.command

    async def note(name: str, **fields: Any) -> Any:
        if name == "media_layout":
            said.append(fields["tracks"])
        return await command(name, **fields)

    monkeypatch.setattr(guest, "command", note)
    await guest.media.set_layout({local.id: (160, 120)})
    await guest.media.stop()
    await guest.media.start()
    assert said == [[{"track_id": local.id, "width": 160, "height": 120}]] * 2


@KINDS_OF_ROOM
async def test_a_session_stops_and_starts_again(meet: Any, kind: str) -> None:
    host, guest = await meet(kind)
    local = await host.media.publish(ColourTrack(RED), "camera")
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)
    gone = asyncio.create_task(event_of(guest.media, "remote_track_ended"))
    await asyncio.sleep(0)
    await host.media.stop()
    assert await gone == local.id
    assert host.media.state == "idle"
    await host.media.start()
    await shows((await remote(guest.media, "camera", host)).media_stream_track, RED)


async def test_who_is_removed_is_no_longer_seen(meet: Any) -> None:
    host, guest = await meet("interclass")
    local = await guest.media.publish(ColourTrack(GREEN), "camera")
    await shows((await remote(host.media, "camera", guest)).media_stream_track, GREEN)
    gone = asyncio.create_task(event_of(host.media, "remote_track_ended"))
    await asyncio.sleep(0)
    await host.remove(guest.participant_id)
    assert await gone == local.id


async def test_pictures_cross_instances_and_follow_the_room_to_its_next_home(tmp_path: Any, make_school: Any) -> None:
    """Two servers, one room: each seen by the other, and again within five seconds when the home leaves."""
    async with two_houses(tmp_path, media=True) as both:
        school = await make_school(both.first.url)
        host = await school.host()
        guest = await Room.connect(both.second.url, await school.token("guest"))
        school.rooms.append(guest)
        for room in (host, guest):
            await room.media.start()
        await host.media.publish(ColourTrack(RED), "camera")
        await guest.media.publish(ColourTrack(BLUE), "camera")
        hosts, guests = await remote(guest.media, "camera", host), await remote(host.media, "camera", guest)
        await asyncio.gather(shows(hosts.media_stream_track, RED), shows(guests.media_stream_track, BLUE))
        assert len((await school.api.get_room(host.view.room.id, school.created.token)).tracks) == 2

        ended = [asyncio.create_task(event_of(room.media, "remote_track_ended")) for room in (host, guest)]
        left_at = asyncio.get_running_loop().time()
        await both.first.house.rooms.leave()
        await asyncio.gather(*ended)
        hosts, guests = await remote(guest.media, "camera", host), await remote(host.media, "camera", guest)
        await asyncio.gather(shows(hosts.media_stream_track, RED), shows(guests.media_stream_track, BLUE))
        assert asyncio.get_running_loop().time() - left_at < 5 * SECOND
        assert both.second.house.media.session_counts()["sfu"] == 2
        await eventually(lambda: both.first.house.media.session_counts()["sfu"] == 0)
