"""What the engine and its worker processes say to each other, and how it is framed.

Over an inherited socket pair: a length of four bytes (big endian), then msgpack of one of the
structs below. The engine sends commands, the worker answers each but `ReceiveVoice` with `Done` and reports
events in between, in order. Both sides are ours, and still every length is checked: a worker that speaks
nonsense is a worker to be restarted.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    Fallback,
    LayersWatched,
    MediaGrants,
    PeerConnectionLost,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
    VoiceToSend,
)
from signaling.messages import PublishedMedia, ShownTrack, Subscription
from signaling.voice_packet import VoiceRun

MAX_FRAME_BYTES = 1 << 20
"""An offer of 64 m-lines is about 90 kB; statistics of 500 tracks about 100 kB."""
_LENGTH_BYTES = 4


class Command(msgspec.Struct, tag=True, kw_only=True, array_like=True):
    request: int
    """Given back in `Done`."""


class OpenSession(Command):
    room_id: str
    session_id: str
    participant_id: str
    grants: MediaGrants


class SetGrants(Command):
    session_id: str
    grants: MediaGrants


class CloseSession(Command):
    session_id: str


class PublishOffer(Command):
    session_id: str
    negotiation: int
    sdp: str
    media: list[PublishedMedia]


class SubscribeAnswer(Command):
    session_id: str
    negotiation: int
    sdp: str


class SetMuted(Command):
    session_id: str
    track_id: str
    muted: bool


class Unpublish(Command):
    session_id: str
    track_id: str


class SetSubscription(Command):
    session_id: str
    wanted: list[Subscription] | None


class SetLayout(Command):
    session_id: str
    shown: list[ShownTrack]


class SetFallback(Command):
    session_id: str
    wish: Fallback


class ReceiveVoice(msgspec.Struct, tag=True, kw_only=True, array_like=True):
    """Fifty times a second: the only command without an answer."""

    session_id: str
    runs: list[VoiceRun]


class Rebuild(Command):
    session_id: str
    pc: Literal["publish", "subscribe"]


class AcceptWhip(Command):
    session_id: str
    sdp: str


class AcceptWhep(Command):
    session_id: str
    sdp: str


class AskStatistics(Command):
    """Also the sign of life: a worker that does not answer is killed."""


AnyAnswered = (
    OpenSession
    | SetGrants
    | CloseSession
    | PublishOffer
    | SubscribeAnswer
    | SetMuted
    | Unpublish
    | SetSubscription
    | SetLayout
    | SetFallback
    | Rebuild
    | AcceptWhip
    | AcceptWhep
    | AskStatistics
)
AnyCommand = AnyAnswered | ReceiveVoice


class TrackStatistics(msgspec.Struct, kw_only=True):
    room_id: str
    session_id: str
    track_id: str
    packets_received: int
    packets_forwarded: int
    packets_resent: int
    subscribers: int


class WorkerStatistics(msgspec.Struct, kw_only=True):
    port: int
    rooms: int
    sessions: int
    strangers: int
    """Datagrams from nobody known."""
    send_failures: int
    longest_stall_s: float
    """How late the worker's loop was at worst since the last question."""
    cpu_s: float
    tasks: int = 0
    """Of the worker's loop: one for each connection's handshake and reading, a few of its own."""
    tracks: list[TrackStatistics]


class Ready(msgspec.Struct, tag=True):
    """The worker has its port, and answers there whoever tries whether it can be reached."""

    port: int
    ufrag: str
    password: str
    """What such a check is addressed to and signed with."""


class Done(msgspec.Struct, tag=True, kw_only=True):
    request: int
    refused: str | None = None
    """The description cannot be used: why."""
    gone: bool = False
    """The session ended before the command."""
    sdp: str | None = None
    statistics: WorkerStatistics | None = None


class Happened(msgspec.Struct, tag=True):
    """An engine event, by the name of its class."""

    name: str
    event: msgspec.Raw


AnyReport = Ready | Done | Happened

_EVENTS: dict[str, msgspec.msgpack.Decoder[EngineEvent]] = {
    kind.__name__: msgspec.msgpack.Decoder(kind)
    for kind in (
        DescriptionToSend,
        TrackAppeared,
        TrackDisappeared,
        LayersWatched,
        SpeakersHeard,
        PeerConnectionLost,
        VoiceToSend,
    )
}
_encoder = msgspec.msgpack.Encoder()
command_decoder: msgspec.msgpack.Decoder[AnyCommand] = msgspec.msgpack.Decoder(AnyCommand)
report_decoder: msgspec.msgpack.Decoder[AnyReport] = msgspec.msgpack.Decoder(AnyReport)


class FrameTooLong(ValueError):
    """A frame beyond MAX_FRAME_BYTES: the other side is not what it should be."""


def encode_frame(message: AnyCommand | AnyReport) -> bytes:
    """Raises: FrameTooLong."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameTooLong(f"{type(message).__name__} of {len(body)} bytes")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def event_report(event: EngineEvent) -> Happened:
    return Happened(type(event).__name__, msgspec.Raw(_encoder.encode(event)))


def event_of(report: Happened) -> EngineEvent:
    """Raises: KeyError; msgspec.ValidationError."""
    return _EVENTS[report.name].decode(report.event)


class FrameReader:
    """Bytes in as they come, whole frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises: FrameTooLong."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise FrameTooLong(f"a frame of {length} bytes")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            yield frame
