"""ROLE-2 over two instances: removed, revoked or set to read-only, the last accepted write and the last forwarded packet
are less than a second later, whichever instance is the room's home, and the old token gets nothing. An instance that stood
still meanwhile has a second from when it goes on. DOC-5: what is ordered while Redis is away takes effect or visibly fails.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from aiortc.mediastreams import AudioStreamTrack

from passerelle_client import Disconnected, PasserelleApi, Refused, Room
from passerelle_client.media import RemoteTrack
from passerelle_client.protocol import RoomCreated
from tests.support.deadlines import SECOND
from tests.support.fleet import Fleet, Instance, running_fleet
from tests.support.media_session import eventually, loopback_for_aioice
from tests.support.room_client import ConnectRefused, connected, yjs_connected
from tests.support.typists import Typist, clocks_of

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

DOCUMENT = "dictee"
OUT_WITHIN_S = 1.0 * SECOND
STOOD_STILL_S = 8.0
"""Longer than a lease: a home that stands still so long is none any more."""
CLOSED = {4403, 1008}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    async with running_fleet(tmp_path_factory.mktemp("fleet"), 2) as running:
        yield running


@dataclass
class Class:
    """A pupil writes over `there` and does not stop by itself; somebody reads over each instance."""

    home: Instance
    there: Instance
    created: RoomCreated
    pupil_id: str
    pupil_token: str
    invitation_id: str
    writer: Typist
    readers: list[Typist]

    def shown(self) -> int:
        """How far anyone was shown what the pupil wrote."""
        return max(reader.seen.get(self.writer.client, 0) for reader in self.readers)

    async def until_shown_more(self) -> None:
        before = self.shown()
        await eventually(lambda: self.shown() > before + 3, 20 * SECOND, "what the pupil writes is shown")


@asynccontextmanager
async def a_class(home: Instance, there: Instance) -> AsyncIterator[Class]:
    async with PasserelleApi(home.url) as api, aiohttp.ClientSession() as session:
        created = await api.create_room("Dictée", host_name="Mme Roy")
        invitation = await api.create_invitation(created.room.id, created.token, "pupil", lobby=False)
        joined = await api.join("Zoé", invitation=invitation.id)
        readers = [
            Typist(each.url, created.room.id, DOCUMENT, created.token, 10 + number)
            for number, each in enumerate((home, there))
        ]
        for reader in readers:
            reader.may_type.clear()
        writer = Typist(there.url, created.room.id, DOCUMENT, joined.token, 7)
        tasks = [asyncio.create_task(_insist(each, session)) for each in (*readers, writer)]
        try:
            made = Class(home, there, created, joined.participant_id, joined.token, invitation.id, writer, readers)
            await made.until_shown_more()
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _insist(typist: Typist, session: aiohttp.ClientSession) -> None:
    """Connects again and again, whatever it is told."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await typist.run(session)
        await asyncio.sleep(0.5)  # not more often than anybody may connect


async def remove(of: Class) -> None:
    async with connected(of.home.url, of.created.token) as host:
        answer = await host.do("remove", participant_id=of.pupil_id)
        assert answer["confirmed"]


async def revoke(of: Class) -> None:
    async with PasserelleApi(of.home.url) as api:
        assert await api.revoke_invitation(of.created.room.id, of.created.token, of.invitation_id)


async def forbid_writing(of: Class) -> None:
    async with connected(of.home.url, of.created.token) as host:
        await host.do("configure", writing_enabled=False)


async def nothing_more_is_written(of: Class) -> None:
    """From now on: neither shown nor stored, while the pupil goes on trying."""
    shown, typed = of.shown(), of.writer.typed
    await asyncio.sleep(1.5)
    assert of.shown() == shown, "a write was taken too late"
    if of.writer.close_code is None:
        assert of.writer.typed > typed, "nobody tried"
    for instance in (of.home, of.there):
        clocks = await clocks_of(instance.url, of.created.room.id, DOCUMENT, of.created.token)
        assert clocks.get(of.writer.client, 0) <= shown


