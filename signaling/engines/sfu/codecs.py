"""Which codecs pass, and how one peer's payload types and extension ids relate to another's.

Pure. A codec is named by a key that is equal for everyone in the room ("opus", "VP8",
"H264/constrained-baseline"), because every peer numbers codecs as it likes: forwarding maps by
key, never by number or by position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signaling.engines.sfu.sdp import CodecDescription, MediaSection, WrittenCodec

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
_EXTENSIONS = {"audio": (MID, AUDIO_LEVEL, ABS_SEND_TIME), "video": (MID, ABS_SEND_TIME)}
"""Without video-orientation on purpose: a tablet that may not signal it turns its pixels itself."""

_VIDEO_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")
OPUS_FMTP = "minptime=10;useinbandfec=1;usedtx=1"
"""In-band FEC: a lost packet is heard from the next one. DTX: a silent class costs no packets."""
SCREEN_SOUND_ANSWER = "minptime=10;useinbandfec=1;usedtx=0;stereo=1;maxaveragebitrate=128000"
"""To who publishes the sound of a screen: music, a film. Not cut in its quiet parts, in two channels."""
SCREEN_SOUND_OFFER = f"{OPUS_FMTP};sprop-stereo=1"
"""To who hears it: it comes in two channels (RFC 7587 section 6.1)."""

_BASELINE, _CONSTRAINED_BASELINE = "H264/baseline", "H264/constrained-baseline"
CLOCK_RATES = {"audio": 48_000, "video": 90_000}


@dataclass(frozen=True, slots=True)
class NegotiatedCodec:
    """A codec of one m-line, by that peer's numbers."""

    key: str
    payload_type: int
    rtx_payload_type: int | None

    @property
    def name(self) -> str:
        return self.key.partition("/")[0]


def codec_key(codec: CodecDescription, kind: str) -> str | None:
    """The room-wide name of a codec, None when it cannot pass."""
    name = codec.name.upper()
    if kind == "audio":
        return "opus" if name == "OPUS" and codec.clock_rate == 48_000 else None
    if codec.clock_rate != 90_000:
        return None
    if name == "VP8":
        return "VP8"
    # Mode 1 is what every browser prefers; a stream of mode 0 or 2 would need its own receivers.
    if name == "H264" and codec.parameters.get("packetization-mode", "0") == "1":
        return _h264_key(codec.parameters.get("profile-level-id", "42e01f"))
    return None


def _h264_key(profile_level_id: str) -> str | None:
    """RFC 6184 section 8.1, table 5: the profiles that every browser decodes."""
    try:
        profile, constraints = int(profile_level_id[:2], 16), int(profile_level_id[2:4], 16)
    except ValueError:
        return None
    if profile == 0x42:
        return _CONSTRAINED_BASELINE if constraints & 0x40 else _BASELINE
    if profile == 0x4D and constraints & 0x80:
        return _CONSTRAINED_BASELINE
    return None


def negotiated_codecs(section: MediaSection) -> list[NegotiatedCodec]:
    """What of the other side's m-line we can carry, in its order of preference; each key once."""
    repairs = {
        codec.parameters.get("apt"): codec.payload_type
        for codec in section.codecs.values()
        if codec.name.lower() == "rtx"
    }
    found: dict[str, NegotiatedCodec] = {}
    for codec in section.codecs.values():
        key = codec_key(codec, section.kind)
        if key is not None and key not in found:
            found[key] = NegotiatedCodec(key, codec.payload_type, repairs.get(str(codec.payload_type)))
    return list(found.values())


def negotiated_extensions(section: MediaSection) -> dict[str, int]:
    """URI → the other side's id, of those we use."""
    wanted = _EXTENSIONS[section.kind]
    if section.layers:
        wanted = (*wanted, RID, REPAIRED_RID)
    return {uri: section.extensions[uri] for uri in wanted if uri in section.extensions}


def codec_for(key: str, codecs: Mapping[str, NegotiatedCodec]) -> NegotiatedCodec | None:
    """How a subscriber numbers a publisher's codec; None: it cannot decode it.

    Browsers label one and the same H.264 stream as baseline or constrained baseline."""
    found = codecs.get(key)
    if found is None and key in (_BASELINE, _CONSTRAINED_BASELINE):
        return codecs.get(_CONSTRAINED_BASELINE) or codecs.get(_BASELINE)
    return found


def written_answer_codecs(
    section: MediaSection, codecs: Sequence[NegotiatedCodec], opus: str = OPUS_FMTP
) -> list[WrittenCodec]:
    """The codecs of an answer to `section`: its numbers, its feedback as far as we do it. `opus`: the parameters of its
    sound."""
    written: list[WrittenCodec] = []
    for codec in codecs:
        offered = section.codecs[codec.payload_type]
        feedback = (
            [wanted for wanted in _VIDEO_FEEDBACK if wanted in offered.feedback] if section.kind == "video" else []
        )
        written.append(WrittenCodec(codec.payload_type, _rtpmap(offered), _fmtp(codec.key, offered, opus), feedback))
        if codec.rtx_payload_type is not None:
            written.append(WrittenCodec(codec.rtx_payload_type, "rtx/90000", f"apt={codec.payload_type}"))
    return written


def _rtpmap(codec: CodecDescription) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"{codec.name}/{codec.clock_rate}{channels}"


def _fmtp(key: str, offered: CodecDescription, opus: str) -> str:
    if key == "opus":
        return opus
    if key.startswith("H264"):
        profile = offered.parameters.get("profile-level-id", "42e01f")
        return f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}"
    return ""


def offered_codecs(kind: str, opus: str = OPUS_FMTP) -> list[WrittenCodec]:
    """What our own offers list: everything that anyone may publish. `opus`: the parameters of the sound."""
    if kind == "audio":
        return [WrittenCodec(111, "opus/48000/2", opus)]
    h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="
    return [
        WrittenCodec(96, "VP8/90000", "", _VIDEO_FEEDBACK),
        WrittenCodec(97, "rtx/90000", "apt=96"),
        WrittenCodec(102, "H264/90000", h264 + "42e01f", _VIDEO_FEEDBACK),
        WrittenCodec(103, "rtx/90000", "apt=102"),
        WrittenCodec(104, "H264/90000", h264 + "42001f", _VIDEO_FEEDBACK),
        WrittenCodec(105, "rtx/90000", "apt=104"),
    ]


def offered_extensions(kind: str) -> dict[str, int]:
    """One number for one URI in all m-lines: with BUNDLE they share the space (RFC 8285 section 5)."""
    numbers = {MID: 1, AUDIO_LEVEL: 2, ABS_SEND_TIME: 3}
    return {uri: numbers[uri] for uri in _EXTENSIONS[kind]}
