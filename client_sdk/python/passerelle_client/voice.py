"""Voice as Opus packets, over the room's own connection: for programs that have no way for WebRTC, or want none.

`room.voice` is a microphone in the room without aiortc: `start`, `send` what an encoder made, listen to `frames`. A
connection has one media session: use this or `room.media`, not both.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from passerelle_client.emitter import Emitter, Unsubscribe
from passerelle_client.errors import Disconnected, PasserelleError, Refused
from passerelle_client.protocol import MediaClosed, MediaStarted, TrackMutedByHost
from passerelle_client.voice_packet import MAX_FRAME_BYTES, MAX_FRAMES, VoiceFrame, VoiceNumbers, VoiceRun

if TYPE_CHECKING:
    from passerelle_client.room import Room

logger = logging.getLogger("passerelle_client")

SAY_HEARD_S = 0.2
AGAIN_S = 1.0
FINAL_REFUSALS = frozenset({"permission-denied", "media-unavailable"})
"""Asking again would bring the same answer."""


class Voice(Emitter):
    """One participant's voice; it comes back by itself when the connection was lost."""

    def __init__(self, room: "Room") -> None:
        super().__init__()
        self.track_id = uuid.uuid4().hex
        """Of our own microphone, for everyone in the room."""
        self.is_muted = False
        self._room = room
        self._speaks = self._listens = False
        self._session_id: str | None = None
        self._numbers = VoiceNumbers()
        self._tasks: set[asyncio.Task[None]] = set()
        self._saying: asyncio.Task[None] | None = None
        self._off: list[Unsubscribe] = []

    def on(self, event: Literal["frames"], listener: Callable[[str, Sequence[VoiceFrame]], None]) -> Unsubscribe:
        """`frames`: Opus packets of somebody's track, by its id, in their order."""
        return self.listen(event, listener)

    async def start(self, *, speaks: bool = True, listens: bool = True) -> None:
        """Raises: Refused (`permission-denied`; `media-unavailable` where media go no way that the server has a
        part in), Disconnected."""
        self._speaks, self._listens = speaks, listens
        if not self._off:
            self._off = [
                self._room.on("state", self._connection_state),
                self._room.listen("media_voice", self._heard),
                self._room.listen("media_closed", self._closed),
                self._room.listen("media_muted", self._muted),
            ]
        await self._begin()
        if self._saying is None:
            self._saying = asyncio.create_task(self._say_heard(), name="passerelle voice")

    def send(self, frames: Sequence[VoiceFrame]) -> None:
        """Consecutive Opus packets of ours, of 20 ms each, 40 to 100 ms of them at once. Never blocks: what the line
        does not carry is dropped, the oldest first; without a connection all is.

        Raises: ValueError when they are too many or too long."""
        if not 0 < len(frames) <= MAX_FRAMES or any(not 0 < len(each.payload) <= MAX_FRAME_BYTES for each in frames):
            raise ValueError("not a packet's worth of frames")
        if self._session_id is None or self.is_muted or not self._speaks:
            return
        self._numbers.put(VoiceRun(self.track_id, tuple(frames)))
        self._send_packets()

    async def set_muted(self, muted: bool) -> None:
        """Raises: Refused, Disconnected (what is muted here is silent all the same)."""
        self.is_muted = muted
        if self._session_id is not None:
            await self._room.command("media_mute", session_id=self._session_id, track_id=self.track_id, muted=muted)

    async def stop(self) -> None:
        """Raises: Refused, Disconnected."""
        session_id = self._session_id
        await self.close()
        if session_id is not None:
            await self._room.command("media_stop", session_id=session_id)

    async def close(self) -> None:
        """For the room: the end, without a word to the server."""
        self._speaks = self._listens = False
        self._session_id = None
        for off in self._off:
            off()
        self._off = []
        tasks = [task for task in (*self._tasks, self._saying) if task is not None]
        self._saying = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _begin(self) -> None:
        answer = await self._room.command("media_start", session_id=self._session_id)
        session_id = msgspec.convert(answer, MediaStarted).session_id
        self._numbers = VoiceNumbers()
        await self._room.command(
            "media_fallback",
            session_id=session_id,
            track_id=self.track_id if self._speaks else None,
            muted=self.is_muted,
            listens=self._listens,
            interval_ms=60 if self._room.transport == "polling" else 40,
        )
        self._session_id = session_id

    def _begin_soon(self, delay_s: float = 0.0) -> None:
        task = asyncio.create_task(self._begin_again(delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin_again(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            await self._begin()
        except Refused as error:
            logger.warning("voice: not begun again: %s", error)
            if error.code not in FINAL_REFUSALS:
                self._begin_soon(AGAIN_S)
        except Disconnected:
            return  # the next connection comes back to it
        except PasserelleError as error:
            logger.warning("voice: %s", error)

    def _connection_state(self, state: str) -> None:
        if state == "connected":
            self._begin_soon()

    def _closed(self, payload: Any) -> None:
        closed = msgspec.convert(payload, MediaClosed)
        if closed.session_id == self._session_id and closed.pc is None:
            self._session_id = None
            if closed.retry:
                self._begin_soon(AGAIN_S)

    def _muted(self, payload: Any) -> None:
        if msgspec.convert(payload, TrackMutedByHost).track_id == self.track_id:
            self.is_muted = True

    def _heard(self, packet: Any) -> None:
        try:
            runs = self._numbers.receive(packet) if isinstance(packet, bytes) else []
        except ValueError:
            logger.warning("a voice packet of the server could not be read")
            return
        self._send_packets()
        for run in runs:
            self.emit("frames", run.track_id, run.frames)

    def _send_packets(self) -> None:
        for packet in self._numbers.packets_to_send():
            self._room.send_voice(packet)

    async def _say_heard(self) -> None:
        while True:
            await asyncio.sleep(SAY_HEARD_S)
            packet = self._numbers.acknowledgement_to_send()
            if packet is not None:
                self._room.send_voice(packet)
