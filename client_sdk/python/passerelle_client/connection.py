"""The Socket.IO connection: opened again for as long as it makes sense, with a spread."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import aiohttp
import engineio.payload
import socketio
import socketio.exceptions

from passerelle_client.emitter import Emitter
from passerelle_client.errors import Disconnected, Refused
from passerelle_client.post_queue import PostQueue

logger = logging.getLogger("passerelle_client")

ConnectionState = Literal["connecting", "connected", "reconnecting", "closed"]
Transport = Literal["websocket", "polling"]

CONNECT_TIMEOUT_S = 10.0
ACKNOWLEDGEMENT_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 1.0
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Longest message taken: a document of the largest size (20 MB) comes in one. aiohttp's own limit is 4 MiB."""
FIRST_DELAY_S = 0.3
LONGEST_DELAY_S = 4.0
"""A class whose Wi-Fi is back is back within 5 s."""
FINAL_REFUSALS = frozenset({"token-missing", "token-invalid", "token-expired", "removed", "not-found", "denied"})
"""Codes after which trying the same token again is of no use."""

# python-engineio drops a whole polling answer of more than 16 packets; a server that flushes a
# class of writers sends more. It is a class attribute: there is no setting for one client.
engineio.payload.Payload.max_decode_packets = max(engineio.payload.Payload.max_decode_packets, 4_096)


def reconnection_delay_s(attempt: int, spread: float) -> float:
    """Exponential, bounded, and spread over its whole length, so that a class does not come back
    in one instant. `attempt` counts from 0; `spread` is in [0, 1)."""
    longest: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**attempt)
    return longest * (0.5 + spread / 2)


class _Client(socketio.AsyncClient):  # type: ignore[misc]
    async def _handle_eio_message(self, data: Any) -> None:
        """The library forgets the head of a binary message when the connection is closed; what belongs to it may have
        been read in the same breath, and would be taken for a packet of its own. Raises: ValueError for such a one
        while the connection stands: something is lost then."""
        is_left_over = isinstance(data, bytes) and self._binary_packet is None and self.eio.state != "connected"
        if not is_left_over:
            await super()._handle_eio_message(data)


