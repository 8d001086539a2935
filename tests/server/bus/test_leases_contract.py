"""What all leases of rooms must do; one suite for all of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rooms.ports import LEASE_S, Lease, LeaseHeld, LeasesUnavailable, RoomLeases
from server.bus.memory_leases import MemoryLeases
from server.bus.redis_address import parse_redis_url
from server.bus.redis_leases import RedisLeases
from tests.support.clock import Clock
from tests.support.deadlines import SECOND
from tests.support.redis_group import cluster_url, redis_cluster, watched_redis
from tests.support.redis_server import RedisServer, running_redis


@dataclass
class Stage:
    leases: RoomLeases
    lapse: Callable[[], Awaitable[None]]
    """Time passes, in which nobody renewed."""
    lose_memory: Callable[[], Awaitable[None]]
    go_away: Callable[[], Awaitable[None]]
    """The leases cannot be asked any more."""

    async def acquire(self, instance: str, floor: int = 0, room: str = "r1") -> Lease:
        got = await self.leases.acquire(room, instance, floor)
        assert isinstance(got, Lease), got
        return got


def memory_stage() -> Stage:
    clock = Clock()
    leases = MemoryLeases(clock)

    async def lapse() -> None:
        clock.now += LEASE_S

    async def lose_memory() -> None:
        leases.lose_memory()

    async def go_away() -> None:
        leases.available = False

    return Stage(leases, lapse, lose_memory, go_away)


def redis_stage(server: RedisServer, url: str | None = None) -> Stage:
    prefix = secrets.token_hex(8)

    async def lapse() -> None:
        # What the six seconds would do, a little sooner.
        async with server.client() as client:
            async for key in client.scan_iter(f"{prefix}:*:home:*"):
                assert 0 < await client.pttl(key) <= LEASE_S * 1_000
                await client.delete(key)

    async def lose_memory() -> None:
        await server.ask("FLUSHALL")

    return Stage(RedisLeases(parse_redis_url(url or server.url), prefix), lapse, lose_memory, server.stop)


@pytest.fixture(params=["memory", "redis"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            made = memory_stage()
        else:
            made = redis_stage(await stack.enter_async_context(running_redis(tmp_path)))
        yield made
        await made.leases.close()


async def test_one_instance_gets_a_room_and_the_others_hear_whose_it_is(stage: Stage) -> None:
    lease = await stage.acquire("a")
    assert lease == Lease("r1", "a", 1)
    held = await stage.leases.acquire("r1", "b")
    assert isinstance(held, LeaseHeld)
    assert held.instance_id == "a"
    assert 0 < held.for_s <= LEASE_S
    assert await stage.acquire("b", room="r2") == Lease("r2", "b", 1)


async def test_who_asks_again_has_the_same_lease(stage: Stage) -> None:
    """As when the answer was lost."""
    assert await stage.acquire("a") == await stage.acquire("a")


async def test_a_lease_that_lapsed_is_the_next_ones_under_a_higher_fence(stage: Stage) -> None:
    first = await stage.acquire("a")
    await stage.lapse()
    second = await stage.acquire("b")
    assert second.fence > first.fence
    assert list(await stage.leases.renew([first, second])) == [False, True]
    assert isinstance(await stage.leases.acquire("r1", "a"), LeaseHeld)


async def test_one_that_lapsed_is_not_had_again_under_the_same_fence(stage: Stage) -> None:
    """Somebody else may have had the room in between."""
    first = await stage.acquire("a")
    await stage.lapse()
    assert list(await stage.leases.renew([first])) == [False]
    assert (await stage.acquire("a")).fence > first.fence


async def test_a_lease_of_another_room_or_fence_is_not_renewed(stage: Stage) -> None:
    lease = await stage.acquire("a")
    wrong = [Lease("r1", "a", 2), Lease("r1", "b", 1), Lease("r2", "a", 1)]
    assert list(await stage.leases.renew([*wrong, lease])) == [False, False, False, True]
    assert list(await stage.leases.renew([])) == []


async def test_what_is_released_is_free_at_once(stage: Stage) -> None:
    first = await stage.acquire("a")
    await stage.leases.release(first)
    second = await stage.acquire("b")
    assert second.fence > first.fence
    await stage.leases.release(first)
    assert isinstance(await stage.leases.acquire("r1", "c"), LeaseHeld), "what is no longer one's own is not released"


async def test_a_room_is_passed_on_without_a_moment_in_between(stage: Stage) -> None:
    first = await stage.acquire("a")
    second = await stage.leases.pass_on(first, "b")
    assert second is not None
    assert (second.instance_id, second.fence > first.fence) == ("b", True)
    assert list(await stage.leases.renew([first, second])) == [False, True]
    assert await stage.acquire("b") == second, "the heir asks, and has it"
    assert await stage.leases.pass_on(first, "c") is None


async def test_fences_rise_although_the_memory_was_lost(stage: Stage) -> None:
    for _ in range(3):
        last = await stage.acquire("a")
        await stage.leases.release(last)
    await stage.lose_memory()
    assert (await stage.acquire("b", floor=last.fence)).fence > last.fence


async def test_who_learns_of_a_newer_fence_gets_one_above_it(stage: Stage) -> None:
    """After the memory was lost: the store knew more than the leases."""
    first = await stage.acquire("a")
    again = await stage.acquire("a", floor=first.fence + 6)
    assert again.fence > first.fence + 6
    assert list(await stage.leases.renew([first, again])) == [False, True]


async def test_leases_that_are_away_say_so(stage: Stage) -> None:
    lease = await stage.acquire("a")
    await stage.go_away()
    for asked in (
        stage.leases.acquire("r1", "b"),
        stage.leases.renew([lease]),
        stage.leases.pass_on(lease, "b"),
        stage.leases.release(lease),
    ):
        with pytest.raises(LeasesUnavailable):
            await asked


# --- Redis ----------------------------------------------------------------------------------------


async def test_a_redis_that_was_restarted_is_asked_again(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as server:
        stage = redis_stage(server)
        first = await stage.acquire("a")
        await server.stop()
        with pytest.raises(LeasesUnavailable):
            await stage.leases.renew([first])
        await server.start()
        assert list(await stage.leases.renew([first])) == [False]
        assert (await stage.acquire("b", floor=first.fence)).fence > first.fence
        await stage.leases.close()


async def test_a_redis_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as server:
        stage = redis_stage(server)
        lease = await stage.acquire("a")
        server.freeze()
        with pytest.raises(LeasesUnavailable):
            await asyncio.wait_for(stage.leases.renew([lease]), 5 * SECOND)
        await stage.leases.close()


async def test_leases_behind_sentinels_and_in_a_cluster(tmp_path: Path) -> None:
    async with watched_redis(tmp_path / "watched") as watched, redis_cluster(tmp_path / "nodes") as nodes:
        for url in (watched.url, cluster_url(nodes)):
            leases = RedisLeases(parse_redis_url(url), secrets.token_hex(8))
            for number in range(20):  # rooms in many slots
                lease = await leases.acquire(f"r{number}", "a")
                assert lease == Lease(f"r{number}", "a", 1)
                assert isinstance(await leases.acquire(f"r{number}", "b"), LeaseHeld)
                passed = await leases.pass_on(lease, "b")
                assert passed is not None
                assert list(await leases.renew([lease, passed])) == [False, True]
                await leases.release(passed)
            await leases.close()


async def test_no_name_of_a_room_is_in_redis_and_all_expires(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as server:
        leases = RedisLeases(parse_redis_url(server.url))
        await leases.acquire("salle-des-baleines", "a")
        async with server.client() as client:
            keys = await client.keys("*")
            assert len(keys) == 2
            for key in keys:
                assert b"baleines" not in key
                assert await client.ttl(key) > 0
        await leases.close()
