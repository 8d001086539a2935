"""What all leases of rooms must do; one suite for all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from rooms.ports import LEASE_S, Lease, LeaseHeld, LeasesUnavailable, RoomLeases
from server.bus.memory_leases import MemoryLeases
from tests.support.clock import Clock


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


@pytest.fixture(params=["memory"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = memory_stage()
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
