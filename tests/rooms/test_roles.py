"""The table of permissions, and that every command of the room asks it."""

import itertools
from collections.abc import Callable

import pytest

from rooms.chat import require_chat
from rooms.commands import Admit, Command, Configure, CreateDocument, Deny, Remove, RenameDocument, SetHand, Spotlight
from rooms.errors import ChatDisabled, PermissionDenied, RoleNotHere
from rooms.models import Role, RoomKind, RoomSettings
from rooms.roles import PERMISSIONS, ROLES_OF_KIND, Permission, default_settings, permissions_of
from rooms.roster import has_permission, require
from server.wire.room import Permission as WirePermission
from tests.support.room_stage import RoomStage

P = Permission
EVERYTHING_OPEN = RoomSettings()

# Written out a second time, by hand: a slip in the table of the source does not repeat itself here.
EXPECTED = """
                 host class pupil guest observer
see_roster         x    x     x     x      x
admit              x
remove             x
invite             x
mute_others        x
configure_room     x
manage_documents   x
lower_hands        x
raise_hand         x    x     x     x
chat               x    x     x     x
read_document      x    x     x     x      x
write_document     x    x     x     x
publish_audio      x    x           x
publish_video      x    x           x
publish_screen     x    x           x
subscribe_media    x    x           x      x
"""


def expected_table() -> dict[Role, set[Permission]]:
    """Read by column: a mark belongs to the role under whose name it stands."""
    header, *rows = EXPECTED.strip("\n").splitlines()
    spans = {role: (header.index(role), header.index(role) + len(role)) for role in Role}
    marks = {role: set() for role in Role}
    for row, (role, (start, end)) in itertools.product(rows, spans.items()):
        if "x" in row[start:end]:
            marks[role].add(Permission(row.split()[0]))
    return marks


@pytest.mark.parametrize("role", Role)
def test_a_role_has_exactly_its_permissions_in_an_open_interclass_room(role: Role) -> None:
    assert permissions_of(role, EVERYTHING_OPEN, RoomKind.INTERCLASS) == expected_table()[role]


def test_permissions_are_those_of_the_wire() -> None:
    assert set(WirePermission.__args__) == {str(permission) for permission in Permission}  # type: ignore[attr-defined]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", RoomKind)
def test_closed_writing_and_chat_take_just_that_from_everyone_but_hosts(role: Role, kind: RoomKind) -> None:
    closed = permissions_of(role, RoomSettings(chat_enabled=False, writing_enabled=False), kind)
    opened = permissions_of(role, EVERYTHING_OPEN, kind)
    assert opened - closed == (set() if role is Role.HOST else opened & {P.CHAT, P.WRITE_DOCUMENT})


def test_a_consultation_has_no_observers_and_no_classes() -> None:
    for role in Role:
        permissions = permissions_of(role, EVERYTHING_OPEN, RoomKind.CONSULTATION)
        assert bool(permissions) == (role in {Role.HOST, Role.GUEST, Role.PUPIL})


def test_a_pupil_sees_and_hears_only_where_no_class_does_it_for_them() -> None:
    media = {P.PUBLISH_AUDIO, P.PUBLISH_VIDEO, P.SUBSCRIBE_MEDIA}
    assert not media & permissions_of(Role.PUPIL, EVERYTHING_OPEN, RoomKind.INTERCLASS)
    assert media <= permissions_of(Role.PUPIL, EVERYTHING_OPEN, RoomKind.CONSULTATION)


def test_everyone_but_the_professional_waits_before_a_consultation() -> None:
    waits = default_settings(RoomKind.CONSULTATION).lobby_roles
    assert waits == ROLES_OF_KIND[RoomKind.CONSULTATION] - {Role.HOST}


# --- every command of the room, by every role, in every kind -------------------------------------

