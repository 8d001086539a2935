"""The `janus` engine over real gateways, and over ones that misbehave: what is lost, told, and taken up again."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from signaling.engines import EngineUnavailable, MediaGrants, PeerConnectionLost, TrackAppeared, TrackDisappeared
from signaling.engines.janus import JanusEngine
from signaling.engines.janus.connection import HEALTH_INTERVAL_S, REQUEST_S, JanusConnection
from signaling.engines.janus.errors import JanusError, JanusLost, JanusRefused
from signaling.engines.janus.messages import NO_SUCH_ROOM
from signaling.engines.janus.tokens import TokenSigner
from signaling.messages import PublishedMedia, SessionDescription, ShownTrack, Subscription
from tests.support.deadlines import SECOND
from tests.support.fake_gateway import FakeGateway, fake_gateway
from tests.support.janus_server import JanusServer, own_address, running_janus
from tests.support.media_session import (
    EVERYTHING,
    AiortcClient,
    RecordedEvents,
    eventually,
    loopback_for_aioice,
)

DEADLINE = 10 * SECOND
QUIET_S = 0.3
"""Fifteen packets of sound, or six pictures: who hears none for so long hears nothing."""
ENDS_WITHIN_S = 0.5
SOUND_ONLY = MediaGrants(publish_audio=True, publish_video=False, publish_screen=False, subscribe=True)


@pytest_asyncio.fixture
async def gateways(tmp_path: Path) -> AsyncIterator[list[JanusServer]]:
    """Two of them."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_janus(tmp_path / name)) for name in ("one", "two")]


@contextlib.asynccontextmanager
async def running_engine(*servers: JanusServer) -> AsyncIterator[tuple[JanusEngine, RecordedEvents]]:
    events = RecordedEvents()
    engine = JanusEngine(
        events,
        [server.url for server in servers],
        token_secret=servers[0].token_secret,
        admin_key=servers[0].admin_key,
    )
    await engine.start()
    await eventually(
        lambda: all(each.state == "ready" for each in engine.gateways()), DEADLINE, "every gateway is ready"
    )
    try:
        with loopback_for_aioice(own_address()):
            yield engine, events
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def two_people(
    engine: JanusEngine, events: RecordedEvents, room: str = "r", names: str = "ab"
) -> AsyncIterator[list[AiortcClient]]:
    people: list[AiortcClient] = []
    try:
        for name in names:
            people.append(await AiortcClient(engine, events, room, name).open())
        yield people
    finally:
        await asyncio.gather(*(person.close() for person in people))


async def plays(person: AiortcClient, track_id: str, deadline_s: float = DEADLINE) -> None:
    """Frames come, now."""
    before = person.frames.get(track_id, 0)
    await eventually(lambda: person.frames.get(track_id, 0) > before + 5, deadline_s, f"{track_id} plays")


async def ends(person: AiortcClient, track_id: str, since: float) -> None:
    """The last frame came within ENDS_WITHIN_S of `since`."""
    count, last = person.frames.get(track_id, 0), since
    while time.monotonic() - last < QUIET_S:
        await asyncio.sleep(0.01)
        if person.frames.get(track_id, 0) != count:
            count, last = person.frames[track_id], time.monotonic()
        assert last - since < ENDS_WITHIN_S * SECOND, f"{track_id} goes on"


def lost(events: RecordedEvents) -> set[str]:
    return {each.session_id for each in events.of(PeerConnectionLost) if each.pc is None}


# --- several gateways -------------------------------------------------------------------------------


async def test_rooms_are_spread_over_the_gateways(gateways: list[JanusServer]) -> None:
    async with running_engine(*gateways) as (engine, _events):
        for number in range(4):
            await engine.open_session(f"room-{number}", f"s-{number}", "p", EVERYTHING)
        await engine.open_session("room-0", "s-again", "p", EVERYTHING)
        assert [(each.rooms, each.sessions) for each in engine.gateways()] == [(2, 3), (2, 2)]
        assert engine.health().rooms == 4


