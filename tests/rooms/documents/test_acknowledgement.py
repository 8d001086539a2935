from rooms.documents.acknowledgement import Acknowledgements


def received(count: int) -> Acknowledgements:
    acknowledgements = Acknowledgements()
    for _ in range(count):
        acknowledgements.receive()
    return acknowledgements


def test_saved_counts_what_was_stored() -> None:
    acknowledgements = received(3)
    acknowledgements.flush(2, holds_everything=False)
    assert (acknowledgements.saved, acknowledgements.unsaved) == (0, 2)
    acknowledgements.store()
    assert acknowledgements.saved == 2


def test_a_refused_message_holds_the_count_back() -> None:
    acknowledgements = received(3)
    acknowledgements.flush(1, holds_everything=False)
    acknowledgements.refuse(2)
    acknowledgements.flush(3, holds_everything=False)
    acknowledgements.store()
    assert acknowledgements.saved == 1
    assert acknowledgements.has_refused


def test_an_answer_to_sync_step_1_brings_what_was_refused() -> None:
    acknowledgements = received(4)
    acknowledgements.refuse(2)
    acknowledgements.flush(4, holds_everything=True)
    acknowledgements.store()
    assert acknowledgements.saved == 4
    assert not acknowledgements.has_refused


def test_what_is_refused_after_the_answer_still_holds_it_back() -> None:
    acknowledgements = received(5)
    acknowledgements.refuse(2)
    acknowledgements.refuse(5)
    acknowledgements.flush(4, holds_everything=True)
    acknowledgements.store()
    assert acknowledgements.saved == 4
    assert acknowledgements.has_refused
