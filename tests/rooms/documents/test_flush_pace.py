from rooms.documents.flush_pace import MEMORY_S, SEND_S, SHARE, FlushPace

LONGEST_S = 0.015


def busy_for_a_second(pace: FlushPace, readers: int, documents: int, from_s: float = 100.0) -> float:
    """Flush so many documents whenever they have rested; the rest at the end."""
    now, rest_s = from_s, 0.0
    while now < from_s + 1.0:
        pace.note_sends(readers * documents, now)
        rest_s = pace.rest_s(readers, now)
        now += max(rest_s, 0.0005)
    return rest_s


def test_a_quiet_document_of_a_small_class_hardly_rests() -> None:
    assert FlushPace(LONGEST_S).rest_s(readers=5, now=1.0) < 0.0005


def test_sending_stays_below_its_share() -> None:
    for readers in (10, 30, 100):
        rest_s = busy_for_a_second(FlushPace(1.0), readers, documents=1)
        assert readers / rest_s * SEND_S <= SHARE * 1.05


def test_nobody_waits_longer_than_the_longest_rest() -> None:
    assert busy_for_a_second(FlushPace(LONGEST_S), readers=2_000, documents=1) == LONGEST_S


def test_many_busy_documents_share_what_one_may_use() -> None:
    alone = busy_for_a_second(FlushPace(LONGEST_S), readers=30, documents=1)
    together = busy_for_a_second(FlushPace(LONGEST_S), readers=30, documents=30)
    assert together > 3 * alone


def test_a_burst_is_forgotten() -> None:
    pace = FlushPace(LONGEST_S)
    busy_for_a_second(pace, readers=30, documents=30)
    assert pace.rest_s(readers=30, now=101.0 + 20 * MEMORY_S) == FlushPace(LONGEST_S).rest_s(readers=30, now=0.0)
