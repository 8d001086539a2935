"""Who speaks, from the audio-level header extension (RFC 6464).

Pure; `now` is an argument. Two thresholds and two delays, so that a cough does not move the tiles
and a breath between two words does not either.
"""

from dataclasses import dataclass

ON_DBOV = -45
"""Speech near a microphone is around -30, a quiet class around -60."""
OFF_DBOV = -52
ON_AFTER_S = 0.12
OFF_AFTER_S = 0.8
OVERTAKE_DB = 6
"""Who is already ahead in the list stays there unless another is clearly louder."""
REPORT_INTERVAL_S = 0.25
MAX_SPEAKERS = 5
SILENCE_AFTER_S = 0.3
"""With DTX silence is the absence of packets: a level older than this is silence."""
_SMOOTHING = 0.25
"""Weight of a new packet; at 50 packets/s the level follows within 80 ms."""
_MEAN_SMOOTHING = 0.02
"""For the order: who has been louder over the last second, not over the last syllable."""
_SILENT = -127.0


@dataclass(slots=True)
class _Voice:
    level: float = _SILENT
    mean: float = _SILENT
    heard_at: float = 0.0
    loud_since: float | None = None
    quiet_since: float = 0.0
    speaking: bool = False


class SpeakerDetector:
    """`heard` for every audio packet that is forwarded; `speakers_to_report` every 50 ms or so."""

    def __init__(self) -> None:
        self._voices: dict[str, _Voice] = {}
        self._reported: list[str] = []
        self._reported_at = float("-inf")

    def heard(self, participant_id: str, level: int, now: float) -> None:
        """`level`: the extension's byte, minus dBov in its lower 7 bits."""
        voice = self._voices.get(participant_id)
        if voice is None:
            voice = self._voices[participant_id] = _Voice(quiet_since=now)
        if now - voice.heard_at > SILENCE_AFTER_S:
            voice.level = _SILENT
        loudness = -float(level & 0x7F)
        # Rise fast, fall slowly: the first syllable counts.
        weight = _SMOOTHING * 2 if loudness > voice.level else _SMOOTHING
        voice.level += (loudness - voice.level) * weight
        voice.mean += (loudness - voice.mean) * (_MEAN_SMOOTHING if voice.speaking else _SMOOTHING)
        voice.heard_at = now
        self._judge(voice, voice.level, now)

    def _judge(self, voice: _Voice, level: float, now: float) -> None:
        if level >= ON_DBOV:
            if voice.loud_since is None:
                voice.loud_since = now
            if now - voice.loud_since >= ON_AFTER_S:
                voice.speaking = True
        else:
            voice.loud_since = None
        if level > OFF_DBOV:
            voice.quiet_since = now
        elif now - voice.quiet_since >= OFF_AFTER_S:
            voice.speaking = False

    def forget(self, participant_id: str) -> None:
        """Muted or gone: no longer a speaker in the next report."""
        self._voices.pop(participant_id, None)

    def speakers_to_report(self, now: float) -> list[str] | None:
        """The speakers, loudest first, when they changed and a report is due; else None."""
        if now - self._reported_at < REPORT_INTERVAL_S:
            return None
        for voice in self._voices.values():
            if now - voice.heard_at > SILENCE_AFTER_S:
                self._judge(voice, _SILENT, now)
        speakers = self._ordered()
        if speakers == self._reported:
            return None
        self._reported, self._reported_at = speakers, now
        return list(speakers)

    def _ordered(self) -> list[str]:
        speaking = {name: voice.mean for name, voice in self._voices.items() if voice.speaking}
        order = [name for name in self._reported if name in speaking]
        order += sorted((name for name in speaking if name not in order), key=lambda name: -speaking[name])
        for end in range(len(order) - 1, 0, -1):
            for place in range(end):
                if speaking[order[place + 1]] > speaking[order[place]] + OVERTAKE_DB:
                    order[place], order[place + 1] = order[place + 1], order[place]
        return order[:MAX_SPEAKERS]
