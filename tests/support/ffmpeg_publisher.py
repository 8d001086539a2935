"""FFmpeg's own WHIP client (its `whip` muxer), in a process of its own: a test picture and a tone.

    python -m tests.support.ffmpeg_publisher ENDPOINT TOKEN CERTIFICATE KEY

It publishes H.264 and Opus until it is told to end (SIGTERM), and then says goodbye, as FFmpeg does (DELETE).
PyAV brings the FFmpeg. One that is built with GnuTLS makes its own certificate on a curve that OpenSSL 4 does not
take any more (secp224r1), so it is given one.
"""

import math
import signal
import struct
import sys
import time
from fractions import Fraction

import av

FRAMES_PER_S = 25
WIDTH, HEIGHT = 320, 180
SAMPLE_RATE, SAMPLES = 48_000, 960
TONE_HZ, LOUDNESS = 440, 8_000


def picture(number: int) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for level, plane in zip(((number * 5) % 200, 90, 200), frame.planes, strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
    return frame


def sound(first: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="stereo", samples=SAMPLES)
    levels = [int(LOUDNESS * math.sin(2 * math.pi * TONE_HZ * (first + n) / SAMPLE_RATE)) for n in range(SAMPLES)]
    frame.planes[0].update(b"".join(struct.pack("<hh", level, level) for level in levels))
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
    return frame


def main() -> None:
    endpoint, token, certificate, key = sys.argv[1:]
    ended = False

    def end(_signal: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    options = {"authorization": token, "cert_file": certificate, "key_file": key}
    with av.open(endpoint, "w", format="whip", options=options) as output:
        fast = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "bf": "0"}
        video = output.add_stream("libx264", rate=FRAMES_PER_S, options=fast)
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", FRAMES_PER_S
        audio = output.add_stream("libopus", rate=SAMPLE_RATE, layout="stereo")
        began, frames, samples = time.monotonic(), 0, 0
        while not ended:
            output.mux(video.encode(picture(frames)))
            while samples * FRAMES_PER_S < frames * SAMPLE_RATE:
                output.mux(audio.encode(sound(samples)))
                samples += SAMPLES
            frames += 1
            time.sleep(max(0.0, began + frames / FRAMES_PER_S - time.monotonic()))


if __name__ == "__main__":
    main()