async def test_the_rooms_of_a_dead_gateway_come_back_on_another(gateways: list[JanusServer]) -> None:
    async with running_engine(*gateways) as (engine, events):
        async with two_people(engine, events) as (a, b), two_people(engine, events, "other", "xy") as (x, y):
            track = (await a.publish_tracks("microphone"))["microphone"]
            unharmed = (await x.publish_tracks("microphone"))["microphone"]
            await plays(b, track)
            await plays(y, unharmed)
            await gateways[0].kill()
            await events.wait_for(lambda event: isinstance(event, PeerConnectionLost), DEADLINE)
            await eventually(lambda: lost(events) == {"a", "b"}, DEADLINE, "both are told")
            assert {each.reason for each in events.of(PeerConnectionLost)} == {"worker_lost"}
            assert [each.track_id for each in events.of(TrackDisappeared)] == [track]
            await plays(y, unharmed)
            assert [each.rooms for each in engine.gateways()] == [0, 1]
        # What clients do with that news: they begin again.
        async with two_people(engine, events) as (a, b):
            track = (await a.publish_tracks("microphone"))["microphone"]
            await plays(b, track)
            assert [each.state for each in engine.gateways()] == ["connecting", "ready"]
            assert [each.rooms for each in engine.gateways()][1] >= 1


async def test_a_gateway_that_drains_takes_no_new_room_and_keeps_its_own(gateways: list[JanusServer]) -> None:
    async with running_engine(*gateways) as (engine, events), two_people(engine, events) as (a, b):
        assert engine.gateways()[0].rooms == 1
        engine.drain(0)
        assert engine.gateways()[0].state == "draining"
        for number in range(3):
            await engine.open_session(f"room-{number}", f"s-{number}", "p", EVERYTHING)
        assert [each.rooms for each in engine.gateways()] == [1, 3]
        await plays(b, (await a.publish_tracks("microphone"))["microphone"])
        await engine.open_session("r", "late", "p", EVERYTHING)
        assert engine.gateways()[0].sessions == 3
        engine.drain(0, draining=False)
        await engine.open_session("new", "s-new", "p", EVERYTHING)
        assert [each.rooms for each in engine.gateways()] == [2, 3]
        with pytest.raises(IndexError):
            engine.drain(2)


# --- one gateway -------------------------------------------------------------------------------------


async def test_a_gateway_that_hangs_is_given_up_and_taken_again(tmp_path: Path) -> None:
    async with running_janus(tmp_path / "janus") as server, running_engine(server) as (engine, events):
        async with two_people(engine, events) as (a, b):
            await plays(b, (await a.publish_tracks("microphone"))["microphone"])
            began = time.monotonic()
            server.send_signal(signal.SIGSTOP)
            try:
                await eventually(lambda: lost(events) == {"a", "b"}, DEADLINE, "the hang is noticed")
                assert time.monotonic() - began < (HEALTH_INTERVAL_S + REQUEST_S + 1.0) * SECOND
                assert not engine.health().ready
            finally:
                server.send_signal(signal.SIGCONT)
        await eventually(lambda: engine.health().ready, DEADLINE, "it is taken again")
        async with two_people(engine, events) as (a, b):
            await plays(b, (await a.publish_tracks("microphone"))["microphone"])


async def test_who_comes_while_a_gateway_restarts_waits_for_it(tmp_path: Path) -> None:
    async with running_janus(tmp_path / "janus") as server, running_engine(server) as (engine, events):
        await server.kill()
        await eventually(lambda: not engine.health().ready, DEADLINE, "the gateway is missed")
        coming = asyncio.create_task(engine.open_session("r", "a", "p", EVERYTHING))
        await server.start()
        async with asyncio.timeout(DEADLINE):
            await coming
        assert engine.gateways()[0].rooms == 1
        await engine.close_session("a")
        async with two_people(engine, events) as (a, b):
            await plays(b, (await a.publish_tracks("microphone"))["microphone"])


async def test_without_any_gateway_nobody_gets_in_and_the_engine_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.engines.janus.engine.WAIT_FOR_NODE_S", 0.2)
    monkeypatch.setattr("signaling.engines.janus.engine.START_S", 0.2)
    engine = JanusEngine(RecordedEvents(), ["ws://127.0.0.1:1"])
    await engine.start()
    assert not engine.health().ready
    with pytest.raises(EngineUnavailable):
        await engine.open_session("r", "a", "p", EVERYTHING)
    await engine.stop()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[JanusServer]:
    async with running_janus(tmp_path / "janus") as running:
        yield running


