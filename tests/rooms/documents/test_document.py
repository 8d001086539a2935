"""The wrapper of pycrdt: nothing lost in any order, every failure the same one."""

import random
import subprocess
import sys

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.documents.compaction import compact, compact_deep
from rooms.documents.document import YjsDocument, merge_updates
from rooms.documents.encoding import var_string, var_uint
from rooms.documents.errors import DocumentBroken, MalformedMessage
from rooms.documents.loading import MOST_WAITING_HARMFUL, load_document
from rooms.documents.scan import Scan, scan_update
from rooms.documents.snapshot import read_snapshot
from rooms.documents.split import split_update
from tests.rooms.documents.hostile import BREAKING, in_root, lurking, lurking_circle, struct_update
from tests.support.documents import generated_updates, text_of

WAITING = 1_000_000


def integrate(document: YjsDocument, *updates: bytes) -> list[bytes]:
    """What a store would have been given for it."""
    result = document.integrate([(update, scan_update(update)) for update in updates])
    return [*([result.change] if result.change is not None else []), *result.kept]


def load(*updates: bytes, snapshot: bytes | None = None) -> YjsDocument:
    *_growing, document = load_document(snapshot, updates, WAITING, read_snapshot(snapshot))
    return document


def conversation(seed: int, *, writers: int = 3, turns: int = 30) -> tuple[list[bytes], str]:
    """Updates of several writers who hear each other now and then, and the text they end with."""
    chance = random.Random(seed)
    docs = [pycrdt.Doc(client_id=100 + n) for n in range(writers)]
    texts = [doc.get("text", type=pycrdt.Text) for doc in docs]
    updates: list[bytes] = []
    for _ in range(turns):
        n = chance.randrange(writers)
        known = docs[n].get_state()
        content = str(texts[n])
        if content and chance.random() < 0.3:
            at = chance.randrange(len(content))
            start = len(content[:at].encode())
            del texts[n][start : start + len(content[at].encode())]
            update = docs[n].get_update(known)
        else:
            at = chance.randint(0, len(content))
            texts[n].insert(len(content[:at].encode()), chance.choice(("a", "é", "📊", "xyz")))
            update = docs[n].get_update(known)
        updates.append(update)
        if chance.random() < 0.5:
            docs[chance.randrange(writers)].apply_update(docs[n].get_update())
    final: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for doc in docs:
        final.apply_update(doc.get_update())
    return updates, str(final.get("text", type=pycrdt.Text))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_any_order_duplication_and_batching_ends_with_the_same_text(seed: int, batch: int) -> None:
    """And so does a reload from what was to be stored, with everything that waited."""
    updates, text = conversation(seed)
    chance = random.Random(seed)
    arrivals = updates + chance.sample(updates, len(updates) // 3)
    chance.shuffle(arrivals)
    document, log = YjsDocument(), []
    for start in range(0, len(arrivals), batch):
        log += integrate(document, *arrivals[start : start + batch])
    assert not document.waiting
    assert text_of(document.whole_state()) == text
    assert text_of(load(*log).whole_state()) == text


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_loss_is_healed_by_a_state_vector(seed: int) -> None:
    updates, text = conversation(seed)
    chance = random.Random(seed)
    full, lossy = YjsDocument(), YjsDocument()
    integrate(full, *updates)
    arrivals = [update for update in updates if chance.random() < 0.6]
    chance.shuffle(arrivals)
    log = integrate(lossy, *arrivals)
    log += integrate(lossy, full.difference(lossy.state_vector()))
    assert text_of(lossy.whole_state()) == text_of(load(*log).whole_state()) == text
    assert not lossy.waiting


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_merged_updates_with_holes_are_placed_as_far_as_they_go(seed: int) -> None:
    updates, text = conversation(seed)
    chance = random.Random(seed)
    some = [update for update in updates if chance.random() < 0.5] or updates[:1]
    rest = [update for update in updates if update not in some] or updates[-1:]
    document = YjsDocument()
    log = integrate(document, merge_updates(some))
    log += integrate(document, merge_updates(rest))
    assert not document.waiting
    assert text_of(document.whole_state()) == text_of(load(*log).whole_state()) == text


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_splitting_loses_nothing(seed: int) -> None:
    """Ready part, rest and the update itself reach equally far."""
    updates, _text = conversation(seed)
    chance = random.Random(seed)
    known = load(*updates[: chance.randrange(len(updates))])
    update = merge_updates(chance.sample(updates, chance.randint(1, len(updates))))
    ready, rest = split_update(update, known.clocks)
    if ready is not None:
        assert scan_update(ready).is_covered_by(known.clocks)
    parts = [scan_update(part) for part in (ready, rest) if part is not None]
    units = {(c, n) for part in parts for c, start, end in part.writes for n in range(start, end)}
    assert units == {(c, n) for c, start, end in scan_update(update).writes for n in range(start, end)}
    deleted = {(c, n) for part in parts for c, start, end in part.deletes for n in range(start, end)}
    assert deleted == {(c, n) for c, start, end in scan_update(update).deletes for n in range(start, end)}


PAIR = "📊"
"""One character, two clocks."""


def half_cut(kind: str) -> bytes:
    """An update by client 9 that cuts the pair which client 8 wrote at clocks 1 and 2."""
    origin, right = var_uint(8) + var_uint(1), var_uint(8) + var_uint(2)
    item = {
        "between": b"\xc4" + origin + right,
        "after the first half": b"\x84" + origin,
        "before the second half": b"\x44" + right,
    }
    if kind in item:
        return b"\x01\x01\x09\x00" + item[kind] + var_string("x") + b"\x00"
    start, length = {"delete the first half": (1, 1), "delete the second half": (2, 1)}[kind]
    return b"\x00\x01\x08\x01" + bytes((start, length))


@pytest.mark.parametrize(
    "kind",
    ["between", "after the first half", "before the second half", "delete the first half", "delete the second half"],
)
@pytest.mark.parametrize("stored", ["live", "from the log", "from a snapshot", "in the same batch"])
def test_no_character_is_cut_in_two(kind: str, stored: str) -> None:
    """The engine would lose count there, and hand out states that make Yjs clients throw."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=8)
    doc.get("text", type=pycrdt.Text).insert(0, f"a{PAIR}b")
    written, cut = doc.get_update(), half_cut(kind)
    both = [(written, scan_update(written)), (cut, scan_update(cut))]
    if stored == "in the same batch":
        document = YjsDocument()
        assert document.integrate(both).refused == {1: "half-character"}
    else:
        document = load(written) if stored == "from the log" else YjsDocument()
        if stored == "from a snapshot":
            document = load(snapshot=written)
        integrate(document, *([written] if stored == "live" else []))
        result = document.integrate(both[1:])
        assert (result.change, result.refused) == (None, {0: "half-character"})
    assert text_of(document.whole_state()) == f"a{PAIR}b"
    doc.get("text", type=pycrdt.Text).insert(5, "between them all is well")
    integrate(document, doc.get_update())
    assert text_of(document.whole_state()) == f"a{PAIR}between them all is wellb"


def nested(levels: int, *, client: int, start: int = 0) -> bytes:
    """XML elements, each inside the one before."""
    root = b"\x07\x01" + var_string("xml") + b"\x03\x01p"
    structs = [
        b"\x07\x00" + var_uint(client) + var_uint(clock - 1) + b"\x03\x01p" if clock else root
        for clock in range(start, start + levels)
    ]
    return b"\x01" + var_uint(levels) + var_uint(client) + var_uint(start) + b"".join(structs) + b"\x00"


def test_nesting_that_would_overrun_the_stack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In many small updates as in one, before and after a reload."""
    monkeypatch.setattr("rooms.documents.document.MAX_NESTED_TYPES", 5_000)
    document = YjsDocument()
    for start in range(0, 5_000, 1_000):
        integrate(document, nested(1_000, client=9, start=start))
    further = nested(1, client=9, start=5_000)
    assert document.integrate([(further, scan_update(further))]).refused == {0: "too-large"}
    state = document.whole_state()
    again = load(snapshot=state)
    assert again.integrate([(further, scan_update(further))]).refused == {0: "too-large"}
    more = nested(5_001, client=10)
    assert YjsDocument().integrate([(more, scan_update(more))]).refused == {0: "too-large"}
    integrate(again, b"\x00\x01\x09\x01\x00\x01")  # the outermost deleted, with all inside


def test_what_is_known_changes_nothing() -> None:
    updates = generated_updates(seed=1, count=300)
    document = load(*updates)
    assert integrate(document, *updates) == []
    assert integrate(document, document.whole_state()) == []


def test_what_waits_is_told_once_and_released_when_its_time_comes() -> None:
    first, second, third = generated_updates(seed=2, count=3)
    document = YjsDocument()
    result = document.integrate([(third, scan_update(third))])
    assert (result.change, result.kept, result.incomplete) == (None, [third], {0})
    result = document.integrate([(third, scan_update(third)), (second, scan_update(second))])
    assert (result.kept, result.incomplete) == ([second], {0, 1})
    result = document.integrate([(first, scan_update(first))])
    assert result.released
    assert not document.waiting


def test_what_may_wait_is_bounded() -> None:
    updates = generated_updates(seed=2, count=50)
    document = YjsDocument(waiting_limit_bytes=200)
    result = document.integrate([(update, scan_update(update)) for update in updates[1:]])
    assert set(result.refused.values()) == {"waiting"}
    assert document.waiting_bytes <= 200


@pytest.mark.parametrize("name", BREAKING)
def test_inconsistent_updates_break_the_copy_in_the_one_named_way(name: str) -> None:
    document = load(*generated_updates(seed=1, count=20))
    with pytest.raises(DocumentBroken):
        integrate(document, BREAKING[name])
    document.close()


def test_a_panic_of_the_engine_is_the_same_failure() -> None:
    """A known client without structs; the scan refuses it, so it is handed over past it."""
    document = load(*generated_updates(seed=1, count=20))
    [(client, clock)] = document.clocks.items()
    panicking = b"\x01\x00" + var_uint(client) + var_uint(clock) + b"\x01\x0a\x00"
    with pytest.raises(MalformedMessage):
        scan_update(panicking)
    with pytest.raises(DocumentBroken) as broken:
        document.integrate([(panicking, Scan())])
    assert not isinstance(broken.value.__cause__, Exception), "the engine's panic is a BaseException"
    document.close()


def test_bytes_that_the_engine_cannot_decode_are_the_same_failure() -> None:
    with pytest.raises(DocumentBroken):
        YjsDocument().integrate([(b"\x01", Scan())])
    with pytest.raises(DocumentBroken):
        merge_updates([b"\x01", b"\x01"])
    with pytest.raises(DocumentBroken):
        load(b"\xff")
    with pytest.raises(DocumentBroken):
        load(snapshot=b"\xff")


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_mutated_updates_break_or_pass_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    updates, _text = conversation(seed % 50)
    document = load(*updates[:20])
    for update in updates[18:]:
        data = bytearray(update)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            integrate(document, bytes(data))
            document.whole_state()
        except MalformedMessage:
            continue
        except DocumentBroken:
            document = load(*updates[:20])


def test_a_snapshot_and_its_log_make_the_document() -> None:
    updates = generated_updates(seed=1, count=400)
    state, waiting, _left_out = compact(None, updates[:300])
    assert waiting == []
    document = load(*updates[300:], snapshot=state)
    assert text_of(document.whole_state()) == text_of(*updates)
    assert compact_deep(state, updates[300:]) == compact(state, updates[300:])


def test_compaction_never_leaves_out_what_waits() -> None:
    updates = generated_updates(seed=1, count=10)
    late = updates.pop(4)
    state, waiting, _left_out = compact(None, updates)
    assert waiting
    document = load(*waiting, snapshot=state)
    integrate(document, late)
    assert text_of(document.whole_state()) == text_of(*updates[:4], late, *updates[4:])


def test_differences_are_what_a_peer_lacks() -> None:
    updates = generated_updates(seed=1, count=100)
    document, behind = load(*updates), load(*updates[:60])
    difference = document.difference(behind.state_vector())
    assert len(difference) < len(document.whole_state())
    integrate(behind, difference)
    assert text_of(behind.whole_state()) == text_of(*updates)
    assert document.difference(b"\x00") is document.whole_state()
    with pytest.raises(MalformedMessage):
        document.difference(var_uint(200_000_000))


def test_it_knows_which_deletions_it_has() -> None:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=5)
    text = doc.get("text", type=pycrdt.Text)
    text += "abcdefgh"
    written = doc.get_update()
    del text[2:4]
    one = doc.get_update()
    del text[0:1]
    two = doc.get_update()
    document = load(written, one)
    assert document.has_all_of(scan_update(one))
    assert not document.has_all_of(scan_update(two))
    integrate(document, two)
    assert document.has_all_of(scan_update(two))


