"""What an SDP says at a glance: its media lines, and in which direction each flows (RFC 8866, RFC 8829)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
MAX_MEDIA_LINES = 128
"""Four people with eight tracks each need 32."""


@dataclass(frozen=True, slots=True)
class MediaLine:
    kind: str
    """audio, video or application."""
    direction: Direction
    mid: str

    @property
    def sends(self) -> bool:
        return self.direction in ("sendrecv", "sendonly")


def media_lines(sdp: str) -> Sequence[MediaLine]:
    """Raises: ValueError when this is no SDP, or has no media or too many."""
    if not sdp.startswith("v=0"):
        raise ValueError("not a session description")
    lines: list[MediaLine] = []
    session_direction: Direction = "sendrecv"
    for raw in sdp.splitlines():
        line = raw.strip()
        if line.startswith("m="):
            if len(lines) >= MAX_MEDIA_LINES:
                raise ValueError("too many media lines")
            kind, port = [*line[2:].split(" "), ""][:2]
            # Port 0 is a rejected or stopped line, but for bundle-only ones (RFC 8843 section 6).
            lines.append(MediaLine(kind, "inactive" if port == "0" else session_direction, ""))
        elif line.startswith("a=mid:") and lines:
            lines[-1] = replace(lines[-1], mid=line[6:])
        elif line in ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"):
            direction: Direction = line[2:]  # type: ignore[assignment]
            if lines:
                lines[-1] = replace(lines[-1], direction=direction)
            else:
                session_direction = direction
    if not lines:
        raise ValueError("a description without media")
    return lines
