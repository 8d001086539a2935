"""Invitations made, used and revoked; joining and coming back, through the manager and a store."""

import asyncio

import pytest

from rooms import invitation_book
from rooms.commands import Configure, Deny, Leave, Remove
from rooms.errors import Denied, Removed
from rooms.invitations import DEFAULT_LIFETIME_S, make_code
from rooms.manager import ResumeClaim, RoomManager
from rooms.models import ParticipantStatus as Status
from rooms.models import Role, RoomKind
from rooms.roles import Permission
from tests.support.deadlines import SECOND
from tests.support.managed_room import ManagedRoom

pytestmark = pytest.mark.timeout(30)


async def uses_left(room: ManagedRoom, invitation_id: str) -> int | None:
    invitation = await room.store.load_invitation(invitation_id)
    assert invitation is not None
    return invitation.uses_left


# --- coming --------------------------------------------------------------------------------------


async def test_a_link_or_a_code_brings_a_participant_with_its_role_and_label(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.CLASS, label="5e année")
    first = await room.join(invitation, "  5e  A ")
    second = await room.join(invitation, "5e B", code=invitation.code.upper().replace("-", " "))
    assert (first.name, first.role, first.label, first.status) == ("5e A", Role.CLASS, "5e année", Status.ADMITTED)
    assert second.id != first.id
    stored = await room.store.load_room(room.id)
    assert stored is not None
    assert {first.id, second.id} < set(stored.participants)


async def test_a_guest_waits_whatever_way_they_come(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.GUEST)
    for by in ({"invitation_id": invitation.id}, {"code": invitation.code}):
        guest = await room.join(invitation, **by)
        assert guest.status is Status.WAITING
        assert not room.manager.can(room.id, guest.id, Permission.SEE_ROSTER)


@pytest.mark.parametrize("role", [Role.HOST, Role.OBSERVER])
async def test_a_code_alone_neither_runs_nor_watches_a_room(room: ManagedRoom, role: Role) -> None:
    invitation = await room.invite(role)
    assert (await room.join(invitation, invitation_id=invitation.id)).status is Status.ADMITTED
    assert (await room.join(invitation, code=invitation.code)).status is Status.WAITING


@pytest.mark.parametrize("by", [{"invitation_id": "unknown"}, {"code": "lune-renard-42"}, {"code": "…"}, {}])
async def test_what_does_not_exist_brings_nobody(room: ManagedRoom, by: dict[str, str]) -> None:
    assert await room.refusal(room.manager.join(name="Zoé", **by)) == "invitation-unknown"


async def test_a_name_that_cannot_be_shown_costs_no_use(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=1)
    assert await room.refusal(room.join(invitation, "\u202e")) == "name-invalid"
    assert await uses_left(room, invitation.id) == 1


async def test_of_many_who_come_at_once_only_as_many_as_there_are_uses_get_in(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=3)
    came = await asyncio.gather(*(room.join(invitation, f"n{n}") for n in range(8)), return_exceptions=True)
    codes = [each.code for each in came if isinstance(each, Exception)]  # type: ignore[attr-defined]
    assert codes == ["invitation-used-up"] * 5
    assert len((await room.now()).participants) == 1 + 3


async def test_an_expired_invitation_brings_nobody(room: ManagedRoom) -> None:
    invitation = await room.invite()
    room.clock.now += DEFAULT_LIFETIME_S - 1
    await room.join(invitation)
    room.clock.now += 1
    assert await room.refusal(room.join(invitation)) == "invitation-expired"
    assert await room.refusal(room.join(invitation, code=invitation.code)) == "invitation-unknown"


async def test_a_use_taken_for_somebody_the_store_could_not_keep_is_not_lost(room: ManagedRoom) -> None:
    """A museum's link for one person would else be worthless after a full disk."""
    invitation = await room.invite(Role.GUEST, uses=1)
    room.store.failing.add("save_room")
    assert await room.refusal(room.join(invitation)) == "store-unavailable"
    assert await room.refusal(room.join(invitation)) == "store-unavailable"
    room.store.failing.clear()
    await room.join(invitation)
    assert await room.refusal(room.join(invitation)) == "invitation-used-up"


async def test_a_use_that_is_owed_is_worth_nothing_once_the_invitation_is_revoked(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.GUEST, uses=1)
    room.store.failing.add("save_room")
    assert await room.refusal(room.join(invitation)) == "store-unavailable"
    room.store.failing.clear()
    await room.manager.revoke_invitation(room.id, room.host.id, invitation.id)
    assert await room.refusal(room.join(invitation)) == "invitation-unknown"


# --- coming back ---------------------------------------------------------------------------------


async def test_who_comes_back_is_the_same_participant_and_takes_no_use(room: ManagedRoom) -> None:
    invitation = await room.invite(uses=1)
    klass = await room.join(invitation)
    assert (await room.come_back(invitation, klass)).id == klass.id
    assert (await room.restarted().come_back(invitation, klass)).id == klass.id
    assert await room.refusal(room.join(invitation)) == "invitation-used-up"


