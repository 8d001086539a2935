"""The subscribe peer connection of a session: a VideoRoom handle that offers what the client receives.

`set_wanted` says what is to flow; the handle follows in steps, one offer outstanding at a time. What is no
longer wanted is taken off at once, also while the client owes an answer (the gateway then offers anew after
it), and before anything is added: a media line is offered inactive before it carries another track, for
browsers then forget whose sound its picture was played with.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from signaling.engines.janus.connection import JanusConnection
from signaling.engines.janus.description import with_origin
from signaling.engines.janus.errors import JanusError, JanusLost, JanusRefused
from signaling.engines.janus.messages import (
    NO_SUCH_FEED,
    FromJanus,
    SubscribedStream,
    subscribed_streams,
)
from signaling.messages import SubscribedMedia
from signaling.negotiation import OfferNegotiation

log = logging.getLogger(__name__)

MAX_LINES = 64
"""Thirty classes with camera and microphone; a browser's answer to more would pass 64 kB."""
RETRY_S = 0.2
MAX_RETRIES = 25
"""A feed that the gateway does not know although its publisher is there: between two of its messages."""

Source = tuple[int, str]
"""Feed and mid: where the gateway has a track from."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to come of one source."""

    track_id: str
    participant_id: str
    layer: int | None
    """Of a simulcast picture, 0 the smallest; None: not sent now, though its media line stays."""


@dataclass(frozen=True, slots=True)
class Offer:
    number: int
    sdp: str
    media: Sequence[SubscribedMedia]


