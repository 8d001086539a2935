"""A store in memory that can be held up or made to fail at a chosen call."""

import asyncio
from collections.abc import Callable, Sequence

from rooms.models import ChatLine, Invitation, RoomState
from rooms.ports import StoreUnavailable
from server.storage.memory import MemoryStore


class Gate:
    """Holds every call of one method until `open`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when a call stands at the gate."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._opened.wait()


class GatedStore(MemoryStore):
    """`calls`: the names of the methods that were called, in order."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.calls: list[str] = []
        self.failing: set[str] = set()
        """Names of methods that raise StoreUnavailable."""
        self.saves_late = False
        """Rooms that are saved: StoreUnavailable at once, and what was to be saved arrives with `arrive`."""
        self._on_the_way: list[tuple[RoomState, int | None]] = []
        self._gates: dict[str, Gate] = {}

    def share(self, other: MemoryStore) -> None:
        """From now on this is another way to what `other` holds, with failures and gates of its own."""
        for name in ("_rooms", "_fences", "_invitations", "_documents", "_chat"):
            setattr(self, name, getattr(other, name))

    def hold(self, method: str) -> Gate:
        """Calls of `method` wait from now on until the gate is opened; then the gate is gone."""
        self._gates[method] = Gate()
        return self._gates[method]

    def hold_answer_of_save(self) -> Gate:
        """The next room that is saved is saved at once; that it is, is said when the gate is opened."""
        return self.hold("answer of save_room")

    async def _enter(self, method: str) -> None:
        self.calls.append(method)
        if (gate := self._gates.get(method)) is not None:
            await gate.pass_through()
            self._gates.pop(method, None)
        if method in self.failing:
            raise StoreUnavailable(method)

    async def create_room(self, state: RoomState) -> None:
        await self._enter("create_room")
        await super().create_room(state)

    async def load_room(self, room_id: str) -> RoomState | None:
        await self._enter("load_room")
        return await super().load_room(room_id)

    async def claim_room(self, room_id: str, fence: int) -> RoomState | None:
        await self._enter("claim_room")
        return await super().claim_room(room_id, fence)

    async def save_room(self, state: RoomState, fence: int | None = None) -> None:
        await self._enter("save_room")
        if self.saves_late:
            self._on_the_way.append((state, fence))
            raise StoreUnavailable("no answer")
        await super().save_room(state, fence)
        if (gate := self._gates.pop("answer of save_room", None)) is not None:
            await gate.pass_through()

    async def arrive(self) -> None:
        """What was given up is saved after all, as over a connection that was held."""
        while self._on_the_way:
            await super().save_room(*self._on_the_way.pop(0))

    async def save_invitation(self, invitation: Invitation, fence: int | None = None) -> None:
        await self._enter("save_invitation")
        await super().save_invitation(invitation, fence)

    async def take_invitation_use(self, invitation_id: str, now: float) -> Invitation | None:
        await self._enter("take_invitation_use")
        return await super().take_invitation_use(invitation_id, now)

    async def append_chat(self, room_id: str, line: ChatLine, fence: int | None = None) -> None:
        await self._enter("append_chat")
        await super().append_chat(room_id, line, fence)

    async def load_chat(self, room_id: str, limit: int) -> Sequence[ChatLine]:
        await self._enter("load_chat")
        return await super().load_chat(room_id, limit)
