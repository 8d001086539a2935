"""What every store must do; one suite for all of them."""

import asyncio
import random

import pytest

from rooms.ports import DocumentAppend, DocumentKey, RelayedRange, StaleFence, Store
from tests.support.clock import Clock
from tests.support.stored_rooms import NOW, make_append, make_invitation, make_line, make_participant, make_state

TEXT = DocumentKey("r1", "texte")

# --- documents ---------------------------------------------------------------------------------


async def test_an_unknown_document_is_an_empty_one(store: Store) -> None:
    found = await store.load_document(TEXT)
    assert (found.snapshot, found.snapshot_seq, list(found.updates), found.last_seq) == (None, 0, [], 0)
    assert dict(found.bindings) == {}


async def test_updates_come_back_in_the_order_they_were_appended(store: Store) -> None:
    first = await store.append_updates([make_append(b"\x00one")])
    second = await store.append_updates([make_append(b"two"), make_append(b"three")])
    found = await store.load_document(TEXT)
    assert (list(first), list(second)) == ([1], [2, 3])
    assert list(found.updates) == [b"\x00one", b"two", b"three"]
    assert found.last_seq == 3


async def test_each_document_counts_for_itself(store: Store) -> None:
    appends = [make_append(b"a"), make_append(b"b", document="plan"), make_append(b"c", room="r2"), make_append(b"d")]
    assert list(await store.append_updates(appends)) == [1, 1, 1, 2]
    assert list((await store.load_document(TEXT)).updates) == [b"a", b"d"]
    assert list((await store.load_document(DocumentKey("r2", "texte"))).updates) == [b"c"]
    assert list(await store.list_documents("r1")) == ["plan", "texte"]
    assert list(await store.list_documents("r3")) == []


async def test_an_empty_flush_is_fine(store: Store) -> None:
    assert list(await store.append_updates([])) == []


async def test_a_long_update_comes_back_whole(store: Store) -> None:
    update = bytes(range(256)) * 8_192
    await store.append_updates([make_append(update)])
    assert list((await store.load_document(TEXT)).updates) == [update]


async def test_a_client_id_belongs_to_whoever_used_it_first(store: Store) -> None:
    await store.append_updates([make_append(b"a", (2**53 - 1, "p1"))])
    await store.append_updates([make_append(b"b", (2**53 - 1, "p2"), (7, "p2"))])
    assert dict((await store.load_document(TEXT)).bindings) == {2**53 - 1: "p1", 7: "p2"}


async def test_who_brought_what_is_kept_beside_the_log(store: Store) -> None:
    first = [RelayedRange(9, 5, 8, "p2"), RelayedRange(7, 0, 3, "p1")]
    await store.append_updates([DocumentAppend(TEXT, b"a", relays=first)])
    again = [RelayedRange(7, 0, 5, "p1"), RelayedRange(7, 0, 2, "p3"), RelayedRange(9, 5, 6, "p2")]
    await store.append_updates([DocumentAppend(TEXT, b"b", relays=again)])
    await store.append_updates([DocumentAppend(DocumentKey("r1", "autre"), b"c", relays=[RelayedRange(1, 0, 1, "p1")])])
    await store.store_snapshot(TEXT, b"ab", 2)
    assert list(await store.load_relays(TEXT)) == [
        RelayedRange(7, 0, 5, "p1"),
        RelayedRange(7, 0, 2, "p3"),
        RelayedRange(9, 5, 8, "p2"),
    ]
    assert list(await store.load_relays(DocumentKey("no", "such"))) == []


async def test_of_many_first_appends_at_once_one_is_the_first(store: Store) -> None:
    asked = [store.append_first(make_append(bytes([n]), (n, f"p{n}"))) for n in range(20)]
    answers = await asyncio.gather(*asked)
    found = await store.load_document(TEXT)
    assert answers.count(True) == 1
    winner = answers.index(True)
    assert (list(found.updates), found.last_seq, dict(found.bindings)) == ([bytes([winner])], 1, {winner: f"p{winner}"})


async def test_a_first_append_beside_others_is_first_or_not_there(store: Store) -> None:
    """However the two are interleaved: over a hundred documents both orders are right, a mixture is not."""
    for n in range(100):
        first = store.append_first(make_append(b"first", document=f"d{n}"))
        other = store.append_updates([make_append(b"other", document=f"d{n}")])
        if n % 2:
            was_first, _numbers = await asyncio.gather(first, other)
        else:
            _numbers, was_first = await asyncio.gather(other, first)
        found = await store.load_document(DocumentKey("r1", f"d{n}"))
        assert list(found.updates) == ([b"first", b"other"] if was_first else [b"other"])