class SubscribeConnection:
    """`offered` is called with every offer for the client, `lost` once when it can go on no more."""

    def __init__(
        self,
        connection: JanusConnection,
        room: int,
        negotiation: OfferNegotiation,
        clock: Callable[[], float],
        offered: Callable[[Offer], None],
        lost: Callable[["SubscribeConnection"], None],
    ) -> None:
        self._connection = connection
        self._room = room
        self._negotiation = negotiation
        self._clock = clock
        self._offered = offered
        self._lost = lost
        self._handle: int | None = None
        self._is_joined = False
        self._wanted: dict[Source, Wanted] = {}
        self._carried: dict[str, Source] = {}
        """mid of the subscription → source: what the gateway sends, or will after the answer"""
        self._held_back: set[str] = set()
        """Mids of the subscription whose packets the gateway keeps."""
        self._layers: dict[str, int] = {}
        """mid of the subscription → the layer that is asked for; only of pictures that have some"""
        self._pending: FromJanus | None = None
        """An offer of the gateway's that came before its last one was settled here."""
        self._task: asyncio.Task[None] | None = None
        self._retries = 0
        self._is_closed = False
        self._session_number = secrets.randbits(62)
        self._names: dict[Source, tuple[str, str]] = {}

    def set_wanted(self, wanted: Mapping[Source, Wanted]) -> None:
        """The whole set; of more than MAX_LINES the first come."""
        self._wanted = dict(list(wanted.items())[:MAX_LINES])
        self._names.update({source: (each.track_id, each.participant_id) for source, each in self._wanted.items()})
        self._go_on()

    def carries(self, source: Source | None) -> bool:
        return source in self._carried.values()

    def _go_on(self) -> None:
        if self._task is None and not self._is_closed and self._step() is not None:
            self._task = asyncio.create_task(self._follow())

    # --- following ------------------------------------------------------------------------------

    def _step(self) -> dict[str, Any] | None:
        """The next request to the VideoRoom, None: nothing to do (now)."""
        extra = [mid for mid, source in self._carried.items() if source not in self._wanted]
        if extra and self._is_joined:
            return {"request": "unsubscribe", "streams": [{"sub_mid": mid} for mid in extra]}
        kept = [(mid, self._wanted[source]) for mid, source in self._carried.items() if source in self._wanted]
        changes = [change for mid, wanted in kept if (change := self._change(mid, wanted))]
        if changes and self._is_joined:
            return {"request": "configure", "streams": changes}
        missing = self._wanted.keys() - set(self._carried.values())
        if not missing or self._negotiation.is_offered:
            return None
        streams = [{"feed": feed, "mid": mid} for feed, mid in self._wanted if (feed, mid) in missing]
        if self._is_joined:
            return {"request": "subscribe", "streams": streams}
        body: dict[str, Any] = {
            "request": "join",
            "ptype": "subscriber",
            "room": self._room,
            "autoupdate": False,
            "streams": streams,
        }
        token = self._connection.room_token(self._room)
        return body if token is None else {**body, "token": token}

    def _change(self, mid: str, wanted: Wanted) -> dict[str, Any] | None:
        """What must be told of a line that carries the right source; nothing is negotiated for it."""
        change: dict[str, Any] = {"mid": mid}
        if (wanted.layer is None) is not (mid in self._held_back):
            change["send"] = wanted.layer is not None
        if mid in self._layers and wanted.layer is not None and wanted.layer != self._layers[mid]:
            change["substream"] = wanted.layer
        return change if len(change) > 1 else None

    async def _follow(self) -> None:
        try:
            while not self._is_closed and (step := self._step()) is not None:
                await self._carry_out(step)
        except JanusLost:
            pass  # its node tells everyone
        except (JanusError, msgspec.ValidationError) as error:
            log.warning("a subscription failed: %s", error)
            self._give_up()
        finally:
            self._task = None

    async def _carry_out(self, step: dict[str, Any]) -> None:
        """Raises: JanusLost, JanusRefused."""
        if self._handle is None:
            self._handle = await self._connection.attach(self._hear)
        if step["request"] == "unsubscribe":
            # Off our list first: what the answer lists as inactive may be reused right away.
            for stream in step["streams"]:
                self._carried.pop(stream["sub_mid"], None)
        try:
            await self._connection.ask(self._handle, step)
        except JanusRefused as error:
            if error.code != NO_SUCH_FEED or self._retries >= MAX_RETRIES:
                raise
            self._retries += 1
            await asyncio.sleep(RETRY_S)
            return
        self._retries = 0
        if step["request"] == "join":
            self._is_joined = True
        elif step["request"] == "configure":
            for stream in step["streams"]:
                if "send" in stream:
                    (self._held_back.discard if stream["send"] else self._held_back.add)(stream["mid"])
                if "substream" in stream:
                    self._layers[stream["mid"]] = stream["substream"]

    # --- what the gateway says --------------------------------------------------------------------

    def _hear(self, message: FromJanus) -> None:
        match message.janus:
            case "hangup" | "detached":
                self._give_up()
            case "event" if message.plugin.get("videoroom") in ("attached", "updated"):
                self._hear_update(message)

    def _hear_update(self, message: FromJanus) -> None:
        try:
            streams = subscribed_streams(message.plugin)
        except msgspec.ValidationError:
            self._give_up()
            return
        if streams is not None:
            self._carried = {each.mid: source for each in streams if (source := _source_of(each)) is not None}
            self._held_back = {each.mid for each in streams if not each.send}
            self._layers = {each.mid: each.simulcast.substream_target for each in streams if each.simulcast is not None}
        if message.jsep is not None:
            self._pending = message
            self._make_offer()

    def _make_offer(self) -> None:
        message = self._pending
        if message is None or message.jsep is None or self._negotiation.is_offered:
            return
        self._pending = None
        self._negotiation.want_offer()
        number = self._negotiation.offer_to_send(self._clock())
        if number is not None:
            sdp = with_origin(message.jsep.sdp, self._session_number, number)
            self._offered(Offer(number, sdp, self._media()))

    def _media(self) -> list[SubscribedMedia]:
        named = [(mid, self._names.get(source)) for mid, source in self._carried.items()]
        return [SubscribedMedia(mid=mid, track_id=name[0], participant_id=name[1]) for mid, name in named if name]

    # --- what the client says ----------------------------------------------------------------------

    async def receive_answer(self, number: int, sdp: str) -> None:
        """Raises: JanusLost; JanusRefused, and then the offer is still unanswered."""
        if self._handle is None or number != self._negotiation.number or not self._negotiation.is_offered:
            return
        await self._connection.ask(self._handle, {"request": "start"}, {"type": "answer", "sdp": sdp})
        self._negotiation.receive_answer(number)
        self._names = {source: name for source, name in self._names.items() if source in self._wanted}
        self._make_offer()
        self._go_on()

    # --- the end --------------------------------------------------------------------------------

    def _give_up(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._lost(self)

    async def close(self) -> None:
        self._is_closed = True
        if self._task is not None:
            # Not cancelled: a handle whose attachment is under way would stay at the gateway.
            await asyncio.gather(self._task, return_exceptions=True)
        handle, self._handle = self._handle, None
        if handle is not None:
            await self._connection.detach(handle)


def _source_of(stream: SubscribedStream) -> Source | None:
    if not stream.active or stream.feed_id is None or stream.feed_mid is None:
        return None
    return (stream.feed_id, stream.feed_mid)
