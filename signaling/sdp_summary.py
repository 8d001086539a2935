"""What an SDP says at a glance: its media lines, and in which direction each flows (RFC 8866, RFC 8829).

Read as strictly as browsers read it, or more: what we take for silent must be silent for them too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
MAX_MEDIA_LINES = 128
"""Four people with eight tracks each need 32."""

_LINE = re.compile(r"[a-z]=[^\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]*")
_MEDIA = re.compile(r"(audio|video|application) (\d{1,5}) \S.*")


@dataclass(frozen=True, slots=True)
class MediaLine:
    kind: str
    """audio, video or application."""
    direction: Direction
    mid: str

    @property
    def sends(self) -> bool:
        return self.direction in ("sendrecv", "sendonly")


@dataclass(slots=True)
class _Section:
    """An m-line and what follows it; or, with no kind, what stands before the first."""

    kind: str = ""
    port: int = 0
    mid: str | None = None
    direction: Direction | None = None
    is_bundle_only: bool = False


def media_lines(sdp: str) -> Sequence[MediaLine]:
    """Raises: ValueError when this is no SDP, says one thing twice, has no media or too many."""
    if not sdp.startswith("v=0"):
        raise ValueError("not a session description")
    session = section = _Section()
    sections: list[_Section] = []
    # Not splitlines(): that also splits where no browser does, and would read what they do not.
    for line in sdp.rstrip("\r\n").split("\n"):
        line = line.removesuffix("\r")
        if not _LINE.fullmatch(line):
            raise ValueError("not a line of a session description")
        if line.startswith("m="):
            section = _new_section(line)
            sections.append(section)
        elif line.startswith("a="):
            _read_attribute(section, line[2:])
    if not sections:
        raise ValueError("a description without media")
    if len(sections) > MAX_MEDIA_LINES:
        raise ValueError("too many media lines")
    mids = [each.mid for each in sections if each.mid is not None]
    if len(set(mids)) != len(mids):
        raise ValueError("two media lines of one name")
    return [_media_line(each, session.direction or "sendrecv") for each in sections]


def _new_section(line: str) -> _Section:
    found = _MEDIA.fullmatch(line[2:])
    if found is None:
        raise ValueError("a media line of another kind")
    return _Section(kind=found[1], port=int(found[2]))


def _read_attribute(section: _Section, attribute: str) -> None:
    if attribute in DIRECTIONS:
        if section.direction is not None:
            raise ValueError("two directions for one media line")
        section.direction = cast(Direction, attribute)
    elif attribute.startswith("mid:"):
        if section.mid is not None:
            raise ValueError("two names for one media line")
        section.mid = attribute[4:]
    elif attribute == "bundle-only":
        section.is_bundle_only = True


def _media_line(section: _Section, session_direction: Direction) -> MediaLine:
    # Port 0 is a rejected or stopped line, but for bundle-only ones (RFC 8843 section 6).
    is_off = section.port == 0 and not section.is_bundle_only
    direction: Direction = "inactive" if is_off else section.direction or session_direction
    return MediaLine(section.kind, direction, section.mid or "")
