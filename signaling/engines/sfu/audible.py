"""Whose microphones are forwarded: the loudest few of a room, by the audio-level extension (RFC 6464).

Pure; `now` is an argument. Thirty open microphones are thirty streams to every class, of which a person can
follow two. Who begins to speak is let in with the first packet; who has fallen silent makes room for that.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_AUDIBLE = 4
"""Two in a dialogue, one who interrupts, one who laughs: 200 kbit/s to each subscriber at most. A room with no
more microphones forwards them all."""
MARGIN_DB = 6.0
"""How much louder one must be to take another's place."""
HOLD_S = 0.6
"""Who was let in stays at least for a few words."""
DECAY_DB_PER_S = 30.0
"""A voice keeps its place over the pause between two words, not between two sentences."""
_SILENT = -127.0

Voice = TypeVar("Voice", bound=Hashable)


class AudibleVoices(Generic[Voice]):
    """`heard` for every packet with a level, whether it is forwarded or not."""

    def __init__(self, most: int = MAX_AUDIBLE) -> None:
        self._most = most
        self._levels: dict[Voice, tuple[float, float]] = {}
        """Loudness in dBov, and when it was so loud."""
        self._since: dict[Voice, float] = {}
        """The audible ones, and since when."""

    def is_audible(self, voice: Voice) -> bool:
        return voice in self._since

    def heard(self, voice: Voice, level: int, now: float) -> Voice | None:
        """`level`: the extension's byte, minus dBov in its lower 7 bits. Who is audible no more, to make
        room for this one."""
        loudness = max(-float(level & 0x7F), self._loudness(voice, now))
        self._levels[voice] = (loudness, now)
        if voice in self._since:
            return None
        if len(self._since) < self._most:
            self._since[voice] = now
            return None
        quietest = min(self._since, key=lambda each: self._loudness(each, now))
        if now - self._since[quietest] < HOLD_S or loudness < self._loudness(quietest, now) + MARGIN_DB:
            return None
        del self._since[quietest]
        self._since[voice] = now
        return quietest

    def _loudness(self, voice: Voice, now: float) -> float:
        loudness, at = self._levels.get(voice, (_SILENT, now))
        return max(_SILENT, loudness - (now - at) * DECAY_DB_PER_S)

    def forget(self, voice: Voice) -> None:
        """Muted or gone."""
        self._levels.pop(voice, None)
        self._since.pop(voice, None)
