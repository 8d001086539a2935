"""Of an adult in charge it is known when they were heard last, also when their connection is closed for another reason
than their silence: then pupils stand still no later (ROLE-5). In virtual time, with the adapter and the rooms that serve."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from engineio import packet

from rooms.models import Role
from rooms.succession import ORDER_DEADLINE_S
from rooms.supervision import GRACE_S
from server.auth import TokenClaims
from server.life import DRAIN_TELL_S
from server.realtime.adapter import RealtimeServer
from server.realtime.connection import SocketConnection
from server.realtime.packets import PacketQueue
from server.realtime.pulse import ASK_S, SILENT_S
from tests.support.shared_rooms import Instance, SharedRoom, settled, shared_room
from tests.support.virtual_time import in_virtual_time

FROZEN_WITHIN_S = 12.0
"""ROLE-5."""


def now() -> float:
    return asyncio.get_running_loop().time()


class EngineSocket:
    """engine.io's end of a connection, whose peer answers pings for as long as it is there."""

    def __init__(self, realtime: RealtimeServer, sid: str) -> None:
        self.sid = sid
        self.queue = PacketQueue()
        self.closing = self.closed = self.upgraded = False
        self.is_there = True
        self._realtime = realtime
        self._answering = asyncio.create_task(self._answer())

    async def receive(self, _packet: Any) -> None: ...

    async def _answer(self) -> None:
        while True:
            sent = await self.queue.get()
            if sent is not None and sent.packet_type == packet.PING and self.is_there:
                await self.receive(packet.Packet(packet.PONG))

    async def close(self, wait: bool = True, reason: str = "server disconnect") -> None:
        self.closing = self.closed = True
        self._answering.cancel()
        del self._realtime.server.eio.sockets[self.sid]
        await self._realtime.receive("disconnect", self.sid, reason)


class Nothing:
    """Whatever of the house is not looked at here."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_arguments, **_named: None


class Slow:
    """Carries out what is asked when the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def command(self, *_who: Any) -> None: ...

    async def run(self, *_what: Any) -> None:
        await self.gate.wait()


class Edge:
    """Socket.IO's edge of an instance."""

    def __init__(self, instance: Instance) -> None:
        nothing = cast(Any, Nothing())
        self._rooms = instance.manager
        self.realtime = RealtimeServer(instance.manager, nothing, nothing, nothing, nothing, nothing)
        self.realtime.wire(nothing, nothing)

    async def enter(self, room: SharedRoom, connection_id: str) -> EngineSocket:
        """The host, over one more connection."""
        socket = EngineSocket(self.realtime, connection_id)
        self.realtime.server.eio.sockets[connection_id] = socket
        claims = TokenClaims(room.id, room.host.id, Role.HOST, 0.0, 1e12, "")
        connection = SocketConnection(self.realtime.server, connection_id, socket, claims, asyncio.Lock())
        await self._rooms.connect(room.id, room.host.id, connection_id)
        self.realtime._sockets.add(connection)
        self.realtime._pulse.follow(connection)
        return socket

    async def end(self) -> None:
        """As the process does at SIGTERM (`server.life`)."""
        await self._rooms.leave()
        self.realtime.drain(0)
        await asyncio.sleep(DRAIN_TELL_S)
        await self.realtime.stop()
        await self._rooms.stop()


@asynccontextmanager
async def lesson(*, at_home: bool) -> AsyncIterator[tuple[SharedRoom, Edge, Instance]]:
    """The only adult over an instance that is about to end; and an instance with their pupils."""
    async with shared_room(3) as room:
        first, second, third = room.instances
        ending = first if at_home else third
        edge = Edge(ending)
        yield room, edge, second
        ending.is_dead = True


async def until_frozen(room: SharedRoom, instance: Instance, since: float) -> float:
    while not instance.state(room.id).watch.is_frozen:
        assert now() < since + 60.0, "never frozen"
        await asyncio.sleep(0.05)
    return now() - since