class Connection(Emitter):
    """Events: `state` (ConnectionState), `opened` (transport), `lost` (), `refused` (Refused),
    and `message` (event name, arguments)."""

    def __init__(self, url: str, token: Callable[[], str], transports: Sequence[Transport]) -> None:
        super().__init__()
        self._url = url
        self._token = token
        self._transports = list(transports)
        self._client: socketio.AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Future[Any]] = set()
        """Commands without an acknowledgement yet."""
        self._lost = asyncio.Event()
        self._stop = asyncio.Event()
        self._hint_s: float | None = None
        self.state: ConnectionState = "connecting"
        self.transport: Transport | None = None
        """Of the present connection; it may move from polling to websocket."""

    def open(self) -> None:
        """Begin; what happens comes as events."""
        self._task = asyncio.create_task(self._run(), name="passerelle connection")

    async def close(self) -> None:
        self._stop.set()
        self._lost.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        client, self._client = self._client, None
        self._set_state("closed")
        self._fail_calls("closed")
        if client is not None:
            await self._discard(client)

    def reconnect_after(self, delay_s: float) -> None:
        """The server announced that it stops: wait this long before the first attempt."""
        self._hint_s = delay_s

    def send(self, event: str, *arguments: Any) -> None:
        """Without an acknowledgement; dropped when there is no connection (the caller resyncs)."""
        client = self._client
        if client is None or self.state != "connected":
            return
        packet = client.packet_class(socketio.packet.EVENT, namespace="/", data=[event, *arguments])
        encoded = packet.encode()
        # As AsyncClient._send_packet does, without a coroutine for each message: engine.io's queue
        # takes them in order at once.
        for part in encoded if isinstance(encoded, list) else [encoded]:
            client.eio.queue.put_nowait(engineio.packet.Packet(engineio.packet.MESSAGE, data=part))

    async def call(self, event: str, payload: Any) -> Any:
        """A command and its acknowledgement. Raises: Refused, Disconnected."""
        client = self._client
        if client is None or self.state != "connected":
            raise Disconnected(self.state)
        call: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.add(call)
        try:
            async with asyncio.timeout(ACKNOWLEDGEMENT_TIMEOUT_S):
                await client.emit(event, payload, callback=lambda *answer: _settle(call, answer))
                answer = await call
        except (TimeoutError, socketio.exceptions.SocketIOError) as error:
            raise Disconnected("no answer") from error
        finally:
            self._calls.discard(call)
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            error_body = answer["error"]
            code, message = str(error_body.get("code")), str(error_body.get("message"))
            raise Refused(code, message, error_body.get("field"), error_body.get("seq"))
        return answer

    async def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            self._set_state("connecting" if attempt == 0 and self.state == "connecting" else "reconnecting")
            refused = await self._attempt()
            if refused is not None and refused.code in FINAL_REFUSALS:
                self._set_state("closed")
                self.emit("refused", refused)
                return
            if self._client is not None:
                attempt = 0
                await self._lost.wait()
                if self._stop.is_set():
                    return
                await self._lose_client()
            delay_s = reconnection_delay_s(attempt, random.random())
            if self._hint_s is not None:
                delay_s, self._hint_s = self._hint_s * (1 + random.random()), None
            attempt += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay_s)

    async def _attempt(self) -> Refused | None:
        """One try; afterwards there is a client, or the server's refusal, or nothing."""
        client = _Client(
            reconnection=False,
            handle_sigint=False,
            http_session=_http_session,
            websocket_extra_options={"max_msg_size": MAX_MESSAGE_BYTES},
        )
        client.eio.queue = PostQueue()
        answered: asyncio.Queue[Any] = asyncio.Queue()
        lost = self._lost = asyncio.Event()

        def ended(_loop: "asyncio.Task[None]") -> None:
            lost.set()

        def stand() -> None:
            # The library's reading ends without a word when an answer breaks off in the middle: a connection that
            # says it stands, and hears nothing.
            for loop in (client.eio.read_loop_task, client.eio.write_loop_task):
                if loop is not None:
                    loop.add_done_callback(ended)
            self._stand(client)
            answered.put_nowait(None)

        client.on("connect", stand)
        client.on("connect_error", lambda data=None: answered.put_nowait(data or ""))
        client.on("disconnect", lambda *_reason: lost.set())
        client.on("*", lambda event, *arguments: self.emit("message", event, arguments))
        try:
            # Its own waiting ends a refused connection in good order, which over polling takes 16 s.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.connect(self._url, auth={"token": self._token()}, transports=self._transports, wait=False)
                refusal = await _first_of(answered, lost)
        except Exception as error:  # whatever it is, the next try may go well
            logger.debug("no connection: %s", type(error).__name__)
            await self._discard(client)
            return None
        except BaseException:  # closed meanwhile
            await self._discard(client)
            raise
        if refusal is not None:
            await self._discard(client)
            return _refusal(refusal)
        return None

    def _stand(self, client: socketio.AsyncClient) -> None:
        """At once, for the room's first message may be read in the same breath."""
        self._client = client
        self.transport = client.transport()
        self._set_state("connected")
        self.emit("opened", self.transport)

    async def _lose_client(self) -> None:
        client, self._client = self._client, None
        self._set_state("reconnecting")
        self._fail_calls("the connection was lost")
        self.emit("lost")
        if client is not None:
            await self._discard(client)

    def _fail_calls(self, reason: str) -> None:
        for call in self._calls:
            if not call.done():
                call.set_exception(Disconnected(reason))

    async def _discard(self, client: socketio.AsyncClient) -> None:
        """Say goodbye and let go. The library's own `disconnect` waits for the answer to the poll under
        way, which comes when the server gives the connection up, 16 s later."""
        with contextlib.suppress(Exception):  # it is being thrown away, whatever state it is in
            if client.connected:
                goodbye = client.packet_class(socketio.packet.DISCONNECT, namespace="/").encode()
                client.eio.queue.put_nowait(engineio.packet.Packet(engineio.packet.MESSAGE, data=goodbye))
                async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                    await client.eio.queue.join()
        with contextlib.suppress(Exception):
            await client.eio.disconnect(abort=True)
        # What is left of its loops would wait for half a minute, or begin a request on a session of its own.
        loops = [loop for loop in (client.eio.read_loop_task, client.eio.write_loop_task) if loop is not None]
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        http = client.eio.http
        if http is not None and not http.closed:
            await http.close()

    def _set_state(self, state: ConnectionState) -> None:
        if state != self.state:
            self.state = state
            self.emit("state", state)


def _http_session() -> aiohttp.ClientSession:
    """With cookies for every host, those known by their address too: a proxy in front of several instances keeps a
    session of long polling with its instance by one."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def _first_of(answered: "asyncio.Queue[Any]", lost: asyncio.Event) -> Any:
    """The server's answer to the connection: None when it stands; "" when it was lost before."""
    waiting = [asyncio.ensure_future(answered.get()), asyncio.ensure_future(lost.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return waiting[0].result() if waiting[0].done() else ""
    finally:
        for each in waiting:
            each.cancel()


def _settle(call: "asyncio.Future[Any]", answer: tuple[Any, ...]) -> None:
    if not call.done():
        call.set_result(answer[0] if answer else None)


def _refusal(data: Any) -> Refused | None:
    """What connect_error brought, if it is the server's own refusal."""
    if not isinstance(data, dict):
        return None
    inner = data.get("data")
    code = (inner if isinstance(inner, dict) else data).get("code")
    return Refused(code, str(data.get("message", code))) if isinstance(code, str) else None
