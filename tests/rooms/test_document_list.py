"""The room's list of texts."""

import msgspec
import pytest

from rooms.commands import Configure, CreateDocument, RenameDocument
from rooms.difference import steps_between
from rooms.document_list import MAX_DOCUMENTS, listed
from rooms.errors import DocumentExists, InvalidName, NotFound, PermissionDenied, RoomFull
from rooms.events import DocumentCreated, DocumentRenamed
from rooms.models import Role, RoomDocument
from rooms.visibility import Listed, Retitled, see
from server.storage.encoding import decode_state, encode_state
from tests.support.room_stage import RoomStage


def test_a_created_text_is_listed_for_everyone_who_reads() -> None:
    stage = RoomStage()
    stage.bring("pupil", Role.PUPIL)
    stage.bring("parent", Role.OBSERVER)
    stage.bring("waits", Role.GUEST, lobby=True)
    stage.play(CreateDocument("visite", "  Compte rendu   de visite "), "host")
    entry = RoomDocument("visite", "Compte rendu de visite", stage.now)
    for reader in ("host", "pupil", "parent"):
        assert stage.heard[reader] == [Listed(entry)]
        seen = see(stage.state, reader)
        assert seen is not None
        assert list(seen.documents) == [entry]
    assert stage.heard["waits"] == []


def test_texts_stand_in_the_order_in_which_they_were_created_whatever_they_are_called() -> None:
    stage = RoomStage()
    for name, title in (("z", "Zoo"), ("a", "Arbres"), ("m", "Musée")):
        stage.play(CreateDocument(name, title), "host")
    stage.play(RenameDocument("a", "Zèbres"), "host")
    assert [(one.document, one.title) for one in stage.state.documents] == [
        ("z", "Zoo"),
        ("a", "Zèbres"),
        ("m", "Musée"),
    ]
    assert stage.heard["host"] == [Retitled(stage.state.documents[1])]


def test_asked_again_nothing_happens_but_another_title_is_refused() -> None:
    stage = RoomStage()
    stage.play(CreateDocument("visite", "Visite"), "host")
    before = stage.state
    assert stage.play(CreateDocument("visite", " Visite"), "host") == []
    with pytest.raises(DocumentExists):
        stage.play(CreateDocument("visite", "Autre visite"), "host")
    assert stage.play(RenameDocument("visite", "Visite"), "host") == []
    assert stage.state is before


def test_what_is_not_listed_has_no_title_to_change() -> None:
    stage = RoomStage()
    with pytest.raises(NotFound):
        stage.play(RenameDocument("visite", "Visite"), "host")


@pytest.mark.parametrize("title", ["", "  ", "a" * 61, "\u202eretourné", "a\nb\x00"])
def test_a_title_that_cannot_be_shown_is_refused(title: str) -> None:
    stage = RoomStage()
    stage.play(CreateDocument("visite", "Visite"), "host")
    for command in (CreateDocument("autre", title), RenameDocument("visite", title)):
        with pytest.raises(InvalidName):
            stage.play(command, "host")
    assert [one.title for one in stage.state.documents] == ["Visite"]


def test_the_list_is_bounded() -> None:
    stage = RoomStage()
    for number in range(MAX_DOCUMENTS):
        stage.play(CreateDocument(f"d{number}", f"Texte {number}"), "host")
    with pytest.raises(RoomFull):
        stage.play(CreateDocument("one-more", "Encore"), "host")
    stage.play(RenameDocument("d0", "Le premier"), "host")
    assert stage.play(CreateDocument("d1", "Texte 1"), "host") == []


def test_who_may_not_create_is_told_nothing_of_what_is_there() -> None:
    stage = RoomStage()
    stage.bring("pupil", Role.PUPIL)
    stage.play(CreateDocument("visite", "Visite"), "host")
    for document in ("visite", "nowhere"):
        for command in (CreateDocument(document, "Autre"), RenameDocument(document, "Autre")):
            with pytest.raises(PermissionDenied) as refused:
                stage.play(command, "pupil")
            assert refused.value.permission == "manage_documents"


def test_closed_writing_leaves_the_list_as_it_is() -> None:
    stage = RoomStage()
    stage.play(CreateDocument("visite", "Visite"), "host")
    stage.play(Configure(writing_enabled=False), "host")
    assert listed(stage.state, "visite") is not None
    stage.play(CreateDocument("autre", "Autre"), "host")


def test_a_stored_room_of_before_has_no_texts_and_one_of_now_keeps_their_order() -> None:
    stage = RoomStage()
    for name in "zam":
        stage.play(CreateDocument(name, f"Texte {name}"), "host")
    body = encode_state(stage.state)
    assert decode_state(body) == stage.state
    fields = msgspec.json.decode(body)
    del fields["documents"]
    assert decode_state(msgspec.json.encode(fields)).documents == ()


def test_who_missed_how_it_came_to_it_is_told_of_new_texts_and_new_titles() -> None:
    stage = RoomStage()
    stage.play(CreateDocument("visite", "Visite"), "host")
    before = stage.state
    stage.play(RenameDocument("visite", "Notre visite"), "host")
    stage.play(CreateDocument("recit", "Récit"), "host")
    steps = steps_between(before, stage.state)
    visite, recit = stage.state.documents
    assert [event for _before, _after, event in steps] == [DocumentRenamed(visite), DocumentCreated(recit)]
    assert steps[-1][1] == stage.state
