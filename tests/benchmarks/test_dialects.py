"""What the benchmark puts around y-protocols messages for each server."""

import pytest

from benchmarks.documents.dialects import (
    HocuspocusDialect,
    PasserelleDialect,
    YWebSocketDialect,
    read_var_uint,
    var_uint,
)

SYNC_STEP_1 = b"\x00\x00\x01\x00"
AWARENESS = b"\x01\x03\x01\x01\x00"
NAME = "dictée-é"


@pytest.mark.parametrize("dialect", [YWebSocketDialect(), HocuspocusDialect(), PasserelleDialect({}, {})])
@pytest.mark.parametrize("message", [SYNC_STEP_1, AWARENESS])
def test_what_is_wrapped_is_unwrapped(dialect, message: bytes) -> None:
    assert dialect.unwrap(dialect.wrap(NAME, message)) == message


def test_hocuspocus_messages_begin_with_the_name_in_utf_8() -> None:
    assert HocuspocusDialect().wrap("é", SYNC_STEP_1) == b"\x02" + "é".encode() + SYNC_STEP_1


def test_hocuspocus_is_given_a_token_first() -> None:
    (opening,) = HocuspocusDialect().opening("a")
    assert opening == b"\x01a\x02\x00\x00\x054.7.0"
    assert HocuspocusDialect().unwrap(opening) is None


def test_hocuspocus_acknowledges_one_update_a_message() -> None:
    dialect = HocuspocusDialect()
    assert dialect.acknowledged(dialect.wrap(NAME, b"\x08\x01"), 4) == 5
    assert dialect.acknowledged(dialect.wrap(NAME, b"\x08\x00"), 4) == 4
    assert dialect.acknowledged(dialect.wrap(NAME, SYNC_STEP_1), 4) == 4


def test_passerelle_says_how_many_are_saved() -> None:
    dialect = PasserelleDialect({}, {})
    assert dialect.acknowledged(b"\x64\xac\x02", 4) == 300
    assert dialect.acknowledged(b"\x65\xac\x02", 4) == 4
    assert dialect.unwrap(b"\x64\xac\x02") is None


def test_each_client_of_passerelle_has_a_token_of_its_room() -> None:
    dialect = PasserelleDialect({"a": "r1", "b": "r1", "c": "r2"}, {"r1": ["t1", "t2"], "r2": ["t3"]})
    assert [dialect.path(name) for name in ("a", "b", "c")] == [
        "/yjs/r1/a?token=t1&ack=1",
        "/yjs/r1/b?token=t2&ack=1",
        "/yjs/r2/c?token=t3&ack=1",
    ]
    with pytest.raises(KeyError):
        dialect.path("d")


@pytest.mark.parametrize("number", [0, 127, 128, 300, 2**32, 2**53 - 1])
def test_numbers_are_read_as_written(number: int) -> None:
    assert read_var_uint(b"\xff" + var_uint(number) + b"\x07", 1) == (number, 1 + len(var_uint(number)))


def test_number_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="does not end"):
        read_var_uint(b"\xff" * 20, 0)
