"""Media sessions: whose they are, what survives a lost connection, what is refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from signaling import media_session
from signaling.description_check import MAX_TRACKS_PER_ROOM
from signaling.engines import (
    EngineUnavailable,
    LayersWatched,
    MediaEngine,
    MediaGrants,
    PeerConnectionLost,
    SpeakersHeard,
    TrackAppeared,
    TrackDisappeared,
)
from signaling.engines.p2p import P2pEngine
from signaling.errors import SignalingError
from signaling.mailbox import MAX_MESSAGES
from signaling.media_session import MAX_SESSIONS_PER_PARTICIPANT, MediaService
from signaling.messages import (
    Candidate,
    EngineName,
    LayersWanted,
    MediaClosed,
    MediaStarted,
    RebuildPeerConnection,
    SetLayout,
    SetSound,
    SetTrackMuted,
    StartMedia,
    StopMedia,
    Subscribe,
    TrickledCandidate,
    Unpublish,
)
from tests.support.clock import Clock
from tests.support.deadlines import SECOND
from tests.support.media_service import (
    SDP,
    ChangingRights,
    PassiveEngine,
    RecordedOutbox,
    a_description,
    a_track,
    named,
)
from tests.support.media_session import EVERYTHING, eventually
from tests.support.virtual_time import in_virtual_time

SILENT = MediaGrants(publish_audio=False, publish_video=False, publish_screen=False, subscribe=True)
CANDIDATE = Candidate(candidate="candidate:1 1 udp 1 192.0.2.1 9 typ host", sdp_mid="0")


@dataclass
class House:
    outbox: RecordedOutbox = field(default_factory=RecordedOutbox)
    rights: ChangingRights = field(default_factory=ChangingRights)
    clock: Clock = field(default_factory=Clock)
    engines: dict[EngineName, MediaEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.media = MediaService(
            self.engines,
            self.rights,
            self.outbox,
            turn_urls=["turn:turn.example.org:3478"],
            turn_secret="secret",
            clock=self.clock,
        )
        self.sfu = PassiveEngine(self.media.receive_engine_event)
        self.p2p = P2pEngine(self.media.receive_engine_event)
        self.engines.update(sfu=self.sfu, p2p=self.p2p)
        self.rights.engines["room"] = "sfu"
        self.rights.engines["private"] = "p2p"

    async def start(
        self, connection: str, *, who: str = "p", room: str = "room", session: str | None = None
    ) -> MediaStarted:
        """As the adapter does: the answer first, then what waited."""
        started = await self.media.start(room, who, connection, StartMedia(session_id=session))
        await asyncio.sleep(0)
        return started

    async def two_peers(self) -> tuple[str, str]:
        first = await self.start("c1", who="p1", room="private")
        later = await self.start("c2", who="p2", room="private")
        self.outbox.sent.clear()
        return first.session_id, later.session_id


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    house.sfu.gate.set()
    await house.media.stop()


# --- beginning ------------------------------------------------------------------------------------


async def test_a_session_begins_with_credentials_of_its_own(house: House) -> None:
    started = await house.start("c1")
    assert (started.engine, started.resumed, started.peers) == ("sfu", False, [])
    (server,) = started.ice_servers
    assert server.username == f"{int(house.clock.now) + 3_600}:p"
    assert house.media.session_counts() == {"sfu": 1, "p2p": 0}


async def test_a_newcomer_learns_who_is_there_and_they_learn_of_the_newcomer(house: House) -> None:
    first = await house.start("c1", who="p1", room="private")
    later = await house.start("c2", who="p2", room="private")
    assert first.peers == []
    assert [(peer.session_id, peer.participant_id, peer.polite) for peer in later.peers] == [
        (first.session_id, "p1", True)
    ]
    ((event, joined),) = house.outbox.to("c1")
    assert (event, joined.peer.session_id, joined.peer.polite) == ("media_peer_joined", later.session_id, False)
    assert house.outbox.to("c2") == [], "its peers stand in the answer"


async def test_nothing_is_heard_of_a_session_before_its_id_is_known(house: House) -> None:
    """The sfu offers while the session opens; the client cannot place that yet."""
    started = await house.media.start("room", "p", "c1", StartMedia())
    assert house.outbox.sent == []
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.sent == []
    await asyncio.sleep(0)
    assert [payload.negotiation for _event, payload in house.outbox.to("c1")] == [1, 2]


async def test_an_engine_that_cannot_leaves_no_session_behind(house: House) -> None:
    house.sfu.refusal = EngineUnavailable("full")
    with pytest.raises(EngineUnavailable):
        await house.start("c1")
    assert house.media.session_counts()["sfu"] == 0
    del house.engines["sfu"]
    with pytest.raises(EngineUnavailable):
        await house.start("c1")


async def test_a_second_start_of_a_connection_replaces_its_session(house: House) -> None:
    old = await house.start("c1")
    new = await house.start("c1")
    assert old.session_id != new.session_id
    assert set(house.sfu.open_sessions) == {new.session_id}


async def test_who_is_removed_while_a_session_opens_gets_none(house: House) -> None:
    house.sfu.gate.clear()
    starting = asyncio.create_task(house.start("c1"))
    await eventually(lambda: house.media.session_counts()["sfu"], SECOND)
    await house.media.remove_participant("room", "p")
    house.sfu.gate.set()
    with pytest.raises(SignalingError):
        await starting
    assert house.sfu.open_sessions == {}
    assert house.media.session_counts()["sfu"] == 0


async def test_sessions_of_a_participant_are_bounded_and_lost_ones_give_way(house: House) -> None:
    for number in range(MAX_SESSIONS_PER_PARTICIPANT):
        await house.start(f"c{number}")
    with pytest.raises(SignalingError) as refused:
        await house.start("one-more")
    assert refused.value.code == "too-many-sessions"
    await house.start("somebody-else", who="other")
    house.media.connection_lost("c3")
    await house.start("one-more")
    assert house.media.session_counts()["sfu"] == MAX_SESSIONS_PER_PARTICIPANT + 1


async def test_sessions_of_a_room_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_session, "MAX_SESSIONS_PER_ROOM", 2)
    await house.start("c1", who="p1")
    await house.start("c2", who="p2")
    with pytest.raises(SignalingError) as refused:
        await house.start("c3", who="p3")
    assert refused.value.code == "too-many-sessions"
    await house.start("c3", who="p3", room="private")


# --- a connection that is lost --------------------------------------------------------------------


async def test_a_session_goes_on_over_a_new_connection_and_misses_nothing(house: House) -> None:
    started = await house.start("c1")
    house.sfu.publish(started.session_id, "t")
    house.outbox.sent.clear()
    house.media.connection_lost("c1")
    for number in (2, 3):
        house.sfu.offer(started.session_id, number)
    assert house.outbox.sent == []
    resumed = await house.media.start("room", "p", "c2", StartMedia(session_id=started.session_id))
    house.sfu.offer(started.session_id, 4)
    await asyncio.sleep(0)
    assert (resumed.session_id, resumed.resumed) == (started.session_id, True)
    assert [payload.negotiation for _event, payload in house.outbox.to("c2")] == [2, 3, 4]
    assert house.outbox.gone == []
    with pytest.raises(SignalingError):
        await house.media.stop_session("c1", StopMedia(session_id=started.session_id))


async def test_a_resumed_session_is_told_who_is_there_now(house: House) -> None:
    """What was sent to a socket that was dead already is lost without a trace."""
    first, later = await house.two_peers()
    resumed = await house.start("c3", who="p1", room="private", session=first)
    assert [(peer.session_id, peer.polite) for peer in resumed.peers] == [(later, False)]


async def test_a_session_ends_when_nobody_comes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_session, "GRACE_S", 0.02)
    started = await house.start("c1")
    house.sfu.publish(started.session_id, "t")
    house.media.connection_lost("c1")
    await eventually(lambda: not house.sfu.open_sessions, SECOND)
    assert house.outbox.gone == [("room", "t")]
    again = await house.start("c2", session=started.session_id)
    assert not again.resumed
    assert again.session_id != started.session_id


@in_virtual_time
async def test_who_comes_back_in_time_is_not_ended_later() -> None:
    house = House()
    started = await house.start("c1")
    house.media.connection_lost("c1")
    await asyncio.sleep(media_session.GRACE_S - 1)
    await house.start("c2", session=started.session_id)
    await asyncio.sleep(2 * media_session.GRACE_S)
    assert set(house.sfu.open_sessions) == {started.session_id}


async def test_too_many_messages_meanwhile_make_a_new_session(house: House) -> None:
    started = await house.start("c1")
    house.media.connection_lost("c1")
    for number in range(MAX_MESSAGES + 1):
        house.sfu.offer(started.session_id, number + 2)
    again = await house.start("c2", session=started.session_id)
    assert not again.resumed
    assert set(house.sfu.open_sessions) == {again.session_id}


async def test_the_connection_that_has_a_session_gets_new_credentials(house: House) -> None:
    started = await house.start("c1")
    house.clock.now += 1_800
    again = await house.start("c1", session=started.session_id)
    assert (again.session_id, again.resumed) == (started.session_id, True)
    assert again.ice_servers[0].username != started.ice_servers[0].username
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.events_to("c1")[-1] == "media_description"


async def test_a_session_that_moves_is_no_longer_its_old_connections(house: House) -> None:
    started = await house.start("c1")
    house.outbox.sent.clear()
    await house.start("c2", session=started.session_id)
    ((event, closed),) = house.outbox.to("c1")
    assert (event, closed.reason, closed.retry) == ("media_closed", "replaced", False)
    house.media.connection_lost("c1")
    house.sfu.offer(started.session_id, 2)
    assert house.outbox.events_to("c2")[-1] == "media_description"


async def test_going_on_with_one_session_ends_the_connections_other_one(house: House) -> None:
    first = await house.start("c1")
    house.media.connection_lost("c1")
    second = await house.start("c2")
    await house.start("c2", session=first.session_id)
    assert set(house.sfu.open_sessions) == {first.session_id}
    assert ("close", second.session_id) in house.sfu.calls


@pytest.mark.parametrize(("who", "room"), [("somebody-else", "room"), ("p", "another-room")])
async def test_nobody_takes_over_anothers_session(house: House, who: str, room: str) -> None:
    house.rights.engines["another-room"] = "sfu"
    started = await house.start("c1")
    house.media.connection_lost("c1")
    stranger = await house.start("c2", who=who, room=room, session=started.session_id)
    assert not stranger.resumed
    assert stranger.session_id != started.session_id
    assert (await house.start("c3", session=started.session_id)).resumed


async def test_a_device_without_sound_neither_takes_nor_gives_any_and_may_have_it_again(house: House) -> None:
    session = (await house.media.start("room", "p", "c1", StartMedia(without_sound=True))).session_id
    microphone = a_description(session, "publish", "offer", 1, named("sound", "microphone"))
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", microphone)
    assert refused.value.code == "permission-denied"
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("picture")))
    await house.media.refresh_grants("room")
    assert house.sfu.calls[-1] == ("grants", session, replace(EVERYTHING, sound=False)), "the room gave it nothing"
    await house.media.set_sound("c1", SetSound(session_id=session, without_sound=False))
    assert house.sfu.calls[-1] == ("grants", session, EVERYTHING)
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 2, named("s", "microphone")))
    before = len(house.sfu.calls)
    await house.media.set_sound("c1", SetSound(session_id=session, without_sound=False))
    assert len(house.sfu.calls) == before, "as it was"


async def test_a_session_that_goes_on_has_the_sound_that_its_device_has_now(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.media.connection_lost("c1")
    await house.media.start("room", "p", "c2", StartMedia(session_id=session, without_sound=True))
    assert ("grants", session, replace(EVERYTHING, sound=False)) in house.sfu.calls


# --- what clients send ----------------------------------------------------------------------------


async def test_every_message_needs_the_session_of_its_own_connection(house: House) -> None:
    started = await house.start("c1", who="p1")
    await house.start("c2", who="p2")
    session, media = started.session_id, house.media
    house.sfu.calls.clear()
    for connection, session_id in (("c2", session), ("c1", "unknown"), ("nobody", session)):
        for call in (
            media.receive_description(connection, a_description(session_id, "publish", "offer")),
            media.receive_candidate(
                connection, TrickledCandidate(session_id=session_id, pc="publish", candidate=CANDIDATE)
            ),
            media.set_track_muted(connection, SetTrackMuted(session_id=session_id, track_id="t", muted=True)),
            media.unpublish(connection, Unpublish(session_id=session_id, track_id="t")),
            media.subscribe(connection, Subscribe(session_id=session_id, tracks=[])),
            media.set_layout(connection, SetLayout(session_id=session_id, tracks=[])),
            media.set_sound(connection, SetSound(session_id=session_id, without_sound=True)),
            media.rebuild(connection, RebuildPeerConnection(session_id=session_id, pc="publish")),
            media.stop_session(connection, StopMedia(session_id=session_id)),
        ):
            with pytest.raises(SignalingError) as refused:
                await call
            assert refused.value.code == "unknown-session"
    assert house.sfu.calls == []


async def test_an_offer_is_answered_once_and_a_repeated_one_again(house: House) -> None:
    session = (await house.start("c1")).session_id
    offer = a_description(session, "publish", "offer", 1)
    house.sfu.calls.clear()
    house.outbox.sent.clear()
    await house.media.receive_description("c1", offer)
    await house.media.receive_description("c1", offer)  # its answer is on its way
    house.sfu.answer(session, 1)
    house.sfu.answer(session, 1)
    assert house.sfu.calls == [("publish", session, 1)]
    assert len(house.outbox.to("c1")) == 1
    await house.media.receive_description("c1", offer)  # it was lost
    house.sfu.answer(session, 1)
    assert house.sfu.calls == [("publish", session, 1)] * 2
    assert len(house.outbox.to("c1")) == 2


async def test_an_answer_to_an_offer_that_was_replaced_is_not_sent(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.outbox.sent.clear()
    for number in (1, 2):
        await house.media.receive_description("c1", a_description(session, "publish", "offer", number))
    house.sfu.answer(session, 1)
    house.sfu.answer(session, 2)
    assert [payload.negotiation for _event, payload in house.outbox.to("c1")] == [2]


async def test_an_offer_behind_the_present_one_is_dropped_until_a_rebuild(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.calls.clear()
    for number in (5, 4):
        await house.media.receive_description("c1", a_description(session, "publish", "offer", number))
    await house.media.rebuild("c1", RebuildPeerConnection(session_id=session, pc="publish"))
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1))
    assert [call[0] for call in house.sfu.calls] == ["publish", "rebuild", "publish"]


async def test_a_refused_offer_says_why_and_may_be_mended(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.refusal = ValueError("no fingerprint")
    offer = a_description(session, "publish", "offer", 1)
    with pytest.raises(SignalingError, match="no fingerprint") as refused:
        await house.media.receive_description("c1", offer)
    assert refused.value.code == "invalid-description"
    await house.media.receive_description("c1", offer)
    assert house.sfu.calls[-2:] == [("publish", session, 1)] * 2


async def test_an_answer_is_taken_once_and_never_to_what_was_not_offered(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.offer(session, 2)
    house.sfu.calls.clear()
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", 3))
    assert refused.value.code == "invalid-description"
    house.sfu.refusal = ValueError("not this one")
    with pytest.raises(SignalingError):
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", 2))
    for number in (1, 2, 2):
        await house.media.receive_description("c1", a_description(session, "subscribe", "answer", number))
    assert house.sfu.calls == [("subscribe", session, 2)] * 2


@pytest.mark.parametrize(
    ("room", "pc", "kind", "to"),
    [
        ("room", "publish", "answer", None),
        ("room", "subscribe", "offer", None),
        ("room", "publish", "rollback", None),
        ("room", "peer", "offer", "other"),
        ("room", "publish", "offer", "other"),
        ("private", "publish", "offer", None),
        ("private", "peer", "offer", None),
    ],
)
async def test_a_description_of_the_wrong_kind_is_refused(
    house: House, room: str, pc: str, kind: str, to: str | None
) -> None:
    session = (await house.start("c1", room=room)).session_id
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, pc, kind, 1, to=to))  # type: ignore[arg-type]
    assert refused.value.code == "invalid-description"


async def test_descriptions_and_candidates_go_from_peer_to_peer(house: House) -> None:
    first, later = await house.two_peers()
    await house.media.receive_description("c2", a_description(later, "peer", "offer", 1, named("t"), to=first))
    await house.media.receive_candidate(
        "c2", TrickledCandidate(session_id=later, pc="peer", candidate=CANDIDATE, to=first)
    )
    (event, description), (_, candidate) = house.outbox.to("c1")
    assert (event, description.from_, description.session_id) == ("media_description", later, first)
    assert (candidate.from_, candidate.candidate) == (later, CANDIDATE)
    assert [track.id for track in house.media.tracks("private")] == ["t"]
    assert house.outbox.tracks[0][1].participant_id == "p2"


async def test_what_one_session_has_relayed_to_others_is_bounded(house: House) -> None:
    first, later = await house.two_peers()
    long = a_description(later, "peer", "rollback", 0, to=first, sdp="x" * 60_000)
    with pytest.raises(SignalingError) as refused:
        for _ in range(30):
            await house.media.receive_description("c2", long)
    assert refused.value.code == "too-many-requests"
    house.clock.now += 60
    await house.media.receive_description("c2", long)


async def test_nobody_publishes_what_they_may_not(house: House) -> None:
    session = (await house.start("c1")).session_id
    offer = a_description(session, "publish", "offer", 1, named("t"))
    house.rights.grants["p"] = SILENT
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", offer)
    assert refused.value.code == "permission-denied"
    del house.rights.grants["p"]
    await house.media.receive_description("c1", offer)


async def test_a_track_id_belongs_to_who_published_it(house: House) -> None:
    mine = (await house.start("c1", who="p1")).session_id
    theirs = (await house.start("c2", who="p2")).session_id
    house.sfu.publish(theirs, "t")
    for call, code in (
        (
            house.media.receive_description("c1", a_description(mine, "publish", "offer", 1, named("t"))),
            "track-id-taken",
        ),
        (house.media.set_track_muted("c1", SetTrackMuted(session_id=mine, track_id="t", muted=True)), "not-found"),
        (house.media.unpublish("c1", Unpublish(session_id=mine, track_id="t")), "not-found"),
    ):
        with pytest.raises(SignalingError) as refused:
            await call
        assert refused.value.code == code
    with pytest.raises(SignalingError):
        twice = a_description(mine, "publish", "offer", 1, named("a"), named("a", mid="1"))
        await house.media.receive_description("c1", twice)


async def test_tracks_of_a_room_are_bounded(house: House) -> None:
    session = (await house.start("c1")).session_id
    for number in range(MAX_TRACKS_PER_ROOM):
        house.sfu.publish(session, f"t{number}")
    with pytest.raises(SignalingError) as refused:
        await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("more")))
    assert refused.value.code == "too-many-tracks"
    await house.media.receive_description("c1", a_description(session, "publish", "offer", 1, named("t1")))


async def test_a_slow_engine_gets_a_sessions_messages_in_their_order(house: House) -> None:
    session = (await house.start("c1")).session_id
    other = (await house.start("c2", who="other")).session_id
    house.sfu.calls.clear()
    house.sfu.gate.clear()
    media = house.media
    calls = [
        asyncio.create_task(media.receive_description("c1", a_description(session, "publish", "offer", 1, named("t")))),
        asyncio.create_task(media.set_track_muted("c1", SetTrackMuted(session_id=session, track_id="t", muted=True))),
        asyncio.create_task(media.subscribe("c1", Subscribe(session_id=session, tracks=[]))),
        asyncio.create_task(media.set_layout("c1", SetLayout(session_id=session, tracks=[]))),
        asyncio.create_task(media.unpublish("c1", Unpublish(session_id=session, track_id="t"))),
    ]
    await asyncio.sleep(0)
    house.sfu.gate.set()
    await asyncio.gather(*calls)
    assert [call[0] for call in house.sfu.calls] == ["publish", "mute", "subscribe", "layout", "unpublish"]
    await media.subscribe("c2", Subscribe(session_id=other, tracks=[]))


# --- what the house and the engines say -----------------------------------------------------------


async def test_a_host_mutes_and_the_owner_is_told(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    assert await house.media.mute_by_host("room", "t"), "no packet leaves any more"
    assert house.sfu.calls[-1] == ("mute", session, "t", True)
    assert house.outbox.events_to("c1")[-1] == "media_muted"
    for room, track in (("room", "unknown"), ("private", "t")):
        with pytest.raises(SignalingError) as refused:
            await house.media.mute_by_host(room, track)
        assert refused.value.code == "not-found"


async def test_in_a_frozen_room_what_pupils_publish_is_muted_until_it_thaws(house: House) -> None:
    pupil, host = (await house.start("c1")).session_id, (await house.start("c2", who="host")).session_id
    house.sfu.publish(pupil, "heard")
    house.sfu.publish(pupil, "muted")
    house.sfu.publish(host, "hosts")
    muted = msgspec.structs.replace(a_track("muted", pupil), muted=True)
    house.sfu.emit(TrackAppeared("room", muted))

    house.rights.silenced = {"p"}
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert house.sfu.calls == [("mute", pupil, "heard", True)]
    # What their owner wants meanwhile counts afterwards; what is new begins silent.
    await house.media.set_track_muted("c1", SetTrackMuted(session_id=pupil, track_id="muted", muted=False))
    assert house.sfu.calls[-1] == ("mute", pupil, "muted", True)
    await house.media.receive_description("c1", a_description(pupil, "publish", "offer", 1, named("new")))
    assert [(one.track_id, one.muted) for one in house.sfu.described] == [("new", True)]
    with pytest.raises(SignalingError) as refused:
        await house.media.accept_whip("room", "p", SDP)
    assert refused.value.code == "room-frozen"

    house.rights.silenced = set()
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert sorted(house.sfu.calls) == [("mute", pupil, each, False) for each in ("heard", "muted", "new")]
    house.sfu.calls.clear()
    await house.media.follow_silence("room")
    assert house.sfu.calls == [], "once"


async def test_a_freeze_does_not_wait_for_what_an_engine_is_slow_with(house: House) -> None:
    session = (await house.start("c1")).session_id
    for track in ("one", "two"):
        house.sfu.publish(session, track)
    house.sfu.held_back = ("publish",)
    house.sfu.gate.clear()
    offer = a_description(session, "publish", "offer", 1, named("new"))
    slow = asyncio.create_task(house.media.receive_description("c1", offer))
    await asyncio.sleep(0)
    house.rights.silenced = {"p"}
    house.sfu.calls.clear()
    freeze = asyncio.create_task(house.media.follow_silence("room"))
    await eventually(lambda: len(house.sfu.calls) == 2, SECOND)
    assert sorted(house.sfu.calls) == [("mute", session, each, True) for each in ("one", "two")]
    # What it was slow with began before the freeze, and would be heard when it is done: it is silenced then.
    house.sfu.publish(session, "new")
    house.sfu.gate.set()
    await asyncio.gather(slow, freeze)
    assert ("mute", session, "new", True) in house.sfu.calls


async def test_who_is_removed_loses_every_session_for_good(house: House) -> None:
    sessions = [(await house.start(connection)).session_id for connection in ("c1", "c2")]
    kept = (await house.start("c3", who="other")).session_id
    house.sfu.publish(sessions[0], "t")
    await house.media.remove_participant("room", "p")
    assert set(house.sfu.open_sessions) == {kept}
    assert [track.id for track in house.media.tracks("room")] == []
    for connection in ("c1", "c2"):
        closed = house.outbox.to(connection)[-1][1]
        assert isinstance(closed, MediaClosed)
        assert (closed.reason, closed.retry) == ("forbidden", False)


async def test_changed_rights_reach_the_engine(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.rights.grants["p"] = SILENT
    await house.media.refresh_grants("room")
    assert house.sfu.calls[-1] == ("grants", session, SILENT)


async def test_a_lost_worker_ends_the_session_and_its_tracks(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    house.sfu.emit(PeerConnectionLost("room", session, "publish", "failed"))
    assert house.media.session_counts()["sfu"] == 1, "one connection of it can be built anew"
    house.sfu.emit(PeerConnectionLost("room", session, None, "worker_lost"))
    await eventually(lambda: house.outbox.gone == [("room", "t")], SECOND)
    assert house.media.session_counts()["sfu"] == 0
    closed = [payload for event, payload in house.outbox.to("c1") if event == "media_closed"]
    assert [(each.pc, each.reason, each.retry) for each in closed] == [
        ("publish", "failed", True),
        (None, "worker_lost", True),
    ]


async def test_a_track_of_a_session_that_has_ended_is_not_announced(house: House) -> None:
    session = (await house.start("c1")).session_id
    await house.media.stop_session("c1", StopMedia(session_id=session))
    house.sfu.publish(session, "late")
    assert house.media.tracks("room") == ()
    assert house.outbox.tracks == []


async def test_a_publisher_is_told_which_layers_are_looked_at(house: House) -> None:
    session = (await house.start("c1")).session_id
    house.sfu.publish(session, "t")
    house.sfu.emit(LayersWatched("room", session, "t", 3))  # as a line begins: its publisher knows
    told = [payload for event, payload in house.outbox.to("c1") if event == "media_layers"]
    assert told == []
    house.sfu.emit(LayersWatched("room", session, "t", 1))
    assert house.outbox.to("c1")[-1] == ("media_layers", LayersWanted(session_id=session, track_id="t", layers=1))


async def test_who_resumes_is_told_which_layers_are_looked_at_now(house: House) -> None:
    """What was said as the connection broke may be lost, and the engine says nothing twice."""
    session = (await house.start("c1")).session_id
    for track, layers in (("t", 3), ("t", 1), ("gone", 3), ("gone", 0)):
        house.sfu.publish(session, track)
        house.sfu.emit(LayersWatched("room", session, track, layers))
    house.sfu.emit(TrackDisappeared("room", "gone"))
    house.media.connection_lost("c1")
    resumed = await house.start("c2", session=session)
    assert resumed.resumed
    assert resumed.layers == [LayersWanted(session_id=session, track_id="t", layers=1)]
    house.sfu.emit(LayersWatched("room", session, "t", 3))  # on another line, whatever was said of the last
    assert house.outbox.to("c2")[-1] == ("media_layers", LayersWanted(session_id=session, track_id="t", layers=3))
    assert (await house.start("c3")).layers == []


async def test_speakers_are_passed_on(house: House) -> None:
    house.sfu.emit(SpeakersHeard("room", ("p1", "p2")))
    assert house.outbox.speakers == [("room", ["p1", "p2"])]


# --- over HTTP --------------------------------------------------------------------------------------


async def test_a_session_over_http_is_its_participants_alone(house: House) -> None:
    session, answer = await house.media.accept_whip("room", "p", "offer")
    assert answer == "answer"
    for room, who, wanted in (("room", "other", session), ("private", "p", session), ("room", "p", "unknown")):
        with pytest.raises(SignalingError) as refused:
            await house.media.end_http_session(room, who, wanted)
        assert refused.value.code == "not-found"
    assert not (await house.start("c1", session=session)).resumed
    assert session in house.sfu.open_sessions
    await house.media.end_http_session("room", "p", session)
    assert session not in house.sfu.open_sessions


async def test_an_encoder_is_offered_nothing_for_it_cannot_answer(house: House) -> None:
    """An offer without an answer is given up after half a minute, and would take the encoder's picture along."""
    encoder, _answer = await house.media.accept_whip("room", "p", "offer")
    player, _answer = await house.media.accept_whep("room", "p", "offer")
    assert not house.sfu.opened_with[encoder].subscribe
    assert house.sfu.opened_with[player].subscribe
    await house.media.refresh_grants("room")
    assert ("grants", encoder, replace(EVERYTHING, subscribe=False)) in house.sfu.calls
    assert ("grants", player, EVERYTHING) in house.sfu.calls


