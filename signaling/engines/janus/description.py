"""Publish offers on their way to a gateway: checked as browsers read them, and made no more than allowed.

Pure. A gateway reads SDP in C and believes it: what goes there has passed two readers of ours, its
media lines that may not send are inactive, and it names no address. Who connects is found by its
checks, so nobody can make a gateway knock at addresses of its own network.
"""

from collections.abc import Collection, Sequence

from signaling.engines.granted import KIND_OF_SOURCE
from signaling.engines.sfu.sdp import ParsedDescription, SdpError, parse_description
from signaling.messages import MAX_TRACKS_PER_SESSION, PublishedMedia
from signaling.sdp_summary import DIRECTIONS, media_lines

_LEFT_OUT = ("a=candidate:", "a=end-of-candidates", "a=remote-candidates:")


def read_description(sdp: str) -> ParsedDescription:
    """Raises: SdpError."""
    try:
        media_lines(sdp)
    except SdpError:
        raise
    except ValueError as error:
        raise SdpError(str(error)) from error
    return parse_description(sdp)


def identity_of(offer: ParsedDescription) -> tuple[object, ...]:
    """Equal for every offer of one peer connection: what it proves itself with in DTLS."""
    return tuple(sorted({each for section in offer.sections for each in section.fingerprints}))


def check_media(offer: ParsedDescription, media: Sequence[PublishedMedia]) -> None:
    """Whether what is named is there to be sent. Raises: SdpError."""
    sections = {section.mid: section for section in offer.sections}
    if len({each.mid for each in media}) != len(media) or len({each.track_id for each in media}) != len(media):
        raise SdpError("a media line or a track is named twice")
    if len(media) > MAX_TRACKS_PER_SESSION:
        raise SdpError("too many tracks")
    for each in media:
        section = sections.get(each.mid)
        if section is None or not section.sends:
            raise SdpError("a track is named for a media line that sends nothing")
        if section.kind != KIND_OF_SOURCE[each.source]:
            raise SdpError("a track's source does not fit its media line's kind")


def offer_for_gateway(sdp: str, sending: Collection[str]) -> str:
    """The offer with only the media lines of `sending` (mids) sending, and without addresses.

    `sdp` was read by `read_description`."""
    head, *sections = _sections(sdp)
    lines = [line for line in head if line[2:] not in DIRECTIONS]
    for section in sections:
        mid = next((line[6:] for line in section if line.startswith("a=mid:")), None)
        lines += _section_for_gateway(section, sends=mid in sending)
    return "\r\n".join(lines) + "\r\n"


def with_origin(sdp: str, session_number: int, version: int) -> str:
    """An offer of the gateway's under one session number for one peer connection (RFC 8866 section 5.2):
    Janus makes a new one each time, by which clients know a fresh connection."""
    lines = sdp.split("\r\n")
    origin = f"o=- {session_number} {version} IN IP4 127.0.0.1"
    return "\r\n".join(origin if line.startswith("o=") else line for line in lines)


def without_addresses(sdp: str) -> str:
    """An answer for the gateway."""
    return "\r\n".join(line for lines in _sections(sdp) for line in lines if not line.startswith(_LEFT_OUT)) + "\r\n"


def _sections(sdp: str) -> list[list[str]]:
    """What stands before the first media line, then each media line with what follows it."""
    groups: list[list[str]] = [[]]
    for line in sdp.rstrip("\r\n").split("\n"):
        if line.startswith("m="):
            groups.append([])
        groups[-1].append(line.removesuffix("\r"))
    return groups


def _section_for_gateway(section: Sequence[str], *, sends: bool) -> list[str]:
    kept = [line for line in section if line[2:] not in DIRECTIONS and not line.startswith(_LEFT_OUT)]
    return [*kept, "a=sendonly" if sends else "a=inactive"]
