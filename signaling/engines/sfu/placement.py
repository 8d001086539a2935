"""Which worker a room lives in.

Pure. A room lives in exactly one worker, from its first session to its last.
"""

from collections.abc import Mapping

SESSION_LOAD = 0.005
"""Share of a core that a session is taken to cost until it is measured: rooms that come together must not
all go to the worker that was idle a second ago."""


def worker_load(cpu_share: float, sessions: int) -> float:
    """`cpu_share`: of one core, as it was measured in the last seconds; rooms may have come since."""
    return cpu_share + SESSION_LOAD * sessions


class Placement:
    def __init__(self) -> None:
        self._worker_of: dict[str, int] = {}

    def worker_of(self, room_id: str) -> int | None:
        return self._worker_of.get(room_id)

    def place(self, room_id: str, loads: Mapping[int, float]) -> int | None:
        """The room's worker; a new room goes to the one with the least load. `loads`: of the workers that
        are ready. None: none is."""
        placed = self._worker_of.get(room_id)
        if placed is not None:
            return placed
        if not loads:
            return None
        rooms = list(self._worker_of.values())
        chosen = min(loads, key=lambda worker: (loads[worker], rooms.count(worker), worker))
        self._worker_of[room_id] = chosen
        return chosen

    def forget_room(self, room_id: str) -> None:
        self._worker_of.pop(room_id, None)

    def forget_worker(self, worker: int) -> list[str]:
        """The worker is gone; which rooms lived there. They may be placed anew."""
        rooms = [room_id for room_id, placed in self._worker_of.items() if placed == worker]
        for room_id in rooms:
            del self._worker_of[room_id]
        return rooms

    def __len__(self) -> int:
        return len(self._worker_of)
