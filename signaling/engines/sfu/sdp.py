"""Session descriptions: what a client's says, and ours written (RFC 8866, RFC 8829, RFC 8859).

Pure. Written here and not left to aiortc because a forwarder needs what its SDP code lacks: m-lines
reused, in-band FEC and DTX answered, our own SSRCs, `a=rid`. A client's text is hostile: its
size was bounded by the wire's type, its counts are bounded here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")

MAX_SECTIONS = 80
"""The most m-lines we offer is 64; a client's publish offer has a handful."""
MAX_LINES_PER_SECTION = 400
"""Chromium writes about 130 lines for a video m-line, 16 candidates included."""
MAX_LAYERS = 3
"""Simulcast layers of one m-line that are taken: what every browser sends, and what tiles need."""
MAX_SSRCS = 16
"""Three simulcast layers with their repair streams are six."""


class SdpError(ValueError):
    """The description cannot be used; the text says what is wrong and holds nothing of it."""


@dataclass(slots=True)
class CodecDescription:
    payload_type: int
    name: str
    clock_rate: int
    channels: int = 1
    parameters: dict[str, str] = field(default_factory=dict)
    feedback: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MediaSection:
    """One m-line as the other side wrote it."""

    kind: str
    port: int
    protocol: str
    formats: list[str]
    mid: str
    direction: Direction = "sendrecv"
    ufrag: str = ""
    password: str = ""
    setup: str = ""
    fingerprints: list[tuple[str, str]] = field(default_factory=list)
    """(algorithm, value)"""
    rtcp_mux: bool = False
    bundle_only: bool = False
    codecs: dict[int, CodecDescription] = field(default_factory=dict)
    """By payload type, in order of preference."""
    extensions: dict[str, int] = field(default_factory=dict)
    """URI → id"""
    ssrcs: list[int] = field(default_factory=list)
    repairs: dict[int, int] = field(default_factory=dict)
    """SSRC of a repair stream → SSRC of the stream it repairs (ssrc-group:FID)."""
    layers: list[str] = field(default_factory=list)
    """The rids of a=simulcast:send (RFC 8853), in its order; of alternatives the first."""

    @property
    def is_media(self) -> bool:
        """Sound or picture, not refused. Firefox writes port 0 where an m-line needs the bundle (RFC
        9143 section 6), too."""
        return self.kind in ("audio", "video") and (self.port != 0 or self.bundle_only)

    @property
    def sends(self) -> bool:
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        return self.direction in ("sendrecv", "recvonly")


@dataclass(slots=True)
class ParsedDescription:
    sections: list[MediaSection]
    bundled: list[str]
    """The mids of a=group:BUNDLE."""


def parse_description(text: str) -> ParsedDescription:
    """Raises: SdpError when it is not a description a browser could have made."""
    head: list[str] = []
    groups: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("m="):
            groups.append([line])
            if len(groups) > MAX_SECTIONS:
                raise SdpError("too many m-lines")
            continue
        lines = groups[-1] if groups else head
        if len(lines) >= MAX_LINES_PER_SECTION:
            raise SdpError("too many lines in one section")
        lines.append(line)
    if not groups:
        raise SdpError("no m-line")
    try:
        sections = [_parse_section(index, lines, head) for index, lines in enumerate(groups)]
    except (ValueError, IndexError) as error:
        if isinstance(error, SdpError):
            raise
        raise SdpError("malformed line") from None
    mids = [section.mid for section in sections]
    if len(set(mids)) != len(mids):
        raise SdpError("two m-lines with one mid")
    bundled = next((line.split()[1:] for line in head if line.startswith("a=group:BUNDLE")), mids)
    return ParsedDescription(sections, bundled)


def _parse_section(index: int, lines: Sequence[str], head: Sequence[str]) -> MediaSection:
    fields = lines[0][2:].split()
    if len(fields) < 4:
        raise SdpError("malformed m-line")
    section = MediaSection(fields[0], int(fields[1]), fields[2], fields[3:], mid=str(index))
    for line in (*head, *lines[1:]):
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            _read_attribute(section, name, value.strip())
    if section.kind in ("audio", "video"):
        listed = {int(number) for number in section.formats if number.isdigit()}
        section.codecs = {
            number: section.codecs[number]
            for number in dict.fromkeys(map(int, section.formats))
            if number in section.codecs
        }
        if not listed <= set(range(128)):
            raise SdpError("payload type out of range")
    return section


