"""Media lines and their directions: never less strict than a browser's own reading."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.sdp_summary import MAX_MEDIA_LINES, MediaLine, media_lines
from tests.support.deadlines import least_cpu_s

DESCRIPTIONS = Path(__file__).parent / "descriptions"
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


def sdp(*lines: str) -> str:
    return HEAD + "".join(f"{line}\r\n" for line in lines)


def video(*attributes: str, port: int = 9) -> str:
    return sdp(f"m=video {port} UDP/TLS/RTP/SAVPF 96", "a=mid:0", *attributes)


def test_chromiums_lines_are_read_as_they_are_meant() -> None:
    text = (DESCRIPTIONS / "chromium_156_stopped_line.sdp").read_bytes().decode()
    assert media_lines(text) == [
        MediaLine("audio", "sendonly", "0"),
        MediaLine("video", "sendrecv", "1"),
        MediaLine("video", "recvonly", "2"),
        MediaLine("audio", "inactive", "3"),
    ]


@pytest.mark.parametrize(
    ("description", "sends"),
    [
        (video("a=sendonly"), True),
        (video("a=recvonly"), False),
        (video(), True),  # RFC 8866 section 6.7: sendrecv where nothing is said
        (video(port=0), False),
        (video("a=sendrecv", port=0), False),
        (video("a=bundle-only", port=0), True),  # RFC 8843 section 6: alive all the same
        (video("a=bundle-only", "a=recvonly", port=0), False),
        (sdp("a=recvonly", "m=video 9 UDP/TLS/RTP/SAVPF 96"), False),
        (sdp("a=recvonly", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=sendonly"), True),
        (video("a=x-note:a=recvonly"), True),
        (video("a=recvonly "), True),  # a browser knows no such attribute
    ],
)
def test_whether_a_line_sends(description: str, sends: bool) -> None:
    (line,) = media_lines(description)
    assert line.sends is sends


@pytest.mark.parametrize(
    "hidden", ["a=x\u2028a=recvonly", "a=x\x0ba=recvonly", "a=x\x85a=recvonly", "a=x\ra=recvonly", " a=recvonly", ""]
)
def test_what_a_browser_reads_as_another_line_is_refused(hidden: str) -> None:
    """Else we would read "recvonly" where the other side's browser reads nothing."""
    with pytest.raises(ValueError, match="not a line"):
        media_lines(video(hidden, "a=rtcp-mux"))


@pytest.mark.parametrize(
    "description",
    [
        "",
        "hello",
        "v=0",
        HEAD,
        video("a=sendonly", "a=recvonly"),
        video("a=mid:1"),
        sdp(*["m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:a"] * 2),
        sdp("m=video"),
        sdp("m=text 9 UDP/TLS/RTP/SAVPF 96"),
        sdp("m=video 9999999999999999999999999 UDP/TLS/RTP/SAVPF 96"),
        sdp(*["m=audio 9 UDP/TLS/RTP/SAVPF 0"] * (MAX_MEDIA_LINES + 1)),
    ],
)
def test_what_is_no_description_or_says_two_things_is_refused(description: str) -> None:
    with pytest.raises(ValueError):
        media_lines(description)


def test_the_longest_description_is_read_in_no_time() -> None:
    long = sdp("m=audio 9 UDP/TLS/RTP/SAVPF 0", *["a=" + "x" * 30] * 1_900)
    assert len(long) > 60_000
    assert least_cpu_s(lambda: media_lines(long)) < 0.1


PIECES = st.sampled_from(
    [
        "m=audio 9 X 0",
        "m=video 0 X 1",
        "a=mid:0",
        "a=mid:1",
        "a=sendrecv",
        "a=recvonly",
        "a=bundle-only",
        "a=",
        "b=x",
        "\n",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES).map(lambda lines: sdp(*lines)), st.text().map(lambda text: HEAD + text)))
def test_anything_else_is_a_value_error_and_nothing_worse(description: str) -> None:
    try:
        lines = media_lines(description)
    except ValueError:
        return
    assert 0 < len(lines) <= MAX_MEDIA_LINES
