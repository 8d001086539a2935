"""Classes that send recorded media with the Python SDK, in a process of their own: many of them cost little, for
nothing is encoded while they are there.

    python -m tests.support.recorded_classes SERVER_URL INVITATION COUNT

It writes one line of JSON, a word and a value: `ready` once all have published and their connections stand, then
`state` for each change of one class's connection (its number, the state). It ends when its input does.
"""

import asyncio
import contextlib
import json
import math
import sys
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
from aiortc.mediastreams import MediaStreamTrack

from passerelle_client import PasserelleApi, Room
from tests.support.media_session import loopback_for_aioice

WIDTH, HEIGHT = 320, 180
FRAMES_PER_SECOND = 8
VIDEO_BITRATE_BPS = 120_000
KEYFRAME_EVERY = 4
CLIP_S = 2
"""How long a recording is before it begins again, with a key frame."""
SAMPLE_RATE = 48_000
SAMPLES_A_PACKET = 960
RECORDINGS = 6
"""Made once; several classes send the same."""
MICROPHONES = 6
"""So many of the classes are not muted: whoever does not speak in a large session is."""
AT_ONCE = 4
"""Classes that come in at the same time."""


class Recording(MediaStreamTrack):
    """Encoded packets, over and over, each at its time."""

    def __init__(self, kind: str, packets: Sequence[bytes], seconds_each: Fraction) -> None:
        super().__init__()
        self.kind = kind
        self._packets = packets
        self._seconds_each = seconds_each
        self._count = 0
        self._began_at: float | None = None

    async def recv(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._began_at is None:
            self._began_at = loop.time()
        due = self._began_at + float(self._count * self._seconds_each)
        await asyncio.sleep(max(0.0, due - loop.time()))
        packet = av.Packet(self._packets[self._count % len(self._packets)])
        packet.time_base = self._seconds_each
        packet.pts = packet.dts = self._count
        self._count += 1
        return packet


def recorded_picture(number: int) -> list[bytes]:
    """A plain colour, and a bar that moves: VP8, 320 × 180."""
    codec: Any = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, FRAMES_PER_SECOND), Fraction(FRAMES_PER_SECOND)
    codec.bit_rate = VIDEO_BITRATE_BPS
    # A recording cannot make a key frame when one is asked for, as every encoder does at once.
    codec.gop_size = KEYFRAME_EVERY
    codec.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    angle = 2 * math.pi * number / RECORDINGS
    colour = (110, round(128 + 70 * math.cos(angle)), round(128 + 70 * math.sin(angle)))
    packets: list[bytes] = []
    for count in range(FRAMES_PER_SECOND * CLIP_S):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, value in zip(frame.planes, colour, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        luma = frame.planes[0]
        lines = bytearray(bytes(luma))
        bar = count * HEIGHT // (FRAMES_PER_SECOND * CLIP_S) * luma.line_size
        lines[bar : bar + 8 * luma.line_size] = bytes([200]) * (8 * luma.line_size)
        luma.update(bytes(lines))
        frame.pts, frame.time_base = count, codec.time_base
        packets += [bytes(packet) for packet in codec.encode(frame)]
    packets += [bytes(packet) for packet in codec.encode(None)]
    assert len(packets) == FRAMES_PER_SECOND * CLIP_S
    return packets


def recorded_sound(number: int) -> list[bytes]:
    """A tone in bursts: Opus, 20 ms a packet."""
    codec: Any = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = SAMPLE_RATE, "mono", "s16"
    codec.bit_rate = 24_000
    tone_hz = 300 + 100 * number
    packets: list[bytes] = []
    for count in range(CLIP_S * SAMPLE_RATE // SAMPLES_A_PACKET):
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES_A_PACKET)
        frame.planes[0].update(_tone(tone_hz, count * SAMPLES_A_PACKET).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, count * SAMPLES_A_PACKET, Fraction(1, SAMPLE_RATE)
        packets += [bytes(packet) for packet in codec.encode(frame)]
    packets += [bytes(packet) for packet in codec.encode(None)]
    return packets


def _tone(tone_hz: int, start: int) -> "array[int]":
    return array(
        "h",
        (
            int(9_000 * math.sin(2 * math.pi * tone_hz * at / SAMPLE_RATE)) if at % 19_200 < 12_000 else 0
            for at in range(start, start + SAMPLES_A_PACKET)
        ),
    )


def _say(word: str, value: Any = None) -> None:
    print(json.dumps([word, value]), flush=True)


async def _class(
    server: str, invitation: str, number: int, at_once: asyncio.Semaphore, picture: list[bytes], sound: list[bytes]
) -> Room:
    """Comes in, sends its picture and perhaps its sound, and receives nothing: it is there to be seen."""
    async with at_once:
        async with PasserelleApi(server) as api:
            joined = await api.join(f"Classe {number + 1}", invitation=invitation)
        room = await Room.connect(server, joined.token)
        connected = asyncio.Event()

        def note(state: str) -> None:
            _say("state", [number, state])
            if state == "connected":
                connected.set()

        room.media.on("state", note)
        await room.media.subscribe({})
        camera = Recording("video", picture, Fraction(1, FRAMES_PER_SECOND))
        await room.media.publish(camera, "camera")
        if number < MICROPHONES:
            microphone = Recording("audio", sound, Fraction(SAMPLES_A_PACKET, SAMPLE_RATE))
            await room.media.publish(microphone, "microphone")
        await room.media.start()
        await connected.wait()
        return room


async def _main(server: str, invitation: str, count: int) -> None:
    at_once = asyncio.Semaphore(AT_ONCE)
    recordings = [(recorded_picture(number), recorded_sound(number)) for number in range(RECORDINGS)]
    with loopback_for_aioice():
        rooms = await asyncio.gather(
            *(_class(server, invitation, number, at_once, *recordings[number % RECORDINGS]) for number in range(count))
        )
        _say("ready", len(rooms))
        await asyncio.to_thread(sys.stdin.read)
        await asyncio.gather(*(room.close() for room in rooms))


@asynccontextmanager
async def recorded_classes(
    server: str, invitation: str, count: int, deadline_s: float
) -> AsyncIterator["asyncio.Queue[tuple[str, Any]]"]:
    """So many classes, all of them there; what they say."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.recorded_classes", server, invitation, str(count),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    assert process.stdin is not None
    assert process.stdout is not None
    stdout = process.stdout
    is_ready = asyncio.Event()
    heard: list[tuple[str, Any]] = []

    async def read() -> None:
        while line := await stdout.readline():
            word, value = json.loads(line)
            if word == "ready":
                is_ready.set()
            said.put_nowait((word, value))
            heard.append((word, value))

    reading = asyncio.create_task(read())
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_ready.wait(), deadline_s)
        assert is_ready.is_set(), f"of {count} classes: {heard}"
        yield said
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10.0)
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
