"""Updates cut into messages: whatever the cut, the same document."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from passerelle_client.lib0 import MalformedMessage
from passerelle_client.update_split import UpdateTooLong, split_update


def several_authors(seed: int, rounds: int = 12) -> bytes:
    """A document of three who wrote text, maps, lists and rich text into each other's, and deleted."""
    chance = random.Random(seed)
    docs = [Doc(client_id=number + 1) for number in range(3)]
    for _ in range(rounds):
        doc = chance.choice(docs)
        text = doc.get("text", type=Text)
        with doc.transaction():
            words = chance.choice(["Bonjour ", "été ", "🦉 hibou ", "x" * chance.randint(1, 60)])
            at = chance.choice([0, len(text)])
            text.insert(at, words)
            if chance.random() < 0.4 and len(text) > 4 and text.to_py().isascii():  # type: ignore[union-attr]
                del text[1:3]
            doc.get("map", type=Map)[chance.choice("abc")] = chance.choice(
                [1, 2.5, True, None, "mot", [1, {"a": [None]}], {"clé": {"x": 2**40}}, b"bytes"]
            )
            doc.get("list", type=Array).append(chance.choice([1, "deux", [3, 4]]))
            page = doc.get("page", type=XmlFragment)
            page.children.append(XmlElement("p", {"class": "x"}, [XmlText("gras")]))
        for other in docs:
            if other is not doc and chance.random() < 0.5:
                other.apply_update(doc.get_update(other.get_state()))
    for other in docs[1:]:
        docs[0].apply_update(other.get_update(docs[0].get_state()))
    return docs[0].get_update()


def contents(doc: Doc) -> object:
    return (
        str(doc.get("text", type=Text)),
        doc.get("map", type=Map).to_py(),
        doc.get("list", type=Array).to_py(),
        str(doc.get("page", type=XmlFragment)),
    )


@given(seed=st.integers(0, 10_000), most_bytes=st.integers(150, 2_000))
@settings(max_examples=60)
def test_the_pieces_make_the_same_document_and_none_is_too_long(seed: int, most_bytes: int) -> None:
    update = several_authors(seed)
    pieces = split_update(update, most_bytes)
    whole, pieced = Doc(), Doc()
    whole.apply_update(update)
    for piece in pieces:
        assert len(piece) <= most_bytes
        before = pieced.get_state()
        pieced.apply_update(piece)
        pieced.get_update(before)  # nothing waits for what has not come yet
    assert contents(pieced) == contents(whole)
    assert pieced.get_state() == whole.get_state()
    assert len(pieces) > 1 or len(update) <= most_bytes


def test_a_difference_is_cut_as_well_as_a_whole() -> None:
    doc = Doc()
    doc.apply_update(several_authors(1))
    reader = Doc()
    reader.apply_update(doc.get_update())
    text = doc.get("text", type=Text)
    for number in range(300):
        text.insert(0 if number % 2 else len(str(text).encode()), f"mot {number} ")
    for piece in split_update(doc.get_update(reader.get_state()), 500):
        reader.apply_update(piece)
    assert contents(reader) == contents(doc)


def test_what_is_short_stays_as_it_is() -> None:
    update = several_authors(2)
    assert split_update(update, len(update)) == [update]


def test_one_edit_that_no_message_can_hold_is_refused() -> None:
    doc = Doc()
    doc.get("text", type=Text).insert(0, "x" * 5_000)
    with pytest.raises(UpdateTooLong):
        split_update(doc.get_update(), 1_000)


def test_many_deletions_are_cut_too() -> None:
    doc = Doc()
    text = doc.get("text", type=Text)
    text.insert(0, "ab" * 2_000)
    reader = Doc()
    reader.apply_update(doc.get_update())
    with doc.transaction():
        for number in range(2_000):
            del text[number : number + 1]
    difference = doc.get_update(reader.get_state())
    pieces = split_update(difference, 1_000)
    assert len(pieces) > 2
    for piece in pieces:
        assert len(piece) <= 1_000
        reader.apply_update(piece)
    assert str(reader.get("text", type=Text)) == "b" * 2_000


@pytest.mark.parametrize("garbage", [b"\x01\x01\x01", b"\xff" * 50, bytes(range(60)), b"\x01\x01\x01\x00\x1f" * 10])
def test_what_is_no_update_is_said_to_be_malformed(garbage: bytes) -> None:
    with pytest.raises(MalformedMessage):
        split_update(garbage, 1)
