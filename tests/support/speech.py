"""Somebody who speaks: what a microphone of tests hears where a tone would not do.

A tone is coded in that mode of Opus (CELT) which has no in-band FEC, and a browser's noise suppression takes it for
noise; so whatever asks how speech gets through needs speech. espeak-ng says it, the same in each run.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.fake_media import FakeDevice

LESSON = (
    "Bonjour à tous, ici la classe de madame Roy, à Rimouski. Aujourd'hui nous parlons des marées du fleuve, "
    "et de ce que nous avons trouvé sur la grève hier matin. Est-ce que vous nous entendez bien ? "
    "Nous avons apporté trois coquillages, une étoile de mer et un vieux morceau de bois que la tempête a laissé. "
    "Qui veut deviner d'où il vient ? Levez la main, et nous vous donnerons la parole chacun à votre tour."
)
WORDS_PER_MINUTE = 150


def write_speech(path: Path, text: str = LESSON) -> None:
    """About 22 s of a voice, 22.05 kHz, 16 bit, mono."""
    speaker = shutil.which("espeak-ng")
    assert speaker, "no espeak-ng here: make services"
    subprocess.run([speaker, "-v", "fr", "-s", str(WORDS_PER_MINUTE), "-w", str(path), text], check=True, timeout=30)


@dataclass(frozen=True, slots=True)
class SpeakingDevice(FakeDevice):
    """A camera with a colour, and somebody who speaks, over and over."""

    def write(self, folder: Path) -> tuple[Path, Path]:
        camera, _tone = super(SpeakingDevice, self).write(folder)
        microphone = folder / f"{self.name}-speech.wav"
        write_speech(microphone)
        return camera, microphone
