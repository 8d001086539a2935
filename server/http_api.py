"""The HTTP API: rooms, invitations, joining, WHIP and WHEP. A handler authenticates, parses, calls, answers."""

import asyncio
import time
from typing import TypeVar

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from rooms.errors import InvitationRefused
from rooms.invitations import fold_code
from rooms.manager import ResumeClaim, RoomManager
from rooms.models import ParticipantStatus, Role, RoomKind, RoomState
from rooms.roles import Permission
from rooms.roster import inside, require
from rooms.visibility import see
from server import presenter
from server.auth import RequestOrigin, TokenClaims, TokenIssuer, TokenRefused, bearer_of, may_create_rooms
from server.callers import Callers
from server.config import Settings
from server.error_answers import Refusal
from server.limits import CREATE_INVITATION, CREATE_ROOM, HTTP_MEDIA, JOIN, RESUME, Limit, Limiter, is_trusted
from server.wire import http
from signaling.ports import MediaDoor
from signaling.turn import ice_servers

T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY_BYTES = 64 * 1024
"""Every JSON body is below 6 kB, an offer below 64 kB."""
MAX_BODY_S = 20.0
"""Longest time that a body may take to arrive: 64 kB at 30 kbit/s."""
CLOSED_WITHIN_S = 1.0
"""Who came with a revoked invitation has no connection any more after this."""
DEFAULT_HOST_NAME = "Animation"
"""What a host is called who gives no name."""


