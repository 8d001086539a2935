"""A request that comes again makes nothing new: participants and rooms, alone and over several instances."""

import asyncio
import re
import secrets

import pytest

from rooms.commands import Deny, Leave, Remove
from rooms.errors import Denied, Removed
from rooms.manager import ResumeClaim
from rooms.models import ParticipantStatus as Status
from rooms.models import Role, RoomKind
from rooms.repeats import REPEAT_S, id_made_by, next_id
from tests.support.managed_room import ManagedRoom
from tests.support.shared_rooms import settled, shared_room
from tests.support.virtual_time import in_virtual_time

pytestmark = pytest.mark.timeout(30)

REQUEST = secrets.token_hex(16)
OTHER = secrets.token_urlsafe(16)


async def people(room: ManagedRoom) -> int:
    return len((await room.now()).participants)


async def uses_left(room: ManagedRoom, invitation_id: str) -> int | None:
    invitation = await room.store.load_invitation(invitation_id)
    assert invitation is not None
    return invitation.uses_left


# --- ids -------------------------------------------------------------------------------------------------


def test_the_id_of_what_is_made_hangs_on_all_that_was_asked_and_is_one() -> None:
    made = id_made_by(REQUEST, "participant", "i1", "Zoé")
    assert made == id_made_by(REQUEST, "participant", "i1", "Zoé")
    others = {
        id_made_by(OTHER, "participant", "i1", "Zoé"),
        id_made_by(REQUEST, "host", "i1", "Zoé"),
        id_made_by(REQUEST, "participant", "i2", "Zoé"),
        id_made_by(REQUEST, "participant", "i1", "Zoe"),
        id_made_by(REQUEST, "participant", "i1Zoé"),
        next_id(made),
        next_id(next_id(made)),
    }
    assert len(others | {made}) == 8
    for each in others | {made}:
        assert re.fullmatch(r"[A-Za-z0-9_-]{22}", each)
        assert REQUEST not in each


# --- joining ---------------------------------------------------------------------------------------------


async def test_a_request_that_comes_again_is_one_participant_and_one_use(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=1)
    first = await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    for each in (room, room, room.restarted()):
        again = await each.join(invitation, " Zoé  ", invitation_id=invitation.id, request_id=REQUEST)
        assert again.id == first.id
        assert await each.refusal(each.join(invitation)) == "invitation-used-up"
    assert await people(room) == 2


async def test_a_request_that_comes_several_times_at_once_is_one_participant(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=2)
    came = await asyncio.gather(
        *(room.join(invitation, invitation_id=invitation.id, request_id=REQUEST) for _ in range(5))
    )
    assert len({each.id for each in came}) == 1
    assert await uses_left(room, invitation.id) == 1


async def test_by_the_link_and_by_its_code_it_is_the_same_invitation(room: ManagedRoom) -> None:
    invitation = await room.invite()
    by_code = await room.join(invitation, code=invitation.code, request_id=REQUEST)
    assert (await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)).id == by_code.id


async def test_whoever_asks_for_something_else_under_the_same_id_is_somebody_else(room: ManagedRoom) -> None:
    invitation, other = await room.invite(), await room.invite(Role.HOST)
    first = await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    named = await room.join(invitation, "Léo", invitation_id=invitation.id, request_id=REQUEST)
    invited = await room.join(other, invitation_id=other.id, request_id=REQUEST)
    asked = await room.join(invitation, invitation_id=invitation.id, request_id=OTHER)
    silent = [await room.join(invitation), await room.join(invitation)]
    assert len({each.id for each in (first, named, invited, asked, *silent)}) == 6


async def test_who_comes_back_is_who_they_were_however_often_it_is_asked(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=1)
    klass = await room.join(invitation)
    claim = ResumeClaim(room.id, klass.id)
    for _ in range(2):
        back = await room.join(invitation, invitation_id=invitation.id, resume=claim, request_id=REQUEST)
        assert back.id == klass.id
    assert await people(room) == 2


async def test_what_comes_later_than_any_repetition_is_somebody_new_and_that_one_from_then_on(
    room: ManagedRoom,
) -> None:
    invitation = await room.invite()

    async def ask() -> str:
        return (await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)).id

    seen = []
    for _ in range(3):
        seen.append(await ask())
        room.clock.now += REPEAT_S
        assert await ask() == seen[-1]
        room.clock.now += 1.0
    assert len(set(seen)) == 3
    assert await people(room) == 1 + 3


async def test_who_was_put_out_or_refused_meanwhile_stays_so(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.GUEST)
    removed = await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    denied = await room.join(invitation, invitation_id=invitation.id, request_id=OTHER)
    await room.do(Remove(removed.id))
    await room.do(Deny(denied.id))
    for each in (room, room.restarted()):
        asked = each.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
        assert await each.refusal(asked) == Removed.code
        asked = each.join(invitation, invitation_id=invitation.id, request_id=OTHER)
        assert await each.refusal(asked) == Denied.code
    assert await people(room) == 3


