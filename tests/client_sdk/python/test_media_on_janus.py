"""Pictures from Python by way of a gateway, where another track takes a line that was used before."""

from pathlib import Path

import pytest

from passerelle_client import Room
from passerelle_client.server_link import ssrcs_by_mid
from tests.client_sdk.python.test_media import remote_of
from tests.server.test_gateway_api import gateway_settings
from tests.support.colour_track import BLUE, GREEN, RED, ColourTrack, shows
from tests.support.janus_server import own_address, running_janus
from tests.support.media_session import loopback_for_aioice
from tests.support.running_house import running_house


@pytest.mark.long
async def test_every_picture_comes_on_a_line_that_another_has_left(tmp_path: Path) -> None:
    async with running_janus(tmp_path / "janus") as janus:
        with loopback_for_aioice(own_address()):
            async with running_house(tmp_path / "data", media=True, **gateway_settings(janus)) as house:
                host = await house.room()
                guest = await house.guest(host)
                rooms = [await Room.connect(house.url, each.token) for each in (host, guest)]
                for room in rooms:
                    await room.media.start()
                sender, receiver = (room.media for room in rooms)
                assert receiver.engine == "janus"
                camera = await sender.publish(ColourTrack(RED), "camera")
                face = await remote_of(receiver, camera.id)
                await shows(face.media_stream_track, RED)
                for colour in (BLUE, GREEN, BLUE):
                    screen = await sender.publish(ColourTrack(colour), "screen")
                    await shows((await remote_of(receiver, screen.id)).media_stream_track, colour)
                    await sender.unpublish(screen.id)
                assert receiver.remote_tracks[camera.id] is face
                await shows(face.media_stream_track, RED)
                for room in rooms:
                    await room.close()


def test_the_stream_of_each_line_that_brings_something() -> None:
    lines = {"0": ("sendonly", 11), "1": ("inactive", 22), "2": ("sendrecv", 33)}
    offer = "v=0\r\n" + "".join(
        f"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na={direction}\r\na=ssrc:{ssrc} cname:c\r\na=ssrc:9 cname:c\r\n"
        for mid, (direction, ssrc) in lines.items()
    )
    assert ssrcs_by_mid(offer) == {"0": 11, "2": 33}
