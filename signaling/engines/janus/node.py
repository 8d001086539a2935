"""One gateway of the pool: connected again and again for as long as we run."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Literal

import aiohttp

from signaling.engines.janus.connection import JanusConnection
from signaling.engines.janus.errors import JanusError, JanusRefused
from signaling.engines.janus.messages import FromJanus
from signaling.engines.janus.tokens import TokenSigner

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.25
RETRY_LAST_S = 5.0
"""Between two attempts, doubled each time: a gateway that restarts is back in use seconds later."""
MAX_PUBLISHERS = 400
"""Of a room: as many as it may have sessions."""
MAX_BITRATE_BPS = 4_000_000
"""What a publisher is told to send at most (REMB). Chromium reaches 720p within seconds at this."""
SPEAKING_PACKETS = 10
"""Over so many the gateway averages the level before it says who talks: 0.2 s."""
SPEAKING_DBOV = 45
"""Speech near a microphone is around 30 (below full scale), a quiet class around 60."""

NodeState = Literal["connecting", "ready", "draining"]


class JanusNode:
    """`lost` is called when all that was on the gateway has gone, with the reason for the log."""

    def __init__(
        self,
        index: int,
        url: str,
        signer: TokenSigner,
        admin_key: str | None,
        lost: Callable[[int], None],
    ) -> None:
        self.index = index
        self.connection: JanusConnection | None = None
        self.is_draining = False
        self.became_ready = asyncio.Event()
        self.reconnections = 0
        self._url = url
        self._signer = signer
        self._admin_key = admin_key
        self._lost = lost
        self._control = 0
        """The handle that makes and ends rooms."""
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> NodeState:
        if self.connection is None:
            return "connecting"
        return "draining" if self.is_draining else "ready"

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep_connected(self) -> None:
        async with aiohttp.ClientSession() as http:
            retry_s = RETRY_FIRST_S
            while True:
                connected = await self._connect(http)
                if connected is not None:
                    retry_s = RETRY_FIRST_S
                    await self._use(connected)
                await asyncio.sleep(retry_s)
                retry_s = min(RETRY_LAST_S, retry_s * 2)

    async def _connect(self, http: aiohttp.ClientSession) -> JanusConnection | None:
        try:
            connection = await JanusConnection.open(http, self._url, self._signer)
        except JanusRefused as error:
            log.error(
                "Janus %d refuses us with %d: is JANUS_TOKEN_SECRET its token_auth_secret?", self.index, error.code
            )
            return None
        except JanusError as error:
            log.info("Janus %d: %s", self.index, error)
            return None
        try:
            self._control = await connection.attach(_ignore)
        except JanusError as error:
            log.error("Janus %d has no VideoRoom for us: %s", self.index, error)
            await connection.close()
            return None
        return connection

    async def _use(self, connection: JanusConnection) -> None:
        log.info("Janus %d is ready", self.index)
        self.connection = connection
        self.became_ready.set()
        try:
            await connection.closed.wait()
            log.warning("Janus %d is lost: %s", self.index, connection.reason)
            self.connection = None
            self.reconnections += 1
            self._lost(self.index)
        finally:
            self.connection = None
            self.became_ready.clear()
            await connection.close()

    # --- rooms ----------------------------------------------------------------------------------

    async def create_room(self, connection: JanusConnection) -> tuple[int, str]:
        """Number and secret of a new room. Raises: JanusLost, JanusRefused."""
        # 53 bits: exact in every JSON parser. Not to be guessed, and no two instances make the same.
        number, secret = 1 + secrets.randbits(52), secrets.token_urlsafe(18)
        body = {
            "request": "create",
            "room": number,
            "secret": secret,
            "description": "",
            "is_private": True,
            "permanent": False,
            "signed_tokens": connection.room_token(number) is not None,
            "publishers": MAX_PUBLISHERS,
            "bitrate": MAX_BITRATE_BPS,
            "fir_freq": 0,
            "audiocodec": "opus",
            "videocodec": "vp8,h264",
            "opus_fec": True,
            "opus_dtx": True,
            "audiolevel_event": True,
            "audio_active_packets": SPEAKING_PACKETS,
            "audio_level_average": SPEAKING_DBOV,
            # A tablet that may not signal its orientation turns its pixels itself.
            "videoorient_ext": False,
        }
        if self._admin_key is not None:
            body["admin_key"] = self._admin_key
        await connection.ask(self._control, body)
        return number, secret

    async def destroy_room(self, connection: JanusConnection, number: int, secret: str) -> None:
        """Ends every peer connection in it. What is gone already is fine. Raises: JanusLost."""
        with contextlib.suppress(JanusRefused):
            await connection.ask(self._control, {"request": "destroy", "room": number, "secret": secret})

    async def moderate(
        self, connection: JanusConnection, number: int, secret: str, feed: int, mid: str, *, muted: bool
    ) -> None:
        """While muted the gateway forwards no packet of this media line. Raises: JanusLost; JanusRefused
        when there is none."""
        body = {"request": "moderate", "room": number, "secret": secret, "id": feed, "mid": mid, "mute": muted}
        await connection.ask(self._control, body)


def _ignore(_message: FromJanus) -> None:
    """The control handle is in no room: nothing happens to it."""
