"""Typing on, as real editors write it: what is joined is what was sent, and anything else takes the long way."""

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.documents.document import TYPED_AT_ONCE_BYTES, Integrated, YjsDocument
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
    return [one.update for one in sealed(updates, None)[0]]


def sealed(updates: list[bytes], run: TypingRun | None) -> tuple[list[Incoming], TypingRun | None]:
    """What a flush takes of these messages, which came behind this run; the run after them."""
    incoming: list[Incoming] = []
    for number, update in enumerate(updates, start=1):
        typed = run.continue_with(sync_update(update)) if run is not None else None
        if run is None or typed is None:
            scan = scan_update(update)
            incoming.append(Incoming(None, number, update, scan, is_answer=False))  # type: ignore[arg-type]
            run = TypingRun.after(update, scan)
            continue
        if not incoming or not incoming[-1].is_typed:
            incoming.append(Incoming.typed(None, run))  # type: ignore[arg-type]
        run.advance(typed[1])
        incoming[-1].add(number, typed[0], run.end)
    for one in incoming:
        one.seal()
        assert scan_update(one.update).writes == one.scan.writes, "the scan that was not made would say the same"
    return incoming, run


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


# --- the engine is given it later -----------------------------------------------------------------------


def flush(document: YjsDocument, incoming: list[Incoming]) -> Integrated:
    """As `flush._integrate`."""
    typed = [one.typed_text for one in incoming if one.typed_text is not None]
    if len(typed) == len(incoming):
        result = document.integrate_typed(typed)
        assert result is not None
        return result
    return document.integrate([(one.update, one.scan) for one in incoming])


def document_of(base: bytes) -> YjsDocument:
    document = YjsDocument()
    document.integrate([(base, scan_update(base))])
    return document


Edits = list[tuple[int, int, str]]
edits = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.sampled_from(["a", "bc", "é", "x" * 9])), max_size=30
)


@given(edits, st.integers(1, 4))
def test_what_is_typed_is_the_same_whether_the_engine_has_it_now_or_later(history: Edits, each: int) -> None:
    authors = [Author("avant", client_id=1_000 + n) for n in range(2)]
    runs: list[TypingRun | None] = [None, None]
    document, at_once = document_of(authors[0].base), document_of(authors[0].base)
    stored = [authors[0].base]
    for start in range(0, len(history), each):
        batch: list[Incoming] = []
        for number, kind, text in history[start : start + each]:
            author = authors[number]
            first = len(author.updates)
            if kind == 0 and str(author.text)[:1].isascii() and len(author.text) > 2:  # the engine counts bytes
                del author.text[0:1]
            else:
                author.type(0 if kind == 1 else len(str(author.text).encode()), text)
            more, runs[number] = sealed(author.updates[first:], runs[number])
            batch += more
        if len({one.scan.writes[0][0] for one in batch if one.scan.writes}) < len(batch):
            for one in batch:
                _both(document, at_once, [one], stored)
        else:
            _both(document, at_once, batch, stored)
    assert document.clocks == at_once.clocks
    assert document.whole_state() == at_once.whole_state()
    reloaded: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in stored:
        reloaded.apply_update(update)
    assert reloaded.get_update() == document.whole_state()


def _both(document: YjsDocument, at_once: YjsDocument, batch: list[Incoming], stored: list[bytes]) -> None:
    if not batch:
        return
    before = dict(document.clocks)
    result = flush(document, batch)
    assert result.clocks_before == before
    expected = at_once.integrate([(one.update, one.scan) for one in batch])
    assert result.change == expected.change
    assert document.clocks == at_once.clocks
    if result.change is not None:
        stored.append(result.change)


def typed_on(author: Author, text: str, run: TypingRun | None) -> tuple[list[Incoming], TypingRun | None]:
    first = len(author.updates)
    author.type(len(str(author.text).encode()), text)
    return sealed(author.updates[first:], run)


def test_whoever_asks_is_answered_with_what_was_typed_a_moment_ago() -> None:
    author = Author("avant")
    document = document_of(author.base)
    begun, run = typed_on(author, "x", None)
    flush(document, begun)
    more, _run = typed_on(author, "yz", run)
    known = document.state_vector()
    flush(document, more)
    assert document._typed
    assert read(author.base, [document.difference(known)])[0] != ""
    assert not document._typed
    assert document.state_vector() == author.doc.get_state()
    assert document.whole_state() == author.doc.get_update()


def test_a_whole_page_is_given_to_the_engine_even_if_nobody_asks() -> None:
    author = Author()
    document = YjsDocument()
    begun, run = typed_on(author, "x", None)
    flush(document, begun)
    for _ in range(TYPED_AT_ONCE_BYTES // 100):
        more, run = typed_on(author, "y" * 100, run)
        flush(document, more)
        assert document._typed_bytes < TYPED_AT_ONCE_BYTES
    more, run = typed_on(author, "y" * 100, run)
    flush(document, more)
    assert document.whole_state() == author.doc.get_update()


def test_who_types_on_in_a_paragraph_that_is_gone_breaks_nothing() -> None:
    """The engine says more than it was told then: that this is deleted too."""
    doc = pycrdt.Doc(client_id=5)
    page = doc.get("page", type=pycrdt.XmlFragment)
    page.children.append(pycrdt.XmlElement("p", {}, [pycrdt.XmlText("un")]))
    base = doc.get_update()
    document = document_of(base)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    words = page.children[0].children[0]
    words += "d"
    words += "e"
    words += "ux"
    doc.unobserve(subscription)
    begun, run = sealed(updates[:1], None)
    flush(document, begun)
    other = pycrdt.Doc(client_id=6)
    for update in (base, updates[0]):
        other.apply_update(update)
    known = other.get_state()
    del other.get("page", type=pycrdt.XmlFragment).children[0]
    deletion = other.get_update(known)
    document.integrate([(deletion, scan_update(deletion))])
    more, _run = sealed(updates[1:], run)
    flush(document, more)
    assert document._typed
    doc.apply_update(deletion)
    assert document.whole_state() == doc.get_update()
    assert document.clocks[5] == len("undeux") + 2


def test_what_does_not_follow_what_is_here_takes_the_long_way() -> None:
    author = Author("avant")
    document = document_of(author.base)
    begun, run = typed_on(author, "x", None)
    more, _run = typed_on(author, "y", run)
    (late,) = (one.typed_text for one in more)
    assert late is not None
    assert document.integrate_typed([late]) is None
    flush(document, begun)
    assert document.integrate_typed([late, late]) is None
    assert document.integrate_typed([late]) is not None
    assert document.integrate_typed([late]) is None
    assert document.whole_state() == author.doc.get_update()
