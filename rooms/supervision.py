"""No adult, no room: pupils whom the last adult has left stand still until one is back.

An adult in charge is a host who is inside and connected, over any instance and device. When the last one has not been
heard for GRACE_S and a pupil or a class is connected, the room freezes: nobody else writes, chats, is heard or seen,
takes another name or comes in; places, hands and unsent texts stay. It thaws in the moment in which a host connects.
A room that no host has ever had on screen is somebody's program, or has not begun: it does not freeze. Nor does a
community, nor a room whose host has set so. Pure; what the room knows of it (`Watch`) is in its state, so that the next
home counts on from the same moment.

What never happens: a host is refused because the room is frozen, full or locked who has been inside before; a host who
has never been inside becomes the one in charge by coming when nobody looks.
"""

from collections.abc import Sequence
from dataclasses import replace

from rooms.errors import RoomFrozen
from rooms.events import Event, WatchChanged
from rooms.models import Freeze, Participant, ParticipantStatus, Role, RoomState, Watch
from rooms.roles import CHILDREN, IN_CHARGE, PERMISSIONS, WATCHED_KINDS, Permission

GRACE_S = 10.0
"""A reload, another network, a restart of the server take 3 to 6 s; what can go wrong among pupils takes longer."""
HELD_S = 60.0
"""Who was held is let in for so long after a thaw, should the store fail at first; then a host has seen them wait."""


def is_in_charge(role: Role) -> bool:
    """Whether such a participant looks after the pupils."""
    return IN_CHARGE in PERMISSIONS[role]


def is_watched(state: RoomState) -> bool:
    """Whether an adult in charge is here."""
    return any(is_in_charge(person.role) for person in _here(state))


def follow(state: RoomState, now: float, heard_at: float, *, begins: bool) -> Sequence[Event]:
    """What follows from who is here by now. `heard_at`: when who goes now was heard last. `begins`: an adult just
    came who sees the room: it is watched from now on, if it was not before."""
    watch = _watch(state, now, heard_at, begins)
    return [] if watch == state.watch else [WatchChanged(watch)]


def is_due(state: RoomState, now: float) -> bool:
    """Whether `KeepWatch` or `AdmitHeld` would change something. Cheap: asked of every room, twice a second."""
    watch = state.watch
    if watch.alone_since is not None:
        return not watch.is_frozen and now >= watch.alone_since + GRACE_S and _would_freeze(state)
    return _thawed_lately(watch, now) and bool(held(state))


def held(state: RoomState) -> list[Participant]:
    """Who waits only for the room to thaw, first come first."""
    people = [person for person in state.participants.values() if person.held]
    return sorted(people, key=lambda person: (person.created_at, person.id))


def is_silenced(state: RoomState, participant_id: str) -> bool:
    """Whether nothing of what this participant publishes may reach anybody now."""
    person = state.participants.get(participant_id)
    return state.watch.is_frozen and (person is None or not is_in_charge(person.role))


def require_thawed(state: RoomState, actor: Participant, permission: Permission) -> None:
    """Raises: RoomFrozen, for all but those in charge."""
    if state.watch.is_frozen and not is_in_charge(actor.role):
        raise RoomFrozen(permission)


def from_store(watch: Watch, now: float) -> Watch:
    """As it is when the room comes into memory: nobody is connected, and whoever was comes back from now on."""
    if not watch.has_begun or watch.is_frozen:
        return watch
    return replace(watch, alone_since=now)


def _watch(state: RoomState, now: float, heard_at: float, begins: bool) -> Watch:
    watch = state.watch
    if not watch.has_begun and not begins:
        return watch
    if is_watched(state):
        freeze = watch.freeze
        if freeze is not None and freeze.until is None:
            freeze = replace(freeze, until=now)
        return Watch(has_begun=True, alone_since=None, freeze=freeze)
    if not watch.has_begun:
        return watch
    # Another machine's clock may be ahead of ours.
    watch = replace(watch, alone_since=min(now, heard_at if watch.alone_since is None else watch.alone_since))
    assert watch.alone_since is not None
    if not watch.is_frozen and now >= watch.alone_since + GRACE_S and _would_freeze(state):
        watch = replace(watch, freeze=Freeze(now))
    return watch


def _would_freeze(state: RoomState) -> bool:
    if state.kind not in WATCHED_KINDS or not state.settings.needs_adult:
        return False
    return any(person.role in CHILDREN for person in _here(state))


def _thawed_lately(watch: Watch, now: float) -> bool:
    return watch.freeze is not None and watch.freeze.until is not None and now < watch.freeze.until + HELD_S


def _here(state: RoomState) -> list[Participant]:
    people = state.participants.values()
    return [person for person in people if person.connected and person.status is ParticipantStatus.ADMITTED]
