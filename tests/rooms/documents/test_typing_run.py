"""Typing on, as real editors write it: what is joined is what was sent, and anything else takes the long way."""

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.documents.document import YjsDocument
from rooms.documents.live import Incoming
from rooms.documents.scan import scan_update
from rooms.documents.sync import sync_update
from rooms.documents.typing_run import TypingRun


class Author:
    """An editor whose updates are recorded."""

    def __init__(self, before: str = "", client_id: int = 123_456_789) -> None:
        self.doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=client_id)
        self.text = self.doc.get("text", type=pycrdt.Text)
        if before:
            other: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=77)
            other.get("text", type=pycrdt.Text).insert(0, before)
            self.doc.apply_update(other.get_update())
        self.base = self.doc.get_update()
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))

    def type(self, at: int, characters: str) -> None:
        """One by one, from this byte on."""
        for character in characters:
            self.text.insert(at, character)
            at += len(character.encode())


def joined(updates: list[bytes]) -> list[bytes]:
    """What the engine would be given of these messages in one flush."""
    run: TypingRun | None = None
    incoming: list[Incoming] = []
    for number, update in enumerate(updates, start=1):
        typed = run.continue_with(sync_update(update)) if run is not None else None
        if run is None or typed is None:
            scan = scan_update(update)
            incoming.append(Incoming(None, number, update, scan, is_answer=False))  # type: ignore[arg-type]
            run = TypingRun.after(update, scan)
            continue
        if not incoming[-1].is_typed:
            incoming.append(Incoming.typed(None, run))  # type: ignore[arg-type]
        run.advance(typed[1])
        incoming[-1].add(number, typed[0], run.end)
    for one in incoming:
        one.seal()
        assert scan_update(one.update).writes == one.scan.writes, "the scan that was not made would say the same"
    return [one.update for one in incoming]


def read(base: bytes, updates: list[bytes]) -> tuple[str, bytes]:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in (base, *updates):
        doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text)), doc.get_update()


@pytest.mark.parametrize(("before", "at"), [("", 0), ("dictée", 7), ("deux mots", 4)])
def test_a_sentence_is_one_struct_after_its_first_character(before: str, at: int) -> None:
    author = Author(before)
    author.type(at, "L'élève écrit. " * 20)
    assert len(author.updates) == 300
    together = joined(author.updates)
    assert len(together) == 2
    assert read(author.base, together) == read(author.base, author.updates)


def test_a_jump_a_deletion_and_an_emoji_take_the_long_way() -> None:
    author = Author("0123456789")
    author.type(5, "abc")
    author.type(1, "def")
    del author.text[0:1]
    author.type(0, "x😀yz")
    together = joined(author.updates)
    assert read(author.base, together) == read(author.base, author.updates)
    assert author.updates[6] in together, "the deletion, as it came"


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.text("aé中😀 ", min_size=1, max_size=6), st.booleans()), min_size=1, max_size=8
    )
)
def test_whatever_is_edited_the_joined_is_the_same_document(edits: list[tuple[int, str, bool]]) -> None:
    author = Author("une base commune")
    for at, characters, deletes in edits:
        content = str(author.text)
        place = len(content[: at % (len(content) + 1)].encode())
        if deletes and content:
            end = len(content[: at % (len(content) + 1) + 1].encode())
            del author.text[place:end]
        author.type(place, characters)
    assert read(author.base, joined(author.updates)) == read(author.base, author.updates)


@given(st.data())
def test_a_message_that_differs_in_one_byte_is_not_taken_for_typing(data: st.DataObject) -> None:
    author = Author("avant après")
    author.type(6, "ab")
    run = TypingRun.after(author.updates[0], scan_update(author.updates[0]))
    assert run is not None
    message = bytearray(sync_update(author.updates[1]))
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != message[place]))
    typed = run.continue_with(bytes(message))
    if place == len(message) - 2:  # the character itself
        assert typed is None or typed[0] == message[-2:-1]
    else:
        assert typed is None


def test_many_clients_in_one_update_are_what_they_were_apart() -> None:
    authors = [Author(client_id=1_000 + number) for number in range(5)]
    for author in authors:
        author.type(0, "salut")
    updates = [update for author in authors for update in joined(author.updates)]
    document, apart = YjsDocument(), YjsDocument()
    document.integrate([(update, scan_update(update)) for update in updates])
    for update in updates:
        apart.integrate([(update, scan_update(update))])
    assert document.clocks == apart.clocks
    assert document.whole_state() == apart.whole_state()


def test_a_cut_off_message_is_not_typing() -> None:
    author = Author()
    author.type(0, "abc")
    run = TypingRun.after(author.updates[0], scan_update(author.updates[0]))
    assert run is not None
    whole = sync_update(author.updates[1])
    assert run.continue_with(whole) == (b"b", 1)
    assert all(run.continue_with(whole[:end]) is None for end in range(len(whole)))
    assert run.continue_with(whole + b"\x00") is None
