"""The log holds ids and numbers, and never what a person typed, whoever writes the line."""

import asyncio
import io
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from rooms.models import Role
from server import logs
from server.auth import TokenIssuer, TokenKeys
from server.logs import FIELDS, close_logs, configure_logs, log_loop_exception, log_request
from tests.support.deadlines import SECOND

CANARIES = (
    "Clémentine",
    "Désirée d'Iqaluit",
    "Ma baleine s'appelle Gribouille",
    "une-cle-tres-secrete-0123456789abcdef-0123456789",
    TokenIssuer(TokenKeys(bytes(32))).issue("r1", "p1", Role.PUPIL, 1_800_000_000.0),
    "אביגיל",
)

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Iterator[Lines]:
    """Configured logging; call it for the lines written so far (it ends logging)."""
    configure_logs("debug", "json", stream)

    def written() -> list[dict[str, Any]]:
        close_logs()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield written
    close_logs()
    structlog.reset_defaults()


log = structlog.get_logger("server.test")


def test_a_line_has_its_event_level_time_and_ids(lines: Lines) -> None:
    log.info("participant_admitted", room_id="r1", participant_id="p1", count=3, duration_s=0.5)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "participant_admitted",
        "level": "info",
        "room_id": "r1",
        "participant_id": "p1",
        "count": 3,
        "duration_s": 0.5,
    }


def test_ids_bound_to_the_context_are_on_every_line(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(room_id="r1", participant_id="p1"):
        log.info("hand_raised")
    log.info("elsewhere")
    first, second = lines()
    assert (first["room_id"], first["participant_id"]) == ("r1", "p1")
    assert "room_id" not in second


def _every_way_to_log(text: str) -> None:
    """Whatever a developer, a library or an accident may do with what a person typed."""
    log.info("joined", name=text, text=text, token=text, label=text, url=f"/r/{text}")
    log.info("joined", room_id=text, reason=text, error=text, route=f"/api/rooms/{text}")
    log.info("joined", count=[text, {text: text}], state={text: text}, participant_id=text.encode())
    log.info(text)
    log.info("joined %s", text)
    log.warning(f"joined {text}", room_id="r1")
    ours = logging.getLogger("rooms.test")
    ours.warning("room_failed", extra={"room_id": text, "whoever": text, "reason": text})
    ours.warning("room failed for %s", text)
    ours.warning(f"room failed for {text}")
    for name in ("aiohttp.server", "aiohttp.access", "engineio.server", "socketio.server", "asyncio", "anything"):
        library = logging.getLogger(name)
        library.error("Error handling request from %s", text)
        library.error(f"received packet {text}")
        library.error("plain", extra={"name_": text, "room_id": text, "data": text})
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(f"no such name: {text}") from error
    except ValueError as error:
        error.add_note(text)
        log.exception("join_failed", room_id="r1")
        log.error("join_failed", exc_info=error)
        logging.getLogger("aiohttp.server").exception("Unhandled %s", text)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"careful with {text}", stacklevel=1)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_canary_is_ever_written(stream: io.StringIO, log_format: Any) -> None:
    configure_logs("debug", log_format, stream)
    for canary in CANARIES:
        _every_way_to_log(canary)
    close_logs()
    structlog.reset_defaults()
    text = stream.getvalue()
    assert len(text.splitlines()) > 100
    for canary in CANARIES:
        for form in (canary, json.dumps(canary)[1:-1], repr(canary)[1:-1], canary[:24], canary[-24:]):
            assert form not in text


def test_an_exception_says_its_type_and_place_not_its_sentence(lines: Lines) -> None:
    try:
        try:
            {}["Clémentine"]
        except KeyError as error:
            raise RuntimeError("of Clémentine") from error
    except RuntimeError:
        log.exception("join_failed", room_id="r1")
    (line,) = lines()
    assert line["exception"] == "RuntimeError from KeyError"
    assert line["room_id"] == "r1"
    assert any("test_logs.py" in frame and "test_an_exception" in frame for frame in line["frames"])


def test_a_librarys_line_says_where_it_came_from(lines: Lines) -> None:
    logging.getLogger("engineio.server").error("boom %s", "Clémentine")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("library_message", "engineio.server", "error")
    assert line["where"].startswith("test_logs.py:")


def test_a_librarys_sentence_is_kept_only_as_it_stands_in_its_source(lines: Lines) -> None:
    library = logging.getLogger("engineio.server")
    name = chr(122) + "oe"  # not a constant of this function
    library.error("post request handler error")
    library.error("error handling request from %s", name)
    library.error(f"packet of {name}")
    library.error(name)
    assert [line.get("said") for line in lines()] == [
        "post request handler error",
        "error handling request from s",
        None,
        None,
    ]


