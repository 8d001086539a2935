"""The framing of y-protocols, as far as clients may use it."""

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.documents import sync
from rooms.documents.encoding import var_uint
from rooms.documents.errors import MalformedMessage
from rooms.documents.sync import Kind, read_message, read_state_vector


@pytest.mark.parametrize(
    ("message", "kind", "body"),
    [
        (b"\x00\x00\x01\x00", Kind.STEP_1, b"\x00"),
        (b"\x00\x01\x02\x00\x00", Kind.STEP_2, b"\x00\x00"),
        (b"\x00\x02\x02\x00\x00", Kind.UPDATE, b"\x00\x00"),
        (b"\x01\x01\x00", Kind.AWARENESS, b"\x00"),
        (b"\x03", Kind.QUERY_AWARENESS, b""),
    ],
)
def test_what_clients_say_is_read(message: bytes, kind: Kind, body: bytes) -> None:
    read = read_message(message)
    assert (read.kind, read.body) == (kind, body)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\x00\x03\x00",
        b"\x00\x02",
        b"\x00\x02\x05ab",
        b"\x00\x02\x01ab",
        b"\x02\x00\x00",
        b"\x03\x00",
        b"\x64\x01",
        b"\x65\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_anything_else_is_refused(message: bytes) -> None:
    """Also what only a server says: auth, saved, unsaved."""
    with pytest.raises(MalformedMessage):
        read_message(message)


@given(st.binary(max_size=64))
def test_reading_raises_nothing_else(message: bytes) -> None:
    for read in (read_message, read_state_vector):
        try:
            read(message)
        except MalformedMessage:
            pass


def test_messages_are_what_a_yjs_client_reads() -> None:
    assert sync.sync_step_1(b"\x00") == pycrdt.create_sync_message(pycrdt.Doc())
    assert sync.sync_update(b"ab") == pycrdt.create_update_message(b"ab")
    assert sync.awareness_message(b"ab") == pycrdt.create_awareness_message(b"ab")
    assert sync.permission_denied("read-only") == b"\x02\x00\x09read-only"
    assert (sync.saved(300), sync.unsaved(0)) == (b"\x64\xac\x02", b"\x65\x00")


def test_state_vectors_are_read() -> None:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=2**53 - 1)
    doc.get("text", type=pycrdt.Text).insert(0, "é📊")
    assert read_state_vector(doc.get_state()) == {2**53 - 1: 3}


@pytest.mark.parametrize(
    "vector",
    [b"", b"\x01", var_uint(200_000_000), b"\x01\x05", b"\x02\x05\x01\x05\x02", b"\x01" + b"\xff" * 7 + b"\x7f\x01"],
)
def test_impossible_state_vectors_are_refused(vector: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_state_vector(vector)