async def test_who_comes_back_may_have_a_new_name(room: ManagedRoom) -> None:
    invitation = await room.invite()
    klass = await room.join(invitation, "Zoe")
    claim = ResumeClaim(room.id, klass.id)
    again = await room.join(invitation, "Zoé", code=invitation.code, resume=claim)
    assert (again.id, again.name) == (klass.id, "Zoé")


async def test_a_guest_who_comes_back_keeps_their_place_or_is_inside(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.GUEST)
    guest = await room.join(invitation)
    assert (await room.come_back(invitation, guest)).status is Status.WAITING
    await room.admit(guest)
    assert (await room.come_back(invitation, guest)).status is Status.ADMITTED
    await room.do(Leave(), guest)
    assert (await room.come_back(invitation, guest)).status is Status.ADMITTED


async def test_denied_and_removed_ones_do_not_come_back_with_what_they_have(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.GUEST)
    denied, removed = await room.join(invitation), await room.join(invitation)
    await room.do(Deny(denied.id))
    await room.do(Remove(removed.id))
    for each in (room, room.restarted()):
        assert await room.refusal(each.come_back(invitation, denied)) == Denied.code
        assert await room.refusal(each.come_back(invitation, removed)) == Removed.code


async def test_a_claim_counts_only_with_the_invitation_one_came_with(room: ManagedRoom) -> None:
    pupil_link, host_link = await room.invite(Role.PUPIL), await room.invite(Role.HOST)
    pupil = await room.join(pupil_link)
    claim = ResumeClaim(room.id, pupil.id)
    newcomer = await room.join(host_link, invitation_id=host_link.id, resume=claim)
    assert newcomer.id != pupil.id
    assert (await room.person(pupil.id)).role is Role.PUPIL


async def test_a_claim_of_another_room_makes_a_newcomer(room: ManagedRoom) -> None:
    other, other_host = await room.manager.create_room("Autre", RoomKind.INTERCLASS, "M. Caron")
    invitation = await room.invite()
    claim = ResumeClaim(other.id, other_host.id)
    newcomer = await room.join(invitation, invitation_id=invitation.id, resume=claim)
    assert newcomer.id in (await room.now()).participants


async def test_who_waits_does_not_come_back_with_an_expired_invitation(room: ManagedRoom) -> None:
    """An invitation grants a role until a time."""
    invitation = await room.invite(Role.GUEST, expires_in_s=60)
    guest = await room.join(invitation)
    room.clock.now += 60
    assert await room.refusal(room.come_back(invitation, guest)) == "invitation-expired"


# --- revoking ------------------------------------------------------------------------------------


async def test_revoking_puts_out_everyone_who_came_with_it_at_once(room: ManagedRoom) -> None:
    invitation, other = await room.invite(Role.GUEST), await room.invite()
    inside, waits, klass = await room.join(invitation), await room.join(invitation), await room.join(other)
    await room.admit(inside)
    await room.manager.revoke_invitation(room.id, room.host.id, invitation.id)
    assert [(await room.person(each.id)).status for each in (inside, waits, klass)] == [
        Status.REMOVED,
        Status.REMOVED,
        Status.ADMITTED,
    ]
    assert not room.manager.can(room.id, inside.id, Permission.READ_DOCUMENT)
    assert await room.refusal(room.join(invitation)) == "invitation-unknown"
    assert await room.refusal(room.join(invitation, code=invitation.code)) == "invitation-unknown"
    assert await room.refusal(room.come_back(invitation, inside)) == "invitation-unknown"
    (listed,) = [i for i in await room.manager.list_invitations(room.id, room.host.id) if i.id == invitation.id]
    assert listed.revoked


async def test_nobody_slips_in_beside_a_revocation(room: ManagedRoom) -> None:
    """Whoever had taken their use is put out with the others; whoever had not is refused."""
    invitation = await room.invite()
    gate = room.store.hold("take_invitation_use")
    joining = asyncio.create_task(room.join(invitation))
    await asyncio.wait_for(gate.reached.wait(), 10 * SECOND)
    revoking = asyncio.create_task(room.manager.revoke_invitation(room.id, room.host.id, invitation.id))
    late = asyncio.create_task(room.join(invitation))
    await asyncio.sleep(0)
    gate.open()
    participant = await joining
    await revoking
    assert await room.refusal(late) == "invitation-unknown"
    assert (await room.person(participant.id)).status is Status.REMOVED


async def test_a_revocation_cut_short_by_the_store_is_finished_when_asked_again(room: ManagedRoom) -> None:
    invitation = await room.invite()
    klass = await room.join(invitation)
    room.store.failing.add("save_room")
    revoke = room.manager.revoke_invitation
    assert await room.refusal(revoke(room.id, room.host.id, invitation.id)) == "store-unavailable"
    room.store.failing.clear()
    await revoke(room.id, room.host.id, invitation.id)
    assert (await room.person(klass.id)).status is Status.REMOVED


