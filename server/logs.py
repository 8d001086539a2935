"""Structured logs that hold no one's name, words or token.

`configure_logs` once, at start; then `structlog.get_logger(__name__).info("room_created", room_id=…)`.
An event is a constant in snake_case, facts are fields, and only the fields of `FIELDS` are written:
a name cannot slip in by a new field that nobody thought about. Of an exception its type and where it
was raised are written, never its sentence, which may quote what a person typed. Lines of libraries
pass the same door.

Lines are written by a thread of their own: a terminal or journal that stands still does not stop the
event loop; past a bound lines are dropped and counted.
"""

import asyncio
import json
import logging
import queue
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

from server.config import LogFormat, LogLevel

MAX_VALUE_CHARACTERS = 200
"""Longest value of a field: an id, a code, a route; whatever is longer is not one of those."""
MAX_FRAMES = 30
"""Innermost frames of an exception that are written."""
MAX_WAITING_LINES = 10_000
"""Lines that wait for a slow terminal or journal; beyond, lines are dropped and counted."""

FIELDS = frozenset(
    {
        # who and where, by opaque ids that the server made
        "room_id", "participant_id", "invitation_id", "session_id", "track_id", "connection",
        # what, from small fixed sets
        "role", "kind", "engine", "transport", "reason", "code", "state", "command", "pc", "signal", "topic_kind",
        "limit", "durability", "version", "variable", "worker", "error", "task",
        # how much and how long
        "count", "size_bytes", "duration_s", "seconds", "seq", "attempt", "dropped", "rooms", "participants",
        "documents", "sessions", "exit_code", "pid", "port", "timeout_s", "lag_s",
        # of a request
        "method", "route", "status",
        # of a library's line and of an exception
        "logger", "said", "event", "level", "timestamp", "exception", "frames", "where",
    }
)  # fmt: skip
"""Every field that may be written. Before you add one: can it ever hold what a person typed? (The name
of a document can: whoever opens one chooses it.)"""

DROPPED = "[dropped]"
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_SAFE_TEXT = re.compile(r"[A-Za-z0-9_.:/{}<>@+ -]*", re.ASCII)
"""Ids, codes, route templates, type names, file names. No accents, quotes, '?', '=', '%' or '&':
neither a sentence somebody wrote in French nor a query."""
_UNSAFE = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
_TOKEN = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*|(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{40,}", re.ASCII
)
"""A JWT, or anything as long and dense as one, or as a key (with a digit: long names of functions have none)."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OURS = frozenset({"server", "rooms", "signaling"})
_QUIET = ("aiohttp.access", "asyncio.events")
_WARNINGS_ONLY = (
    "aiohttp", "asyncio", "socketio", "engineio", "aiortc", "aioice", "uvloop", "urllib3", "py.warnings",
)  # fmt: skip


# --- processors -----------------------------------------------------------------------------------


def keep_known_fields(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The door: fields of `FIELDS` with values that are numbers or plain short ASCII; anything else
    is dropped, and says so. Runs after the exception was turned into fields."""
    kept: dict[str, Any] = {}
    dropped = 0
    for name, value in event.items():
        if name.startswith("_"):
            kept[name] = value  # structlog's own (_record): removed before the line is made
        elif name in FIELDS:
            kept[name] = _safe(value)
        else:
            dropped += 1
    if not (isinstance(event.get("event"), str) and _EVENT.fullmatch(event["event"])):
        kept["event"] = "unnamed_event"
    if dropped:
        kept["dropped_fields"] = dropped
    return kept


def _safe(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_safe(entry) for entry in value[:MAX_FRAMES]]
    if not isinstance(value, str):
        return DROPPED
    text = str(value)
    if len(text) > MAX_VALUE_CHARACTERS or not _SAFE_TEXT.fullmatch(text) or _TOKEN.search(text):
        return DROPPED
    return text


