"""Requests that come again: what the first one made is found, and nothing is made twice.

A browser sends a POST again by itself when a connection that it kept is closed under it, and a person whose answer was
lost presses the button again. Who asks therefore chooses an id, 128 random bits which nobody else ever sees, and the id
of what is made follows from it and from what was asked: any instance finds it, and nothing has to be remembered. Under
the id of another's request one would have to ask for the same, in the same few minutes; the ids that others see do not
tell it. Pure.
"""

from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Literal

from rooms.errors import Denied, Removed
from rooms.models import Participant, ParticipantStatus, RoomState

REPEAT_S = 600.0
"""So long a request is the same one: the browser repeats it within seconds, a person within minutes. What comes later
has been kept by somebody, and makes something new."""
ID_BYTES = 16
"""Of a hash: nobody finds a request whose id falls on what is there already."""


def id_made_by(request_id: str, what: Literal["participant", "room", "host"], *asked: str) -> str:
    """The id of what this request makes. `asked`: all that it asks for, each without a line feed."""
    text = "\n".join((request_id, *asked)).encode()
    return _id(blake2b(text, digest_size=ID_BYTES, person=what.encode()).digest())


def next_id(made_id: str) -> str:
    """The id that the same request makes when it is no repetition any more."""
    return _id(blake2b(made_id.encode(), digest_size=ID_BYTES, person=b"next").digest())


def _id(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def participant_id_now(state: RoomState, participant_id: str, now: float) -> str:
    """Who is meant by a request that was to make this one: they themselves while it may be a repetition, then another.

    The same for whoever carries it out: by the names of those who are there, and of when they came."""
    while (known := state.participants.get(participant_id)) is not None and now - known.created_at > REPEAT_S:
        participant_id = next_id(participant_id)
    return participant_id


def as_asked_before(known: Participant) -> Participant:
    """Who came by a request that is repeated. Raises: Removed, Denied."""
    match known.status:
        case ParticipantStatus.REMOVED:
            raise Removed
        case ParticipantStatus.DENIED:
            raise Denied
    return known