COMMANDS: list[tuple[Permission, Callable[[], Command]]] = [
    (P.ADMIT, lambda: Admit("waits")),
    (P.ADMIT, lambda: Deny("waits")),
    (P.REMOVE, lambda: Remove("host")),
    (P.REMOVE, lambda: Remove("waits")),
    (P.CONFIGURE_ROOM, lambda: Configure(chat_enabled=False)),
    (P.CONFIGURE_ROOM, lambda: Configure(lobby_roles=frozenset(Role))),
    (P.CONFIGURE_ROOM, lambda: Spotlight("host")),
    (P.MANAGE_DOCUMENTS, lambda: CreateDocument("new", "Questions pour le musée")),
    (P.MANAGE_DOCUMENTS, lambda: RenameDocument("old", "Récit à plusieurs mains")),
    (P.LOWER_HANDS, lambda: SetHand(False, "host")),
    (P.RAISE_HAND, lambda: SetHand(True)),
]
PLACES = [(role, kind) for kind in RoomKind for role in Role if role in ROLES_OF_KIND[kind]]


def stage_with(role: Role, kind: RoomKind) -> RoomStage:
    stage = RoomStage(kind)
    stage.bring("actor", role)
    stage.bring("waits", Role.GUEST, lobby=True)
    stage.play(SetHand(True), "host")
    stage.play(CreateDocument("old", "Récit"), "host")
    return stage


@pytest.mark.parametrize(("role", "kind"), PLACES)
@pytest.mark.parametrize(("permission", "make"), COMMANDS)
def test_a_command_is_carried_out_for_whom_the_table_allows_and_refused_to_all_others(
    role: Role, kind: RoomKind, permission: Permission, make: Callable[[], Command]
) -> None:
    stage = stage_with(role, kind)
    before = stage.state
    if permission in permissions_of(role, before.settings, kind):
        assert stage.play(make(), "actor")
        return
    with pytest.raises(PermissionDenied) as refused:
        stage.play(make(), "actor")
    assert refused.value.code == "permission-denied"
    assert refused.value.permission == permission
    assert stage.state is before


@pytest.mark.parametrize(("role", "kind"), PLACES)
@pytest.mark.parametrize("permission", Permission)
def test_asking_for_a_permission_follows_the_table(role: Role, kind: RoomKind, permission: Permission) -> None:
    stage = stage_with(role, kind)
    allowed = permission in permissions_of(role, stage.state.settings, kind)
    assert has_permission(stage.state, "actor", permission) == allowed
    if allowed:
        assert require(stage.state, "actor", permission).id == "actor"
    else:
        with pytest.raises(PermissionDenied):
            require(stage.state, "actor", permission)


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_who_is_not_inside_may_nothing_whatever_their_role(role: Role, permission: Permission) -> None:
    stage = RoomStage()
    stage.bring("inside", role)
    stage.bring("waits", role, lobby=True)
    stage.bring("denied", role, lobby=True)
    stage.bring("gone", role)
    stage.play(Deny("denied"), "host")
    stage.play(Remove("gone"), "host")
    assert has_permission(stage.state, "inside", permission) == (permission in PERMISSIONS[role])
    for outside in ("waits", "denied", "gone", "nobody"):
        assert not has_permission(stage.state, outside, permission)


@pytest.mark.parametrize(("role", "kind"), PLACES)
def test_the_chat_says_whether_it_is_closed_or_not_for_this_role(role: Role, kind: RoomKind) -> None:
    stage = stage_with(role, kind)
    may = P.CHAT in PERMISSIONS[role]
    if may:
        assert require_chat(stage.state, "actor").id == "actor"
    stage.play(Configure(chat_enabled=False), "host")
    if role is Role.HOST:
        assert require_chat(stage.state, "actor").id == "actor"
        return
    with pytest.raises(PermissionDenied) as refused:
        require_chat(stage.state, "actor")
    assert isinstance(refused.value, ChatDisabled) == may


@pytest.mark.parametrize("kind", RoomKind)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("lobby", [True, False])
def test_a_role_that_the_kind_does_not_have_is_not_let_to_the_door(role: Role, kind: RoomKind, lobby: bool) -> None:
    stage = RoomStage(kind)
    if role in ROLES_OF_KIND[kind]:
        stage.bring("comer", role, lobby=lobby)
        return
    with pytest.raises(RoleNotHere):
        stage.bring("comer", role, lobby=lobby)
    assert "comer" not in stage.state.participants