def describe_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`exc_info` becomes `exception` (type names, outermost cause last) and `frames` (file:line function)."""
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info if isinstance(exc_info, BaseException) else (exc_info[1] if isinstance(exc_info, tuple) else None)
    if error is not None:
        event["exception"] = " from ".join(_chain(error))
        event["frames"] = _frames(error.__traceback__)
    return event


def _chain(error: BaseException) -> list[str]:
    names: list[str] = []
    current: BaseException | None = error
    while current is not None and len(names) < 5:
        names.append(type(current).__name__)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return names


def _frames(where: TracebackType | None) -> list[str]:
    # Not FrameSummary's line: source text is ours, but reading files here would block.
    frames = [
        f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(where)
    ]
    return frames[-MAX_FRAMES:]


def _standard_line(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A record of the standard library's logging: from our own packages (`rooms` knows no structlog)
    with its `extra` fields, or from a library.

    Its sentence is written only when it stands so in the source: nobody can tell what else goes into
    one (asyncio quotes arguments of callbacks, engineio whole packets). What would be filled in is
    left out in any case."""
    record: logging.LogRecord = event["_record"]
    ours = record.name.split(".")[0] in _OURS
    sentence = _constant_sentence(record)
    event["event"] = "library_message"
    event["logger"] = record.name
    if ours:
        event["event"] = _UNSAFE.sub("_", sentence.lower()).strip("_")[:64]
        event.update({name: value for name, value in vars(record).items() if name in FIELDS})
    elif sentence:
        event["said"] = _UNSAFE.sub(" ", sentence).strip()[:MAX_VALUE_CHARACTERS]
    if not (ours and sentence):
        event["where"] = f"{record.filename}:{record.lineno} {record.funcName}"
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def _constant_sentence(record: logging.LogRecord) -> str:
    """The record's unfilled sentence if it is a constant of the function that wrote it, else "".
    Lines are made where they are logged, so that function is still on the stack."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        if code.co_filename == record.pathname and code.co_name == record.funcName:
            is_constant = isinstance(record.msg, str) and record.msg in code.co_consts
            return record.msg.split("\n")[0] if is_constant else ""
    return ""


# --- writing ----------------------------------------------------------------------------------------


class BackgroundHandler(logging.Handler):
    """Formats a record where it was made, writes it in a thread. `close` writes what waits."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_lines, name="log writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            # A line that cannot be made must not end what it reports on.
            line = '{"event": "log_line_failed", "level": "error"}'
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _write_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._dropped and self._lines.empty():
                dropped, self._dropped = self._dropped, 0
                self._write(json.dumps({"event": "log_lines_dropped", "level": "warning", "count": dropped}))

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more (a closed pipe): serving classes goes on without a log.
            pass

    def close(self) -> None:
        """Write what waits, for at most two seconds."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=1)
            except queue.Full:
                pass
            self._thread.join(1)
        super().close()


def configure_logs(level: LogLevel = "info", log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging, for the whole process. `stream` None:
    standard error. May be called again; what was configured before is closed."""
    stream = sys.stderr if stream is None else stream
    close_logs()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = BackgroundHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _standard_line],
            processors=[
                describe_exception,
                keep_known_fields,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(log_format, stream),
            ],
            # describe_exception has it; the formatter would append the sentence.
            keep_exc_info=False,
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    logging.captureWarnings(True)
    for name in _WARNINGS_ONLY:
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def close_logs() -> None:
    """Write what waits and give logging back. Call at the end of the process."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, BackgroundHandler)]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(False)


def _renderer(log_format: LogFormat, stream: TextIO) -> Any:
    if log_format == "console" or (log_format == "auto" and stream.isatty()):
        return structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)
    return structlog.processors.JSONRenderer(sort_keys=False)


# --- lines of our own --------------------------------------------------------------------------------

_access_log = structlog.get_logger("server.access")
_loop_log = structlog.get_logger("server.loop")

PROBE_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: written at debug level only."""


def log_request(method: str, route: str | None, status: int, duration_s: float) -> None:
    """The access log: one line a request. `route` is the template, never the path or query; None
    when nothing matched."""
    log = _access_log.debug if route in PROBE_ROUTES and status < 500 else _access_log.info
    log("http_request", method=method, route=route or "none", status=status, duration_s=round(duration_s, 4))


def log_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`: asyncio's own would write the repr of arguments and results."""
    task = context.get("task") or context.get("future")
    error = context.get("exception")
    _loop_log.error(
        "unhandled_exception" if error is not None else "event_loop_complaint",
        task=task.get_name() if isinstance(task, asyncio.Task) else None,
        exc_info=error,
    )
