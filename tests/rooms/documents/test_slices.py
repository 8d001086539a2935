"""A large state taken in slices is the same document, and no slice is long."""

import random
from collections.abc import Sequence

import pycrdt
import pytest

from rooms.documents import snapshot
from rooms.documents.document import YjsDocument
from rooms.documents.encoding import var_uint
from rooms.documents.loading import load_document
from rooms.documents.scan import scan_update
from rooms.documents.slices import (
    SLICE_BYTES,
    SLICE_STRUCTS,
    SlicePlan,
    SliceSize,
    is_sliced,
    plan_update_slices,
)
from rooms.documents.snapshot import read_snapshot
from rooms.documents.sync import read_state_vector
from tests.support.documents import recorded_history, text_of

WAITING = 2**20


@pytest.fixture(autouse=True)
def everything_is_sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "UNCOUNTED_BYTES", 0)


def state_of(updates: Sequence[bytes]) -> bytes:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    with doc.transaction():
        for update in updates:
            doc.apply_update(update)
    return doc.get_update()


def plan_of(state: bytes) -> SlicePlan:
    plan = read_snapshot(state).plan
    assert plan is not None
    return plan


def load(state: bytes) -> YjsDocument:
    *growing, document = load_document(state, [], WAITING, read_snapshot(state))
    assert len(growing) >= len(plan_of(state).slices)
    document.difference(b"\x00")
    return document


def by_many(seed: int, emoji: bool) -> bytes:
    """Five people in one text, each within what the others wrote, with deletions."""
    chance = random.Random(seed)
    docs = [pycrdt.Doc(client_id=1 + n) for n in range(5)]
    for _ in range(600):
        doc = chance.choice(docs)
        text = doc.get("text", type=pycrdt.Text)
        characters = str(text)
        at = len(characters[: chance.randint(0, len(characters))].encode())
        text.insert(at, "📊é" if emoji and chance.random() < 0.2 else chance.choice(["a", "mot ", "x" * 30]))
        if chance.random() < 0.2 and len(characters) > 9:
            gone = chance.randrange(len(characters) - 3)
            start, end = (len(characters[:index].encode()) for index in (gone, gone + 3))
            if end <= len(str(text).encode()) and not emoji:
                del text[start:end]
        other = chance.choice(docs)
        other.apply_update(doc.get_update(other.get_state()))
    return state_of([doc.get_update() for doc in docs])


