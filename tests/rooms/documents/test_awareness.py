"""The merge of awareness by client id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.documents.awareness import DocumentAwareness, read_awareness
from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.limits import MAX_AWARENESS_ENTRIES

Entry = tuple[int, int, object]


def update(*entries: Entry) -> bytes:
    body = b"".join(var_uint(c) + var_uint(k) + var_bytes(json.dumps(s).encode()) for c, k, s in entries)
    return var_uint(len(entries)) + body


def said(awareness: DocumentAwareness) -> dict[int, object]:
    sent, _speakers = awareness.changes_to_send()
    return {client: json.loads(state) for client, _clock, state in read_awareness(sent)}


def everyone(_client: int) -> bool:
    return True


def test_the_newest_clock_wins() -> None:
    awareness = DocumentAwareness(8)
    awareness.receive("a", update((1, 5, {"n": 5})), everyone)
    awareness.receive("a", update((1, 4, {"n": 4})), everyone)
    awareness.receive("a", update((1, 5, {"n": 6})), everyone)
    assert said(awareness) == {1: {"n": 5}}
    awareness.receive("a", update((1, 5, None)), everyone)
    assert said(awareness) == {1: None}
    assert awareness.whole_state() is None


def test_what_is_withheld_counts_against_the_same_bound_and_is_shown_with_its_newest_clock() -> None:
    awareness = DocumentAwareness(2)
    assert awareness.receive("c", update((1, 1, {"cursor": 0})), everyone) == [1]
    awareness.changes_to_send()
    both = update((1, 1, {"cursor": 1}), (2, 1, {"cursor": 1}))
    assert awareness.receive("c", both, everyone, is_withheld=True) == [2]
    assert awareness.receive("c", update((3, 1, {})), everyone, is_withheld=True) == []
    assert awareness.receive("c", update((1, 2, {"cursor": 2})), everyone, is_withheld=True) == [1]
    assert not awareness.has_changes()
    assert sorted(awareness.release("c")) == [1, 2]
    assert said(awareness) == {1: {"cursor": 2}, 2: {"cursor": 1}}
    assert awareness.release("c") == []


def message(*entries: Entry) -> bytes:
    return b"\x01" + var_bytes(update(*entries))


def next_taken(awareness: DocumentAwareness, connection_id: str, said_now: bytes) -> bool:
    """Whether it was; if not, nothing may have changed."""
    awareness.changes_to_send()
    taken = awareness.receive_next(connection_id, said_now)
    assert awareness.has_changes() is taken
    return taken


def test_who_goes_on_is_taken_without_a_closer_look() -> None:
    quick, careful = DocumentAwareness(8), DocumentAwareness(8)
    for awareness in (quick, careful):
        awareness.receive("a", update((300, 1, {"n": 1})), everyone)
        awareness.changes_to_send()
    assert quick.receive_next("a", message((300, 2, {"n": "é" * 200})))
    assert careful.receive("a", update((300, 2, {"n": "é" * 200})), everyone) == [300]
    assert quick.whole_state() == careful.whole_state()
    assert quick.changes_to_send() == careful.changes_to_send()
    assert quick.remove_connection("a") == {300}


def test_whatever_else_a_message_says_is_looked_at_closely() -> None:
    awareness = DocumentAwareness(8)
    awareness.receive("a", update((1, 5, {"n": 5}), (2, 5, {})), everyone)
    good = message((1, 6, {}))
    for other in (
        message((1, 5, {})),  # no newer
        message((1, 6, None)),  # gone
        message((3, 1, {})),  # nobody that is known
        message((1, 6, {}), (2, 6, {})),
        message(),
        message((1, 2**31, {})),
        message((1, 6, 7)),
        message((1, 6, {"n": "x" * 5_000})),
        good + b"\x00",
        good[:-1],
        b"\x01",
        b"\x01" + var_bytes(update((1, 6, {})) + b"\x00"),
        b"\x01" + var_bytes(b"\x01\x01\x06" + var_bytes(b"{")),
        b"\x01" + var_bytes(b"\x01\x01\x06" + var_bytes(b"\xff")),
    ):
        assert not next_taken(awareness, "a", other)
    assert not next_taken(awareness, "b", good)  # it is another's
    assert next_taken(awareness, "a", good)


def test_a_connection_that_ends_takes_its_cursors_along() -> None:
    awareness = DocumentAwareness(8)
    awareness.receive("a", update((1, 5, {}), (2, 3, {})), everyone)
    awareness.receive("b", update((3, 1, {})), everyone)
    awareness.changes_to_send()
    assert awareness.remove_connection("a") == {1, 2}
    assert said(awareness) == {1: None, 2: None}
    awareness.receive("c", update((1, 5, {"back": True})), everyone)
    assert said(awareness) == {1: {"back": True}}


def test_an_update_with_one_bad_state_is_refused_whole() -> None:
    awareness = DocumentAwareness(8)
    bad = var_uint(2) + update((1, 1, {}))[1:] + var_uint(2) + var_uint(1) + var_bytes(b"{")
    with pytest.raises(MalformedMessage):
        awareness.receive("a", bad, everyone)
    assert not awareness.has_changes()


@pytest.mark.parametrize(
    "state",
    [
        b"{",
        b"",
        b"1",
        b'"name"',
        b"[]",
        b"\xff",
        b'{"a": NaN}',
        json.dumps({"a": "x" * 5_000}).encode(),
        b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_states_that_browsers_cannot_take_are_refused(state: bytes) -> None:
    with pytest.raises(MalformedMessage):
        DocumentAwareness(8).receive("a", b"\x01\x01\x01" + var_bytes(state), everyone)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        var_uint(200_000_000),
        update(*[(n, 1, None) for n in range(MAX_AWARENESS_ENTRIES + 1)]),
        update((2**53, 1, {})),
        update((1, 2**40, {})),
        update((1, 1, {})) + b"\x00",
    ],
)
def test_impossible_updates_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        DocumentAwareness(8).receive("a", data, everyone)


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        DocumentAwareness(8).receive("a", data, everyone)
    except MalformedMessage:
        pass


entries = st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([None, {}, {"x": 1}]))
steps = st.tuples(st.sampled_from("abc"), st.lists(entries, max_size=4))


@given(st.lists(steps, max_size=20), st.integers(1, 3))
def test_memory_is_bounded_by_connections(history: list[tuple[str, list[Entry]]], most: int) -> None:
    awareness = DocumentAwareness(most)
    for connection, what in history:
        awareness.receive(connection, update(*what), everyone)
    assert all(len(ids) <= most for ids in awareness._ids_of.values())
    for connection in "abc":
        awareness.remove_connection(connection)
    assert awareness.whole_state() is None
    assert not awareness._entries
