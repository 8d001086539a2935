"""Who may do what: one table, role by permission, and what kinds and settings take away.

Code asks for a permission, never for a role. The table is the only place that knows roles;
the tests of every refusal are generated from it.
"""

from enum import StrEnum

from rooms.models import Role, RoomKind, RoomSettings


class Permission(StrEnum):
    """As on the wire."""

    SEE_ROSTER = "see_roster"
    """Who is here, what happens, the chat's lines."""
    ADMIT = "admit"
    REMOVE = "remove"
    INVITE = "invite"
    MUTE_OTHERS = "mute_others"
    CONFIGURE_ROOM = "configure_room"
    MANAGE_DOCUMENTS = "manage_documents"
    """Which texts the room has, what they are called and what they begin with."""
    LOWER_HANDS = "lower_hands"
    RAISE_HAND = "raise_hand"
    CHAT = "chat"
    READ_DOCUMENT = "read_document"
    WRITE_DOCUMENT = "write_document"
    PUBLISH_AUDIO = "publish_audio"
    PUBLISH_VIDEO = "publish_video"
    PUBLISH_SCREEN = "publish_screen"
    SUBSCRIBE_MEDIA = "subscribe_media"


P = Permission
_TAKES_PART = {P.SEE_ROSTER, P.RAISE_HAND, P.CHAT, P.READ_DOCUMENT, P.WRITE_DOCUMENT}
_ON_SCREEN = {P.PUBLISH_AUDIO, P.PUBLISH_VIDEO, P.PUBLISH_SCREEN, P.SUBSCRIBE_MEDIA}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.HOST: frozenset(Permission),
    Role.CLASS: frozenset(_TAKES_PART | _ON_SCREEN),
    # A pupil's device is a companion of the class's: no sound, so no echo, and no camera.
    Role.PUPIL: frozenset(_TAKES_PART),
    Role.GUEST: frozenset(_TAKES_PART | _ON_SCREEN),
    Role.OBSERVER: frozenset({P.SEE_ROSTER, P.READ_DOCUMENT, P.SUBSCRIBE_MEDIA}),
}

ROLES_OF_KIND: dict[RoomKind, frozenset[Role]] = {
    RoomKind.INTERCLASS: frozenset(Role),
    RoomKind.COMMUNITY: frozenset({Role.HOST, Role.GUEST, Role.OBSERVER, Role.CLASS}),
    # A private room has a professional, a pupil, a parent; nobody watches.
    RoomKind.CONSULTATION: frozenset({Role.HOST, Role.GUEST, Role.PUPIL}),
}

ALONE_WITH_A_PROFESSIONAL = frozenset({P.PUBLISH_AUDIO, P.PUBLISH_VIDEO, P.SUBSCRIBE_MEDIA})
"""What a pupil has besides in a consultation: no class is there, so their device is the one that
sees and hears."""

NOT_CLOSED_TO = Permission.CONFIGURE_ROOM
"""Who sets the room writes and chats in it even while that is closed to the others."""

WAITS_BY_CODE = frozenset({Role.HOST, Role.OBSERVER})
"""Who types a code waits in these roles even where the invitation's link lets them in: a code can
be guessed, and a guess must neither run a room nor watch it unseen."""


IN_CHARGE = Permission.ADMIT
"""Who may let people in is an adult in charge of the pupils. A guest is one too, but a stranger to the class; an
observer cannot act; a class is a camera and a loudspeaker."""

CHILDREN = frozenset({Role.PUPIL, Role.CLASS})
"""Whom a room is not left alone with."""

WATCHED_KINDS = frozenset({RoomKind.INTERCLASS, RoomKind.CONSULTATION})
"""A community's people are adults."""

FREEZES = frozenset({P.CHAT, P.WRITE_DOCUMENT})
"""What nobody else may while the room is frozen. What they publish stays published, and silent
(`rooms.supervision.is_silenced`): so nothing has to be negotiated when an adult is back."""


def permissions_of(
    role: Role, settings: RoomSettings, kind: RoomKind, *, is_frozen: bool = False
) -> frozenset[Permission]:
    """What this role may do in such a room as it is set now; `is_frozen`: no adult is there."""
    if role not in ROLES_OF_KIND[kind]:
        return frozenset()
    permissions = PERMISSIONS[role]
    if kind is RoomKind.CONSULTATION and role is Role.PUPIL:
        permissions |= ALONE_WITH_A_PROFESSIONAL
    if NOT_CLOSED_TO in permissions:
        return permissions
    if not settings.writing_enabled:
        permissions -= {P.WRITE_DOCUMENT}
    if not settings.chat_enabled:
        permissions -= {P.CHAT}
    return permissions - FREEZES if is_frozen else permissions


def default_settings(kind: RoomKind) -> RoomSettings:
    """How a new room of this kind is set."""
    if kind is RoomKind.CONSULTATION:
        # A doctor's waiting room: nobody walks in on the one before, nor by a guessed code.
        return RoomSettings(lobby_roles=frozenset({Role.GUEST, Role.PUPIL}))
    return RoomSettings()
