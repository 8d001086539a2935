"""Which worker a room lives in.

Pure. A room lives in exactly one worker, from its first session to its last.
"""

from collections.abc import Collection


class Placement:
    def __init__(self) -> None:
        self._worker_of: dict[str, int] = {}

    def worker_of(self, room_id: str) -> int | None:
        return self._worker_of.get(room_id)

    def place(self, room_id: str, ready: Collection[int]) -> int | None:
        """The room's worker; a new room goes to the ready worker with the fewest rooms. None: no
        worker is ready."""
        placed = self._worker_of.get(room_id)
        if placed is not None:
            return placed
        if not ready:
            return None
        counts = dict.fromkeys(ready, 0)
        for worker in self._worker_of.values():
            if worker in counts:
                counts[worker] += 1
        chosen = min(counts, key=lambda worker: (counts[worker], worker))
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
