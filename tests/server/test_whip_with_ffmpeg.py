"""A real encoder and a real player, over HTTP alone: FFmpeg publishes by WHIP, Chromium watches by WHEP."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.support.certificates import Authority
from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.room_client import connected
from tests.support.running_house import Person, RunningHouse, running_house

ROOT = Path(__file__).resolve().parents[2]
WATCH = """
async ({endpoint, token}) => {
  const pc = window.pc = new RTCPeerConnection();
  pc.addTransceiver("audio", {direction: "recvonly"});
  pc.addTransceiver("video", {direction: "recvonly"});
  pc.ontrack = ({track}) => {
    const element = document.createElement(track.kind);
    element.autoplay = true; element.muted = track.kind === "video";
    element.srcObject = new MediaStream([track]);
    document.body.append(element);
  };
  await pc.setLocalDescription();
  const answer = await fetch(endpoint, {
    method: "POST", body: pc.localDescription.sdp,
    headers: {"Content-Type": "application/sdp", Authorization: `Bearer ${token}`},
  });
  await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
  return {status: answer.status, location: answer.headers.get("Location")};
}
"""
RECEIVED = """
async () => Object.fromEntries([...(await window.pc.getStats()).values()]
  .filter(({type}) => type === "inbound-rtp")
  .map((each) => [each.kind, {frames: each.framesDecoded, width: each.frameWidth, energy: each.totalAudioEnergy}]))
"""


@asynccontextmanager
async def ffmpeg(house: RunningHouse, person: Person, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    files = Authority(folder).sign("encoder")
    endpoint = f"{house.url}/whip/{person.room_id}"
    command = ("-m", "tests.support.ffmpeg_publisher", endpoint, person.token, files.certificate, files.key)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_received(page: Page, enough: Any, timeout_s: float) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while True:
            found: dict[str, Any] = await page.evaluate(RECEIVED)
            if enough(found.get("video", {}), found.get("audio", {})):
                return found
            await asyncio.sleep(0.1)


async def test_ffmpeg_publishes_into_a_room_and_chromium_watches_it(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data", media=True) as house:
        host = await house.room()
        museum, hall = await house.guest(host, name="Musée"), await house.guest(host, role="observer", name="Hall")
        async with connected(house.url, host.token) as amelie, launched_chromium() as browser:
            page = await browser.new_page()
            await page.goto(f"{house.url}/healthz")
            async with ffmpeg(house, museum, tmp_path / "files") as encoder:
                await amelie.until(lambda: len(amelie.room_events("track_published")) == 2, 20)
                for source in ("microphone", "camera"):
                    event = await amelie.hear_in_room(
                        "track_published", lambda event, s=source: event["track"]["source"] == s
                    )
                    assert event["track"]["participant_id"] == museum.id
                watching = await page.evaluate(
                    WATCH, {"endpoint": f"{house.url}/whep/{host.room_id}", "token": hall.token}
                )
                assert watching["status"] == 201
                await until_received(
                    page,
                    lambda video, audio: video.get("frames", 0) > 20 and audio.get("energy", 0.0) > 0.01,
                    10 * SECOND,
                )
                encoder.terminate()
                assert await encoder.wait() == 0
            await amelie.until(lambda: len(amelie.room_events("track_unpublished")) == 2)
            path = watching["location"].removeprefix(house.url)
            assert (await house.request("DELETE", path, token=hall.token))[0] == 200
            await amelie.until(lambda: house.house.media.session_counts() == {"p2p": 0, "sfu": 0})


async def test_an_encoder_whose_holder_is_removed_sends_no_more(tmp_path: Path) -> None:
    async with running_house(tmp_path / "data", media=True) as house:
        host = await house.room()
        museum = await house.guest(host, name="Musée")
        async with connected(house.url, host.token) as amelie, ffmpeg(house, museum, tmp_path / "files") as encoder:
            await amelie.until(lambda: len(amelie.room_events("track_published")) == 2, 20)
            await amelie.do("remove", participant_id=museum.id)
            await amelie.until(lambda: len(amelie.room_events("track_unpublished")) == 2)
            await amelie.until(lambda: house.house.media.session_counts() == {"p2p": 0, "sfu": 0})
            async with house.http.post(
                f"{house.url}/whip/{host.room_id}",
                data=b"v=0\r\n",
                headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {museum.token}"},
            ) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (403, "removed")
            assert encoder.returncode is None or encoder.returncode != 0
