"""Every refusal as people and programs get it: one table from exceptions to codes and statuses.

The sentence is for the developer of a client; pages translate the code. What is not in the table is
our defect: it is logged, and told as `internal` with an id that the log has too.
"""

import re
import secrets

import msgspec
import structlog

from rooms.errors import Outdated, RoomError
from rooms.ports import StoreUnavailable
from server.auth import TokenRefused
from server.wire.common import ErrorAnswer, ErrorBody
from signaling.engines import EngineUnavailable
from signaling.errors import SignalingError

logger = structlog.get_logger(__name__)

STATUS: dict[str, int] = {
    "invalid": 400,
    "name-invalid": 400,
    "invalid-description": 400,
    "unknown-command": 400,
    "token-missing": 401,
    "token-invalid": 401,
    "token-expired": 401,
    "api-key-required": 401,
    "api-key-invalid": 401,
    "permission-denied": 403,
    "chat-disabled": 403,
    "room-frozen": 403,
    "not-admitted": 403,
    "not-from-this-machine": 403,
    "origin-refused": 403,
    "removed": 403,
    "denied": 403,
    "not-found": 404,
    "invitation-unknown": 404,
    "unknown-session": 404,
    "method-not-allowed": 405,
    "too-slow": 408,
    "already-decided": 409,
    "last-host": 409,
    "document-exists": 409,
    "outdated": 409,
    "track-id-taken": 409,
    "invitation-expired": 410,
    "invitation-used-up": 410,
    "too-large": 413,
    "content-type": 415,
    "room-full": 429,
    "too-many-sessions": 429,
    "too-many-tracks": 429,
    "too-many-requests": 429,
    "internal": 500,
    "store-unavailable": 503,
    "media-unavailable": 503,
    "draining": 503,
}
"""Every code of this server, and its HTTP status; docs/protocol.md explains each."""


class Refusal(Exception):
    """What an adapter itself refuses."""

    def __init__(self, code: str, message: str, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


_AT_FIELD = re.compile(r" - at `([^`]+)`$")


def answer(error: BaseException) -> ErrorAnswer:
    """The error as it is told; logs what nobody expected."""
    return ErrorAnswer(error=_body(error))


def status(error: ErrorAnswer) -> int:
    return STATUS.get(error.error.code, 400)


def _body(error: BaseException) -> ErrorBody:
    match error:
        case Refusal():
            return ErrorBody(code=error.code, message=error.message, field=error.field)
        case Outdated():
            return ErrorBody(code=error.code, message=str(error), seq=error.seq)
        case RoomError():
            return ErrorBody(code=error.code, message=str(error))
        case TokenRefused():
            return ErrorBody(code=error.code, message="This token is not valid (any more) here.")
        case SignalingError() | EngineUnavailable():
            return ErrorBody(code=error.code, message=str(error) or error.code)
        case msgspec.MsgspecError():
            return _invalid(error)
        case StoreUnavailable():
            return ErrorBody(code="store-unavailable", message="The store cannot be used now; try again.")
    reference = secrets.token_hex(6)
    logger.error("internal_error", connection=reference, exc_info=error)
    return ErrorBody(code="internal", message=f"This is a defect of the server; its log calls it {reference}.")


def _invalid(error: msgspec.MsgspecError) -> ErrorBody:
    """msgspec says what and where; it quotes names of fields that do not exist, and of kinds that do not."""
    sentence = str(error)
    found = _AT_FIELD.search(sentence)
    field = found.group(1) if found else None
    if "unknown field" in sentence:
        sentence = "Object contains a field that is not known here."
    elif sentence.startswith("Invalid value"):
        sentence = "Invalid value."  # one that is of no kind known here, which it would quote
    return ErrorBody(code="invalid", message=_AT_FIELD.sub("", sentence), field=field)