@pytest.mark.parametrize("at_home", [True, False])
@pytest.mark.parametrize("silent_s", [0.2, 1.9, 4.0, 6.5, SILENT_S - 0.4])
@in_virtual_time
async def test_pupils_whose_adult_fell_silent_before_their_instance_ended_stand_still_in_time(
    silent_s: float, at_home: bool
) -> None:
    async with lesson(at_home=at_home) as (room, edge, instance):
        socket = await edge.enter(room, "tablet")
        await room.instances[0].disconnect(room.id, room.host.id)
        await settled(20.0)
        socket.is_there = False
        silent_at = now()
        await asyncio.sleep(silent_s)
        ending = asyncio.create_task(edge.end())
        # Last heard at most so long before they fell silent: who says nothing is asked after ASK_S.
        assert GRACE_S - ASK_S - 1.0 <= await until_frozen(room, instance, silent_at) < FROZEN_WITHIN_S
        await ending


@pytest.mark.parametrize("at_home", [True, False])
@in_virtual_time
async def test_an_adult_who_is_there_when_their_instance_ends_has_the_whole_time_to_come_back(at_home: bool) -> None:
    async with lesson(at_home=at_home) as (room, edge, instance):
        await edge.enter(room, "tablet")
        await room.instances[0].disconnect(room.id, room.host.id)
        await settled(20.0 + ASK_S / 2)
        ended_at = now()
        ending = asyncio.create_task(edge.end())
        assert GRACE_S <= await until_frozen(room, instance, ended_at) < FROZEN_WITHIN_S
        await ending


@in_virtual_time
async def test_an_adult_with_two_devices_counts_from_the_one_that_was_heard_last() -> None:
    """One has been silent for long and is given up last."""
    async with lesson(at_home=True) as (room, edge, instance):
        tablet, _laptop = await edge.enter(room, "tablet"), await edge.enter(room, "laptop")
        await room.instances[0].disconnect(room.id, room.host.id)
        await settled(20.0)
        tablet.is_there = False
        await asyncio.sleep(SILENT_S - 1.0)
        await edge.realtime.server.eio.sockets["laptop"].close(reason="client disconnect")
        left_at = now()
        assert GRACE_S <= await until_frozen(room, instance, left_at) < FROZEN_WITHIN_S


@pytest.mark.parametrize("reason", ["client disconnect", "transport close"])
@in_virtual_time
async def test_a_connection_that_its_peer_closes_was_heard_until_then(reason: str) -> None:
    async with lesson(at_home=False) as (room, edge, instance):
        socket = await edge.enter(room, "tablet")
        await room.instances[0].disconnect(room.id, room.host.id)
        await settled(20.0)
        socket.is_there = False
        await asyncio.sleep(ASK_S)
        left_at = now()
        await socket.close(reason=reason)
        assert GRACE_S <= await until_frozen(room, instance, left_at) < FROZEN_WITHIN_S


@pytest.mark.parametrize("is_there", [True, False])
@in_virtual_time
async def test_who_is_not_read_while_what_they_asked_for_is_carried_out_is_not_taken_for_silent(is_there: bool) -> None:
    async with lesson(at_home=False) as (room, edge, instance):
        socket, slow = await edge.enter(room, "tablet"), Slow()
        edge.realtime._pace = edge.realtime._commands = cast(Any, slow)
        await room.instances[0].disconnect(room.id, room.host.id)
        await settled(20.0)
        socket.is_there = False  # what they answer is not read
        silent_at = now()
        asking = asyncio.create_task(edge.realtime.receive("set_hand", "tablet", {"raised": True}))
        await asyncio.sleep(ORDER_DEADLINE_S)
        assert not socket.closing
        slow.gate.set()
        await asking
        if is_there:
            socket.is_there = True
            await socket.receive(packet.Packet(packet.PONG))
            await asyncio.sleep(FROZEN_WITHIN_S)
            assert not socket.closing
            assert not instance.state(room.id).watch.is_frozen
        else:
            assert await until_frozen(room, instance, silent_at) < FROZEN_WITHIN_S
