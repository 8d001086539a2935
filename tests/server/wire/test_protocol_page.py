"""docs/protocol.md is complete: each route, event, command, type, error and close code has its place."""

import re
from pathlib import Path

import msgspec
import pytest

from rooms.documents import close_codes
from rooms.documents.sync import Denial  # the words of "permission denied"
from rooms.models import Role
from rooms.roles import PERMISSIONS, Permission
from server import yjs_websocket
from server.error_answers import STATUS
from server.openapi import describe_api
from server.wire.registry import BINARY_EVENT, COMMANDS, EVENTS, HTTP_BODIES, VOICE_EVENT, wire_types
from server.wire.room import Connect, RoomEvent

PAGE = (Path(__file__).resolve().parents[3] / "docs/protocol.md").read_text("utf-8")
HEADINGS = [line.lstrip("#").strip() for line in PAGE.splitlines() if line.startswith("#")]


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$(.*?)(?=^#{{1,6}} |\Z)", PAGE, re.M | re.S)
    assert found, f"no heading “{heading}”"
    return found.group(2)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_its_heading_and_all_its_fields(command: str) -> None:
    text = section(f"`{command}` (client)")
    kind = COMMANDS[command].payload
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}`" in text, field.encode_name
    assert COMMANDS[command].answer.__name__ in text


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_each_event_has_its_heading_and_all_its_fields(event: str) -> None:
    kind = EVENTS[event]
    text = section(f"`{event}` (server)")
    assert kind.__name__ in text
    if kind.__name__ in HEADINGS:
        text = section(kind.__name__)
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}`" in text, field.encode_name


@pytest.mark.parametrize("kind", RoomEvent.__args__, ids=lambda kind: kind.__name__)
def test_each_event_of_the_room_has_its_heading_and_all_its_fields(kind: type[msgspec.Struct]) -> None:
    text = section(f"`room_event`: `{kind.__struct_config__.tag}`")
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}`" in text, field.encode_name


@pytest.mark.parametrize("event", [BINARY_EVENT, VOICE_EVENT])
def test_each_binary_event_has_its_heading(event: str) -> None:
    section(f"`{event}` (both)")


def test_each_route_has_its_heading() -> None:
    for path, operations in describe_api("0")["paths"].items():
        for method in operations:
            assert any(heading.startswith(f"`{method.upper()} {path}") for heading in HEADINGS), (method, path)


def test_each_type_is_named() -> None:
    own_sections = {*HTTP_BODIES, Connect}
    for kind in wire_types():
        assert f"{kind.__name__}" in PAGE
        if kind in own_sections:
            for field in msgspec.structs.fields(kind):
                assert f"`{field.encode_name}`" in section(kind.__name__), (kind.__name__, field.encode_name)


@pytest.mark.parametrize(
    "name",
    ["RoomView", "Participant", "WaitingParticipant", "RoomSettings", "ChatLine", "Track", "RoomSummary", "ErrorBody",
     "IceServer", "SessionDescription", "Candidate", "PublishedMedia", "SubscribedMedia", "MediaPeer", "Subscription",
     "MediaStarted", "DocumentOpened", "RoomDocument", "Accepted", "MediaProbe",
     "NetworkTarget"],
)  # fmt: skip
def test_each_type_inside_others_has_its_heading_and_all_its_fields(name: str) -> None:
    kinds: dict[str, type[msgspec.Struct]] = {}

    def visit(kind: object) -> None:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__name__ not in kinds:
            kinds[kind.__name__] = kind
            for field in msgspec.structs.fields(kind):
                visit(field.type)
        for inner in getattr(kind, "__args__", ()):
            visit(inner)

    for kind in wire_types():
        visit(kind)
    text = section(name)
    for field in msgspec.structs.fields(kinds[name]):
        assert f"`{field.encode_name}`" in text, field.encode_name


def test_the_table_of_errors_is_the_servers() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", section("Codes"), re.M))
    assert rows == {code: str(status) for code, status in STATUS.items()}


def test_the_table_of_close_codes_is_the_servers() -> None:
    rows = dict(re.findall(r"^\| (\d{4}) \| `([a-z-]+)` \|", section("Close codes"), re.M))
    known = {str(code): word for code, word in close_codes.REASONS.items()}
    known[str(yjs_websocket.CLOSE_UNAUTHORIZED)] = "token-invalid"
    assert rows == known


def test_the_words_of_denials_are_explained() -> None:
    for word in [*Denial.__args__, "malformed"]:
        assert f"`{word}`" in section("Permission denied"), word


def test_the_table_of_permissions_is_the_rooms() -> None:
    text = section("Roles and permissions")
    for permission in Permission:
        row = re.search(rf"^\| `{permission}` \|(.*)\|$", text, re.M)
        assert row, permission
        marks = [cell.strip() for cell in row.group(1).split("|")]
        assert [mark.startswith("yes") for mark in marks] == [permission in PERMISSIONS[role] for role in Role], (
            permission
        )