async def test_there_is_no_first_append_where_something_was_ever_appended(store: Store) -> None:
    await store.append_updates([make_append(b"a")])
    assert not await store.append_first(make_append(b"late"))
    await store.store_snapshot(TEXT, b"A", 1)
    assert not await store.append_first(make_append(b"later"))
    found = await store.load_document(TEXT)
    assert (found.snapshot, list(found.updates), found.last_seq) == (b"A", [], 1)
    assert await store.append_first(make_append(b"other", document="plan"))
    assert await store.append_first(make_append(b"other", room="r2"))
    assert list(await store.append_updates([make_append(b"b", document="plan")])) == [2]


async def test_a_snapshot_replaces_what_it_stands_for(store: Store) -> None:
    await store.append_updates([make_append(update, (1, "p1")) for update in (b"a", b"b", b"c")])
    await store.store_snapshot(TEXT, b"ab", 2)
    found = await store.load_document(TEXT)
    assert (found.snapshot, found.snapshot_seq, list(found.updates), found.last_seq) == (b"ab", 2, [b"c"], 3)
    assert dict(found.bindings) == {1: "p1"}
    assert list(await store.append_updates([make_append(b"d")])) == [4]


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5_000_000])
async def test_a_long_snapshot_comes_back_whole(store: Store, size: int) -> None:
    snapshot = random.Random(size).randbytes(size)
    await store.append_updates([make_append(update) for update in (b"a", b"b")])
    await store.store_snapshot(TEXT, snapshot, 1)
    found = await store.load_document(TEXT)
    assert found.snapshot == snapshot
    assert (list(found.updates), found.snapshot_seq, found.last_seq) == ([b"b"], 1, 2)


async def test_a_snapshot_of_everything_leaves_the_numbers_rising(store: Store) -> None:
    await store.append_updates([make_append(b"a")])
    await store.store_snapshot(TEXT, b"A", 1)
    found = await store.load_document(TEXT)
    assert (found.snapshot, list(found.updates), found.last_seq) == (b"A", [], 1)
    assert list(await store.append_updates([make_append(b"b")])) == [2]


async def test_an_older_snapshot_does_not_replace_a_later_one(store: Store) -> None:
    await store.append_updates([make_append(update) for update in (b"a", b"b", b"c")])
    await store.store_snapshot(TEXT, b"abc", 3)
    await store.store_snapshot(TEXT, b"ab", 2)
    found = await store.load_document(TEXT)
    assert (found.snapshot, found.snapshot_seq, list(found.updates)) == (b"abc", 3, [])


@pytest.mark.parametrize("up_to_seq", [0, 2, -1])
async def test_a_snapshot_cannot_stand_for_what_is_not_there(store: Store, up_to_seq: int) -> None:
    await store.append_updates([make_append(b"a")])
    with pytest.raises(ValueError):
        await store.store_snapshot(TEXT, b"?", up_to_seq)
    assert list((await store.load_document(TEXT)).updates) == [b"a"]


async def test_a_document_may_be_compacted_in_ones_turn(store: Store) -> None:
    for _ in range(2):
        async with store.compaction_turn(TEXT) as is_ours:
            assert is_ours


async def test_flushes_at_the_same_time_are_all_there(store: Store) -> None:
    flushes = [store.append_updates([make_append(bytes([n]), document=f"d{n % 7}")]) for n in range(200)]
    numbers = await asyncio.gather(*flushes)
    found = [await store.load_document(DocumentKey("r1", f"d{n}")) for n in range(7)]
    assert sorted(b"".join(update for document in found for update in document.updates)) == list(range(200))
    assert sorted(seq for (seq,) in numbers) == sorted(
        seq for document in found for seq in range(1, document.last_seq + 1)
    )


async def test_what_is_handed_out_does_not_change_with_the_store(store: Store) -> None:
    await store.append_updates([make_append(b"a", (1, "p1"))])
    before = await store.load_document(TEXT)
    await store.append_updates([make_append(b"b", (2, "p2"))])
    assert (list(before.updates), dict(before.bindings)) == ([b"a"], {1: "p1"})


async def test_a_buffer_may_be_used_again_after_the_call(store: Store) -> None:
    buffer = bytearray(b"abc")
    await store.append_updates([DocumentAppend(TEXT, bytes(buffer))])
    buffer[:] = b"xyz"
    assert list((await store.load_document(TEXT)).updates) == [b"abc"]


# --- rooms -------------------------------------------------------------------------------------


async def test_a_room_comes_back_as_it_was(store: Store) -> None:
    state = make_state("r1", make_participant("p1"), make_participant("p2", hand_raised_at=NOW + 9, connected=False))
    await store.create_room(state)
    assert await store.load_room("r1") == state


async def test_an_unknown_room_is_none(store: Store) -> None:
    assert await store.load_room("r1") is None