async def test_muting_removal_and_lost_rights_end_the_stream_at_once(server: JanusServer) -> None:
    async with running_engine(server) as (engine, events), two_people(engine, events) as (a, b):
        tracks = await a.publish_tracks("camera", "microphone")
        for track in tracks.values():
            await plays(b, track)
        since = time.monotonic()
        await engine.set_track_muted("a", tracks["microphone"], True)
        await ends(b, tracks["microphone"], since)
        await plays(b, tracks["camera"])
        await engine.set_track_muted("a", tracks["microphone"], False)
        await plays(b, tracks["microphone"])
        since = time.monotonic()
        await engine.set_grants("a", SOUND_ONLY)
        await ends(b, tracks["camera"], since)
        await plays(b, tracks["microphone"])
        since = time.monotonic()
        await engine.close_session("a")
        await ends(b, tracks["microphone"], since)


async def test_only_pictures_of_the_layout_come_and_every_sound(server: JanusServer) -> None:
    async with running_engine(server) as (engine, events), two_people(engine, events) as (a, b):
        tracks = await a.publish_tracks("camera", "microphone")
        await plays(b, tracks["camera"])
        since = time.monotonic()
        await engine.set_layout("b", [ShownTrack(track_id="unknown", width=320, height=180)])
        await ends(b, tracks["camera"], since)
        await plays(b, tracks["microphone"])
        await engine.set_layout("b", [ShownTrack(track_id=tracks["camera"], width=320, height=180)])
        await plays(b, tracks["camera"])


async def test_wishes_are_followed_by_one_offer_after_another(server: JanusServer) -> None:
    async with running_engine(server) as (engine, events), two_people(engine, events, names="abc") as (a, b, c):
        first = await a.publish_tracks("camera", "microphone")
        second = await c.publish_tracks("camera", "microphone")
        for track in (*first.values(), *second.values()):
            await plays(b, track)
        await engine.subscribe("b", [Subscription(track_id=second["microphone"])])
        await eventually(lambda: set(b.mids.values()) == {second["microphone"]}, DEADLINE, "three lines are idle")
        await plays(b, second["microphone"])
        await engine.subscribe("b", None)
        # Not that they play: Janus gives a line that is used again another SSRC, which aiortc does not take
        # (tests/browser has it with Chromium).
        everything = {*first.values(), *second.values()}
        await eventually(lambda: set(b.mids.values()) == everything, DEADLINE, "all four are offered again")
        assert b.receive is not None
        assert len(b.receive.getTransceivers()) == 4, "media lines are used again"


async def test_a_fresh_peer_connection_goes_on_with_the_tracks(server: JanusServer) -> None:
    async with running_engine(server) as (engine, events), two_people(engine, events) as (a, b):
        track = (await a.publish_tracks("microphone"))["microphone"]
        await plays(b, track)
        await engine.rebuild("a", "publish")
        assert (await a.publish_tracks("microphone"))["microphone"] == track
        await plays(b, track)
        assert events.of(TrackDisappeared) == []
        assert len(events.of(TrackAppeared)) == 1


async def test_an_offer_that_the_gateway_cannot_use_is_refused_and_changes_nothing(server: JanusServer) -> None:
    async with running_engine(server) as (engine, events), two_people(engine, events) as (a, b):
        track = (await a.publish_tracks("microphone"))["microphone"]
        assert a.publish is not None
        sdp = "".join(
            line
            for line in a.publish.localDescription.sdp.splitlines(keepends=True)
            if not line.startswith(("a=ice-ufrag", "a=ice-pwd"))
        )
        offer = SessionDescription(type="offer", sdp=sdp)
        media = [PublishedMedia(mid="0", track_id="u", source="microphone")]
        with pytest.raises(ValueError, match="gateway"):
            await engine.receive_description("b", "publish", 1, offer, media, None)
        assert [each.track.id for each in events.of(TrackAppeared)] == [track]
        await plays(b, track)


async def test_the_gateway_wants_our_tokens(server: JanusServer) -> None:
    async with aiohttp.ClientSession() as http:
        for secret in ("guessed", None):
            with pytest.raises(JanusRefused) as refused:
                await JanusConnection.open(http, server.url, TokenSigner(secret))
            assert refused.value.code == 403
        connection = await JanusConnection.open(http, server.url, TokenSigner(server.token_secret))
        handle = await connection.attach(lambda message: None)
        create = {"request": "create", "room": 17, "signed_tokens": True, "admin_key": server.admin_key}
        with pytest.raises(JanusRefused):
            await connection.ask(handle, {**create, "admin_key": "guessed"})
        await connection.ask(handle, create)
        join = {"request": "join", "ptype": "publisher", "room": 17, "id": 5}
        for token in ({}, {"token": connection.room_token(18)}):
            with pytest.raises(JanusRefused):
                await connection.ask(handle, {**join, **token})
        joined = await connection.ask(handle, {**join, "token": connection.room_token(17)})
        assert joined.plugin["videoroom"] == "joined"
        await connection.close()


