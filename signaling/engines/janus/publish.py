"""The publish peer connection of a session: a VideoRoom handle that the client's offers go to."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from signaling.engines.janus.connection import JanusConnection
from signaling.engines.janus.errors import JanusLost
from signaling.engines.janus.messages import FromJanus


class PublishConnection:
    """`open` makes one with its first offer, `renegotiate` takes the next ones. `changed` is called when media
    begin to flow, `lost` when the gateway has ended it, `talks` when its sound begins or ends to be loud
    (with the level in dB below full scale)."""

    def __init__(
        self,
        connection: JanusConnection,
        room: int,
        identity: tuple[object, ...],
        changed: Callable[[], None],
        lost: Callable[["PublishConnection"], None],
        talks: Callable[[bool, float], None],
    ) -> None:
        self.feed = 1 + secrets.randbits(52)
        self.identity = identity
        self.is_up = False
        """Whether the gateway has media for subscribers."""
        self.mids: set[str] = set()
        """Every media line that it ever had a track on."""
        self.moderated: set[str] = set()
        """Those whose packets go no further."""
        self._connection = connection
        self._room = room
        self._changed = changed
        self._lost = lost
        self._talks = talks
        self._handle: int | None = None

    async def open(self, sdp: str) -> str:
        """The answer's SDP. Raises: JanusLost; JanusRefused, and then it is closed."""
        self._handle = await self._connection.attach(self._hear)
        body: dict[str, Any] = {
            "request": "joinandconfigure",
            "ptype": "publisher",
            "room": self._room,
            "id": self.feed,
        }
        token = self._connection.room_token(self._room)
        if token is not None:
            body["token"] = token
        try:
            return await self._offer(body, sdp)
        except BaseException:
            await self.close()
            raise

    async def renegotiate(self, sdp: str) -> str:
        """As `open`, for the same peer connection; refused, it goes on as it was."""
        return await self._offer({"request": "configure"}, sdp)

    async def _offer(self, body: dict[str, Any], sdp: str) -> str:
        assert self._handle is not None
        # Our wire has the smallest layer first; Janus else takes the first for the largest.
        jsep = {"type": "offer", "sdp": sdp, "rid_order": "lmh"}
        answer = await self._connection.ask(self._handle, body, jsep)
        if answer.jsep is None:
            raise JanusLost("an offer was not answered")
        return answer.jsep.sdp

    async def close(self) -> None:
        handle, self._handle = self._handle, None
        self.is_up = False
        if handle is not None:
            await self._connection.detach(handle)

    def _hear(self, message: FromJanus) -> None:
        match message.janus:
            case "webrtcup":
                self.is_up = True
                self._changed()
            case "hangup" | "detached":
                self.is_up = False
                self._lost(self)
            case "event":
                self._hear_room(message.plugin)

    def _hear_room(self, said: Mapping[str, Any]) -> None:
        """Everyone in the room is told who talks: here only what is said of this one counts."""
        what = said.get("videoroom")
        if what in ("talking", "stopped-talking") and said.get("id") == self.feed:
            level = said.get("audio-level-dBov-avg", 0)
            self._talks(what == "talking", float(level) if isinstance(level, int | float) else 0.0)
