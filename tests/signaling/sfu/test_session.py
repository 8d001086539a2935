"""A session's timers and offers, with a clock of the test's and no packets."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import zip_longest
from typing import Any

import pytest

from signaling.engines import (
    DescriptionToSend,
    EngineEvent,
    MediaGrants,
    PeerConnectionLost,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.sfu.aiortc_seams import Certificate
from signaling.engines.sfu.audible import MAX_AUDIBLE
from signaling.engines.sfu.codecs import RID, offered_codecs, offered_extensions
from signaling.engines.sfu.ice import CONNECT_S
from signaling.engines.sfu.publish import MAX_BOUND_SSRCS
from signaling.engines.sfu.room import MediaRoom
from signaling.engines.sfu.sdp import (
    Direction,
    ParsedDescription,
    SdpError,
    SentStream,
    TransportDescription,
    WrittenSection,
    parse_description,
    write_description,
)
from signaling.engines.sfu.session import KEEP_TRACKS_S, LAYOUT_INTERVAL_S, Session
from signaling.engines.sfu.subscribe import MAX_LINES, SubscribeConnection, SubscriberView
from signaling.engines.sfu.transport import MediaNetwork
from signaling.engines.sfu.udp import UdpMux
from signaling.messages import PublishedMedia
from signaling.negotiation import MAX_TRIES, RESEND_AFTER_S

EVERYTHING = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True)
CERTIFICATE = Certificate()


class House:
    """A room with a clock that stands still and a list of events."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.events: list[EngineEvent] = []
        self.paced: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []
        self._background: list[asyncio.Task[None]] = []
        mux = UdpMux(["127.0.0.1"], 9)
        network = MediaNetwork(
            mux,
            CERTIFICATE,
            lambda: self.now,
            self._spawn,
            lambda: None,
            self.paced.append,
            lambda _delay_s, callback: self.later.append(callback),
        )
        self.room = MediaRoom(network, "r", self.events.append)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(asyncio.create_task(work))

    async def close(self) -> None:
        for session_id in list(self.room.sessions):
            self.room.close_session(session_id)
        await asyncio.gather(*self._background)

    def open(self, session_id: str, grants: MediaGrants = EVERYTHING) -> Session:
        return self.room.open_session(session_id, f"p-{session_id}", grants)

    def run_paced(self) -> None:
        while self.paced:
            self.paced.pop(0)()

    def pass_time(self, seconds: float) -> None:
        """In steps of a second, as the hub's ticks do."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            for session in list(self.room.sessions.values()):
                session.handle_second(self.now)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.close()


def description(*kinds: str, **how: Any) -> ParsedDescription:
    return parse_description(description_text(*kinds, **how))


def description_text(
    *kinds: str, direction: Direction = "sendonly", fingerprint: str = "AA", ssrcs: Sequence[int] = ()
) -> str:
    full = ":".join([fingerprint] * 32)
    transport = TransportDescription("ufra", "p" * 22, full, "active", [("127.0.0.1", 9)])
    stream = SentStream("s", "t", "c")
    sections = [
        WrittenSection(
            kind, str(number), direction, offered_codecs(kind), offered_extensions(kind), ssrc=ssrc, stream=stream
        )
        for number, (kind, ssrc) in enumerate(zip_longest(kinds, ssrcs))
    ]
    return write_description(1, 1, transport, sections)


def published(session: Session, *, muted: bool = False) -> list[PublishedMedia]:
    return [
        PublishedMedia(mid="0", track_id=f"{session.id}-microphone", source="microphone", muted=muted),
        PublishedMedia(mid="1", track_id=f"{session.id}-camera", source="camera"),
    ]


def publish(session: Session, *, fingerprint: str = "AA") -> str:
    return session.receive_publish_offer(description("audio", "video", fingerprint=fingerprint), published(session))


async def test_tracks_wait_ten_seconds_for_their_publisher(house: House) -> None:
    session = house.open("a")
    publish(session)
    house.pass_time(CONNECT_S + 2)
    assert [(event.session_id, event.pc) for event in house.of(PeerConnectionLost)] == [("a", "publish")]
    assert not house.of(TrackDisappeared)
    publish(session)
    house.pass_time(KEEP_TRACKS_S + 2)
    assert not house.of(TrackDisappeared)
    session.rebuild("publish")
    house.pass_time(KEEP_TRACKS_S + 2)
    assert {event.track_id for event in house.of(TrackDisappeared)} == {"a-microphone", "a-camera"}
    assert len(house.of(TrackAppeared)) == 2


async def test_a_connection_that_is_replaced_was_not_lost(house: House) -> None:
    """The client closes the old one, which may be heard before its message about the new one."""
    session = house.open("a")
    publish(session)
    session.publish_lost()
    publish(session, fingerprint="BB")
    house.pass_time(3)
    session.publish_lost()
    session.rebuild("publish")
    house.pass_time(3)
    assert not house.of(PeerConnectionLost)
    session.publish_lost()
    house.pass_time(2)
    assert [(event.session_id, event.pc) for event in house.of(PeerConnectionLost)] == [("a", "publish")]


async def test_another_certificate_is_another_peer_connection(house: House) -> None:
    session = house.open("a")
    publish(session)
    first = session.publish
    publish(session)
    assert session.publish is first
    publish(session, fingerprint="BB")
    assert session.publish is not first
    assert not house.of(TrackDisappeared)


async def test_what_an_offer_no_longer_names_is_gone(house: House) -> None:
    session = house.open("a")
    publish(session)
    session.receive_publish_offer(description("audio", "video"), published(session)[:1])
    assert [event.track_id for event in house.of(TrackDisappeared)] == ["a-camera"]


async def test_a_refused_offer_changes_nothing(house: House) -> None:
    session = house.open("a")
    publish(session)
    wrong = PublishedMedia(mid="1", track_id="other", source="microphone")
    with pytest.raises(SdpError):
        session.receive_publish_offer(description("audio", "video"), [wrong])
    assert set(session.tracks) == {"a-microphone", "a-camera"}
    assert len(house.of(TrackAppeared)) == 2


async def test_a_hosts_mute_is_not_undone_by_an_offer(house: House) -> None:
    session = house.open("a")
    publish(session)
    session.set_muted("a-microphone", True)
    publish(session)
    assert session.tracks["a-microphone"].track.muted
    session.set_muted("a-microphone", False)
    assert not session.tracks["a-microphone"].track.muted


async def test_a_track_published_muted_is_muted(house: House) -> None:
    session = house.open("a")
    session.receive_publish_offer(description("audio", "video"), published(session, muted=True))
    assert [event.track.muted for event in house.of(TrackAppeared)] == [True, False]


async def test_changes_while_an_offer_is_out_make_one_more(house: House) -> None:
    viewer = house.open("viewer")
    publish(house.open("a"))
    house.run_paced()
    (first,) = [event for event in house.of(DescriptionToSend) if event.pc == "subscribe"]
    assert first.negotiation == 1
    assert [each.track_id for each in first.media] == ["a-microphone", "a-camera"]
    for name in ("b", "c"):
        publish(house.open(name))
    offers = [event for event in house.of(DescriptionToSend) if event.session_id == "viewer"]
    assert len(offers) == 1
    viewer.receive_subscribe_answer(1, description("audio", "video", direction="recvonly"))
    offers = [event for event in house.of(DescriptionToSend) if event.session_id == "viewer"]
    assert [event.negotiation for event in offers] == [1, 2]
    assert len(offers[1].media) == 6


async def test_an_unanswered_offer_is_sent_again_word_for_word(house: House) -> None:
    house.open("viewer")
    publish(house.open("a"))
    house.run_paced()
    # The client lives (its checks arrive), its signaling is away.
    viewer = house.room.sessions["viewer"]
    assert viewer.subscribe is not None
    viewer.subscribe.transport._ice.heard(house.now + 100)
    house.pass_time(RESEND_AFTER_S * (MAX_TRIES + 1))
    offers = [event for event in house.of(DescriptionToSend) if event.session_id == "viewer"]
    assert len(offers) == MAX_TRIES
    assert len({(event.negotiation, event.description.sdp) for event in offers}) == 1
    assert ("viewer", "subscribe") in [(event.session_id, event.pc) for event in house.of(PeerConnectionLost)]


async def test_a_lost_subscriber_is_offered_nothing_until_it_asks(house: House) -> None:
    viewer = house.open("viewer")
    publish(house.open("a"))
    house.run_paced()
    viewer.receive_subscribe_answer(1, description("audio", "video", direction="recvonly"))
    house.pass_time(CONNECT_S + 1)
    assert viewer.subscribe is None
    publish(house.open("b"))
    house.run_paced()
    assert viewer.subscribe is None
    viewer.rebuild("subscribe")
    house.run_paced()
    offers = [event for event in house.of(DescriptionToSend) if event.session_id == "viewer"]
    assert [event.negotiation for event in offers] == [1, 2]


async def test_an_answer_that_does_not_fit_leaves_the_offer_open(house: House) -> None:
    viewer = house.open("viewer")
    publish(house.open("a"))
    house.run_paced()
    with pytest.raises(SdpError):
        viewer.receive_subscribe_answer(1, parse_description("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:zero"))
    viewer.receive_subscribe_answer(7, description("audio", "video", direction="recvonly"))
    viewer.receive_subscribe_answer(1, description("audio", "video", direction="recvonly"))
    assert isinstance(viewer.subscribe, SubscribeConnection)
    assert all(line.track is not None for line in viewer.subscribe.lines)


async def test_a_room_larger_than_an_answer_can_be_is_offered_in_part(house: House) -> None:
    viewer = house.open("viewer")
    for number in range(MAX_LINES // 2 + 5):
        publish(house.open(f"c{number}"))
        house.paced.clear()
    viewer._creating_subscribe = False
    viewer.refresh_subscription()
    house.run_paced()
    offer = next(event for event in house.of(DescriptionToSend) if event.session_id == "viewer")
    assert len(offer.media) == MAX_LINES
    assert offer.description.sdp.count("m=") == MAX_LINES
    offered = {each.track_id for each in offer.media}
    last = f"c{MAX_LINES // 2 + 4}"
    assert f"{last}-microphone" in offered, "a voice that is not offered is never heard"
    assert f"{last}-camera" not in offered
    # Its page turns to the last one.
    viewer.set_layout({f"{last}-camera": (320, 180)})
    for _freed_and_taken in range(2):
        answer_last_offer(house, viewer)
    assert {each.track_id for each in last_offer(house, viewer).media} >= {f"{last}-camera", f"{last}-microphone"}
    answer_last_offer(house, viewer)
    # It turns away: pages ask only for pictures that they have.
    house.now += LAYOUT_INTERVAL_S
    viewer.set_layout({"c0-camera": (320, 180)})
    assert f"{last}-camera" in {each.track_id for each in last_offer(house, viewer).media}


def last_offer(house: House, viewer: Session) -> DescriptionToSend:
    offers: list[DescriptionToSend] = [each for each in house.of(DescriptionToSend) if each.session_id == viewer.id]
    return offers[-1]


def answer_last_offer(house: House, viewer: Session) -> None:
    offer = last_offer(house, viewer)
    sdp = offer.description.sdp.replace("a=setup:actpass", "a=setup:active").replace("a=sendonly", "a=recvonly")
    viewer.receive_subscribe_answer(offer.negotiation, parse_description(sdp))


async def test_the_sound_of_a_screen_is_asked_for_and_offered_as_music_and_a_voice_is_not(house: House) -> None:
    """On the same peer connection, whichever of them a line carries (RFC 7587 section 6.1)."""
    sender, _viewer = house.open("s"), house.open("v")
    media = [
        PublishedMedia(mid="0", track_id="voice", source="microphone"),
        PublishedMedia(mid="1", track_id="film", source="screen_audio"),
    ]
    answer = sender.receive_publish_offer(description("audio", "audio"), media)
    voice, film = parse_description(answer).sections
    (of_voice,), (of_film,) = voice.codecs.values(), film.codecs.values()
    assert (of_voice.parameters["usedtx"], of_voice.parameters.get("stereo")) == ("1", None)
    assert (of_film.parameters["usedtx"], of_film.parameters["stereo"]) == ("0", "1")
    house.run_paced()
    offer = house.of(DescriptionToSend)[-1]
    lines = {each.mid: each.track_id for each in offer.media}
    in_stereo = [
        lines[section.mid]
        for section in parse_description(offer.description.sdp).sections
        if any(codec.parameters.get("sprop-stereo") == "1" for codec in section.codecs.values())
    ]
    assert in_stereo == ["film"]


async def test_nobody_receives_their_own_tracks(house: House) -> None:
    publish(house.open("a"))
    house.run_paced()
    assert house.room.sessions["a"].subscribe is None


async def test_without_the_right_to_receive_nothing_is_offered(house: House) -> None:
    house.open("viewer", MediaGrants(True, True, True, False))
    publish(house.open("a"))
    house.run_paced()
    assert not [event for event in house.of(DescriptionToSend) if event.session_id == "viewer"]


async def test_of_many_microphones_the_loudest_are_forwarded(house: House) -> None:
    """Tracks without levels (not every client sends them) are never held back."""
    tracks = []
    for number in range(MAX_AUDIBLE + 2):
        session = house.open(f"s{number}")
        media = [PublishedMedia(mid="0", track_id=f"t{number}", source="microphone")]
        session.receive_publish_offer(description("audio"), media)
        tracks.append(session.tracks[f"t{number}"])
    *spoken, untold = tracks
    for track in spoken:
        house.room.heard(track, 60, house.now)
    assert [track.is_held_back for track in tracks] == [False] * MAX_AUDIBLE + [True, False]
    house.now += 1.0
    house.room.heard(spoken[-1], 20, house.now)
    assert not spoken[-1].is_held_back
    assert sum(track.is_held_back for track in spoken) == 1
    held = next(track for track in spoken if track.is_held_back)
    house.room.sessions[spoken[-1].track.session_id].set_muted(spoken[-1].track.id, True)
    house.room.heard(held, 60, house.now)
    assert not held.is_held_back, "a mute makes room"
    assert not untold.is_held_back


async def test_layouts_that_follow_each_other_closely_are_taken_together(house: House) -> None:
    session = house.open("a")
    looks: list[object] = []

    class Counted:
        def set_view(self, view: SubscriberView) -> None:
            looks.append(view.layout)

        def close(self) -> None: ...

    session.subscribe = Counted()  # type: ignore[assignment]
    for width in range(1, 200):
        session.set_layout({"t": (width, width)})
    assert looks == [{"t": (1, 1)}]
    house.now += LAYOUT_INTERVAL_S
    session.watch_pictures(house.now)
    session.watch_pictures(house.now)
    assert looks == [{"t": (1, 1)}, {"t": (199, 199)}]


def rtp(payload_type: int, ssrc: int, sequence: int, extensions: bytes = b"") -> bytes:
    block = struct.pack(">HH", 0xBEDE, len(extensions) // 4) + extensions if extensions else b""
    first = 0x90 if extensions else 0x80
    return struct.pack(">BBHII", first, payload_type, sequence, 0, ssrc) + block + b"\x10" + bytes(20)


async def test_a_camera_that_is_turned_on_and_off_all_day_is_received_every_time(house: House) -> None:
    """Each time it goes up with SSRCs of its own, over the same peer connection and media lines."""
    session = house.open("a")
    for turn in range(MAX_BOUND_SSRCS):
        offer = description("audio", "video", ssrcs=(10 * turn + 1, 10 * turn + 2))
        media = [
            PublishedMedia(mid="0", track_id=f"microphone-{turn}", source="microphone"),
            PublishedMedia(mid="1", track_id=f"camera-{turn}", source="camera"),
        ]
        session.receive_publish_offer(offer, media)
        assert session.publish is not None
        for sequence in range(3):
            session.publish.receive_rtp(rtp(111, 10 * turn + 1, sequence))
            session.publish.receive_rtp(rtp(96, 10 * turn + 2, sequence))
        assert [track.packets_received for track in session.tracks.values()] == [3, 3], turn
        session.receive_publish_offer(description("audio", "video", direction="inactive"), [])
        house.pass_time(0.3)


async def test_layers_that_were_named_once_are_known_when_the_camera_is_turned_on_again(house: House) -> None:
    """In the same streams as before: Chromium writes a layer's name until it was told of its packets, and no more."""
    rid = 10
    layers = f"a=extmap:{rid} {RID}\r\na=rid:q send\r\na=rid:h send\r\na=simulcast:send q;h\r\n"
    session = house.open("a")
    for turn, track_id in enumerate(("first", "second")):
        offer = parse_description(description_text("video") + layers)
        session.receive_publish_offer(offer, [PublishedMedia(mid="0", track_id=track_id, source="camera")])
        assert session.publish is not None
        for number, name in enumerate("qh"):
            named = bytes([0x10, ord("0"), rid << 4, ord(name)]) if turn == 0 else b""
            session.publish.receive_rtp(rtp(96, 100 + number, turn, named))
        assert [layer.packets_received for layer in session.tracks[track_id].layers] == [1, 1], track_id
        session.receive_publish_offer(description("video", direction="inactive"), [])