# --- gateways that misbehave ---------------------------------------------------------------------------


def nonsense(_request: dict[str, Any]) -> str:
    return "I am a teapot"


def deep(_request: dict[str, Any]) -> str:
    return "[" * 100_000


def an_error(_request: dict[str, Any]) -> dict[str, Any]:
    return {"janus": "error", "error": {"code": 472, "reason": "not accepting sessions"}}


@pytest.mark.parametrize(
    ("answer", "error"),
    [(lambda request: None, JanusLost), (nonsense, JanusLost), (deep, JanusLost), (an_error, JanusRefused)],
)
async def test_what_is_no_gateway_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[dict[str, Any]], Any], error: type[JanusError]
) -> None:
    monkeypatch.setattr("signaling.engines.janus.connection.REQUEST_S", 0.3 * SECOND)
    async with fake_gateway() as gateway, aiohttp.ClientSession() as http:
        gateway.everything = answer
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(error):
                await JanusConnection.open(http, gateway.url, TokenSigner(None))


async def test_what_speaks_another_protocol_is_no_gateway() -> None:
    async with fake_gateway() as gateway, aiohttp.ClientSession() as http:
        gateway.protocols = ()
        with pytest.raises(JanusLost):
            await JanusConnection.open(http, gateway.url, TokenSigner(None))


@contextlib.asynccontextmanager
async def over_a_fake() -> AsyncIterator[tuple[FakeGateway, JanusEngine, RecordedEvents]]:
    async with fake_gateway() as gateway:
        events = RecordedEvents()
        engine = JanusEngine(events, [gateway.url])
        await engine.start()
        await engine.open_session("r", "a", "p-a", EVERYTHING)
        try:
            yield gateway, engine, events
        finally:
            await engine.stop()


OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"
    "a=mid:0\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n"
)


async def publish(engine: JanusEngine) -> None:
    media = [PublishedMedia(mid="0", track_id="t", source="microphone")]
    await engine.receive_description("a", "publish", 1, SessionDescription(type="offer", sdp=OFFER), media, None)


def plugin_error(code: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["body"]["request"] == "create":
            return {"janus": "success", "plugindata": {"data": {"videoroom": "created"}}}
        return {"janus": "event", "plugindata": {"data": {"videoroom": "event", "error_code": code, "error": "no"}}}

    return answer


async def test_a_gateway_that_says_no_loses_what_it_said_no_to() -> None:
    async with over_a_fake() as (gateway, engine, events):
        gateway.message = plugin_error(499)
        await publish(engine)
        assert [(each.session_id, each.pc, each.reason) for each in events.of(PeerConnectionLost)] == [
            ("a", "publish", "failed")
        ]
        assert events.of(TrackAppeared) == []
        assert engine.health().sessions == 1


async def test_a_room_that_is_gone_from_its_gateway_is_begun_again() -> None:
    async with over_a_fake() as (gateway, engine, events):
        gateway.message = plugin_error(NO_SUCH_ROOM)
        await publish(engine)
        assert lost(events) == {"a"}
        assert (engine.health().rooms, engine.health().sessions) == (0, 0)
        attached = [each for each in gateway.requests if each["janus"] == "attach"]
        detached = [each for each in gateway.requests if each["janus"] == "detach"]
        assert len(detached) == len(attached) - 1, "all but the one that makes rooms"
        await engine.open_session("r", "a", "p-a", EVERYTHING)
        assert engine.health().rooms == 1


@pytest.mark.parametrize("how", ["closes", "stays silent", "talks nonsense"])
async def test_a_gateway_that_fails_in_the_middle_has_everyone_told(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("signaling.engines.janus.connection.REQUEST_S", 0.5 * SECOND)
    async with over_a_fake() as (gateway, engine, events):
        gateway.message = nonsense if how == "talks nonsense" else lambda request: None
        publishing = asyncio.create_task(publish(engine))
        await eventually(lambda: any("body" in each for each in gateway.requests), DEADLINE, "it was asked")
        if how == "closes":
            await gateway.hang_up()
        async with asyncio.timeout(DEADLINE):
            await publishing
        await eventually(lambda: lost(events) == {"a"}, DEADLINE, "the session is told")
        assert events.of(TrackAppeared) == []
