from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.documents import bus_message
from rooms.documents.bus_message import (
    EVERYONE,
    BusMessage,
    Kind,
    SharedAwareness,
    encode_message,
    is_for,
    read_message,
)
from rooms.documents.encoding import var_bytes, var_string, var_uint
from rooms.documents.errors import MalformedMessage
from rooms.ports import ClientBinding

ME, OTHER, THIRD = b"-- me --", b"-other -", b"-third -"
OWNERS = (ClientBinding(2**53 - 1, "participant-é"), ClientBinding(7, "p"))
MESSAGES = {
    "state": BusMessage(
        Kind.STATE,
        OTHER,
        2**40,
        state_vector=b"\x01\x02\x03",
        digest=bytes(range(16)),
        awareness=SharedAwareness(b"\x00", OWNERS),
        wants_reply=True,
    ),
    "change": BusMessage(
        Kind.CHANGE,
        OTHER,
        1,
        update=b"update",
        bindings=OWNERS,
        awareness=SharedAwareness(b"awareness", OWNERS[:1]),
        is_unsaved=True,
    ),
    "ask": BusMessage(Kind.ASK, OTHER, 0, addressee=ME, state_vector=b"\x00"),
    "answer": BusMessage(Kind.ANSWER, OTHER, 300, addressee=ME, update=b"u" * 1000, is_too_large=True),
    "goodbye": BusMessage(Kind.GOODBYE, OTHER, 3),
}
HEAD = b"\x01\x01" + OTHER + EVERYONE


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_written_is_read(name: str) -> None:
    assert read_message(encode_message(MESSAGES[name])) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_no_part_of_a_message_is_one(name: str) -> None:
    data = encode_message(MESSAGES[name])
    for length in range(len(data)):
        with pytest.raises(MalformedMessage):
            read_message(data[:length])
    with pytest.raises(MalformedMessage):
        read_message(data + b"\x00")


def test_a_message_is_for_everyone_or_for_one_and_never_for_its_sender() -> None:
    to_all, to_me = encode_message(MESSAGES["change"]), encode_message(MESSAGES["ask"])
    assert is_for(to_all, ME)
    assert is_for(to_all, THIRD)
    assert not is_for(to_all, OTHER)
    assert is_for(to_me, ME)
    assert not is_for(to_me, THIRD)


@pytest.mark.parametrize(
    "data",
    [
        b"\x02" + encode_message(MESSAGES["change"])[1:],
        b"\x01\x05" + encode_message(MESSAGES["goodbye"])[2:],
        HEAD + b"\x01\x08" + b"\x00" * 5,
        HEAD + b"\x01\x00" + var_uint(2**40) + b"\x00" * 4,
        HEAD + b"\x01\x00" + b"\x00" + var_uint(2**40),
        HEAD + b"\x01\x00" + b"\x00" + b"\x01" + var_uint(2**53) + var_string("p") + b"\x00\x00",
        HEAD + b"\x01\x00" + b"\x00" + b"\x01\x01" + var_string("") + b"\x00\x00",
        HEAD + b"\x01\x00" + b"\x00" + b"\x01\x01" + var_string("p" * 129) + b"\x00\x00",
        HEAD + b"\x01\x00" + b"\x00" + b"\x01\x01" + var_bytes(b"\xff") + b"\x00\x00",
        encode_message(replace(MESSAGES["state"], digest=b"short")),
    ],
)
def test_what_no_instance_writes_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_message(data)


def test_lengths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_message, "MAX_BUS_MESSAGE_BYTES", 100)
    monkeypatch.setattr(bus_message, "MAX_MESSAGE_BINDINGS", 1)
    with pytest.raises(MalformedMessage):
        read_message(encode_message(MESSAGES["answer"]))
    assert len(read_message(encode_message(MESSAGES["change"])).bindings) == 1
    two = b"\x02" + b"\x01" + var_string("p") + b"\x02" + var_string("p")
    with pytest.raises(MalformedMessage):
        read_message(HEAD + b"\x01\x00" + b"\x00" + two + b"\x00\x00")


@settings(max_examples=300)
@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_any_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    whole = bytearray(encode_message(MESSAGES[name]))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=9))
        if not whole:
            break
    try:
        read = read_message(bytes(whole))
    except MalformedMessage:
        return
    assert read_message(encode_message(read)) == read