async def the_old_token_gets_nothing(of: Class) -> None:
    async with aiohttp.ClientSession() as http:
        for instance in (of.home, of.there):
            with pytest.raises(ConnectRefused) as refused:
                async with connected(instance.url, of.pupil_token):
                    pass
            assert refused.value.code == "removed"
            headers = {"Authorization": f"Bearer {of.pupil_token}"}
            async with http.get(f"{instance.url}/api/rooms/{of.created.room.id}", headers=headers) as answer:
                assert answer.status in (401, 403, 404)
            async with yjs_connected(http, instance.url, of.created.room.id, DOCUMENT, of.pupil_token) as socket:
                assert (await socket.wait_closed())[0] in CLOSED
                assert not socket.frames


@pytest.mark.parametrize(
    ("put_out", "first_is_home"),
    [
        (remove, True),
        (remove, False),
        (revoke, False),
        (forbid_writing, False),
        pytest.param(revoke, True, marks=pytest.mark.long),
        pytest.param(forbid_writing, True, marks=pytest.mark.long),
    ],
)
async def test_the_last_write_is_less_than_a_second_later(
    fleet: Fleet, put_out: Callable[[Class], Awaitable[None]], first_is_home: bool
) -> None:
    home, there = fleet.instances if first_is_home else fleet.instances[::-1]
    async with a_class(home, there) as of:
        began_at = time.monotonic()
        await put_out(of)
        await asyncio.sleep(max(0.0, began_at + OUT_WITHIN_S - time.monotonic()))
        await nothing_more_is_written(of)
        if put_out is not forbid_writing:
            await the_old_token_gets_nothing(of)


