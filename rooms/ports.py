"""Contracts of what lies outside the domain: the store and the bus.

`server.storage` and `server.bus` implement them; each has twins and one test suite for all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from rooms.models import ChatLine, Invitation, RoomState


class StoreUnavailable(Exception):
    """The store cannot be read or written now (locked, full, gone); trying again may help."""


class StaleFence(Exception):
    """Another instance has taken the room over; `fence` is the newest that is known."""

    def __init__(self, fence: int) -> None:
        super().__init__(fence)
        self.fence = fence


# --- documents ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentKey:
    room_id: str
    document: str


@dataclass(frozen=True, slots=True)
class ClientBinding:
    """A Yjs client id belongs to the participant that first used it, for ever."""

    client_id: int
    participant_id: str


@dataclass(frozen=True, slots=True)
class RelayedRange:
    """Text that a participant brought under a client id that is not its own, in answer to our own sync step 1, as
    after a loss: who wrote it is the client id's affair, who brought it is this."""

    client_id: int
    first_clock: int
    end_clock: int
    """The clock after the last."""
    participant_id: str


@dataclass(frozen=True, slots=True)
class DocumentAppend:
    """One flush of one document."""

    key: DocumentKey
    update: bytes
    """Yjs update v1: what arrived since the last flush, as received (merged)."""
    bindings: Sequence[ClientBinding] = ()
    """Client ids used for the first time in this flush."""
    relays: Sequence[RelayedRange] = ()
    """What of it was brought by somebody else than its author."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """Everything known of a document, oldest first."""

    snapshot: bytes | None
    """A Yjs update v1 that stands for every update up to `snapshot_seq`."""
    snapshot_seq: int
    updates: Sequence[bytes]
    """The updates after the snapshot, in the order they were appended."""
    last_seq: int
    """Number of the last update contained here; 0 when there is nothing."""
    bindings: Mapping[int, str] = field(default_factory=dict)
    """client id → participant id"""


class DocumentStore(Protocol):
    async def load_document(self, key: DocumentKey) -> StoredDocument:
        """Raises: StoreUnavailable. An unknown document is an empty one."""

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        """All of them in one transaction, durable at the configured level when it returns; the
        sequence number of each (they rise per document). Raises: StoreUnavailable, and then
        nothing of the batch is stored, unless the answer of a database elsewhere was lost: then all of it may be.
        Whoever appends it again appends it twice, which to readers is as once."""

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> Sequence[int] | None:
        """As `append_updates`, where that takes no longer than to wait for it: it is done when this returns. None:
        nothing is stored, `append_updates` is to be awaited. Never raises."""

    async def append_first(self, append: DocumentAppend) -> bool:
        """Append as `append_updates` does, in one transaction with the look whether anything was ever appended to
        this document: only if nothing was; whether it did. Of several that ask at once, on however many
        instances, and beside `append_updates`, one is first, and the others find it there.
        Raises: StoreUnavailable, and then nothing is stored."""

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        """Replace everything up to and including `up_to_seq` by the snapshot, in one
        transaction. Does nothing when a snapshot of a later seq is there. Raises: StoreUnavailable."""

    def compaction_turn(self, key: DocumentKey) -> AbstractAsyncContextManager[bool]:
        """Whether the document may be compacted within the block; False while another instance does so. It saves
        work, and nothing else hangs on it: a turn may be lost with its connection. Raises: StoreUnavailable."""

    async def list_documents(self, room_id: str) -> Sequence[str]: ...

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        """All that were ever appended, in the order of client id, clock and participant; the same range brought
        twice is there once, as far as it reached. Raises: StoreUnavailable."""


# --- rooms -------------------------------------------------------------------------------------


class RoomStore(Protocol):
    """`fence` in what follows: the number under which the caller decides for the room (`RoomLeases`); None when it
    is alone. What comes under an older one than the room was claimed with is refused: StaleFence."""

    async def create_room(self, state: RoomState) -> None:
        """Raises: StoreUnavailable; ValueError when a room of this id is there already."""

    async def claim_room(self, room_id: str, fence: int) -> RoomState | None:
        """From now on nothing under an older fence is taken; the newest state, None for an unknown room. What was
        taken before is in it. Raises: StoreUnavailable; StaleFence when it was claimed with this fence or a newer."""

    async def load_room(self, room_id: str) -> RoomState | None:
        """The newest saved state. Raises: StoreUnavailable."""

    async def save_room(self, state: RoomState, fence: int | None = None) -> None:
        """Overwrites; a state with a smaller `seq` than the stored one is ignored.
        Raises: StoreUnavailable, StaleFence."""

    async def save_invitation(self, invitation: Invitation, fence: int | None = None) -> None:
        """Insert or overwrite. Raises: StoreUnavailable, StaleFence; ValueError when its code is already
        used by another live invitation."""

    async def load_invitation(self, invitation_id: str) -> Invitation | None: ...

    async def find_invitation_by_code(self, code: str) -> Invitation | None:
        """By the folded code (`rooms.invitations.fold_code`), live invitations only."""

    async def take_invitation_use(self, invitation_id: str, now: float) -> Invitation | None:
        """Atomically take one use; None when it is unknown, expired, revoked or used up."""

    async def list_invitations(self, room_id: str) -> Sequence[Invitation]: ...

    async def append_chat(self, room_id: str, line: ChatLine, fence: int | None = None) -> None:
        """A line whose id is there already is there once. Raises: StoreUnavailable, StaleFence."""

    async def load_chat(self, room_id: str, limit: int) -> Sequence[ChatLine]:
        """The newest `limit` lines, oldest first."""

    async def forget_before(self, now: float) -> int:
        """Delete what its retention no longer covers; how many rows went."""


class Store(RoomStore, DocumentStore, Protocol):
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def check(self) -> None:
        """Raises: StoreUnavailable when a write would fail now (for /readyz)."""


# --- leases ------------------------------------------------------------------------------------

LEASE_S = 6.0
"""How long a room stays an instance's without a renewal: as long as a class waits when its home dies, and three
renewals, so that one that comes late costs nothing."""


class LeasesUnavailable(Exception):
    """Nobody can say now whose a room is; trying again may help."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`instance_id` decides for the room, under `fence`, until the lease lapses."""

    room_id: str
    instance_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """It is another instance's, which may be dead, for so long if nobody renews it."""

    instance_id: str
    for_s: float