def _read_attribute(section: MediaSection, name: str, value: str) -> None:
    match name:
        case "mid":
            if not 0 < len(value) <= 16 or not value.isascii() or not value.isprintable() or " " in value:
                raise SdpError("mid too long or not a token")
            section.mid = value
        case "sendrecv" | "sendonly" | "recvonly" | "inactive":
            section.direction = name
        case "ice-ufrag":
            section.ufrag = value[:256]
        case "ice-pwd":
            section.password = value[:256]
        case "setup":
            section.setup = value
        case "fingerprint":
            algorithm, _, digest = value.partition(" ")
            if len(section.fingerprints) < 8:
                section.fingerprints.append((algorithm.lower(), digest.strip().upper()))
        case "rtcp-mux":
            section.rtcp_mux = True
        case "bundle-only":
            section.bundle_only = True
        case "extmap":
            _read_extension(section, value)
        case "rtpmap" | "fmtp" | "rtcp-fb":
            _read_codec(section, name, value)
        case "ssrc":
            ssrc = int(value.split(" ", 1)[0])
            if 0 < ssrc < 2**32 and ssrc not in section.ssrcs and len(section.ssrcs) < MAX_SSRCS:
                section.ssrcs.append(ssrc)
        case "ssrc-group":
            words = value.split()
            if words[0] == "FID" and len(words) == 3 and len(section.repairs) < MAX_SSRCS:
                section.repairs[int(words[2])] = int(words[1])

        case "simulcast":
            section.layers = _simulcast_layers(value)


def _simulcast_layers(value: str) -> list[str]:
    """RFC 8853 section 5.1: `send ~q;h,i;f recv …`; what begins with ~ is paused now. Raises: SdpError."""
    words = value.split()
    streams = words[words.index("send") + 1].split(";") if "send" in words else []
    rids = [stream.partition(",")[0].removeprefix("~") for stream in streams]
    if len(set(rids)) != len(rids) or not all(rid.isascii() and rid.isalnum() and len(rid) <= 16 for rid in rids):
        raise SdpError("malformed simulcast")
    return rids[:MAX_LAYERS]


def _read_extension(section: MediaSection, value: str) -> None:
    words = value.split()
    number = int(words[0].partition("/")[0])
    # One-byte extensions only: ids 15 and above would need extmap-allow-mixed, which we do not answer.
    if 1 <= number <= 14 and len(section.extensions) < 32:
        section.extensions.setdefault(words[1], number)


def _read_codec(section: MediaSection, attribute: str, value: str) -> None:
    number, _, rest = value.partition(" ")
    if attribute == "rtpmap":
        name, _, rates = rest.partition("/")
        rate, _, channels = rates.partition("/")
        section.codecs[int(number)] = CodecDescription(
            int(number), name.strip(), int(rate), int(channels) if channels else 1
        )
        return
    if attribute == "rtcp-fb":
        for codec in section.codecs.values() if number == "*" else _codec(section, number):
            if len(codec.feedback) < 16:
                codec.feedback.append(rest.strip())
        return
    for codec in _codec(section, number):
        for parameter in rest.split(";")[:32]:
            key, _, text = parameter.strip().partition("=")
            codec.parameters[key.lower()] = text


def _codec(section: MediaSection, number: str) -> Sequence[CodecDescription]:
    """fmtp and rtcp-fb follow their rtpmap in every browser; one without is nobody's."""
    codec = section.codecs.get(int(number))
    return () if codec is None else (codec,)


# --- writing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransportDescription:
    """Our end of a peer connection: every m-line shares it."""

    ufrag: str
    password: str
    fingerprint: str
    """sha-256, as written after the algorithm."""
    setup: Literal["actpass", "active", "passive"]
    candidates: Sequence[tuple[str, int]]
    """(address, port), best first."""