async def test_the_last_host_does_not_revoke_the_link_they_came_with(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.HOST)
    colleague = await room.join(invitation)
    await room.do(Remove(room.host.id), colleague)
    revoke = room.manager.revoke_invitation(room.id, colleague.id, invitation.id)
    assert await room.refusal(revoke) == "last-host"
    stored = await room.store.load_invitation(invitation.id)
    assert stored is not None
    assert not stored.revoked
    assert room.manager.can(room.id, colleague.id, Permission.INVITE)


async def test_an_invitation_of_another_room_does_not_exist_here(room: ManagedRoom) -> None:
    other, other_host = await room.manager.create_room("Autre", RoomKind.INTERCLASS, "M. Caron")
    invitation = await room.invite()
    for invitation_id in (invitation.id, "unknown"):
        assert await room.refusal(room.manager.revoke_invitation(other.id, other_host.id, invitation_id)) == "not-found"
    await room.join(invitation)


@pytest.mark.parametrize("role", [Role.CLASS, Role.PUPIL, Role.GUEST, Role.OBSERVER])
async def test_only_who_may_invite_makes_lists_and_revokes(room: ManagedRoom, role: Role) -> None:
    invitation = await room.invite(role, lobby=False)
    actor = await room.join(invitation)
    manager = room.manager
    for work in (
        manager.create_invitation(room.id, actor.id, Role.HOST),
        manager.list_invitations(room.id, actor.id),
        manager.revoke_invitation(room.id, actor.id, invitation.id),
    ):
        assert await room.refusal(work) == "permission-denied"
    assert [each.id for each in await manager.list_invitations(room.id, room.host.id)] == [invitation.id]


# --- making --------------------------------------------------------------------------------------


async def test_a_code_that_is_taken_is_drawn_again(room: ManagedRoom) -> None:
    draws = iter([7, 7, 7, 8])
    manager = RoomManager(room.store, room.clock, draw_code=lambda: next(draws))
    made = [await manager.create_invitation(room.id, room.host.id, Role.PUPIL) for _ in range(2)]
    assert [each.code for each in made] == [make_code(7), make_code(8)]


async def test_without_a_free_code_there_is_no_invitation(room: ManagedRoom) -> None:
    manager = RoomManager(room.store, room.clock, draw_code=lambda: 7)
    first = await manager.create_invitation(room.id, room.host.id, Role.PUPIL)
    assert await room.refusal(manager.create_invitation(room.id, room.host.id, Role.PUPIL)) == "store-unavailable"
    await manager.revoke_invitation(room.id, room.host.id, first.id)
    assert (await manager.create_invitation(room.id, room.host.id, Role.PUPIL)).code == first.code


async def test_a_room_has_so_many_invitations_and_dead_ones_make_place(
    room: ManagedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitation_book, "MAX_LIVE_INVITATIONS", 2)
    monkeypatch.setattr(invitation_book, "MAX_INVITATIONS", 4)
    first = await room.invite(expires_in_s=60)
    second = await room.invite()
    assert await room.refusal(room.invite()) == "room-full"
    room.clock.now += 60
    await room.invite()
    await room.manager.revoke_invitation(room.id, room.host.id, second.id)
    last = await room.invite()
    await room.manager.revoke_invitation(room.id, room.host.id, last.id)
    assert await room.refusal(room.invite()) == "room-full", "the dead are bounded too"
    assert len(await room.manager.list_invitations(room.id, room.host.id)) == 4
    assert first.id


async def test_the_bound_holds_for_invitations_made_at_once(room: ManagedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitation_book, "MAX_LIVE_INVITATIONS", 3)
    made = await asyncio.gather(*(room.invite() for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, Exception) for each in made) == 3


async def test_whoever_waits_from_now_on_waits_with_links_already_handed_out(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.CLASS)
    assert (await room.join(invitation)).status is Status.ADMITTED
    await room.do(Configure(lobby_roles=frozenset({Role.CLASS, Role.GUEST})))
    assert (await room.join(invitation)).status is Status.WAITING
    await room.do(Configure(lobby_roles=frozenset({Role.GUEST})))
    assert (await room.join(invitation)).status is Status.ADMITTED


async def test_a_change_of_who_waits_that_failed_halfway_is_finished_when_asked_again(room: ManagedRoom) -> None:
    invitation = await room.invite(Role.CLASS)
    waits = Configure(lobby_roles=frozenset({Role.CLASS}))
    for method in ("save_invitation", "save_room"):
        room.store.failing = {method}
        assert await room.refusal(room.do(waits)) == "store-unavailable"
        assert (await room.now()).settings == room.state.settings
    room.store.failing.clear()
    await room.do(waits)
    assert (await room.join(invitation)).status is Status.WAITING


async def test_everyone_invited_to_a_consultation_waits(consultation: ManagedRoom) -> None:
    for role in (Role.PUPIL, Role.GUEST):
        invitation = await consultation.invite(role)
        assert (await consultation.join(invitation)).status is Status.WAITING
    for role in (Role.OBSERVER, Role.CLASS):
        assert await consultation.refusal(consultation.invite(role)) == "permission-denied"