class RoomLeases(Protocol):
    """Which instance is a room's home. A fence belongs to one lease of one instance and only rises, also when the
    leases lost their memory, as long as `floor` is the newest fence that the caller knows of."""

    async def acquire(self, room_id: str, instance_id: str, floor: int = 0) -> Lease | LeaseHeld:
        """A lease of LEASE_S from now if nobody has one, with a fence above `floor`. To whoever has it already it is
        given anew, under the same fence if that is above `floor`. Raises: LeasesUnavailable."""

    async def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Each of them for LEASE_S from now; False for one that is gone. Raises: LeasesUnavailable."""

    async def pass_on(self, lease: Lease, heir: str) -> Lease | None:
        """The room is the heir's from now on, under the next fence; None when the lease was gone.
        Raises: LeasesUnavailable."""

    async def release(self, lease: Lease) -> None:
        """Anybody may have the room; does nothing when the lease was gone. Raises: LeasesUnavailable."""

    async def close(self) -> None: ...


# --- bus ---------------------------------------------------------------------------------------

BusHandler = Callable[[bytes], Awaitable[None]]
GapHandler = Callable[[], Awaitable[None]]


class BusUnavailable(Exception):
    """The bus did not take the message in time: it is lost, or comes late; trying again may help."""


@dataclass(frozen=True, slots=True)
class BusHealth:
    """How a bus stands, for /readyz and /metrics."""

    is_joined: bool
    """Now what is published goes out, and what the others publish is heard."""
    was_joined: bool
    """It has been joined at least once since it was opened."""
    lag_s: float = 0.0
    """How long the last message to oneself took, or has been under way, if that is longer."""
    reconnects: int = 0
    """How often a connection was made again."""
    gaps: int = 0
    """How often a subscription was told that messages may have been lost."""


class Subscription(Protocol):
    async def cancel(self) -> None:
        """Neither handler is called any more once this returned. May be called twice."""


class Bus(Protocol):
    """Joins instances. At most once: whoever subscribes must be able to repair a gap."""

    async def open(self) -> None:
        """To be called first. Does not wait long for a bus that is away."""

    async def publish(self, topic: str, message: bytes) -> None:
        """To every subscriber of the topic, the publisher's own included; it may be lost on the way. Returns, or
        raises, within seconds. Raises: ValueError when it is too long for the bus; BusUnavailable."""

    async def subscribe(self, topic: str, handler: BusHandler, on_gap: GapHandler | None = None) -> Subscription:
        """Messages reach `handler` one at a time. `on_gap` is called between two of them when the bus knows that
        some may have been lost since the one before (a full queue, a connection that broke and came back): all
        that still comes is newer than the gap. A bus need not know of every loss. Must not wait for a
        bus that is away: the subscription then begins, with `on_gap`, when it is back."""

    def health(self) -> BusHealth: ...

    async def close(self) -> None: ...