@dataclass(frozen=True, slots=True)
class WrittenCodec:
    payload_type: int
    rtpmap: str
    fmtp: str = ""
    feedback: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SentStream:
    """What an m-line of ours carries (a=msid, a=ssrc)."""

    stream_id: str
    track_id: str
    cname: str


@dataclass(frozen=True, slots=True)
class WrittenSection:
    kind: str
    mid: str
    direction: Direction
    codecs: Sequence[WrittenCodec]
    extensions: Mapping[str, int]
    protocol: str = "UDP/TLS/RTP/SAVPF"
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    stream: SentStream | None = None
    rejected_formats: Sequence[str] = ()
    """Not empty: the m-line is refused (port 0), these are the formats it was offered with."""
    received_layers: Sequence[str] = ()
    """Simulcast that we take (RFC 8853): the rids."""


def write_description(
    session_number: int, version: int, transport: TransportDescription, sections: Sequence[WrittenSection]
) -> str:
    """`session_number` belongs to the peer connection, `version` rises with each description of it."""
    accepted = [section.mid for section in sections if not section.rejected_formats]
    lines = [
        "v=0",
        f"o=- {session_number} {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=group:BUNDLE " + " ".join(accepted),
        "a=msid-semantic:WMS *",
    ]
    for section in sections:
        lines += _section_lines(section, transport)
    return "\r\n".join(lines) + "\r\n"


def _section_lines(section: WrittenSection, transport: TransportDescription) -> list[str]:
    host, port = transport.candidates[0]
    version = 6 if ":" in host else 4
    if section.rejected_formats:
        head = [f"m={section.kind} 0 {section.protocol} {' '.join(section.rejected_formats)}", "c=IN IP4 0.0.0.0"]
    else:
        formats = " ".join(str(codec.payload_type) for codec in section.codecs)
        head = [f"m={section.kind} {port} {section.protocol} {formats}", f"c=IN IP{version} {host}"]
    lines = [
        *head,
        f"a=mid:{section.mid}",
        f"a={section.direction}",
        f"a=ice-ufrag:{transport.ufrag}",
        f"a=ice-pwd:{transport.password}",
        f"a=fingerprint:sha-256 {transport.fingerprint}",
        f"a=setup:{transport.setup}",
        "a=rtcp-mux",
        # RFC 8859 wants the address only in m-lines that carry the transport; aiortc reads those of the last.
        *(f"a=candidate:{line}" for line in candidate_lines(transport.candidates)),
        "a=end-of-candidates",
    ]
    if section.rejected_formats:
        return lines
    lines += [f"a=extmap:{number} {uri}" for uri, number in section.extensions.items()]
    for codec in section.codecs:
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.rtpmap}")
        lines += [f"a=rtcp-fb:{codec.payload_type} {feedback}" for feedback in codec.feedback]
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    if section.received_layers:
        lines += [f"a=rid:{rid} recv" for rid in section.received_layers]
        lines.append("a=simulcast:recv " + ";".join(section.received_layers))
    return lines + _stream_lines(section)


def _stream_lines(section: WrittenSection) -> list[str]:
    stream = section.stream
    if stream is None or section.ssrc is None:
        return []
    lines = [f"a=msid:{stream.stream_id} {stream.track_id}"]
    if section.rtx_ssrc is not None:
        lines.append(f"a=ssrc-group:FID {section.ssrc} {section.rtx_ssrc}")
    for ssrc in (section.ssrc, section.rtx_ssrc):
        if ssrc is not None:
            lines += [f"a=ssrc:{ssrc} cname:{stream.cname}", f"a=ssrc:{ssrc} msid:{stream.stream_id} {stream.track_id}"]
    return lines


def candidate_lines(candidates: Sequence[tuple[str, int]]) -> list[str]:
    """Host candidates, RFC 8839; the first address has the highest priority (RFC 8445 section 5.1.2)."""
    return [
        f"{number + 1} 1 udp {126 << 24 | (65_535 - number) << 8 | 255} {host} {port} typ host"
        for number, (host, port) in enumerate(candidates)
    ]