async def test_who_left_meanwhile_is_not_brought_back_by_a_late_repetition(room: ManagedRoom) -> None:
    invitation = await room.invite()
    klass = await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    await room.do(Leave(), klass)
    again = await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    assert (again.id, again.status) == (klass.id, Status.LEFT)


async def test_a_revoked_invitation_answers_no_repetition(room: ManagedRoom) -> None:
    invitation = await room.invite()
    await room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    await room.manager.revoke_invitation(room.id, room.host.id, invitation.id)
    asked = room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    assert await room.refusal(asked) == "invitation-unknown"


@pytest.mark.parametrize("arrives", [True, False])
async def test_whoever_the_store_may_have_all_the_same_is_one_when_asked_again(
    room: ManagedRoom, arrives: bool
) -> None:
    invitation = await room.invite(uses=1)
    room.store.saves_late = True
    asked = room.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    assert await room.refusal(asked) == "store-unavailable"
    room.store.saves_late = False
    if arrives:
        await room.store.arrive()
    each = room.restarted() if arrives else room
    klass = await each.join(invitation, invitation_id=invitation.id, request_id=REQUEST)
    stored = await room.store.load_room(room.id)
    assert stored is not None
    assert set(stored.participants) == {room.host.id, klass.id}


# --- rooms -----------------------------------------------------------------------------------------------


async def test_a_room_is_begun_once(room: ManagedRoom) -> None:
    async def begin(each: ManagedRoom, name: str = "Le fleuve", request_id: str = REQUEST) -> tuple[str, str]:
        state, host = await each.manager.create_room(name, RoomKind.INTERCLASS, "M. Caron", request_id)
        assert state.participants[host.id].role is Role.HOST
        return state.id, host.id

    first = await begin(room)
    at_once = await asyncio.gather(*(begin(each, " Le  fleuve") for each in (room, room, room.restarted())))
    assert set(at_once) == {first}
    assert len({first, await begin(room, "La mer"), await begin(room, request_id=OTHER)}) == 3
    room.clock.now += REPEAT_S + 1.0
    later = await begin(room)
    assert later[0] != first[0]
    assert await begin(room.restarted()) == later


async def test_a_host_who_was_put_out_meanwhile_is_not_given_the_room_again(room: ManagedRoom) -> None:
    begun = room.manager.create_room("Le fleuve", RoomKind.INTERCLASS, "M. Caron", REQUEST)
    state, host = await begun
    invitation = await room.manager.create_invitation(state.id, host.id, Role.HOST)
    _state, colleague = await room.manager.join(name="Mme Roy", invitation_id=invitation.id)
    await room.manager.execute(state.id, colleague.id, Remove(host.id))
    again = room.manager.create_room("Le fleuve", RoomKind.INTERCLASS, "M. Caron", REQUEST)
    assert await room.refusal(again) == Removed.code


# --- over several instances ------------------------------------------------------------------------------


@in_virtual_time
async def test_a_request_that_comes_again_over_another_instance_is_one_participant() -> None:
    async with shared_room(3) as room:
        invitation = await room.instances[0].manager.create_invitation(room.id, room.host.id, Role.CLASS, uses=1)

        async def ask(number: int) -> str:
            manager = room.instances[number].manager
            _state, person = await manager.join(name="6e B", invitation_id=invitation.id, request_id=REQUEST)
            return person.id

        at_once = await asyncio.gather(*(ask(number) for number in (0, 1, 2, 1)))
        assert len(set(at_once)) == 1
        assert await ask(2) == at_once[0]
        await settled()
        for state in room.states():
            assert [each.id for each in state.participants.values() if each.name == "6e B"] == [at_once[0]]


@in_virtual_time
async def test_who_had_no_answer_from_a_home_that_died_asks_another_instance_and_is_one() -> None:
    async with shared_room() as room:
        first, second = room.instances
        invitation = await first.manager.create_invitation(room.id, room.host.id, Role.CLASS, uses=1)
        ask = {"name": "6e B", "invitation_id": invitation.id, "request_id": REQUEST}
        _state, person = await first.manager.join(**ask)
        await room.rooms.kill(first)
        _state, again = await second.manager.join(**ask)
        assert again.id == person.id
        assert [each.name for each in second.state(room.id).participants.values()].count("6e B") == 1


@in_virtual_time
async def test_a_room_that_is_begun_over_two_instances_is_one() -> None:
    async with shared_room() as room:
        begun = await asyncio.gather(
            *(
                each.manager.create_room("Le fleuve", RoomKind.INTERCLASS, "M. Caron", REQUEST)
                for each in room.instances
            )
        )
        assert len({(state.id, host.id) for state, host in begun}) == 1