async def test_an_ordinary_session_does_not_end_over_http(house: House) -> None:
    session = (await house.start("c1")).session_id
    with pytest.raises(SignalingError):
        await house.media.end_http_session("room", "p", session)


async def test_a_refused_offer_over_http_leaves_nothing(house: House) -> None:
    house.sfu.refusal = ValueError("no media")
    with pytest.raises(SignalingError) as refused:
        await house.media.accept_whip("room", "p", "offer")
    assert refused.value.code == "invalid-description"
    with pytest.raises(EngineUnavailable):
        await house.media.accept_whep("private", "p", "offer")
    assert house.media.session_counts() == {"sfu": 0, "p2p": 0}


async def test_a_publisher_over_http_that_is_gone_ends_its_session(house: House) -> None:
    session, _answer = await house.media.accept_whip("room", "p", "offer")
    house.sfu.publish(session, "t")
    house.sfu.emit(PeerConnectionLost("room", session, "publish", "failed"))
    await eventually(lambda: not house.sfu.open_sessions, SECOND)
    assert house.outbox.gone == [("room", "t")]


async def test_stopping_leaves_nothing(house: House) -> None:
    for number in range(5):
        await house.start(f"c{number}", who=f"p{number}")
    house.media.connection_lost("c1")
    await house.media.accept_whep("room", "p", "offer")
    await house.media.stop()
    assert house.sfu.open_sessions == {}
    assert house.media.session_counts() == {"sfu": 0, "p2p": 0}