def test_what_is_sound_is_loaded_quickly_and_is_the_same() -> None:
    log = typed_log("Il était une fois, à l'école, une classe. " * 5)
    *_growing, carefully = load_document(None, log, WAITING, read_snapshot(None))
    *_growing_too, quickly = YjsDocument.load_sound(log, WAITING)
    assert quickly is not None
    assert quickly.clocks == carefully.clocks
    assert quickly.whole_state() == carefully.whole_state()
    *_again, after_a_snapshot = YjsDocument.load_sound([carefully.whole_state(), *log[100:]], WAITING)
    assert after_a_snapshot is not None
    assert after_a_snapshot.whole_state() == carefully.whole_state()


@pytest.mark.parametrize("missing", [0, 3, 150])
def test_a_log_in_which_something_waits_is_loaded_with_care(missing: int) -> None:
    log = typed_log("Il était une fois, à l'école, une classe. " * 5)
    *_growing, quickly = YjsDocument.load_sound([*log[:missing], *log[missing + 1 :]], WAITING)
    assert quickly is None


@pytest.mark.parametrize("in_two", [False, True])
def test_what_waits_and_would_break_the_engine_does_not_keep_a_document_shut(in_two: bool) -> None:
    """Someone may send, behind a hole, what no document can hold: it waits for ever, and nobody is shown it."""
    letter = in_root(4, var_string("a"))
    child = b"\x04\x00" + var_uint(2) + var_uint(5) + var_string("b")  # its parent is that letter
    if in_two:
        bad = [struct_update(letter, client=2, clock=5), struct_update(child, client=2, clock=6)]
    else:
        bad = [struct_update(letter + child, count=2, client=2, clock=5)]
    document = YjsDocument()
    log = [*integrate(document, *typed_log("une classe")), *(part for one in bad for part in integrate(document, one))]
    assert len(document.waiting) == len(bad)
    *_growing, quickly = YjsDocument.load_sound(log, WAITING)
    assert quickly is None, "it is to be loaded with care"
    assert text_of(load(*log).whole_state()) == "une classe"


