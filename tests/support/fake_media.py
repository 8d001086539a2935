"""Cameras and microphones of files, each with a colour and a tone of its own.

Chromium takes them by `--use-file-for-fake-video-capture` (YUV4MPEG2) and
`--use-file-for-fake-audio-capture` (48 kHz, 16 bit, mono); both loop.
"""

import array
import math
import wave
from dataclasses import dataclass
from pathlib import Path

SAMPLE_RATE = 48_000


@dataclass(frozen=True, slots=True)
class FakeDevice:
    """One person's camera and microphone."""

    name: str
    rgb: tuple[int, int, int]
    tone_hz: float
    width: int = 320
    height: int = 180
    frames_per_second: int = 15

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Its camera and its microphone as files."""
        camera, microphone = folder / f"{self.name}.y4m", folder / f"{self.name}.wav"
        write_camera(camera, self.rgb, self.width, self.height, self.frames_per_second)
        write_microphone(microphone, self.tone_hz)
        return camera, microphone


def write_camera(path: Path, rgb: tuple[int, int, int], width: int, height: int, frames_per_second: int) -> None:
    """A plain colour with a slowly moving lighter bar, so that every frame differs from the last."""
    y, u, v = _bt601(rgb)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{frames_per_second}:1 Ip A1:1 C420jpeg\n".encode())
        chroma = bytes([u]) * (width * height // 4) + bytes([v]) * (width * height // 4)
        for frame in range(frames_per_second):
            bar = frame * (height // 8) // frames_per_second
            rows = [bytes([min(255, y + 12)]) * width if row == bar else bytes([y]) * width for row in range(height)]
            file.write(b"FRAME\n" + b"".join(rows) + chroma)


def write_microphone(path: Path, tone_hz: float, seconds: float = 2.0) -> None:
    """A tone in short bursts: a steady one is noise to a browser's noise suppression."""
    samples = array.array("h")
    for number in range(int(SAMPLE_RATE * seconds)):
        at_s = number / SAMPLE_RATE
        loud = 0.4 if (at_s % 0.4) < 0.25 else 0.0
        samples.append(int(32_767 * loud * math.sin(2 * math.pi * tone_hz * at_s)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


def _bt601(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Full range, as C420jpeg says (ITU-R BT.601)."""
    r, g, b = rgb
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return (
        round(y),
        max(0, min(255, round(128 + 0.564 * (b - y)))),
        max(0, min(255, round(128 + 0.713 * (r - y)))),
    )