@pytest.mark.parametrize("emoji", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_many_people_s_state_in_small_slices_is_the_same(
    seed: int, emoji: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.documents.slices.STATE_SLICE", SliceSize(SLICE_BYTES, 7))
    state = by_many(seed, emoji)
    plan = plan_of(state)
    assert len(plan.slices) > 20
    clocks: dict[int, int] = {}
    for update in plan.updates(state, 3):
        scan = scan_update(update)
        assert scan.is_covered_by(clocks), "each rests on those before it"
        for client, _start, end in scan.writes:
            clocks[client] = end
    assert clocks == plan.clocks()
    document = load(state)
    document._whole_state = None
    assert document.whole_state() == state_of([state])
    assert bool(document._pairs) is emoji


def test_a_real_history_in_slices_is_the_same() -> None:
    state = state_of(recorded_history("b4-automerge-paper").updates)
    plan = plan_of(state)
    assert len(plan.slices) > 3
    for pieces in plan.slices:
        assert sum(stop - start for _place, start, stop in pieces) <= SLICE_STRUCTS
        assert sum(
            plan.blocks[place].offsets[stop] - plan.blocks[place].offsets[start] for place, start, stop in pieces
        ) <= (2 * SLICE_BYTES)
    document = load(state)
    document._whole_state = None
    assert document.whole_state() == state


def test_what_has_a_hole_is_taken_in_one_piece() -> None:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=1)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    text = doc.get("text", type=pycrdt.Text)
    for letter in "abc":
        text.insert(0, letter)
    doc.unobserve(subscription)
    assert read_snapshot(pycrdt.merge_updates(updates[0], updates[2])).plan is None
    assert read_snapshot(updates[1]).plan is None
    assert plan_of(pycrdt.merge_updates(*updates)).slices


def test_a_large_state_is_sent_as_it_was_with_what_has_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.documents.base_state.LARGE_BYTES", 100)
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    changes: list[bytes] = []
    text = doc.get("text", type=pycrdt.Text)
    text.insert(0, "x" * 200)
    state = doc.get_update()
    document = load(state)
    assert document.difference_in_parts(b"\x00") == [state]
    subscription = doc.observe(lambda event: changes.append(event.update))
    for letter in "abcd":
        text.insert(3, letter)
        document.integrate([(changes[-1], scan_update(changes[-1]))])
    parts = document.difference_in_parts(b"\x00")
    assert parts[0] is state
    assert len(parts) == 2
    assert text_of(*parts) == str(text)
    text.insert(0, "e")
    document.integrate([(changes[-1], scan_update(changes[-1]))])
    assert text_of(*document.difference_in_parts(b"\x00")) == str(text)
    # Who has something is sent what it lacks, in one.
    known = encode(doc.client_id, 200)
    assert len(document.difference_in_parts(known)) == 1
    doc.unobserve(subscription)


def encode(client: int, clock: int) -> bytes:
    return var_uint(1) + var_uint(client) + var_uint(clock)


def test_a_newer_state_takes_the_place_of_an_older_one_and_of_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.documents.base_state.LARGE_BYTES", 100)
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    changes: list[bytes] = []
    text = doc.get("text", type=pycrdt.Text)
    text.insert(0, "x" * 200)
    document = load(doc.get_update())
    subscription = doc.observe(lambda event: changes.append(event.update))

    def change(letter: str) -> None:
        text.insert(3, letter)
        document.integrate([(changes[-1], scan_update(changes[-1]))])

    change("a")
    newer, at = doc.get_update(), document.changes
    document.expect_base()
    change("b")
    document.renew_base(newer, at)
    parts = document.difference_in_parts(b"\x00")
    assert parts == [newer, changes[-1]]
    assert text_of(*parts) == str(text)
    document.renew_base(newer, at - 1)  # of before it was noted what changes: of no use
    assert text_of(*document.difference_in_parts(b"\x00")) == str(text)
    doc.unobserve(subscription)


def test_too_much_that_has_changed_since_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.documents.base_state.LARGE_BYTES", 100)
    monkeypatch.setattr("rooms.documents.base_state.MOST_SINCE", 3)
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    changes: list[bytes] = []
    text = doc.get("text", type=pycrdt.Text)
    text.insert(0, "x" * 200)
    document = load(doc.get_update())
    subscription = doc.observe(lambda event: changes.append(event.update))
    for _ in range(4):
        text.insert(3, "a")
        document.integrate([(changes[-1], scan_update(changes[-1]))])
    assert len(document.difference_in_parts(b"\x00")) == 1
    text.insert(3, "b")
    document.integrate([(changes[-1], scan_update(changes[-1]))])
    parts = document.difference_in_parts(b"\x00")
    assert len(parts) == 2
    assert text_of(*parts) == str(text)
    doc.unobserve(subscription)


def slices_of(update: bytes, clocks: dict[int, int], size: SliceSize) -> list[bytes]:
    planning = plan_update_slices(update, clocks, size)
    while True:
        try:
            next(planning)
        except StopIteration as done:
            return list(done.value.updates(update, 5))


@pytest.mark.parametrize("seed", range(3))
def test_a_long_update_in_slices_is_the_same_and_what_waits_comes_last(seed: int) -> None:
    state = by_many(seed, emoji=False)
    base: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    base.apply_update(state)
    mine: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=9)
    mine.apply_update(state)
    text = mine.get("text", type=pycrdt.Text)
    for place in range(60):
        text.insert(place * 3, "b")
        del text[place : place + 1]
    update = mine.get_update(base.get_state())
    clocks = read_state_vector(base.get_state())
    slices = slices_of(update, clocks, SliceSize(10_000, 7))
    assert len(slices) > 8
    for one in slices:
        scan = scan_update(one)
        assert scan.structs <= 7
        assert len(scan.deletes) <= 5
        assert scan.is_covered_by(clocks)
        for client, _start, end in scan.writes:
            clocks[client] = max(clocks.get(client, 0), end)
        base.apply_update(one)
    assert base.get_update() == mine.get_update()
    *known, waits = slices_of(update, {}, SliceSize(10_000, 7))
    assert not any(scan_update(one).writes for one in known)
    assert scan_update(waits).writes == scan_update(update).writes, "nobody knows what it follows on"


@pytest.mark.parametrize("kind", ["letters", "text", "deletions"])
def test_what_is_long_is_sliced(kind: str) -> None:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=1)
    text = doc.get("text", type=pycrdt.Text)
    if kind == "text":
        text.insert(0, "a" * 300_000)
    else:
        for _ in range(2_500 if kind == "letters" else 7_000):
            text.insert(0, "b")
    if kind == "deletions":
        for place in range(3_200):
            del text[place : place + 1]
    update = doc.get_update()
    assert is_sliced(update, scan_update(update))
    short = doc.get_update(doc.get_state()) if kind != "deletions" else b"\x00\x00"
    assert not is_sliced(short, scan_update(short))
