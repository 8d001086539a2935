"""Whoever begins a WebSocket message and does not end it (fragments without a last one, a payload a byte at a time) is
closed. Each may hold a message of the longest size, and a ping in between would keep the connection for ever.

Nothing is counted as it comes, which would cost something with each key that is pressed: now and then each connection's
parser is looked at. aiohttp's is compiled, and shows what it holds only in the form in which it would be pickled. The
version is pinned, and tests/server/test_unfinished_messages.py fails if that changes.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import WebSocketError, WSCloseCode
from aiohttp._websocket.reader import WebSocketReader

MESSAGE_S: Final = 60.0
"""For one message, which is at most 1 MiB long: 150 kbit/s take 53 s, as they do for a body (`MAX_BODY_S`)."""
LOOK_EACH_S: Final = 5.0

_READ_HEADER: Final = 1
_NOT_SET: Final = -1


class Begun(NamedTuple):
    """Of an unfinished message."""

    is_fragmented: bool
    size_bytes: int
    """What has come of it. While it is the same message, this does not fall."""


class UnfinishedMessages:
    """Which connections are in the midst of a message, and since when. Pure: `now` is the caller's."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Begun, float]] = {}

    def to_close(self, begun: Mapping[Any, Begun], now: float) -> list[Any]:
        """`begun`: of each connection that is in the midst of one."""
        known = {}
        for connection, message in begun.items():
            before, since = self._known.get(connection, (message, now))
            known[connection] = (message, since if _may_be_same(before, message) else now)
        self._known = known
        return [connection for connection, (_message, since) in known.items() if now - since >= MESSAGE_S]


def _may_be_same(before: Begun, now: Begun) -> bool:
    return before.is_fragmented == now.is_fragmented and before.size_bytes <= now.size_bytes


def close_unfinished(messages: UnfinishedMessages, connections: Iterable[Any], now: float) -> None:
    """Look at all that are open (RequestHandler, UpgradedConnection), 1 ms for three thousand, and close those
    that are to be."""
    begun = {}
    for connection in connections:
        message = begun_message(connection)
        if message is not None:
            begun[connection] = message
    for connection in messages.to_close(begun, now):
        error = WebSocketError(WSCloseCode.POLICY_VIOLATION, "A message that does not end")
        _state_of(connection._payload_parser)["queue"].set_exception(error)


async def watch_messages(connections: Callable[[], Iterable[Any]]) -> None:
    """Until it is cancelled. `connections`: all that are open."""
    messages, loop = UnfinishedMessages(), asyncio.get_running_loop()
    while True:
        await asyncio.sleep(LOOK_EACH_S)
        close_unfinished(messages, connections(), loop.time())


def begun_message(connection: Any) -> Begun | None:
    """None: it is no WebSocket, or not in the midst of a message, or it is we who do not read on."""
    parser = connection._payload_parser
    if not isinstance(parser, WebSocketReader) or connection._reading_paused:
        return None
    state = _state_of(parser)
    if state["queue"]._stalled_reader is not None:
        return None
    is_fragmented = state["_opcode"] != _NOT_SET
    if is_fragmented:
        return Begun(True, len(state["_partial"]))
    if state["_state"] == _READ_HEADER and not state["_tail"]:
        return None
    return Begun(False, state["_frame_payload_len"] + len(state["_tail"]))


_FIELDS: Final = [
    "_compress",
    "_compressed",
    "_decode_text",
    "_decompressobj",
    "_exc",
    "_frame_fin",
    "_frame_mask",
    "_frame_opcode",
    "_frame_payload_len",
    "_has_mask",
    "_max_fragments",
    "_max_msg_size",
    "_opcode",
    "_partial",
    "_payload_buffer",
    "_payload_bytes_to_read",
    "_payload_fragments",
    "_payload_len_flag",
    "_state",
    "_tail",
    "_weak_self",
    "queue",
]
"""Of the compiled reader, in the order in which Cython pickles them."""


def _state_of(parser: Any) -> Mapping[str, Any]:
    if not hasattr(parser, "__reduce_cython__"):
        plain: Mapping[str, Any] = vars(parser)  # where there is no compiled one
        return plain
    _make, arguments, *rest = parser.__reduce_cython__()
    return dict(zip(_FIELDS, rest[0] if rest else arguments[2], strict=True))
