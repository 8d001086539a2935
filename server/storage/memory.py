"""The store in memory: for tests, and the reference of what the others must do."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from rooms.invitations import fold_code
from rooms.models import ChatLine, Invitation, RoomKind, RoomState
from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StaleFence, StoredDocument, StoreUnavailable
from server.storage.encoding import decode_state, encode_state
from server.storage.retention import (
    INVITATION_RETENTION_S,
    chat_kept_for_s,
    forget_participants,
    is_room_over,
    last_touched_at,
)


@dataclass(slots=True)
class _Document:
    snapshot: bytes | None = None
    snapshot_seq: int = 0
    last_seq: int = 0
    updates: dict[int, bytes] = field(default_factory=dict)
    """By sequence number, in order."""
    bindings: dict[int, str] = field(default_factory=dict)
    relays: dict[tuple[int, int, str], int] = field(default_factory=dict)
    """Client id, first clock and participant → end clock."""
    written_at: float = 0.0


class MemoryStore:
    """`rooms.ports.Store` that forgets everything at its end. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.available = True
        """Switched off, every call raises StoreUnavailable, as when a disk is gone."""
        self._clock = clock
        self._rooms: dict[str, bytes] = {}
        self._fences: dict[str, int] = {}
        self._invitations: dict[str, Invitation] = {}
        self._documents: dict[DocumentKey, _Document] = {}
        self._chat: dict[str, list[ChatLine]] = {}

    async def open(self) -> None:
        self._require()

    async def close(self) -> None:
        """Keeps what it holds: it may be opened again."""

    async def check(self) -> None:
        self._require()

    def _require(self) -> None:
        if not self.available:
            raise StoreUnavailable("the store was switched off")

    # --- documents -----------------------------------------------------------------------------

    async def load_document(self, key: DocumentKey) -> StoredDocument:
        self._require()
        document = self._documents.get(key, _Document())
        return StoredDocument(
            snapshot=document.snapshot,
            snapshot_seq=document.snapshot_seq,
            updates=tuple(document.updates.values()),
            last_seq=document.last_seq,
            bindings=dict(document.bindings),
        )

    async def append_updates(self, appends: Sequence[DocumentAppend]) -> Sequence[int]:
        self._require()
        return tuple(self._append(append) for append in appends)

    def append_at_once(self, appends: Sequence[DocumentAppend]) -> None:
        """What is awaited is there as soon."""

    def _append(self, append: DocumentAppend) -> int:
        document = self._documents.setdefault(append.key, _Document())
        document.last_seq += 1
        document.updates[document.last_seq] = bytes(append.update)
        document.written_at = self._clock()
        for binding in append.bindings:
            document.bindings.setdefault(binding.client_id, binding.participant_id)
        for relay in append.relays:
            place = (relay.client_id, relay.first_clock, relay.participant_id)
            document.relays[place] = max(relay.end_clock, document.relays.get(place, 0))
        return document.last_seq

    async def append_first(self, append: DocumentAppend) -> bool:
        self._require()
        if append.key in self._documents:  # one is made by its first append
            return False
        self._append(append)
        return True

    async def store_snapshot(self, key: DocumentKey, snapshot: bytes, up_to_seq: int) -> None:
        self._require()
        document = self._documents.get(key, _Document())
        if up_to_seq < 1 or up_to_seq > document.last_seq:
            raise ValueError(f"no update {up_to_seq} in a document of {document.last_seq}")
        if up_to_seq < document.snapshot_seq:
            return
        document.snapshot, document.snapshot_seq = bytes(snapshot), up_to_seq
        document.updates = {seq: update for seq, update in document.updates.items() if seq > up_to_seq}

    @asynccontextmanager
    async def compaction_turn(self, key: DocumentKey) -> AsyncIterator[bool]:
        """There is no other instance."""
        yield True

    async def list_documents(self, room_id: str) -> Sequence[str]:
        self._require()
        return sorted(key.document for key in self._documents if key.room_id == room_id)

    async def load_relays(self, key: DocumentKey) -> Sequence[RelayedRange]:
        self._require()
        relays = self._documents.get(key, _Document()).relays
        return [RelayedRange(client, first, end, who) for (client, first, who), end in sorted(relays.items())]

    # --- rooms ---------------------------------------------------------------------------------

    async def create_room(self, state: RoomState) -> None:
        self._require()
        if state.id in self._rooms:
            raise ValueError("a room of this id is there already")
        self._rooms[state.id] = encode_state(state)

    async def load_room(self, room_id: str) -> RoomState | None:
        self._require()
        body = self._rooms.get(room_id)
        return None if body is None else decode_state(body)

    async def claim_room(self, room_id: str, fence: int) -> RoomState | None:
        self._require()
        if room_id not in self._rooms:
            return None
        self._check_fence(room_id, fence - 1)
        self._fences[room_id] = fence
        return decode_state(self._rooms[room_id])

    def _check_fence(self, room_id: str, fence: int | None) -> None:
        newest = self._fences.get(room_id, 0)
        if fence is not None and fence < newest:
            raise StaleFence(newest)

    async def save_room(self, state: RoomState, fence: int | None = None) -> None:
        self._require()
        self._check_fence(state.id, fence)
        stored = self._rooms.get(state.id)
        if stored is None or decode_state(stored).seq <= state.seq:
            self._rooms[state.id] = encode_state(state)

    # --- invitations ---------------------------------------------------------------------------

    def _is_live(self, invitation: Invitation) -> bool:
        return not invitation.revoked and invitation.expires_at > self._clock()

    async def save_invitation(self, invitation: Invitation, fence: int | None = None) -> None:
        self._require()
        self._check_fence(invitation.room_id, fence)
        holder = self._live_by_code(fold_code(invitation.code))
        if self._is_live(invitation) and holder is not None and holder.id != invitation.id:
            raise ValueError("another live invitation has this code")
        self._invitations[invitation.id] = invitation

    def _live_by_code(self, folded: str) -> Invitation | None:
        matching = (i for i in self._invitations.values() if self._is_live(i) and fold_code(i.code) == folded)
        return next(matching, None)

    async def load_invitation(self, invitation_id: str) -> Invitation | None:
        self._require()
        return self._invitations.get(invitation_id)

    async def find_invitation_by_code(self, code: str) -> Invitation | None:
        self._require()
        folded = fold_code(code)
        return self._live_by_code(folded) if folded else None

    async def take_invitation_use(self, invitation_id: str, now: float) -> Invitation | None:
        self._require()
        invitation = self._invitations.get(invitation_id)
        if invitation is None or invitation.revoked or invitation.expires_at <= now or invitation.uses_left == 0:
            return None
        if invitation.uses_left is not None:
            invitation = replace(invitation, uses_left=invitation.uses_left - 1)
            self._invitations[invitation_id] = invitation
        return invitation

    async def list_invitations(self, room_id: str) -> Sequence[Invitation]:
        self._require()
        mine = (i for i in self._invitations.values() if i.room_id == room_id)
        return sorted(mine, key=lambda invitation: (invitation.created_at, invitation.id))

    # --- chat ----------------------------------------------------------------------------------

    async def append_chat(self, room_id: str, line: ChatLine, fence: int | None = None) -> None:
        self._require()
        self._check_fence(room_id, fence)
        lines = self._chat.setdefault(room_id, [])
        if all(line.id != known.id for known in lines):
            lines.append(line)

    async def load_chat(self, room_id: str, limit: int) -> Sequence[ChatLine]:
        self._require()
        return tuple(self._chat.get(room_id, [])[-limit:]) if limit > 0 else ()

    # --- retention -----------------------------------------------------------------------------

    async def forget_before(self, now: float) -> int:
        self._require()
        return self._forget_rooms(now) + self._forget_invitations(now) + self._forget_chat(now)

    def _forget_rooms(self, now: float) -> int:
        forgotten = 0
        for room_id, body in list(self._rooms.items()):
            state = decode_state(body)
            written = (doc.written_at for key, doc in self._documents.items() if key.room_id == room_id)
            if is_room_over(last_touched_at(state, max(written, default=0.0)), now):
                forgotten += self._delete_room(room_id)
                continue
            state, count = forget_participants(state, now)
            if count:
                self._rooms[room_id] = encode_state(state)
                forgotten += count
        return forgotten

    def _delete_room(self, room_id: str) -> int:
        del self._rooms[room_id]
        self._fences.pop(room_id, None)
        documents = [key for key in self._documents if key.room_id == room_id]
        invitations = [i.id for i in self._invitations.values() if i.room_id == room_id]
        for key in documents:
            del self._documents[key]
        for invitation_id in invitations:
            del self._invitations[invitation_id]
        return 1 + len(documents) + len(invitations) + len(self._chat.pop(room_id, []))

    def _forget_invitations(self, now: float) -> int:
        over = [i.id for i in self._invitations.values() if now - i.expires_at > INVITATION_RETENTION_S]
        for invitation_id in over:
            del self._invitations[invitation_id]
        return len(over)

    def _forget_chat(self, now: float) -> int:
        forgotten = 0
        kinds: Mapping[str, RoomKind] = {room_id: decode_state(body).kind for room_id, body in self._rooms.items()}
        for room_id, lines in list(self._chat.items()):
            oldest = now - chat_kept_for_s(kinds.get(room_id))
            kept = [line for line in lines if line.sent_at >= oldest]
            forgotten += len(lines) - len(kept)
            self._chat[room_id] = kept
        return forgotten
