"""The exchange for one document, without a network: what is sent, what counts as saved."""

import pytest
from pycrdt import Doc, Text

from passerelle_client.document_sync import (
    AUTH,
    MOST_UPDATE_BYTES,
    PART,
    QUERY_AWARENESS,
    SAVED,
    STEP_1,
    STEP_2,
    UNSAVED,
    UPDATE,
    DocumentSync,
    Received,
    merge,
    sync_message,
)
from passerelle_client.lib0 import MalformedMessage, read_var_bytes, var_bytes, write_var_uint


def a_doc(text: str = "") -> Doc:
    doc = Doc()
    if text:
        doc.get("text", type=Text).insert(0, text)
    return doc


def text_of(doc: Doc) -> str:
    return str(doc.get("text", type=Text))


def body_of(message: bytes, step: int) -> bytes:
    assert message[:2] == bytes((0, step))
    return read_var_bytes(message, 2)[0]


def saved(count: int) -> bytes:
    return bytes((SAVED,)) + write_var_uint(count)


def take(doc: Doc, received: Received) -> list[bytes]:
    for update in received.updates:
        doc.apply_update(update)
    return received.to_send


def connected(doc: Doc, server: Doc) -> DocumentSync:
    """After the first exchange."""
    sync = DocumentSync(doc)
    (asked,) = sync.start()
    for message in (
        sync_message(STEP_1, server.get_state()),
        sync_message(STEP_2, server.get_update(body_of(asked, STEP_1))),
    ):
        for answer in take(doc, sync.receive(message)):
            server.apply_update(body_of(answer, STEP_2))
    return sync


def test_both_sides_have_everything_after_the_first_exchange() -> None:
    here, server = a_doc("ici "), a_doc("là ")
    sync = connected(here, server)
    assert sync.synced
    assert text_of(here) == text_of(server)
    assert sorted(text_of(here).split()) == ["ici", "là"]


def test_nothing_counts_as_saved_before_the_server_says_so() -> None:
    here = a_doc("ici")
    sync = connected(here, a_doc())
    assert (sync.saved, sync.unsaved_count) == (False, 1)
    sync.receive(saved(1))
    assert sync.saved
    sync.local_update(a_doc("mot").get_update())
    sync.local_update(a_doc("mot").get_update())
    assert (sync.saved, sync.unsaved_count) == (False, 2)
    sync.receive(saved(2))
    assert not sync.saved
    sync.receive(saved(3))
    assert sync.saved


def test_a_count_of_what_was_never_sent_is_not_believed() -> None:
    sync = connected(a_doc(), a_doc())
    sync.receive(saved(100))
    sync.local_update(a_doc("mot").get_update())
    assert not sync.saved


def test_an_older_count_takes_nothing_back() -> None:
    sync = connected(a_doc(), a_doc())
    sync.receive(saved(1))
    sync.receive(saved(0))
    assert sync.saved


def test_what_is_written_before_the_server_asked_comes_with_the_answer() -> None:
    here, server = a_doc(), a_doc()
    sync = DocumentSync(here)
    sync.start()
    here.get("text", type=Text).insert(0, "tôt")
    assert sync.local_update(here.get_update()) == []
    (answer,) = sync.receive(sync_message(STEP_1, server.get_state())).to_send
    server.apply_update(body_of(answer, STEP_2))
    assert text_of(server) == "tôt"


def test_an_update_that_overtakes_the_answer_waits_for_it() -> None:
    server, here = a_doc("un "), a_doc()
    sync = DocumentSync(here)
    sync.start()
    before = server.get_state()
    whole = server.get_update()
    server.get("text", type=Text).insert(3, "deux")
    assert sync.receive(sync_message(UPDATE, server.get_update(before))).updates == []
    take(here, sync.receive(sync_message(STEP_2, whole)))
    assert text_of(here) == "un deux"


def test_what_is_long_goes_in_pieces_that_count_each() -> None:
    here, server = a_doc(), a_doc()
    text = here.get("text", type=Text)
    for number in range(5):
        text.insert(0, chr(97 + number) * 300_000)
    sync = DocumentSync(here)
    sync.start()
    messages = sync.receive(sync_message(STEP_1, server.get_state())).to_send
    assert len(messages) > 2
    assert sync.unsaved_count == len(messages)
    for number, message in enumerate(messages):
        assert len(message) < MOST_UPDATE_BYTES + 10
        server.apply_update(body_of(message, UPDATE if number else STEP_2))
    assert text_of(server) == text_of(here)


def test_a_refusal_says_why_and_the_question_that_follows_takes_it_back() -> None:
    sync = connected(a_doc(), a_doc())
    refused = sync.receive(bytes((AUTH, 0)) + var_bytes(b"read-only"))
    assert refused.denied == "read-only"
    assert sync.receive(sync_message(STEP_1, b"\x00")).asked


def test_other_kinds_are_told_apart() -> None:
    sync = connected(a_doc(), a_doc())
    assert sync.receive(bytes((QUERY_AWARENESS,))).awareness_wanted
    sync.receive(bytes((UNSAVED,)) + write_var_uint(1))
    assert sync.server_failing
    assert sync.receive(b"\x7f") == Received(), "a newer server's message is not for us"
    assert sync.receive(b"\x01" + var_bytes(b"states")).awareness == b"states"


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x00\x07\x00", b"\x00\x02\x05ab", b"\x01\xff", b"\xff" * 20])
def test_malformed_messages_are_said_to_be_so(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        connected(a_doc(), a_doc()).receive(message)


def test_thousands_of_updates_become_one() -> None:
    doc, updates = a_doc(), []
    doc.observe(lambda event: updates.append(event.update))
    text = doc.get("text", type=Text)
    for _ in range(1_500):
        text.insert(0, "x")
    other = Doc()
    other.apply_update(merge(updates))
    assert text_of(other) == "x" * 1_500


# --- what comes in parts --------------------------------------------------------------------------------


def in_parts(message: bytes, most_bytes: int) -> list[bytes]:
    return [
        bytes((PART,)) + write_var_uint(len(message)) + write_var_uint(at) + var_bytes(message[at : at + most_bytes])
        for at in range(0, len(message), most_bytes)
    ]


def test_a_document_that_comes_in_parts_is_here_when_the_last_one_is() -> None:
    here, server = a_doc("ici "), a_doc("là " * 500)
    sync = DocumentSync(here)
    sync.start()
    *parts, last = in_parts(sync_message(STEP_2, server.get_update()), 100)
    for part in parts:
        assert take(here, sync.receive(part)) == []
        assert (sync.synced, text_of(here)) == (False, "ici ")
        assert sync.receive(saved(0)) == Received(), "other messages go in between"
    take(here, sync.receive(last))
    assert sync.synced
    assert "là " * 500 in text_of(here)


def test_a_part_of_parts_is_refused() -> None:
    sync = DocumentSync(a_doc())
    (part,) = in_parts(in_parts(b"message", 100)[0], 100)
    with pytest.raises(MalformedMessage):
        sync.receive(part)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 2, 1), (1, 2, 3, 0)])
def test_an_answer_of_several_updates_is_taken_whole_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    server = a_doc()
    updates = []
    for letter in "abcd":
        known = server.get_state()
        server.get("text", type=Text).insert(len(text_of(server)), letter)
        updates.append(server.get_update(known))
    here = a_doc()
    sync = DocumentSync(here)
    sync.start()
    *before, last = (updates[number] for number in order)
    for update in before:
        assert sync.receive(sync_message(UPDATE, update)) == Received()
    take(here, sync.receive(sync_message(STEP_2, last)))
    assert text_of(here) == "abcd"
