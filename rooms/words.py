"""The last word on a thing: a command that sets something may come late.

What somebody asked of an instance that then stood still, or over a line that was held, is read when it goes on. By then
they may have asked otherwise over another instance, and been told that it is so. So a command may say up to which event
its asker had seen the room (`seen`); one that was asked before the last word on the same thing could be seen is refused
with the number from which on it would be heard (Outdated). Whoever waits for the answer asks again with it; whoever has
gone does not. Pure.

What never happens: of two commands of one person that both say what had been seen, the one asked first takes the place
of the other once that one was carried out. One without `seen` is heard as ever.
"""

from collections.abc import Mapping, Sequence

from rooms.commands import Command, Configure, Rename, RenameDocument, SetHand, Spotlight
from rooms.errors import Outdated
from rooms.events import Event, WordGiven
from rooms.models import RoomState

MAX_WORDS = 500
"""Of which it is remembered when they were given, the newest (20 kB): a hand and a name of 250 people. What comes late
comes after seconds, within which no room has as many."""


def listen(state: RoomState, command: Command, actor_id: str | None, events: Sequence[Event]) -> Sequence[Event]:
    """What happens at the command, the word itself first: its number is then none that who sees the rest has not seen.
    Raises: Outdated."""
    thing = _thing(command, actor_id)
    seen = None if thing is None else command.seen  # type: ignore[union-attr]
    if thing is None or seen is None:
        return events
    last = state.words.get(thing, 0)
    if seen < last:
        raise Outdated(last)
    return [WordGiven(thing), *events]  # also where nothing else happens: what is on its way still comes after it


def remembered(words: Mapping[str, int], thing: str, number: int) -> Mapping[str, int]:
    """With a word on it given at the event of that number."""
    words = {**words, thing: number}
    if len(words) > MAX_WORDS:
        del words[min(words, key=words.__getitem__)]
    return words


def _thing(command: Command, actor_id: str | None) -> str | None:
    """What the command sets; None: it makes, moves or ends something, which once done is not done again."""
    match command:
        case SetHand(participant_id=participant_id):
            return f"hand {participant_id or actor_id}"
        case Rename():
            return f"name {actor_id}"
        case RenameDocument(document=document):
            return f"title {document}"
        case Configure():
            return "settings"
        case Spotlight():
            return "spotlight"
    return None