async def test_a_room_is_made_once(store: Store) -> None:
    await store.create_room(make_state("r1"))
    with pytest.raises(ValueError):
        await store.create_room(make_state("r1", name="Autre"))
    found = await store.load_room("r1")
    assert found is not None
    assert found.name == "Les baleines"


async def test_the_newer_state_of_a_room_wins(store: Store) -> None:
    await store.create_room(make_state("r1", seq=0))
    await store.save_room(make_state("r1", seq=5, name="cinq"))
    await store.save_room(make_state("r1", seq=4, name="quatre"))
    assert (await store.load_room("r1")) == make_state("r1", seq=5, name="cinq")
    await store.save_room(make_state("r1", seq=5, name="cinq encore"))
    assert (await store.load_room("r1")) == make_state("r1", seq=5, name="cinq encore")


async def test_a_room_that_was_claimed_takes_nothing_under_an_older_fence(store: Store) -> None:
    await store.create_room(make_state("r1", seq=0))
    assert await store.claim_room("r1", 3) == make_state("r1", seq=0)
    await store.save_room(make_state("r1", seq=1, name="trois"), fence=3)
    await store.append_chat("r1", make_line("c1"), fence=3)
    await store.save_invitation(make_invitation("i1"), fence=3)
    assert await store.claim_room("r1", 4) == make_state("r1", seq=1, name="trois"), "what was taken before is in it"
    for late in (
        store.save_room(make_state("r1", seq=2, name="en retard"), fence=3),
        store.append_chat("r1", make_line("c2"), fence=3),
        store.save_invitation(make_invitation("i1", label="en retard"), fence=3),
        store.claim_room("r1", 3),
        store.claim_room("r1", 4),
    ):
        with pytest.raises(StaleFence) as refused:
            await late
        assert refused.value.fence == 4
    assert await store.load_room("r1") == make_state("r1", seq=1, name="trois")
    assert [line.id for line in await store.load_chat("r1", 10)] == ["c1"]
    assert await store.load_invitation("i1") == make_invitation("i1")
    await store.save_room(make_state("r1", seq=2, name="quatre"), fence=4)
    assert await store.load_room("r1") == make_state("r1", seq=2, name="quatre")


async def test_who_is_alone_needs_no_fence(store: Store) -> None:
    await store.create_room(make_state("r1", seq=0))
    await store.claim_room("r1", 7)
    await store.save_room(make_state("r1", seq=1, name="seul"))
    with pytest.raises(StaleFence):
        await store.claim_room("r1", 7)
    assert await store.claim_room("r1", 8) == make_state("r1", seq=1, name="seul")


async def test_claiming_a_room_that_is_not_there_makes_none(store: Store) -> None:
    assert await store.claim_room("r1", 1) is None
    assert await store.load_room("r1") is None


# --- invitations -------------------------------------------------------------------------------


async def test_an_invitation_comes_back_by_id_and_by_code(store: Store) -> None:
    invitation = make_invitation()
    await store.save_invitation(invitation)
    assert await store.load_invitation("i1") == invitation
    assert await store.load_invitation("i2") is None


@pytest.mark.parametrize("typed", ["lune-renard-42", "LUNE RENARD 42", "lunerenard42", "Lûne  Renard-42"])
async def test_a_code_is_found_however_it_is_typed(store: Store, typed: str) -> None:
    await store.save_invitation(make_invitation())
    assert await store.find_invitation_by_code(typed) == make_invitation()


@pytest.mark.parametrize("typed", ["", "-", "lune-renard-43", "lune", "'; DROP TABLE rooms; --"])
async def test_another_code_finds_nothing(store: Store, typed: str) -> None:
    await store.save_invitation(make_invitation())
    await store.save_invitation(make_invitation("i2", code=""))
    assert await store.find_invitation_by_code(typed) is None


@pytest.mark.parametrize("unknown", ["", "i1\0", "\0", "é", "🐋", "i1 ", "x" * 100_000])
async def test_nothing_that_could_be_asked_for_is_more_than_unknown(store: Store, unknown: str) -> None:
    await store.save_invitation(make_invitation("i1"))
    await store.create_room(make_state("i1"))
    assert await store.load_invitation(unknown) is None
    assert await store.take_invitation_use(unknown, NOW) is None
    assert await store.find_invitation_by_code(unknown) is None
    assert await store.load_room(unknown) is None


async def test_a_code_is_unique_among_live_invitations(store: Store) -> None:
    await store.save_invitation(make_invitation("i1"))
    with pytest.raises(ValueError):
        await store.save_invitation(make_invitation("i2", code="Lune Renard 42"))
    assert await store.load_invitation("i2") is None
    await store.save_invitation(make_invitation("i1", label="Biodôme"))
    found = await store.find_invitation_by_code("lune-renard-42")
    assert found is not None
    assert found.label == "Biodôme"