class HttpApi:
    """The handlers of /api, /whip and /whep."""

    def __init__(
        self,
        settings: Settings,
        rooms: RoomManager,
        tokens: TokenIssuer,
        media: MediaDoor,
        callers: Callers,
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._tokens = tokens
        self._media = media
        self._callers = callers
        self._limiters = {
            limit.name: Limiter(limit) for limit in (CREATE_ROOM, CREATE_INVITATION, JOIN, RESUME, HTTP_MEDIA)
        }

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/api/rooms", self.create_room)
        app.router.add_get("/api/rooms/{room}", self.get_room)
        app.router.add_post("/api/rooms/{room}/invitations", self.create_invitation)
        app.router.add_get("/api/rooms/{room}/invitations", self.list_invitations)
        app.router.add_delete("/api/rooms/{room}/invitations/{invitation}", self.revoke_invitation)
        app.router.add_post("/api/join", self.join)
        for kind in ("whip", "whep"):
            app.router.add_post(f"/{kind}/{{room}}", self.start_http_media)
            app.router.add_delete(f"/{kind}/{{room}}/{{session}}", self.end_http_media)
            app.router.add_patch(f"/{kind}/{{room}}/{{session}}", self.refuse_trickle)
            app.router.add_options(f"/{kind}/{{room}}", self.say_what_is_taken)

    # --- rooms ------------------------------------------------------------------------------

    async def create_room(self, request: web.Request) -> web.Response:
        bearer = bearer_of(request.headers.get("Authorization"))
        allowed = may_create_rooms(self._settings, request_origin(request), bearer)
        if not allowed:
            await self._callers.hold_back(request)
            raise Refusal(allowed.code or "permission-denied", allowed.message)
        self._limit(CREATE_ROOM, "key" if bearer else "this-machine")
        body = await read_json(request, http.CreateRoom)
        host_name = body.host_name if body.host_name is not None else DEFAULT_HOST_NAME
        state, host = await self._rooms.create_room(body.name, RoomKind(body.kind), host_name, body.request_id)
        token = self._tokens.issue(state.id, host.id, host.role, time.time())
        created = http.RoomCreated(
            room=presenter.summary(state),
            token=token,
            participant_id=host.id,
            url=f"{self._base_url(request)}/salle/{state.id}#jeton={token}",
        )
        return json_answer(created, status=201)

    async def get_room(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        state = await self._rooms.get_state(claims.room_id)
        inside(state, claims.participant_id)  # refuses who waits, was denied, removed or has left, each in its way
        seen = see(state, claims.participant_id)
        assert seen is not None
        # Does not wait: the room is in memory since it was asked for.
        chat = await self._rooms.chat_history(claims.room_id, claims.participant_id)
        return json_answer(presenter.room_view(seen, self._media.tracks(claims.room_id), chat))

    async def create_invitation(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        self._limit(CREATE_INVITATION, claims.participant_id)
        body = await read_json(request, http.CreateInvitation)
        invitation = await self._rooms.create_invitation(
            claims.room_id, claims.participant_id, Role(body.role), body.label, body.expires_in_s, body.uses, body.lobby
        )
        return json_answer(presenter.invitation(invitation, self._base_url(request)), status=201)

    async def list_invitations(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        invitations = await self._rooms.list_invitations(claims.room_id, claims.participant_id)
        base_url = self._base_url(request)
        return json_answer(
            http.InvitationList(invitations=[presenter.invitation(each, base_url) for each in invitations])
        )

    async def revoke_invitation(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        invitation_id = request.match_info["invitation"]
        await self._rooms.revoke_invitation(claims.room_id, claims.participant_id, invitation_id)
        state = await self._rooms.get_state(claims.room_id)
        out = [person.id for person in state.participants.values() if person.invitation_id == invitation_id]
        if await self._rooms.wait_gone(claims.room_id, out, CLOSED_WITHIN_S):
            return web.Response(status=204)
        return json_answer(http.InvitationRevoked(confirmed=False))

    async def join(self, request: web.Request) -> web.Response:
        body = await read_json(request, http.Join)
        if (body.invitation is None) == (body.code is None):
            raise Refusal("invalid", "Give either an invitation or a code.", "$.invitation")
        resume = self._resume_claim(body.resume)
        if body.code is not None:
            await self._callers.wait_before_guess(request)
        self._limit(JOIN, body.invitation if body.invitation is not None else fold_code(body.code or ""))
        try:
            state, participant = await self._rooms.join(
                name=body.name,
                invitation_id=body.invitation,
                code=body.code,
                resume=resume,
                request_id=body.request_id,
            )
        except InvitationRefused:
            await self._callers.hold_back(request)
            raise
        joined = http.Joined(
            token=self._tokens.issue(state.id, participant.id, participant.role, time.time()),
            room=presenter.summary(state),
            participant_id=participant.id,
            role=participant.role.value,
            state="waiting" if participant.status is ParticipantStatus.WAITING else "admitted",
        )
        return json_answer(joined)

    def _resume_claim(self, token: str | None) -> ResumeClaim | None:
        """A token that proves nothing makes a newcomer, not an error: it may be years old."""
        if token is None:
            return None
        try:
            claims = self._tokens.verify_for_resume(token, time.time())
        except TokenRefused:
            return None
        self._limit(RESUME, claims.participant_id)
        return ResumeClaim(claims.room_id, claims.participant_id)

    # --- WHIP (RFC 9725) and WHEP -----------------------------------------------------------

    async def start_http_media(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        kind = request.path.split("/")[1]
        self._require_media(await self._rooms.get_state(claims.room_id), claims.participant_id, kind)
        if request.content_type != "application/sdp":
            raise Refusal("content-type", "Send an offer as application/sdp.")
        self._limit(HTTP_MEDIA, claims.participant_id)
        try:
            offer = (await _read(request)).decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal("invalid-description", "An offer is UTF-8 text.") from None
        accept = self._media.accept_whip if kind == "whip" else self._media.accept_whep
        session_id, answer = await accept(claims.room_id, claims.participant_id, offer)
        headers = CIMultiDict({"Location": f"{self._base_url(request)}/{kind}/{claims.room_id}/{session_id}"})
        for link in self._ice_links(claims.participant_id):
            headers.add("Link", link)
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    def _ice_links(self, participant_id: str) -> list[str]:
        """RFC 9725 section 4.6: each ICE server as a Link, with its credential."""
        settings = self._settings
        links: list[str] = []
        for server in ice_servers(settings.turn_urls, settings.turn_secret, participant_id, time.time()):
            terms = '; rel="ice-server"'
            if server.credential is not None:
                terms += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
            links += [f"<{url}>{terms}" for url in server.urls]
        return links

    def _require_media(self, state: RoomState, participant_id: str, kind: str) -> None:
        """Raises: RoomError."""
        if kind == "whep":
            require(state, participant_id, Permission.SUBSCRIBE_MEDIA)
        elif not self._rooms.can(state.id, participant_id, Permission.PUBLISH_AUDIO):
            require(state, participant_id, Permission.PUBLISH_VIDEO)

    async def end_http_media(self, request: web.Request) -> web.Response:
        claims = await self._claims(request)
        await self._media.end_http_session(claims.room_id, claims.participant_id, request.match_info["session"])
        return web.Response(status=200)

    async def refuse_trickle(self, request: web.Request) -> web.Response:
        """RFC 9725 section 4.3: trickle and restart are recommended, not required. Who has neither says so by 405 with
        what is allowed (RFC 9110 section 15.5.6); 422 is for who has one of them. All candidates are in the offer and
        the answer, and a client that must restart posts a new offer."""
        await self._claims(request)
        raise web.HTTPMethodNotAllowed("PATCH", ["DELETE"])

    async def say_what_is_taken(self, request: web.Request) -> web.Response:
        """RFC 9725 section 4.2: the type of an offer."""
        return web.Response(status=204, headers={"Accept-Post": "application/sdp"})

    # --- who asks -----------------------------------------------------------------------------

    async def _claims(self, request: web.Request) -> TokenClaims:
        token = bearer_of(request.headers.get("Authorization"))
        if token is None:
            raise Refusal("token-missing", "Authorization: Bearer <join token> is missing.")
        try:
            return self._tokens.verify_for_room(token, request.match_info["room"], time.time())
        except TokenRefused:
            await self._callers.hold_back(request)
            raise

    def _base_url(self, request: web.Request) -> str:
        return public_base_url(self._settings, request)

    def _limit(self, limit: Limit, key: str) -> None:
        wait_s = self._limiters[limit.name].take(key, time.monotonic())
        if wait_s > 0.0:
            raise Refusal("too-many-requests", "Slower, please.", retry_after_s=wait_s)


def public_base_url(settings: Settings, request: web.Request) -> str:
    """Where people reach this server, without a final slash. Of what a proxy says of the scheme, only a trusted one's
    word counts."""
    if settings.public_url is not None:
        return settings.public_url
    said = request.headers.get("X-Forwarded-Proto", "").strip().lower()
    is_told = said in ("http", "https") and is_trusted(request.remote or "", settings.trusted_proxies)
    return f"{said if is_told else request.scheme}://{request.host}"


def request_origin(request: web.Request) -> RequestOrigin:
    """Whence it comes, for what only the administrator may do."""
    headers = request.headers
    forwarded = any(name in headers for name in ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host"))
    return RequestOrigin(
        peer=request.remote or "", host=request.host, forwarded=forwarded, origin=headers.get("Origin")
    )


async def read_json(request: web.Request, kind: type[T]) -> T:
    """Raises: Refusal, msgspec.ValidationError."""
    if request.content_type != "application/json":
        # A form of a foreign page can send anything but this (CSRF).
        raise Refusal("content-type", "Send the body as application/json.")
    try:
        return msgspec.json.decode(await _read(request), type=kind)
    except UnicodeDecodeError:
        raise Refusal("invalid", "JSON is UTF-8 text.") from None


async def _read(request: web.Request) -> bytes:
    """Raises: Refusal; HTTPRequestEntityTooLarge, for a body that did not say how long it is."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise Refusal("too-large", f"A body has at most {MAX_BODY_BYTES} bytes.")
    try:
        async with asyncio.timeout(MAX_BODY_S):
            return await request.read()
    except TimeoutError:
        raise Refusal("too-slow", "The body did not arrive in time.") from None


def json_answer(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
