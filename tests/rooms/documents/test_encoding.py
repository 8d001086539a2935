"""lib0 primitives: exact, bounded, and never any other error than the named one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.documents.encoding import BoundedReader, var_bytes, var_string, var_uint
from rooms.documents.errors import MalformedMessage
from tests.support.deadlines import least_cpu_s


@given(st.integers(0, 2**56 - 1))
def test_numbers_come_back(number: int) -> None:
    reader = BoundedReader(var_uint(number))
    assert reader.var_uint() == number
    reader.end()


@given(st.text(), st.binary())
def test_text_and_bytes_come_back(text: str, data: bytes) -> None:
    reader = BoundedReader(var_string(text) + var_bytes(data))
    assert (reader.var_string(), reader.var_bytes()) == (text, data)
    reader.end()


def test_text_is_counted_in_bytes() -> None:
    """pycrdt's own encoder counts characters here and loses the emoji."""
    assert var_string("é📊") == b"\x06" + "é📊".encode()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 8, b"\xff" * 100_000])
def test_numbers_that_do_not_end_are_refused_at_once(data: bytes) -> None:
    def refuse() -> None:
        with pytest.raises(MalformedMessage):
            BoundedReader(data).var_uint()

    assert least_cpu_s(refuse) < 0.01


def test_a_length_beyond_the_end_reserves_nothing() -> None:
    with pytest.raises(MalformedMessage):
        BoundedReader(var_uint(2**50)).var_bytes()


def test_bytes_after_the_end_are_refused() -> None:
    reader = BoundedReader(b"\x01\x00")
    reader.var_uint()
    with pytest.raises(MalformedMessage):
        reader.end()


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        BoundedReader(b"\x01\xff").var_string()