async def test_a_revoked_invitation_frees_its_code(store: Store) -> None:
    await store.save_invitation(make_invitation("i1"))
    await store.save_invitation(make_invitation("i1", revoked=True))
    assert await store.find_invitation_by_code("lune-renard-42") is None
    await store.save_invitation(make_invitation("i2"))
    assert await store.find_invitation_by_code("lune-renard-42") == make_invitation("i2")


async def test_an_expired_invitation_frees_its_code(store: Store, clock: Clock) -> None:
    await store.save_invitation(make_invitation("i1", expires_at=NOW + 60))
    clock.now = NOW + 61
    assert await store.find_invitation_by_code("lune-renard-42") is None
    assert await store.load_invitation("i1") is not None
    later = make_invitation("i2", expires_at=NOW + 999)
    await store.save_invitation(later)
    assert await store.find_invitation_by_code("lune-renard-42") == later


async def test_a_used_up_invitation_keeps_its_code(store: Store) -> None:
    """Who has a token of it comes back by the same code (it needs no use)."""
    await store.save_invitation(make_invitation("i1", uses_left=0))
    assert await store.find_invitation_by_code("lune-renard-42") is not None
    with pytest.raises(ValueError):
        await store.save_invitation(make_invitation("i2"))


async def test_uses_are_taken_one_by_one(store: Store) -> None:
    await store.save_invitation(make_invitation("i1", uses_left=2))
    first = await store.take_invitation_use("i1", NOW)
    second = await store.take_invitation_use("i1", NOW)
    third = await store.take_invitation_use("i1", NOW)
    assert [i and i.uses_left for i in (first, second, third)] == [1, 0, None]


async def test_an_invitation_without_limit_never_runs_out(store: Store) -> None:
    await store.save_invitation(make_invitation("i1", uses_left=None))
    for _ in range(3):
        assert await store.take_invitation_use("i1", NOW) == make_invitation("i1", uses_left=None)


async def test_only_so_many_of_a_crowd_get_a_use(store: Store) -> None:
    await store.save_invitation(make_invitation("i1", uses_left=5))
    taken = await asyncio.gather(*(store.take_invitation_use("i1", NOW) for _ in range(40)))
    assert sum(invitation is not None for invitation in taken) == 5


async def test_no_use_of_what_is_unknown_expired_or_revoked(store: Store) -> None:
    await store.save_invitation(make_invitation("i1", code="un-deux-33", expires_at=NOW + 60))
    await store.save_invitation(make_invitation("i2", code="trois-quatre-55", revoked=True))
    assert await store.take_invitation_use("i1", NOW + 59) is not None
    assert await store.take_invitation_use("i1", NOW + 60) is None
    assert await store.take_invitation_use("i2", NOW) is None
    assert await store.take_invitation_use("i3", NOW) is None


async def test_a_rooms_invitations_are_listed_in_order(store: Store) -> None:
    late = make_invitation("i1", code="un-deux-33", created_at=NOW + 2, revoked=True)
    early = make_invitation("i2", code="trois-quatre-55", created_at=NOW + 1)
    for invitation in (late, early, make_invitation("i3", code="cinq-six-77", room_id="r2")):
        await store.save_invitation(invitation)
    assert list(await store.list_invitations("r1")) == [early, late]


# --- chat --------------------------------------------------------------------------------------


async def test_the_newest_lines_come_oldest_first(store: Store) -> None:
    lines = [make_line(f"c{n}", text=f"ligne {n} é 🐋", client_id=f"x{n}") for n in range(5)]
    for line in lines:
        await store.append_chat("r1", line)
    await store.append_chat("r2", make_line("c1", text="ailleurs"))
    assert list(await store.load_chat("r1", 3)) == lines[2:]
    assert list(await store.load_chat("r1", 99)) == lines
    assert list(await store.load_chat("r1", 0)) == []
    assert list(await store.load_chat("r3", 9)) == []


async def test_a_line_holds_whatever_may_be_typed(store: Store) -> None:
    lines = [
        make_line(f"c{n}", text=text, name=text) for n, text in enumerate(["\0", "a\0b", "\n\t\x1f", "𝄞 \u202e é"])
    ]
    for line in lines:
        await store.append_chat("r1", line)
    assert list(await store.load_chat("r1", 9)) == lines


async def test_a_line_sent_again_is_there_once(store: Store) -> None:
    await store.append_chat("r1", make_line())
    await store.append_chat("r1", make_line())
    assert list(await store.load_chat("r1", 9)) == [make_line()]


async def test_a_healthy_store_says_so(store: Store) -> None:
    await store.check()