@pytest.mark.parametrize("count", [1, 3, MOST_WAITING_HARMFUL + 3])
def test_what_waited_to_break_the_engine_is_named_and_costs_no_text_when_it_is_read_again(count: int) -> None:
    word = struct_update(in_root(4, var_string("mot")), client=1)
    bad = [lurking(10 * number, 1, 0) for number in range(1, count + 1)]
    document = YjsDocument()
    log = [part for update in bad for part in integrate(document, update)]
    assert len(document.waiting) == count
    with pytest.raises(DocumentBroken) as broken:
        integrate(document, word)
    assert broken.value.waiting in bad
    assert text_of(load(*log, word).whole_state()) == "mot"
    state, _waiting, _left_out = compact(None, [*log, word])
    assert text_of(state) == "mot"


def test_honest_text_that_waited_beside_it_is_placed() -> None:
    word = struct_update(in_root(4, var_string("mot")), client=1)
    more = struct_update(b"\x84\x01\x02" + var_string("s"), client=2)
    assert text_of(load(lurking(9, 1, 0), more, lurking_circle(30, 1, 0), word).whole_state()) == "mots"


def test_a_deletion_of_what_is_not_there_is_loaded_with_care() -> None:
    log = typed_log("une classe", delete_last=True)
    *_growing, quickly = YjsDocument.load_sound(log[-1:], WAITING)
    assert quickly is None


def test_text_that_may_be_cut_is_loaded_with_care() -> None:
    *_growing, quickly = YjsDocument.load_sound(typed_log("une fête 🎉"), WAITING)
    assert quickly is None


def typed_log(text: str, *, delete_last: bool = False) -> list[bytes]:
    """One update a character; then, if asked for, one that deletes the last of them."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=1)  # the bytes of some look like an emoji's: read with care
    log: list[bytes] = []
    subscription = doc.observe(lambda event: log.append(event.update))
    content = doc.get("text", type=pycrdt.Text)
    for character in text:
        content += character
    if delete_last:
        del content[len(text) - 1 : len(text)]
    doc.unobserve(subscription)
    return log


def test_nothing_is_imported_while_the_first_to_open_a_text_waits() -> None:
    code = """
import asyncio, sys
from rooms.documents.document import YjsDocument

async def open_first():
    known = set(sys.modules)
    document = YjsDocument()
    document.whole_state()
    document.close()
    return set(sys.modules) - known

assert asyncio.run(open_first()) == set()
"""
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "."}, check=True)
