"""Bodies of the HTTP API."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from server.wire.common import MAX_TOKEN_CHARACTERS, DisplayName, Identifier, RequestId, Timestamp
from signaling.messages import EngineName, IceServer

RoomKind = Literal["interclass", "community", "consultation"]
RoleName = Literal["host", "class", "pupil", "guest", "observer"]


class CreateRoom(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/rooms`."""

    name: DisplayName
    kind: RoomKind = "interclass"
    host_name: DisplayName | None = None
    """What the host is called in the room; the page asks for it."""
    request_id: RequestId | None = None
    """The same room again if the same request comes twice; None: another."""


class RoomSummary(msgspec.Struct, kw_only=True):
    id: Identifier
    name: str
    kind: RoomKind


class RoomCreated(msgspec.Struct, kw_only=True):
    """201 of `POST /api/rooms`."""

    room: RoomSummary
    token: str
    """The host's join token."""
    participant_id: Identifier
    url: str
    """The host's link; the token is in its fragment, which no log sees."""


class CreateInvitation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/rooms/{room}/invitations`."""

    role: RoleName
    label: Annotated[str, Meta(max_length=60)] = ""
    """What the host sees beside whoever used it: "Musée", "5e année, Rimouski"."""
    expires_in_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] | None = None
    """None: the server's default, 30 days."""
    uses: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """How many participants may still be made with it; None: no limit but the room's."""
    lobby: bool | None = None
    """Whether who comes with it waits to be admitted; None: the role's default (guests wait)."""


class Invitation(msgspec.Struct, kw_only=True):
    """201 of the above, and an entry of `GET /api/rooms/{room}/invitations`."""

    id: Identifier
    url: str
    code: str
    """Two French words and two digits, like `lune-renard-42`; typed without accents or case."""
    role: RoleName
    label: str
    lobby: bool
    created_at: Timestamp
    expires_at: Timestamp
    uses_left: int | None
    revoked: bool


class InvitationRevoked(msgspec.Struct, kw_only=True):
    """The answer to revoking an invitation where not all is known to be done; else there is none (204)."""

    confirmed: bool
    """False: whoever came with it is out, but somewhere a connection of theirs may still be open."""


class InvitationList(msgspec.Struct, kw_only=True):
    invitations: list[Invitation]


class Join(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/join`: exactly one of `invitation` and `code`."""

    name: DisplayName
    invitation: Annotated[str, Meta(max_length=64)] | None = None
    code: Annotated[str, Meta(max_length=64)] | None = None
    resume: Annotated[str, Meta(max_length=MAX_TOKEN_CHARACTERS)] | None = None
    """The token of an earlier join of the same invitation, valid or expired: who comes back is
    the same participant (a removed one stays removed)."""
    request_id: RequestId | None = None
    """The same participant again if the same request comes twice; None: another."""


class Joined(msgspec.Struct, kw_only=True):
    """200 of `POST /api/join`."""

    token: str
    room: RoomSummary
    participant_id: Identifier
    role: RoleName
    """So that a page knows whether to check a camera before it enters."""
    state: Literal["admitted", "waiting"]


class MediaGateway(msgspec.Struct, kw_only=True):
    """A Janus gateway, as the administrator sees it."""

    index: int
    """Its place in JANUS_URLS, from 0."""
    state: Literal["connecting", "ready", "draining"]
    rooms: int
    sessions: int


class MediaGatewayList(msgspec.Struct, kw_only=True):
    """200 of `GET /api/media/gateways`."""

    gateways: list[MediaGateway]


class StartNetworkCheck(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /api/network-check`: anybody, without an account, before a visit."""


class MediaProbe(msgspec.Struct, kw_only=True):
    """Where a media process answers ICE checks (RFC 8445, lite), and carries nothing."""

    addresses: list[str]
    port: int
    """UDP."""
    username_fragment: str
    password: str


class NetworkTarget(msgspec.Struct, kw_only=True):
    """What a school's network must let through, as this server is configured."""

    purpose: Literal["page", "media", "relay"]
    """The page with its texts and signaling; sound and picture; the same where the straight way is barred."""
    host: str
    port: int
    transport: Literal["udp", "tcp", "tls"]
    """From the school outwards; `tls` is TCP."""
    lasts: bool = True
    """False: the server takes another port at its next start."""


class NetworkCheck(msgspec.Struct, kw_only=True):
    """200 of `POST /api/network-check`."""

    engine: EngineName
    """What carries the rooms that are not private."""
    ice_servers: list[IceServer]
    """For this check alone: the credentials live `lifetime_s`, and few may use them at once."""
    lifetime_s: int
    probes: list[MediaProbe]
    """At most 4, and none where media go by Janus or by no process that is ready."""
    targets: list[NetworkTarget]