def test_a_sentence_of_the_domain_becomes_its_event(lines: Lines) -> None:
    name = chr(122) + "oe"  # not a constant of this function
    domain = logging.getLogger("rooms.documents.saving")
    domain.error("store does not take updates", extra={"kind": "StoreUnavailable"})
    domain.error(f"text of {name} is lost")
    constant, filled = lines()
    assert (constant["event"], constant["kind"]) == ("store_does_not_take_updates", "StoreUnavailable")
    assert filled["event"] == "unnamed_event"
    assert "zoe" not in str(filled)


def test_a_line_of_the_domain_keeps_its_event_and_known_fields(lines: Lines) -> None:
    """`rooms` and `signaling` use the standard library's logging."""
    logging.getLogger("rooms.manager").warning("store_failed", extra={"room_id": "r1", "attempt": 2})
    (line,) = lines()
    assert (line["event"], line["room_id"], line["attempt"], line["logger"]) == (
        "store_failed",
        "r1",
        2,
        "rooms.manager",
    )


def test_libraries_are_quiet_below_warning(lines: Lines) -> None:
    for name in ("aiohttp.access", "engineio.server", "socketio.server", "aiortc.rtcpeerconnection", "asyncio"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("aiohttp.access").error("GET /yjs/r1/d1?token=secret")
    assert lines() == []


def test_the_level_is_heeded(stream: io.StringIO) -> None:
    configure_logs("warning", "json", stream)
    log.info("quiet")
    log.warning("loud")
    close_logs()
    structlog.reset_defaults()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_the_access_log_shows_the_template_never_the_address(lines: Lines) -> None:
    log_request("GET", "/api/rooms/{room}", 200, 0.012345)
    log_request("GET", None, 404, 0.001)
    log_request("GET", "/yjs/{room}/{document}", 101, 12.0)
    first, second, third = lines()
    assert (first["method"], first["route"], first["status"], first["duration_s"]) == (
        "GET",
        "/api/rooms/{room}",
        200,
        0.0123,
    )
    assert second["route"] == "none"
    assert third["route"] == "/yjs/{room}/{document}"


def test_probes_do_not_fill_the_log(stream: io.StringIO) -> None:
    configure_logs("info", "json", stream)
    log_request("GET", "/healthz", 200, 0.001)
    log_request("GET", "/readyz", 503, 0.001)
    close_logs()
    structlog.reset_defaults()
    assert [json.loads(line)["route"] for line in stream.getvalue().splitlines()] == ["/readyz"]


async def test_what_the_event_loop_complains_of_is_logged_without_its_words(lines: Lines) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_exception)
    complained = asyncio.Event()

    def fail(name: str) -> None:
        complained.set()
        raise ValueError(name)

    loop.call_soon(fail, "Clémentine")
    async with asyncio.timeout(5 * SECOND):
        await complained.wait()
    loop.set_exception_handler(None)
    (line,) = lines()
    assert (line["event"], line["exception"]) == ("unhandled_exception", "ValueError")
    assert "Clémentine" not in json.dumps(line, ensure_ascii=False)


def test_no_field_is_made_for_what_a_person_types() -> None:
    assert not FIELDS & {"name", "text", "label", "token", "url", "path", "query", "message", "document", "code_typed"}


class StuckStream(io.StringIO):
    """A terminal that somebody stopped with Ctrl+S."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    def write(self, text: str) -> int:
        self.may_go_on.wait(30)
        return super().write(text)


def test_a_stuck_terminal_stops_no_one_and_what_was_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING_LINES", 50)
    stuck = StuckStream()
    configure_logs("info", "json", stuck)
    began = time.monotonic()
    for _ in range(500):
        log.info("tick")
    assert time.monotonic() - began < 5 * SECOND
    stuck.may_go_on.set()
    close_logs()
    structlog.reset_defaults()
    written = [json.loads(line) for line in stuck.getvalue().splitlines()]
    dropped = [line["count"] for line in written if line["event"] == "log_lines_dropped"]
    assert sum(dropped) + sum(line["event"] == "tick" for line in written) == 500
    assert sum(dropped) >= 400


def test_a_closed_stream_ends_nothing(stream: io.StringIO) -> None:
    configure_logs("info", "json", stream)
    stream.close()
    log.info("into the void")
    close_logs()
    structlog.reset_defaults()