@pytest.mark.parametrize("home_stands_still", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_an_instance_that_stood_still_has_a_second_from_when_it_goes_on(
    fleet: Fleet, home_stands_still: bool
) -> None:
    first, second = fleet.instances
    async with a_class(second if home_stands_still else first, second) as of:
        of.home = first  # which decides from now on, if it did not before
        await second.server.stand_still()
        try:
            stopped_at = time.monotonic()
            async with connected(first.url, of.created.token) as host:
                async with asyncio.timeout(20 * SECOND):
                    while "error" in (answer := await host.call("remove", participant_id=of.pupil_id)):
                        await asyncio.sleep(0.3)
                assert answer["confirmed"] is False, "the pupil's instance says nothing"
            await asyncio.sleep(max(0.0, stopped_at + STOOD_STILL_S - time.monotonic()))
        finally:
            second.server.send_signal(signal.SIGCONT)
        await asyncio.sleep(OUT_WITHIN_S)
        await nothing_more_is_written(of)
        await the_old_token_gets_nothing(of)
        async with connected(first.url, of.created.token) as host:
            assert (await host.do("remove", participant_id=of.pupil_id))["confirmed"] is True


# --- sound ----------------------------------------------------------------------------------------


class Call:
    """A museum speaks over one instance, and its host listens over the other."""

    def __init__(self, room_id: str, host: Room, guest: Room) -> None:
        self.room_id = room_id
        self.host = host
        self.guest = guest
        self.track_id = ""
        self.heard_at: list[float] = []

    async def listen(self, remote: RemoteTrack) -> None:
        with contextlib.suppress(Exception):  # the track's end
            while True:
                await remote.media_stream_track.recv()
                self.heard_at.append(time.monotonic())

    async def until_heard(self) -> None:
        self.heard_at.clear()
        await eventually(lambda: len(self.heard_at) > 20, 20 * SECOND, "the museum is heard")

    async def last_heard_after(self, moment: float) -> float:
        """How long after it the last sound came; looked at when it must have been over for long."""
        await asyncio.sleep(OUT_WITHIN_S + 0.5)
        return self.heard_at[-1] - moment


@asynccontextmanager
async def a_call(host_at: Instance, guest_at: Instance) -> AsyncIterator[Call]:
    with loopback_for_aioice():
        async with PasserelleApi(host_at.url) as api:
            created = await api.create_room("Les marées")
            invitation = await api.create_invitation(created.room.id, created.token, "guest", lobby=False)
            joined = await api.join("Musée", invitation=invitation.id)
        host, guest = await Room.connect(host_at.url, created.token), await Room.connect(guest_at.url, joined.token)
        call = Call(created.room.id, host, guest)
        listening: list[asyncio.Task[None]] = []
        host.media.on("remote_track", lambda remote: listening.append(asyncio.create_task(call.listen(remote))))
        try:
            await asyncio.gather(host.media.start(), guest.media.start())
            call.track_id = (await guest.media.publish(AudioStreamTrack(), "microphone")).id
            await call.until_heard()
            yield call
        finally:
            await host.close()
            await guest.close()
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


@pytest.mark.parametrize("host_at_home", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_the_last_packet_is_less_than_a_second_later(fleet: Fleet, host_at_home: bool) -> None:
    """After a mute by a host who is on the other instance than whoever speaks, and after a removal."""
    host_at, guest_at = fleet.instances if host_at_home else fleet.instances[::-1]
    async with a_call(host_at, guest_at) as call:
        began_at = time.monotonic()
        assert await call.host.mute_other(call.track_id)
        assert await call.last_heard_after(began_at) < OUT_WITHIN_S
        await call.guest.media.set_muted(call.track_id, False)
        await call.until_heard()
        began_at = time.monotonic()
        assert await call.host.remove(call.guest.participant_id)
        assert await call.last_heard_after(began_at) < OUT_WITHIN_S


# --- while Redis is away --------------------------------------------------------------------------


async def is_ordered(order: Awaitable[bool]) -> bool | None:
    """Whether it is confirmed; None: it visibly failed."""
    try:
        return await order
    except (Refused, Disconnected):
        return None


@pytest.mark.parametrize("is_redis_away", [False, True])
async def test_what_is_ordered_while_redis_is_away_takes_effect_or_visibly_fails(
    fleet: Fleet, is_redis_away: bool
) -> None:
    """Those concerned are on the other instance. What is confirmed is so at once; the rest can be asked again."""
    home, there = fleet.instances
    async with PasserelleApi(home.url) as api, aiohttp.ClientSession() as http, a_call(home, there) as call:
        room_id, token = call.room_id, call.host.token
        invitations = [await api.create_invitation(room_id, token, "pupil", lobby=False) for _ in range(2)]
        joined = [await api.join("Zoé", invitation=each.id) for each in invitations]
        async with (
            connected(there.url, joined[0].token) as removed,
            connected(there.url, joined[1].token) as revoked,
            yjs_connected(http, there.url, room_id, DOCUMENT, joined[0].token),
        ):
            for pupil in (removed, revoked):
                await pupil.hear("room_view")

            async def order_all() -> list[bool | None]:
                return await asyncio.gather(
                    is_ordered(call.host.remove(joined[0].participant_id)),
                    is_ordered(api.revoke_invitation(room_id, token, invitations[1].id)),
                    is_ordered(call.host.mute_other(call.track_id)),
                )

            if is_redis_away:
                await fleet.redis.stop()
            try:
                answers = await order_all()
                if is_redis_away:
                    assert True not in answers[:2], "what the other instance does cannot be known"
                else:
                    assert answers == [True, True, True]
                for answer, pupil in zip(answers, (removed, revoked), strict=False):
                    assert answer is not True or await pupil.hear("removed")
            finally:
                if is_redis_away:
                    await fleet.redis.start()
            async with asyncio.timeout(20 * SECOND):
                while await order_all() != [True, True, True]:
                    await asyncio.sleep(0.5)
            for pupil in (removed, revoked):
                await pupil.hear("removed")
            await call.last_heard_after(time.monotonic())
            heard = len(call.heard_at)
            await asyncio.sleep(OUT_WITHIN_S)
            assert len(call.heard_at) == heard, "the mute held"
