"""Session descriptions read and written, codecs and extensions mapped by name."""

import random
import re
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription as AiortcDescription

from signaling.engines.sfu.codecs import (
    AUDIO_LEVEL,
    MID,
    REPAIRED_RID,
    RID,
    NegotiatedCodec,
    codec_for,
    negotiated_codecs,
    negotiated_extensions,
    offered_codecs,
    offered_extensions,
    written_answer_codecs,
)
from signaling.engines.sfu.sdp import (
    MAX_SECTIONS,
    SdpError,
    SentStream,
    TransportDescription,
    WrittenSection,
    parse_description,
    write_description,
)

CHROMIUM = (Path(__file__).parent / "descriptions" / "chromium_156_offer.sdp").read_text("ascii")
TRANSPORT = TransportDescription(
    "ufrag", "p" * 24, "AB:" * 31 + "CD", "passive", [("127.0.0.1", 9_000), ("2001:db8::1", 9_000)]
)


def test_an_offer_of_chromium_is_understood() -> None:
    audio, video = parse_description(CHROMIUM).sections
    assert (audio.kind, audio.mid, audio.direction, audio.setup, audio.rtcp_mux) == (
        "audio",
        "0",
        "sendonly",
        "actpass",
        True,
    )
    assert len(audio.ufrag) == 4
    assert audio.fingerprints[0][0] == "sha-256"
    assert negotiated_codecs(audio) == [NegotiatedCodec("opus", 111, None)]
    assert negotiated_codecs(video) == [
        NegotiatedCodec("VP8", 96, 97),
        NegotiatedCodec("H264/baseline", 102, 103),
        NegotiatedCodec("H264/constrained-baseline", 108, 109),
    ]
    assert negotiated_extensions(audio)[AUDIO_LEVEL] == 1
    assert negotiated_extensions(video)[MID] == 4
    ((repair, repaired),) = video.repairs.items()
    assert [repaired, repair] == video.ssrcs


def test_h264_without_packetization_mode_1_does_not_pass() -> None:
    video = parse_description(CHROMIUM).sections[1]
    assert 104 not in {codec.payload_type for codec in negotiated_codecs(video)}


def test_a_bundle_only_line_is_no_refused_one() -> None:
    """Firefox writes port 0 for every m-line but the first of a bundle."""
    refused = CHROMIUM.replace("m=video 9", "m=video 0")
    assert not parse_description(refused).sections[1].is_media
    bundled = refused.replace("a=mid:1", "a=mid:1\r\na=bundle-only")
    assert parse_description(bundled).sections[1].is_media


def test_an_answer_asks_for_fec_dtx_and_feedback_that_was_offered() -> None:
    audio, video = parse_description(CHROMIUM).sections
    (opus,) = written_answer_codecs(audio, negotiated_codecs(audio))
    assert "useinbandfec=1" in opus.fmtp
    assert "usedtx=1" in opus.fmtp
    vp8, rtx, *_ = written_answer_codecs(video, negotiated_codecs(video))
    assert set(vp8.feedback) == {"nack", "nack pli", "ccm fir", "goog-remb"}
    assert (rtx.rtpmap, rtx.fmtp) == ("rtx/90000", "apt=96")


def _offer() -> str:
    sections = [
        WrittenSection(
            kind,
            mid,
            "sendonly",
            offered_codecs(kind),
            offered_extensions(kind),
            ssrc=10 + index,
            rtx_ssrc=20 + index if kind == "video" else None,
            stream=SentStream("stream", f"track-{mid}", "cname"),
        )
        for index, (kind, mid) in enumerate([("audio", "0"), ("video", "1")])
    ]
    return write_description(1, 2, TRANSPORT, sections)


def test_our_offer_is_understood_by_ourselves_and_by_aiortc() -> None:
    ours = parse_description(_offer())
    assert ours.bundled == ["0", "1"]
    assert [codec.key for codec in negotiated_codecs(ours.sections[1])] == [
        "VP8",
        "H264/constrained-baseline",
        "H264/baseline",
    ]
    theirs = AiortcDescription.parse(_offer())
    assert [media.rtp.muxId for media in theirs.media] == ["0", "1"]
    assert theirs.media[1].ice.iceLite
    assert [(each.ip, each.port) for each in theirs.media[1].ice_candidates] == [
        ("127.0.0.1", 9_000),
        ("2001:db8::1", 9_000),
    ]
    assert [each.ssrc for each in theirs.media[1].ssrc] == [11, 21]


