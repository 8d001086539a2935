"""What waits for a client that cannot hear, and how much of it."""

from signaling.allowance import Allowance
from signaling.mailbox import MAX_CHARACTERS, MAX_MESSAGES, Mailbox
from signaling.messages import MAX_SDP_CHARACTERS, PeerLeft, ServerDescription, SessionDescription


def left(number: int) -> PeerLeft:
    return PeerLeft(session_id="s", peer_session_id=f"p{number}")


def description(characters: int) -> ServerDescription:
    return ServerDescription(
        session_id="s",
        pc="peer",
        negotiation=1,
        description=SessionDescription(type="offer", sdp="x" * characters),
    )


def test_messages_come_out_once_and_in_order() -> None:
    box = Mailbox()
    for number in range(MAX_MESSAGES):
        box.put("media_peer_left", left(number))
    assert [payload.peer_session_id for _event, payload in box.release()] == [f"p{n}" for n in range(MAX_MESSAGES)]
    assert not box.is_holding
    assert box.release() == ()


def test_one_message_too_many_ends_the_waiting() -> None:
    box = Mailbox()
    for number in range(MAX_MESSAGES + 1):
        box.put("media_peer_left", left(number))
    assert box.is_overflowed
    assert box.release() == ()
    box.hold()
    box.put("media_peer_left", left(0))
    assert box.release() == (), "a hole in the middle would break what follows"


def test_long_descriptions_are_bounded_by_their_length() -> None:
    box = Mailbox()
    count = 0
    while not box.is_overflowed:
        box.put("media_description", description(MAX_SDP_CHARACTERS))
        count += 1
    assert count <= MAX_CHARACTERS // MAX_SDP_CHARACTERS + 1


def test_a_mailbox_that_was_emptied_has_its_whole_room_again() -> None:
    box = Mailbox()
    for _ in range(10):
        box.hold()
        for _ in range(10):
            box.put("media_description", description(MAX_SDP_CHARACTERS))
        assert len(box.release()) == 10


def test_an_allowance_refills_with_time_and_not_beyond_its_burst() -> None:
    allowance = Allowance(burst=100, per_second=10, now=0.0)
    assert allowance.take(100, 0.0)
    assert not allowance.take(1, 0.0)
    assert allowance.take(50, 5.0)
    assert not allowance.take(101, 1_000.0)
    assert allowance.take(100, 1_000.0)
    assert not allowance.take(1, 0.0), "a clock that goes back gives nothing"
