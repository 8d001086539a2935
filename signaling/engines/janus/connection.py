"""One connection to a gateway: the Janus API over a WebSocket, one Janus session, many handles.

Every request has a deadline, and the session is kept alive by one that is asked often: a gateway that
closes, hangs or answers nonsense is noticed within HEALTH_INTERVAL_S + REQUEST_S, and the connection is
then lost for good (`closed`). Janus destroys the session of a connection that has gone, with all that
hung on it, so nothing of it is ever taken up again.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from signaling.engines.janus.errors import JanusLost, JanusRefused
from signaling.engines.janus.messages import SUBPROTOCOL, VIDEOROOM, FromJanus
from signaling.engines.janus.tokens import TokenSigner

log = logging.getLogger(__name__)

CONNECT_S = 3.0
REQUEST_S = 3.0
"""Janus answers within milliseconds; one that does not within this time is not waited for by anyone."""
HEALTH_INTERVAL_S = 1.5
"""Also well below the 60 s after which Janus forgets a silent session."""
CLOSE_S = 0.5
MAX_MESSAGE_BYTES = 1024 * 1024
"""An offer with 64 media lines and its list of streams is some 100 kB."""
MAX_PENDING = 4_096
"""Requests without an answer: 400 sessions in each of ten rooms that all begin at once."""

EventListener = Callable[[FromJanus], None]


class JanusConnection:
    """Made by `open`. Events of a handle go to the listener that it was attached with: it never
    blocks, never raises."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, signer: TokenSigner) -> None:
        self._socket = socket
        self._signer = signer
        self._session_id: int | None = None
        self._pending: dict[str, tuple[asyncio.Future[FromJanus], bool]] = {}
        """transaction → its answer, and whether an `ack` is one"""
        self._listeners: dict[int, EventListener] = {}
        self.closed = asyncio.Event()
        self.reason = ""
        """Why it is closed: for the log."""
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str, signer: TokenSigner) -> "JanusConnection":
        """Raises: JanusLost; JanusRefused when the gateway wants another token."""
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await http.ws_connect(
                    url,
                    protocols=[SUBPROTOCOL],
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise JanusLost(f"no connection: {type(error).__name__}") from error
        connection = cls(socket, signer)
        connection._tasks.append(asyncio.create_task(connection._read()))
        try:
            if socket.protocol != SUBPROTOCOL:
                raise JanusLost("no Janus speaks there")
            created = await connection.request({"janus": "create"})
            if created.data is None:
                raise JanusLost("a session without an id")
        except BaseException:
            await connection.close()
            raise
        connection._session_id = created.data.id
        connection._tasks.append(asyncio.create_task(connection._keep_alive()))
        return connection

    # --- requests -------------------------------------------------------------------------------

    async def attach(self, listener: EventListener) -> int:
        """A new handle of the VideoRoom. Raises: JanusLost, JanusRefused."""
        attached = await self.request({"janus": "attach", "plugin": VIDEOROOM})
        if attached.data is None:
            raise JanusLost("a handle without an id")
        self._listeners[attached.data.id] = listener
        return attached.data.id

    async def detach(self, handle: int) -> None:
        """Ends the handle and its peer connection at once; its listener hears nothing more. What is lost is
        ended already."""
        self._listeners.pop(handle, None)
        with contextlib.suppress(JanusLost, JanusRefused):
            await self.request({"janus": "detach", "handle_id": handle})

    async def ask(self, handle: int, body: dict[str, Any], jsep: dict[str, Any] | None = None) -> FromJanus:
        """A request to the VideoRoom, and its answer. Raises: JanusLost, JanusRefused."""
        message: dict[str, Any] = {"janus": "message", "handle_id": handle, "body": body}
        if jsep is not None:
            message["jsep"] = jsep
        answer = await self.request(message, ack_is_answer=False)
        code = answer.plugin.get("error_code")
        if code is not None:
            raise JanusRefused(int(code), str(answer.plugin.get("error", "")))
        return answer

    async def request(self, message: dict[str, Any], *, ack_is_answer: bool = True) -> FromJanus:
        """Raises: JanusLost, also for what is not answered in time: the connection is given up then, for
        nobody could say what became of the request. JanusRefused."""
        if self.closed.is_set() or len(self._pending) >= MAX_PENDING:
            raise JanusLost(self.reason or "too many requests")
        transaction = secrets.token_hex(8)
        answer: asyncio.Future[FromJanus] = asyncio.get_running_loop().create_future()
        self._pending[transaction] = (answer, ack_is_answer)
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._socket.send_bytes(self._encode(message, transaction), compress=None)
                received = await answer
        except TimeoutError:
            self._lose("no answer in time")
            raise JanusLost("no answer in time") from None
        except (ConnectionError, aiohttp.ClientError) as error:
            self._lose("the connection broke")
            raise JanusLost("the connection broke") from error
        finally:
            self._pending.pop(transaction, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # looked at, or the loop would complain of what was lost while we sent
        if received.error is not None:
            raise JanusRefused(received.error.code, received.error.reason)
        return received

    def _encode(self, message: dict[str, Any], transaction: str) -> bytes:
        addressed = {**message, "transaction": transaction}
        if self._session_id is not None:
            addressed["session_id"] = self._session_id
        token = self._signer.api_token(time.time())
        if token is not None:
            addressed["token"] = token
        return msgspec.json.encode(addressed)

    def room_token(self, room: int) -> str | None:
        return self._signer.room_token(room, time.time())

    # --- what comes -----------------------------------------------------------------------------

    async def _read(self) -> None:
        decoder = msgspec.json.Decoder(FromJanus)
        async for frame in self._socket:
            if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                continue
            try:
                message = decoder.decode(frame.data)
            except (msgspec.DecodeError, RecursionError):
                self._lose("not the Janus API")
                return
            try:
                self._receive(message)
            except Exception:
                # One handle's; the others' events must still be read.
                log.exception("what Janus said could not be used")
        self._lose("closed by the gateway")

    def _receive(self, message: FromJanus) -> None:
        if message.janus == "timeout":
            self._lose("the session timed out")
            return
        # First the listener: what the answer brings must be known before who asked goes on.
        listener = self._listeners.get(message.sender) if message.sender is not None else None
        if listener is not None and message.error is None:
            listener(message)
        pending = self._pending.get(message.transaction) if message.transaction is not None else None
        if pending is None:
            return
        answer, ack_is_answer = pending
        if message.janus == "ack" and not ack_is_answer:
            return
        if not answer.done():
            answer.set_result(message)

    async def _keep_alive(self) -> None:
        while not self.closed.is_set():
            try:
                await self.request({"janus": "keepalive"})
            except JanusRefused:
                self._lose("the session is gone")
            except JanusLost:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALTH_INTERVAL_S):
                    await self.closed.wait()

    # --- the end --------------------------------------------------------------------------------

    def _lose(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.reason = reason
        self._listeners.clear()
        for answer, _ack in self._pending.values():
            if not answer.done():
                answer.set_exception(JanusLost(reason))
        self.closed.set()

    async def close(self) -> None:
        """In good order as far as the gateway takes part: it forgets the session with all its handles."""
        if not self.closed.is_set() and self._session_id is not None:
            with contextlib.suppress(JanusLost, JanusRefused, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self.request({"janus": "destroy"})
        self._lose("closed by us")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()
