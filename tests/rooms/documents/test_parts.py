"""A long message in parts: cut here, put together by the Python SDK; and how long a part is."""

import random

import pytest

from passerelle_client.lib0 import MalformedMessage
from passerelle_client.message_parts import MOST_BYTES, MessageParts
from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.parts import (
    FIRST_PART_BYTES,
    LARGEST_PART_BYTES,
    LEAST_PART_BYTES,
    QUICKLY_S,
    SLOWLY_S,
    LongMessage,
    PartPace,
)
from rooms.documents.sync import PART


def part(total: int, place: int, body: bytes) -> bytes:
    return bytes((PART,)) + var_uint(total) + var_uint(place) + var_bytes(body)


def parts_of(message: LongMessage, most_bytes: int) -> list[bytes]:
    parts = []
    while message.left_bytes:
        parts.append(message.next_part(most_bytes))
    return parts


@pytest.mark.parametrize("seed", range(20))
def test_parts_make_the_message_however_it_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice([0, 1, 5, 300, 70_000])) for _ in range(chance.randint(1, 4))]
    message, reader = LongMessage(pieces), MessageParts()
    whole = list[bytes | None]()
    left = message.left_bytes
    while message.left_bytes:
        most = chance.choice([1, 7, 1_000, 50_000]) if left < 2_000 else chance.randint(1_000, 50_000)
        whole.append(reader.take(message.next_part(most), 1))
    assert whole[:-1] == [None] * (len(whole) - 1)
    assert (whole[-1] if whole else b"") == b"".join(pieces)


def test_a_part_holds_what_the_protocol_says() -> None:
    message = LongMessage([b"abc", b"", b"defgh"])
    assert parts_of(message, 4) == [part(8, 0, b"abcd"), part(8, 4, b"efgh")]


def test_what_is_left_of_an_opening_before_is_passed_over() -> None:
    before, now = parts_of(LongMessage([b"a" * 10]), 4), parts_of(LongMessage([b"b" * 12]), 4)
    reader = MessageParts()
    assert reader.take(before[0], 1) is None
    assert [reader.take(each, 1) for each in before[1:2]] == [None]
    fresh = MessageParts()
    assert [fresh.take(each, 1) for each in (*before[1:], *now)] == [None, None, None, None, b"b" * 12]
    assert [reader.take(each, 1) for each in (now[0], before[2], *now[1:])] == [None, None, None, b"b" * 12]


@pytest.mark.parametrize(
    "message", [part(3, 2, b"ab"), part(MOST_BYTES + 1, 0, b"a"), part(5, 0, b"abc")[:-1], bytes((PART,))]
)
def test_a_part_that_cannot_be_one_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        MessageParts().take(message, 1)


def test_a_quick_line_gets_longer_parts_and_a_slow_one_shorter_within_bounds() -> None:
    pace = PartPace()
    assert pace.part_bytes == FIRST_PART_BYTES
    sizes = [pace.part_bytes]
    for _ in range(8):
        pace.note_taken(QUICKLY_S / 2)
        sizes.append(pace.part_bytes)
    assert sizes == sorted(sizes)
    assert pace.part_bytes == LARGEST_PART_BYTES
    pace.note_taken((QUICKLY_S + SLOWLY_S) / 2)
    assert pace.part_bytes == LARGEST_PART_BYTES
    for _ in range(8):
        pace.note_taken(SLOWLY_S * 2)
    assert pace.part_bytes == LEAST_PART_BYTES
