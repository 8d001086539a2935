"""Leases of rooms within one process: for instances that share one, in tests, and as the reference."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rooms.ports import LEASE_S, Lease, LeaseHeld, LeasesUnavailable


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    lapses_at: float


class MemoryLeases:
    """`rooms.ports.RoomLeases` that all its users share. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.available = True
        """Switched off, every call raises LeasesUnavailable."""
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._fences: dict[str, int] = {}

    async def acquire(self, room_id: str, instance_id: str, floor: int = 0) -> Lease | LeaseHeld:
        self._require()
        now = self._clock()
        held = self._current(room_id)
        if held is not None and held.lease.instance_id != instance_id:
            return LeaseHeld(held.lease.instance_id, held.lapses_at - now)
        if held is not None and held.lease.fence > floor:
            return self._hold(held.lease)
        return self._hold(Lease(room_id, instance_id, self._next_fence(room_id, floor)))

    async def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        self._require()
        return [self._renew(lease) for lease in leases]

    async def pass_on(self, lease: Lease, heir: str) -> Lease | None:
        self._require()
        if not self._is_current(lease):
            return None
        return self._hold(Lease(lease.room_id, heir, self._next_fence(lease.room_id, lease.fence)))

    async def release(self, lease: Lease) -> None:
        self._require()
        if self._is_current(lease):
            del self._held[lease.room_id]

    async def close(self) -> None:
        """Leases stay as they are: they lapse."""

    def lose_memory(self) -> None:
        """As a Redis that was flushed."""
        self._held.clear()
        self._fences.clear()

    def _require(self) -> None:
        if not self.available:
            raise LeasesUnavailable("the leases were switched off")

    def _current(self, room_id: str) -> _Held | None:
        held = self._held.get(room_id)
        return held if held is not None and held.lapses_at > self._clock() else None

    def _is_current(self, lease: Lease) -> bool:
        held = self._current(lease.room_id)
        return held is not None and held.lease == lease

    def _renew(self, lease: Lease) -> bool:
        if not self._is_current(lease):
            return False
        self._hold(lease)
        return True

    def _hold(self, lease: Lease) -> Lease:
        self._held[lease.room_id] = _Held(lease, self._clock() + LEASE_S)
        return lease

    def _next_fence(self, room_id: str, floor: int) -> int:
        self._fences[room_id] = max(self._fences.get(room_id, 0), floor) + 1
        return self._fences[room_id]