def test_a_refused_m_line_is_outside_the_bundle() -> None:
    text = write_description(
        1,
        1,
        TRANSPORT,
        [
            WrittenSection(
                "application", "0", "inactive", (), {}, "UDP/DTLS/SCTP", rejected_formats=["webrtc-datachannel"]
            ),
            WrittenSection("audio", "1", "recvonly", offered_codecs("audio"), {}),
        ],
    )
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel" in text
    assert "a=group:BUNDLE 1\r\n" in text


def test_a_subscriber_that_knows_one_h264_profile_gets_the_other() -> None:
    known = {"H264/constrained-baseline": NegotiatedCodec("H264/constrained-baseline", 99, None)}
    found = codec_for("H264/baseline", known)
    assert found is not None
    assert found.payload_type == 99
    assert codec_for("VP8", known) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0",
        "m=audio",
        "m=audio x UDP/TLS/RTP/SAVPF 111",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:x opus/48000/2",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/",
        "m=audio 9 UDP/TLS/RTP/SAVPF 999",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ssrc-group:",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:" + "a" * 17,
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:é",
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * (MAX_SECTIONS + 1),
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" + "a=x\r\n" * 500,
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0",
        CHROMIUM.replace("a=extmap:1 ", "a=extmap:one "),
    ],
)
def test_what_no_browser_writes_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        parse_description(text)


def test_a_refusal_repeats_nothing_of_the_text() -> None:
    with pytest.raises(SdpError) as refused:
        parse_description("m=audio Amélie UDP/TLS/RTP/SAVPF 111")
    assert "Am" not in str(refused.value)


def test_mangled_offers_are_read_or_refused() -> None:
    """Lines dropped, doubled, cut and their numbers changed: never anything but SdpError."""
    source = random.Random(4)
    lines = CHROMIUM.splitlines()
    for _ in range(400):
        mangled = list(lines)
        for _ in range(source.randrange(1, 6)):
            place = source.randrange(len(mangled))
            line = mangled[place]
            mangled[place] = source.choice(
                [
                    "",
                    line[: source.randrange(len(line) + 1)],
                    re.sub(r"\d+", lambda _: str(source.randrange(-3, 2**33)), line),
                    line + "\r\n" + line,
                    line.replace(":", " "),
                ]
            )
        try:
            for section in parse_description("\r\n".join(mangled)).sections:
                if section.is_media:
                    written_answer_codecs(section, negotiated_codecs(section))
                    negotiated_extensions(section)
        except SdpError:
            pass


def _layered(simulcast: str) -> str:
    """Chromium's offer of a camera in layers, as far as it differs."""
    rids = "".join(f"a=rid:{rid} send\r\n" for rid in ("q", "h", "f"))
    extensions = f"a=extmap:10 {RID}\r\na=extmap:11 {REPAIRED_RID}\r\n"
    head, video = CHROMIUM.rstrip().rsplit("m=video", 1)
    return f"{head}m=video{video}\r\n{extensions}{rids}a=simulcast:{simulcast}\r\n"


def test_layers_are_read_in_their_order() -> None:
    def layers(simulcast: str) -> list[str]:
        return parse_description(_layered(simulcast)).sections[1].layers

    assert parse_description(CHROMIUM).sections[1].layers == []
    assert layers("send q;h;f") == ["q", "h", "f"]
    assert layers("recv x send ~q,r;h;~f") == ["q", "h", "f"]
    assert layers("send a;b;c;d;e") == ["a", "b", "c"], "what nobody needs is left out"
    assert layers("recv x") == []
    for hostile in ("send q;q", "send ;", "send q;é", "send " + "x" * 17):
        with pytest.raises(SdpError):
            layers(hostile)


def test_layers_are_answered_with_their_extensions() -> None:
    section = parse_description(_layered("send q;h;f")).sections[1]
    extensions = negotiated_extensions(section)
    assert (extensions[RID], extensions[REPAIRED_RID]) == (10, 11)
    codecs = negotiated_codecs(section)
    written = WrittenSection(
        "video", "1", "recvonly", written_answer_codecs(section, codecs), extensions, received_layers=section.layers
    )
    lines = write_description(1, 1, TRANSPORT, [written]).splitlines()
    assert lines[-4:] == ["a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f"]
    assert RID not in negotiated_extensions(parse_description(CHROMIUM).sections[1])
