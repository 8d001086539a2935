"""What every store forgets, and when: the clock is moved past each term."""

from dataclasses import replace

import pytest

from rooms.models import Participant, ParticipantStatus, RoomKind
from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, Store
from server.storage.retention import (
    CHAT_RETENTION_S,
    CONSULTATION_CHAT_RETENTION_S,
    DAY_S,
    FORGOTTEN_NAME,
    INVITATION_RETENTION_S,
    LEFT_RETENTION_S,
    ROOM_RETENTION_S,
    WAITING_RETENTION_S,
)
from tests.support.clock import Clock
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_line, make_participant, make_state

TEXT = DocumentKey("r1", "texte")


async def _everything(store: Store, room_id: str = "r1") -> None:
    await store.create_room(make_state(room_id, make_participant()))
    await store.append_updates([make_append(b"a", (1, "p1"), room=room_id)])
    relays = [RelayedRange(2, 0, 1, "p1")]
    await store.append_updates([DocumentAppend(DocumentKey(room_id, "brought"), b"b", relays=relays)])
    await store.save_invitation(make_invitation(f"i-{room_id}", room_id=room_id, code=f"{room_id}-mot-11"))
    await store.append_chat(room_id, make_line())


async def test_nothing_is_forgotten_before_its_time(store: Store) -> None:
    await _everything(store)
    assert await store.forget_before(NOW + DAY_S) == 0
    assert (await store.load_room("r1")) == make_state("r1", make_participant())
    assert len(await store.load_chat("r1", 9)) == 1


async def test_a_room_without_life_is_forgotten_with_everything_in_it(store: Store) -> None:
    await _everything(store, "r1")
    await _everything(store, "r2")
    await store.save_room(make_state("r2", last_active_at=NOW + 60, seq=1))
    now = NOW + ROOM_RETENTION_S + 30
    assert await store.forget_before(now) > 0
    assert await store.load_room("r1") is None
    assert await store.load_document(TEXT) == await store.load_document(DocumentKey("no", "such"))
    assert list(await store.load_relays(DocumentKey("r1", "brought"))) == []
    assert len(await store.load_relays(DocumentKey("r2", "brought"))) == 1
    assert list(await store.list_documents("r1")) == []
    assert list(await store.list_invitations("r1")) == []
    assert list(await store.load_chat("r1", 9)) == []
    assert await store.load_room("r2") is not None
    assert list((await store.load_document(DocumentKey("r2", "texte"))).updates) == [b"a"]


async def test_writing_keeps_a_room_alive(store: Store, clock: Clock) -> None:
    await store.create_room(make_state("r1"))
    clock.now = NOW + 100 * DAY_S
    await store.append_updates([make_append(b"a")])
    await store.forget_before(NOW + ROOM_RETENTION_S + DAY_S)
    assert await store.load_room("r1") is not None
    await store.forget_before(clock.now + ROOM_RETENTION_S + DAY_S)
    assert await store.load_room("r1") is None


async def test_many_rooms_are_forgotten_at_once(store: Store) -> None:
    for number in range(120):
        await store.create_room(make_state(f"r{number:03}", last_active_at=NOW + number))
    assert await store.forget_before(NOW + ROOM_RETENTION_S + 59.5) == 60
    assert await store.load_room("r059") is None
    assert await store.load_room("r060") is not None


@pytest.mark.parametrize(
    ("kind", "kept_for_s"),
    [(RoomKind.INTERCLASS, CHAT_RETENTION_S), (RoomKind.CONSULTATION, CONSULTATION_CHAT_RETENTION_S)],
)
async def test_chat_is_forgotten_after_its_time(store: Store, kind: RoomKind, kept_for_s: float) -> None:
    await store.create_room(make_state("r1", kind=kind))
    kept = make_line("c2", sent_at=NOW + 60)
    for line in (make_line("c1"), kept):
        await store.append_chat("r1", line)
    assert await store.forget_before(NOW + kept_for_s + 1) == 1
    assert list(await store.load_chat("r1", 9)) == [kept]


async def test_chat_without_a_room_is_forgotten_too(store: Store) -> None:
    await store.append_chat("r1", make_line())
    assert await store.forget_before(NOW + CHAT_RETENTION_S + 1) == 1
    assert list(await store.load_chat("r1", 9)) == []


async def test_an_invitation_is_forgotten_after_its_expiry(store: Store) -> None:
    await store.create_room(make_state("r1"))
    await store.save_invitation(make_invitation("i1", code="un-deux-33", expires_at=NOW + 60))
    await store.save_invitation(make_invitation("i2", code="trois-quatre-55", expires_at=NOW + 120))
    assert await store.forget_before(NOW + 61 + INVITATION_RETENTION_S) == 1
    assert await store.load_invitation("i1") is None
    assert await store.load_invitation("i2") is not None


async def _participants_after(store: Store, status: ParticipantStatus, age_s: float) -> Participant | None:
    joined = NOW if status in (ParticipantStatus.LEFT, ParticipantStatus.REMOVED) else None
    there = make_participant("p1", status=status, joined_at=joined, created_at=NOW)
    await store.create_room(make_state("r1", there, make_participant("p2")))
    await store.forget_before(NOW + age_s)
    state = await store.load_room("r1")
    assert state is not None
    assert state.participants["p2"] == make_participant("p2")
    return state.participants.get("p1")


@pytest.mark.parametrize(
    ("status", "kept_for_s"),
    [
        (ParticipantStatus.WAITING, WAITING_RETENTION_S),
        (ParticipantStatus.DENIED, WAITING_RETENTION_S),
        (ParticipantStatus.LEFT, LEFT_RETENTION_S),
    ],
)
async def test_who_is_not_of_the_room_is_forgotten(store: Store, status: ParticipantStatus, kept_for_s: float) -> None:
    assert await _participants_after(store, status, kept_for_s + 1) is None


@pytest.mark.parametrize("status", list(ParticipantStatus))
async def test_no_participant_is_forgotten_early(store: Store, status: ParticipantStatus) -> None:
    found = await _participants_after(store, status, WAITING_RETENTION_S - 1)
    assert found is not None
    assert found.name == make_participant().name


async def test_a_removed_participant_loses_the_name_and_stays_removed(store: Store) -> None:
    found = await _participants_after(store, ParticipantStatus.REMOVED, LEFT_RETENTION_S + 1)
    assert found is not None
    assert (found.status, found.name, found.label) == (ParticipantStatus.REMOVED, FORGOTTEN_NAME, "")
    assert await store.forget_before(NOW + LEFT_RETENTION_S + 2) == 0


async def test_participants_of_a_room_in_use_are_left_alone(store: Store) -> None:
    """Its state is in some memory, which would write it back."""
    gone = make_participant("p1", status=ParticipantStatus.DENIED, joined_at=None)
    now = NOW + WAITING_RETENTION_S + DAY_S
    state = make_state("r1", gone, last_active_at=now - 60)
    await store.create_room(state)
    assert await store.forget_before(now) == 0
    assert await store.load_room("r1") == state


async def test_forgetting_keeps_the_number_of_the_last_event(store: Store) -> None:
    gone = make_participant("p1", status=ParticipantStatus.DENIED, joined_at=None)
    await store.create_room(make_state("r1", gone, seq=7))
    await store.forget_before(NOW + WAITING_RETENTION_S + DAY_S)
    assert await store.load_room("r1") == replace(make_state("r1", seq=7), participants={})
