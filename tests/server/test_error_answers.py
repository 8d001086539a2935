"""One table of errors: every code of the house is in it, and nothing of a library gets out."""

import re
from pathlib import Path

import msgspec
import pytest

import rooms.errors
from rooms.errors import InvitationRefused, PermissionDenied, RoomError
from rooms.ports import StoreUnavailable
from server import error_answers
from server.auth import TokenRefused
from server.error_answers import STATUS, Refusal
from server.wire.http import CreateRoom
from signaling.engines import EngineUnavailable
from signaling.errors import SignalingError

ROOT = Path(__file__).resolve().parents[2]


def codes_of_the_rooms() -> set[str]:
    kinds = [kind for kind in vars(rooms.errors).values() if isinstance(kind, type) and issubclass(kind, RoomError)]
    named = {kind.code for kind in kinds if kind not in (RoomError, InvitationRefused)}
    return named | {InvitationRefused(why).code for why in ("unknown", "expired", "used-up")}


def codes_of(folder: str, pattern: str) -> set[str]:
    """Codes in the source, where they stand as text."""
    return {
        code for path in (ROOT / folder).rglob("*.py") for code in re.findall(pattern, path.read_text("utf-8"), re.S)
    }


def test_every_code_has_a_status() -> None:
    raised = (
        codes_of_the_rooms()
        | codes_of("server", r'Refusal\(\s*"([a-z-]+)"')
        | codes_of("server", r'RoomCreation\(\s*"([a-z-]+)"')
        | codes_of("signaling", r'SignalingError\(\s*"([a-z-]+)"')
        | {"token-invalid", "token-expired", EngineUnavailable.code, "internal"}
    )
    assert raised <= set(STATUS), raised - set(STATUS)
    assert set(STATUS) <= raised, set(STATUS) - raised


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (PermissionDenied("admit"), "permission-denied", 403),
        (InvitationRefused("expired"), "invitation-expired", 410),
        (TokenRefused("token-expired", "why is nobody's business"), "token-expired", 401),
        (SignalingError("unknown-session", "…"), "unknown-session", 404),
        (EngineUnavailable("no worker"), "media-unavailable", 503),
        (StoreUnavailable("/secret/path is full"), "store-unavailable", 503),
        (Refusal("too-many-requests", "Slower."), "too-many-requests", 429),
        (RuntimeError("Éléonore"), "internal", 500),
    ],
)
def test_errors_are_answered(error: Exception, code: str, status: int) -> None:
    answer = error_answers.answer(error)
    assert (answer.error.code, error_answers.status(answer)) == (code, status)
    for secret in ("nobody's business", "/secret/path", "Éléonore"):
        assert secret not in answer.error.message


@pytest.mark.parametrize(
    ("body", "field"), [({"name": 1}, "$.name"), ({}, None), ({"name": "a", "Éléonore": 1}, None), ("Éléonore", None)]
)
def test_what_is_wrong_with_a_body_is_named_without_its_values(body: object, field: str | None) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(body, CreateRoom)
    answer = error_answers.answer(refused.value)
    assert (answer.error.code, answer.error.field) == ("invalid", field)
    assert "Éléonore" not in answer.error.message
