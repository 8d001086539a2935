"""What docs/protocol.md says beside its headings is true of the code: limits, reasons, examples, links.

That nothing is missing from it is held by tests/server/wire/test_protocol_page.py.
"""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from rooms import document_list, lobby
from rooms.documents import close_codes, sync
from rooms.documents.limits import (
    KIB,
    MAX_AWARENESS_DEPTH,
    MAX_AWARENESS_STATE_BYTES,
    MAX_LINK_CHARACTERS,
    MAX_TEMPLATE_CHARACTERS,
    MAX_TEMPLATE_DEPTH,
    MAX_TEMPLATE_NODES,
    MIB,
    HubLimits,
)
from rooms.documents.template import TEMPLATE_CLIENT_ID
from server import auth, limits, yjs_websocket
from server.error_answers import STATUS
from server.realtime import adapter, connection
from server.wire import http, room
from signaling import errors as signaling_errors
from signaling import media_session, voice_channel, voice_packet
from signaling.engines import p2p
from signaling.messages import (
    MAX_SDP_CHARACTERS,
    MAX_SUBSCRIPTIONS,
    MAX_TRACKS_PER_SESSION,
    MAX_VOICE_INTERVAL_MS,
    MIN_VOICE_INTERVAL_MS,
    MediaClosed,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/protocol.md").read_text("utf-8")
PROSE = " ".join(PAGE.split())


def quoted(text: str) -> set[str]:
    return set(re.findall(r'`"?([^`"\n]+)"?`', text))


# --- codes ----------------------------------------------------------------------------------------


def test_every_code_that_the_house_refuses_with_is_in_the_table() -> None:
    raised = set()
    for path in [*ROOT.glob("server/**/*.py"), *ROOT.glob("signaling/**/*.py")]:
        raised |= set(re.findall(r'(?:Refusal|SignalingError)\(\s*"([a-z-]+)"', path.read_text("utf-8")))
    for path in ROOT.glob("rooms/errors.py"):
        raised |= set(re.findall(r'^    code = "([a-z-]+)"', path.read_text("utf-8"), re.MULTILINE)) - {"refused"}
    listed = (signaling_errors.__doc__ or "").split("`code`:")[1].strip(" .\n")
    raised |= set(re.split(r",\s+", listed))
    assert len(raised) > 25
    assert raised <= STATUS.keys()


def test_every_code_that_the_page_names_exists() -> None:
    """A code of an error, of a document's refusal or of a close: nothing invented, nothing renamed."""
    known = STATUS.keys() | set(get_args(sync.Denial)) | set(close_codes.REASONS.values())
    for sentence in re.findall(r"Errors?: (.*?)\.(?:\s|$)", PAGE, re.DOTALL):
        named = {word for word in quoted(sentence) if "-" in word}
        assert named <= known, sentence


@pytest.mark.parametrize("reason", get_args(msgspec.structs.fields(MediaClosed)[2].type))
def test_every_reason_of_closed_media_is_named(reason: str) -> None:
    assert reason in quoted(PAGE.split("### `media_closed`")[1].split("\n###")[0])


@pytest.mark.parametrize("reason", get_args(msgspec.structs.fields(room.Removed)[0].type))
def test_every_reason_of_a_removal_is_named(reason: str) -> None:
    assert reason in quoted(PAGE.split("### `removed`")[1].split("\n###")[0])
    assert reason in connection.FOR_GOOD


def test_codes_say_by_their_number_whether_to_come_back() -> None:
    for code in [*close_codes.REASONS, yjs_websocket.CLOSE_UNAUTHORIZED]:
        assert 4400 <= code < 4500 or 4500 <= code < 4600 or code == 1012
    assert yjs_websocket.CLOSE_UNAUTHORIZED not in close_codes.REASONS


# --- figures --------------------------------------------------------------------------------------


def count(value: float) -> str:
    return f"{value:,.0f}"


@pytest.mark.parametrize(
    "sentence",
    [
        f"A message has at most {count(adapter.MAX_MESSAGE_BYTES)} bytes",
        f"The server pings every {adapter.PING_INTERVAL_S} s and gives a silent connection up after "
        f"{adapter.PING_TIMEOUT_S} s more",
        f"shows no token within {2 * adapter.STRANGER_S:.0f} s",
        f"commands {limits.COMMAND.per_second:.0f} a second ({count(limits.COMMAND.burst)} at once)",
        f"signaling {limits.SIGNALING.per_second:.0f} a second ({count(limits.SIGNALING.burst)})",
        f"By participant: {limits.CONNECTION.burst:.0f} connections",
        f"{count(limits.DOCUMENT_MESSAGE.per_second)} messages and {limits.DOCUMENT_BYTES.per_second / MIB:.0f} MiB a "
        f"second ({count(limits.DOCUMENT_MESSAGE.burst)} and {limits.DOCUMENT_BYTES.burst / MIB:.0f} MiB at once)",
        f"from {HubLimits().reader_buffer_bytes / MIB:.0f} MiB on, and closed at "
        f"{connection.MAX_OUTBOX_BYTES / MIB:.0f} MiB",
        f"{limits.JOIN.burst:.0f} may join at once and then {limits.JOIN.per_second:.0f} a second",
        f"{limits.RESUME.burst:.0f} joins with `resume`, and one in {1 / limits.RESUME.per_second:.0f} s",
        f"used up {limits.FAILED_ATTEMPT.burst:.0f} failures, refilled at one in two seconds",
        f"holds {lobby.MAX_ADMITTED} people, {lobby.MAX_HOSTS} of them hosts, and {lobby.MAX_WAITING} who wait",
        f"It lives {auth.TOKEN_LIFETIME_S // 3600} hours",
        f"expired for at most {auth.RESUME_WINDOW_S // 86400} days",
        f"({connection.MAX_DOCUMENTS} at once)",
        f"`room-full` ({document_list.MAX_DOCUMENTS} documents)",
        f"At most {count(MAX_TEMPLATE_NODES)} nodes, {MAX_TEMPLATE_DEPTH} levels of blocks and "
        f"{count(MAX_TEMPLATE_CHARACTERS)} characters",
        f"has at most {count(MAX_LINK_CHARACTERS)} characters;",
        f"under the Yjs client id {TEMPLATE_CLIENT_ID},",
        f"the document is full ({HubLimits().document_bytes // 1_000_000} MB)",
        f"at most {MAX_AWARENESS_STATE_BYTES // KIB} KiB and {MAX_AWARENESS_DEPTH} levels",
        f"its own ids alone, {HubLimits().client_ids_per_connection} at most",
        f"Pings every {yjs_websocket.HEARTBEAT_S:.0f} s",
        f"the session is kept {media_session.GRACE_S:.0f} s",
        f"({media_session.MAX_SESSIONS_PER_PARTICIPANT} a participant)",
        f"(at most {count(MAX_SDP_CHARACTERS)} characters)",
        f"every sending media line; at most {MAX_TRACKS_PER_SESSION}",
        f"(Subscription; at most {MAX_SUBSCRIPTIONS})",
        f"a packet, binary, at most {count(voice_packet.MAX_PACKET_BYTES)} bytes",
        f"one Opus packet (RFC 6716), at most {count(voice_packet.MAX_FRAME_BYTES)} bytes",
        f"At most {voice_packet.MAX_FRAMES} frames in a packet",
        f"{voice_channel.FRAMES_PER_S:.0f} a second ({voice_channel.FRAMES_AT_ONCE:.0f} at once) and "
        f"{count(voice_channel.BYTES_PER_S)} bytes a second ({count(voice_channel.BYTES_AT_ONCE)} at once)",
        f"at most {voice_channel.MAX_UNHEARD} packets under way that were not heard; then up to "
        f"{voice_channel.MAX_WAITING} wait",
        f"{MIN_VOICE_INTERVAL_MS} (default) to {MAX_VOICE_INTERVAL_MS} |",
    ],
)
def test_figures_are_those_of_the_code(sentence: str) -> None:
    assert sentence in PROSE


def test_figures_written_as_words_are_those_of_the_code() -> None:
    assert p2p.MAX_SESSIONS == 4
    assert "At most four sessions" in PROSE
    assert 1 / limits.FAILED_ATTEMPT.per_second == 2
    assert HubLimits().malformed_messages == 3
    assert "At the third one" in PROSE
    assert auth.TOKEN_RENEWAL_S * 4 == auth.TOKEN_LIFETIME_S
    assert "when a quarter of that is over" in PROSE


# --- examples and links ---------------------------------------------------------------------------


def test_examples_are_what_the_types_take() -> None:
    bodies = dict(re.findall(r"POST (/api/\S+) +(\{.*\})$", PAGE, re.MULTILINE))
    kinds = {
        "/api/rooms": http.CreateRoom,
        "/api/rooms/u1V…/invitations": http.CreateInvitation,
        "/api/join": http.Join,
    }
    assert bodies.keys() == kinds.keys()
    for route, kind in kinds.items():
        msgspec.convert(json.loads(bodies[route]), kind)


def test_links_inside_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert links
    assert set(links) <= anchors


def test_files_that_the_page_points_to_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
