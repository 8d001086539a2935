"""What engine and worker say to each other."""

import msgspec
import pytest

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    PeerConnectionLost,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.sfu import control
from signaling.engines.sfu.control import FrameReader, FrameTooLong, encode_frame
from signaling.messages import PublishedMedia, SessionDescription, SubscribedMedia, Track

TRACK = Track(id="t", participant_id="p", session_id="s", source="camera", kind="video", muted=False)
EVENTS: list[EngineEvent] = [
    DescriptionToSend(
        "r", "s", "subscribe", 3, SessionDescription(type="offer", sdp="v=0"),
        [SubscribedMedia(mid="0", track_id="t", participant_id="p")],
    ),
    TrackAppeared("r", TRACK),
    TrackDisappeared("r", "t"),
    SpeakersHeard("r", ["p"]),
    PeerConnectionLost("r", "s", None, "failed"),
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_cross_unchanged(event: EngineEvent) -> None:
    (frame,) = FrameReader().feed(encode_frame(control.event_report(event)))
    report = control.report_decoder.decode(frame)
    assert isinstance(report, control.Happened)
    assert control.event_of(report) == event


def test_commands_cross_in_any_pieces() -> None:
    media = [PublishedMedia(mid="0", track_id="t", source="camera")]
    commands = [
        control.PublishOffer(request=1, session_id="s", negotiation=1, sdp="v=0" * 1_000, media=media),
        control.SetSubscription(request=2, session_id="s", wanted=None),
        control.AskStatistics(request=3),
    ]
    data = b"".join(encode_frame(command) for command in commands)
    reader = FrameReader()
    frames = [frame for place in range(0, len(data), 7) for frame in reader.feed(data[place : place + 7])]
    assert [control.command_decoder.decode(frame) for frame in frames] == commands


def test_a_frame_beyond_the_bound_is_refused_on_both_sides() -> None:
    with pytest.raises(FrameTooLong):
        encode_frame(control.AcceptWhip(request=1, session_id="s", sdp="x" * (1 << 20)))
    with pytest.raises(FrameTooLong):
        list(FrameReader().feed(b"\x7f\xff\xff\xff"))


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode(["Nothing", 1]), msgspec.msgpack.encode({})])
def test_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        control.command_decoder.decode(body)
